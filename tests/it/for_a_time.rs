//! What is let through for a time only: older keys, and what observed checks would refuse. It ends by the clock alone, and is seen
//! everywhere while it lasts.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use sidegate::clock::Clock;
use sidegate::key::record::KeyStatus;

use crate::support::client::{Request, once};
use crate::support::desk::Desk;
use crate::support::process;
use crate::support::seed;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;

const MINUTES: i64 = 60_000;
/// Ten minutes after manual clocks begin.
const END: &str = "2026-06-01T12:10:00Z";

fn sidecar(kind: Kind, upstream: &Upstream, text: &str) -> Sidecar {
    Sidecar::with_manual_clock(kind, &format!("upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n{text}", upstream.url()))
}

fn ask_ops(sidecar: &Sidecar, path: &str) -> String {
    once(sidecar.ops(), &Request::get(path)).text()
}

/// A request is counted when its answer is written: a moment after the client has it.
fn wait_for_count(sidecar: &Sidecar, reason: &str, count: u64) {
    let line = format!("sidegate_would_refuse_total{{reason=\"{reason}\"}} {count}\n");
    let began = sidegate::clock::instant();
    while !ask_ops(sidecar, "/metrics").contains(&line) {
        assert!(began.elapsed() < crate::support::PATIENCE, "no {line}");
    }
}

#[test]
fn older_keys_pass_until_the_end_and_not_a_moment_longer() {
    for kind in Kind::BOTH {
        let upstream = Upstream::echo();
        let sidecar = sidecar(kind, &upstream, &format!("[migration]\nunknown_keys = \"pass\"\nuntil = \"{END}\"\n"));
        let known = sidecar.home.issue();
        let ask = |key: &str| once(sidecar.address(), &Request::get("/a").bearer(key)).status;
        assert!(ask_ops(&sidecar, "/readyz?verbose").contains(&format!("[!]unknown keys are passed on without identity until {END}\n")));
        assert_eq!((ask("OLD-7f3a"), ask(&known.secret)), (200, 200));
        wait_for_count(&sidecar, "credential_malformed", 1);
        sidecar.clock.advance(10 * MINUTES - 1);
        assert_eq!(ask("OLD-7f3a"), 200);
        sidecar.clock.advance(1);
        assert_eq!((ask("OLD-7f3a"), ask(&known.secret)), (401, 200));
        assert!(ask_ops(&sidecar, "/readyz?verbose").contains(&format!("[!]unknown keys are refused again since {END}\n")));
        wait_for_count(&sidecar, "credential_malformed", 2);
        let names: Vec<Option<String>> = upstream.recorded().iter().map(|seen| seen.header("x-tenant-id").map(str::to_owned)).collect();
        assert_eq!(names, [None, Some("acme".into()), None, Some("acme".into())]);
    }
}

#[test]
fn a_key_that_is_made_meanwhile_is_ours_from_then_on() {
    let upstream = Upstream::echo();
    let sidecar = sidecar(Kind::Embedded, &upstream, &format!("[migration]\nunknown_keys = \"pass\"\nuntil = \"{END}\"\n")).in_touch();
    let secret = "sk_live_0123456789abcdefghijklmnopqrstuv1TwEzT";
    let tenant = || upstream.recorded().last().unwrap().header("x-tenant-id").map(str::to_owned);
    assert_eq!((once(sidecar.address(), &Request::get("/a").bearer(secret)).status, tenant()), (200, None));
    sidecar.home.issue_with(&serde_json::json!({ "secret": secret }));
    let began = sidegate::clock::instant();
    while tenant().is_none() {
        assert!(began.elapsed() < crate::support::PATIENCE);
        assert_eq!(once(sidecar.address(), &Request::get("/a").bearer(secret)).status, 200);
    }
    assert_eq!(tenant(), Some("acme".into()));
}

#[test]
fn a_secret_that_was_a_keys_is_never_passed_on_as_nobodys() {
    for kind in Kind::BOTH {
        let upstream = Upstream::echo();
        let text = format!("upstream = \"{}\"\n[migration]\nunknown_keys = \"pass\"\nuntil = \"2999-01-01\"\n", upstream.url());
        let sidecar = Sidecar::in_home(Home::new(kind, &text), Clock::System).in_touch();
        let ask = |key: &str| once(sidecar.address(), &Request::get("/a").bearer(key)).status;
        let key = |id: &str| {
            let issued = seed::key(&sidecar.home.config, "acme", &serde_json::json!({ "id": id }));
            sidecar.home.table().put_key(&issued.record);
            issued.secret
        };
        // None of them is asked for before it ends: nothing is cached.
        let first = sidecar.home.issue().secret;
        let (deleted, purged) = (key("key_deleted"), key("key_purged"));
        let desk = Desk::open(&sidecar.home.config);
        let rotate = |overlap| desk.run(desk.lifecycle.rotate("key_main", overlap)).key.expose_secret().to_owned();
        let (second, third) = (rotate(None), rotate(None));
        let last = rotate(Some(Duration::from_hours(1)));
        desk.run(desk.lifecycle.end_overlap("key_main"));
        desk.run(desk.lifecycle.set_status("key_purged", KeyStatus::Revoked));
        desk.run(desk.lifecycle.purge("key_purged"));
        for (name, secret) in [("rotated away", &first), ("twice", &second), ("its overlap ended", &third), ("purged", &purged)] {
            assert_eq!(ask(secret), 401, "{} {name}", kind.name());
        }
        assert_eq!(ask(&last), 200);
        desk.run(desk.lifecycle.set_status("key_main", KeyStatus::Revoked));
        process::run(&["tenants", "delete", "acme", "--yes"], &sidecar.home.config_file()).ok();
        for secret in [&deleted, &first, &purged] {
            assert_eq!(ask(secret), 401, "{}", kind.name());
        }
        assert_eq!(upstream.recorded().iter().filter(|seen| seen.header("x-tenant-id").is_none()).count(), 0);
        let nobodys = seed::key(&sidecar.home.config, "acme", &serde_json::json!({})).secret;
        assert_eq!(ask(&nobodys), 200, "what never was a key's is still passed on");
    }
}

#[test]
fn checks_are_observed_until_the_end_and_refuse_from_then_on() {
    for kind in Kind::BOTH {
        let upstream = Upstream::echo();
        let sidecar = sidecar(kind, &upstream, &format!("[restrictions]\nobserve = [\"ip\", \"endpoint\"]\nobserve_until = \"{END}\"\n"));
        let key = sidecar.home.issue_with(&serde_json::json!({ "ip_allowlist": ["198.51.100.0/24"] }));
        let ask = || once(sidecar.address(), &Request::get("/a").bearer(&key.secret)).status;
        assert_eq!(ask(), 200);
        assert!(ask_ops(&sidecar, "/readyz?verbose").contains(&format!("[!]ip, endpoint: only observed until {END}, ")));
        wait_for_count(&sidecar, "ip_denied", 1);
        sidecar.clock.advance(10 * MINUTES);
        assert_eq!(ask(), 403);
        assert!(ask_ops(&sidecar, "/readyz?verbose").contains(&format!("[!]ip, endpoint: enforced again since {END}\n")));
        wait_for_count(&sidecar, "ip_denied", 1);
    }
}

const BOTH: &str = "[migration]\nunknown_keys = \"pass\"\nuntil = \"2999-01-01\"\n\
                    [restrictions]\nobserve = [\"ip\"]\nobserve_until = \"2020-01-01\"\n";

#[test]
fn check_says_what_is_let_through_and_until_when() {
    let home = Home::new(Kind::Embedded, &format!("upstream = \"http://127.0.0.1:1\"\n{BOTH}"));
    let said = process::run(&["check"], &home.config_file());
    assert_eq!(said.code, 0);
    for words in [
        "unknown keys are passed on without identity until 2999-01-01T00:00:00Z",
        "ip: enforced again since 2020-01-01T00:00:00Z",
        "the end is past: take it out, or set a later `observe_until`",
        "2 warnings",
    ] {
        assert!(said.stdout.contains(words), "{words}\n{}", said.stdout);
    }
}

#[test]
fn explain_says_why_a_request_is_let_through_in_spite_of_it_all() {
    let text = "upstream = \"http://127.0.0.1:1\"\n[migration]\nunknown_keys = \"pass\"\nuntil = \"2999-01-01\"\n\
                [restrictions]\nobserve = [\"ip\"]\nobserve_until = \"2999-01-01\"\n";
    let home = Home::new(Kind::Embedded, text);
    let key = home.issue_with(&serde_json::json!({ "ip_allowlist": ["198.51.100.0/24"] }));
    let explain = |key: &str| process::run(&["explain", "-H", &format!("X-API-Key: {key}"), "/a"], &home.config_file()).ok();
    let observed = explain(&key.secret);
    for words in [
        "! network ",
        "ip_denied (127.0.0.1 is not in",
        "let through for a time only, else refused, ip_denied: 127.0.0.1",
        "x-tenant-id: acme",
    ] {
        assert!(observed.contains(words), "{words}\n{observed}");
    }
    let older = explain("OLD-7f3a");
    for words in [
        "✗ credential ",
        "✓ migration        credential_malformed is passed on as it came, until 2999-01-01T00:00:00Z",
        "let through for a time only, else refused, credential_malformed: no configured key prefix",
        "x-api-key: [masked]",
    ] {
        assert!(older.contains(words), "{words}\n{older}");
    }
    assert!(!older.contains("OLD-7f3a") && !older.contains("x-tenant-id"), "{older}");
}

#[test]
fn of_several_observed_checks_each_is_counted_and_recorded() {
    let upstream = Upstream::echo();
    let home = Home::new(
        Kind::Embedded,
        &format!(
            "upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[restrictions]\nobserve = [\"ip\", \"endpoint\"]\nobserve_until = \"2999-01-01\"\n",
            upstream.url()
        ),
    );
    let key = home.issue_with(&serde_json::json!({ "ip_allowlist": ["198.51.100.0/24"], "endpoints": ["GET /b"] }));
    let mut sidecar = Sidecar::in_home(home, sidegate::clock::Clock::System);
    assert_eq!(once(sidecar.address(), &Request::get("/a").bearer(&key.secret)).status, 200);
    wait_for_count(&sidecar, "ip_denied", 1);
    wait_for_count(&sidecar, "endpoint_denied", 1);
    sidecar.stop();
    let denials = process::run(&["denials", "--json"], &sidecar.home.config_file()).json();
    let mut told: Vec<&str> = denials.as_array().unwrap().iter().map(|denial| denial["reason"].as_str().unwrap()).collect();
    told.sort_unstable();
    assert_eq!(told, ["endpoint_denied", "ip_denied"]);
}

#[test]
fn the_log_of_refusals_and_their_record_have_what_would_be_one() {
    let upstream = Upstream::echo();
    let home = Home::new(
        Kind::Embedded,
        &format!(
            "upstream = \"{}\"\n[log]\naccess = \"denied\"\n[migration]\nunknown_keys = \"pass\"\nuntil = \"2999-01-01\"\n[restrictions]\nobserve = [\"ip\"]\nobserve_until = \"2999-01-01\"\n",
            upstream.url()
        ),
    );
    let inside = home.issue().secret;
    let outside = seed::key(&home.config, "acme", &serde_json::json!({ "id": "key_outside", "ip_allowlist": ["198.51.100.0/24"] }));
    home.table().put_key(&outside.record);
    let serve = process::Serve::start(&home.config_file());
    for key in [&inside, &outside.secret, "OLD-7f3a"] {
        assert_eq!(once(serve.address, &Request::get("/a").bearer(key)).status, 200);
    }
    let lines = serve.access(2);
    assert_eq!((lines[0]["reason"].as_str(), lines[0]["would_refuse"].as_str()), (Some(""), Some("ip_denied")));
    assert_eq!((lines[0]["key.id"].as_str(), lines.len()), (Some("key_outside"), 2));
    assert!(lines[0]["detail"].as_str().unwrap().contains("allowlist of the key"));
    assert_eq!((lines[1]["would_refuse"].as_str(), lines[1].get("key.id")), (Some("credential_malformed"), None));
    serve.stop();
    let denials = process::run(&["denials", "--json"], &home.config_file()).json();
    let mut told: Vec<String> =
        denials.as_array().unwrap().iter().map(|denial| format!("{} {} {}", denial["reason"], denial["observed"], denial["key"])).collect();
    told.sort();
    assert_eq!(told, ["\"credential_malformed\" true null", "\"ip_denied\" true \"key_outside\""]);
}
