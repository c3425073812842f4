//! The commands, as scripts use them: what they print, how they end, and that they work while `serve` runs.

use serde_json::Value;

use crate::support::client::{Request, once};
use crate::support::process::{self, Ended, Serve};
use crate::support::sidecar::{Home, Kind};
use crate::support::upstream::Upstream;

struct Scene {
    home: Home,
    upstream: Upstream,
}

impl Scene {
    fn new(kind: Kind, config: &str) -> Self {
        let upstream = Upstream::echo();
        // A short ttl stands in for the log of changes, which this release does not read from Redis.
        let home = Home::new(kind, &format!("upstream = \"{}\"\n{config}\n[cache]\nttl = \"1s\"\nnegative_ttl = \"1s\"", upstream.url()));
        Self { home, upstream }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        process::run(arguments, &self.home.config_file())
    }

    fn run_with(&self, arguments: &[&str], stdin: &str) -> Ended {
        process::run_with_stdin(arguments, &self.home.config_file(), stdin)
    }

    fn tenant(&self) {
        self.run(&["tenants", "create", "--id", "acme", "--name", "Acme Inc"]).ok();
    }

    fn create(&self, more: &[&str]) -> (String, String) {
        let shown = self.run(&[&["keys", "create", "--tenant", "acme", "--name", "ci", "--json"], more].concat()).json();
        (word(&shown, "id"), word(&shown, "key"))
    }
}

fn word(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value:#}")).to_owned()
}

/// Asks until the answer is this: a change is seen within the ttl.
fn becomes(serve: &Serve, key: &str, status: u16) {
    let began = sidegate::clock::instant();
    loop {
        let answer = once(serve.address, &Request::get("/v1/users").bearer(key));
        if answer.status == status {
            return;
        }
        assert!(began.elapsed() < crate::support::PATIENCE, "still {} {}", answer.status, answer.text());
    }
}

fn a_life(kind: Kind) {
    let scene = Scene::new(kind, "");
    let serve = Serve::start(&scene.home.config_file());
    scene.tenant();
    let (id, first) = scene.create(&["--scope", "read:users"]);
    assert!(first.starts_with("sk_live_") && id.starts_with("key_"));
    becomes(&serve, &first, 200);

    let second = word(&scene.run(&["keys", "rotate", &id, "--json"]).json(), "key");
    becomes(&serve, &second, 200);
    becomes(&serve, &first, 401);

    let third = word(&scene.run(&["keys", "rotate", &id, "--overlap", "1h", "--json"]).json(), "key");
    becomes(&serve, &third, 200);
    becomes(&serve, &second, 200);
    scene.run(&["keys", "rotate", &id, "--end-overlap"]).ok();
    becomes(&serve, &second, 401);

    scene.run(&["keys", "deactivate", &id]).ok();
    becomes(&serve, &third, 401);
    scene.run(&["keys", "activate", &id]).ok();
    becomes(&serve, &third, 200);
    scene.run(&["tenants", "suspend", "acme"]).ok();
    becomes(&serve, &third, 401);
    scene.run(&["tenants", "resume", "acme"]).ok();
    becomes(&serve, &third, 200);

    let found = scene.run_with(&["keys", "verify", "--json"], &format!("{third}\n")).json();
    assert_eq!(word(&found, "id"), id);
    scene.run(&["keys", "revoke", &id]).ok();
    becomes(&serve, &third, 401);
    let found = scene.run_with(&["keys", "verify", "--json"], &format!("{third}\n"));
    assert!(found.stdout.contains("revoked"), "{found:?}");
    let listed = scene.run(&["keys", "list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed:#}");
    assert!(scene.upstream.recorded().iter().all(|request| request.header("x-tenant-id") == Some("acme")));
}

#[test]
fn keys_live_and_die_while_serve_runs_on_redis() {
    a_life(Kind::Redis);
}

#[test]
fn keys_live_and_die_while_serve_runs_on_the_embedded_store() {
    a_life(Kind::Embedded);
}

#[test]
fn a_key_can_be_revoked_by_its_plaintext_as_secret_scanners_deliver_it() {
    let scene = Scene::new(Kind::Embedded, "");
    scene.tenant();
    let (id, key) = scene.create(&[]);
    let (other, _) = scene.create(&[]);
    scene.run_with(&["keys", "revoke", "--stdin"], &format!("{key}\n{other}\n")).ok();
    for id in [id, other] {
        assert_eq!(word(&scene.run(&["keys", "show", &id, "--json"]).json(), "status"), "revoked");
    }
}

#[test]
fn keys_whose_ids_look_like_anything_are_revoked_from_stdin_and_no_secret_is_told() {
    let kind = "[[key_kinds]]\nname = \"secret\"\nprefixes = { live = \"key_live_\" }\nchecksum = \"optional\"";
    let scene = Scene::new(Kind::Embedded, kind);
    let file = "{\"id\":\"imported-1\",\"tenant\":\"acme\",\"key\":\"key_live_one\"}\n{\"id\":\"key_2\",\"tenant\":\"acme\",\"key\":\"key_live_two\"}\n";
    scene.run_with(&["keys", "import", "-", "--create-tenants"], file).ok();
    let ended = scene.run_with(&["keys", "revoke", "--stdin"], "imported-1\nkey_live_two\nkey_live_nobodys\n");
    assert!(ended.code == 4 && ended.stderr.contains("line 3 of stdin") && !ended.stderr.contains("key_live"), "{ended:?}");
    for id in ["imported-1", "key_2"] {
        assert_eq!(word(&scene.run(&["keys", "show", id, "--json"]).json(), "status"), "revoked");
    }
}

#[test]
fn where_nothing_was_changed_nothing_is_confirmed() {
    let scene = Scene::new(Kind::Embedded, "");
    scene.tenant();
    let (id, _) = scene.create(&[]);
    let ended = scene.run(&["keys", "revoke", "key_wrong", "--wait"]);
    assert!(ended.code == 4 && !ended.stderr.contains("sidecar "), "{ended:?}");
    let ended = scene.run(&["keys", "revoke", &id, "--wait"]);
    assert!(ended.code == 0 && ended.stderr.contains("no sidecar is running"), "{ended:?}");
}

#[test]
fn quiet_prints_the_key_alone() {
    let scene = Scene::new(Kind::Embedded, "");
    scene.tenant();
    let ended = scene.run(&["keys", "create", "--tenant", "acme", "--name", "ci", "--quiet"]);
    assert!(ended.stdout.starts_with("sk_live_") && ended.stdout.trim_end().len() == 46, "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 1);
}

#[test]
fn a_record_keeps_what_it_was_given() {
    let scene = Scene::new(Kind::Embedded, "");
    scene.tenant();
    let (id, key) = scene.create(&[
        "--env",
        "test",
        "--kind",
        "publishable",
        "--scope",
        "read:users",
        "--scope",
        "write:*",
        "--ip",
        "198.51.100.0/24",
        "--ip",
        "2001:db8::/32",
        "--referrer",
        "https://*.shop.example",
        "--endpoint",
        "GET /v1/users/{id}",
        "--expires",
        "90d",
        "--meta",
        "team=blue",
    ]);
    assert!(key.starts_with("pk_test_"));
    let shown = scene.run(&["keys", "show", &id, "--json"]).json();
    assert_eq!(shown["scopes"], serde_json::json!(["read:users", "write:*"]));
    assert_eq!(shown["ip_allowlist"], serde_json::json!(["198.51.100.0/24", "2001:db8::/32"]));
    assert_eq!(shown["referrers"], serde_json::json!(["https://*.shop.example"]));
    assert_eq!(shown["endpoints"], serde_json::json!(["GET /v1/users/{id}"]));
    assert_eq!(shown["metadata"]["team"], "blue");
    assert_eq!(
        (word(&shown, "environment"), word(&shown, "kind"), word(&shown, "last4")),
        ("test".into(), "publishable".into(), key.get(42..).unwrap_or_default().to_owned())
    );
    assert!(shown["expires_at"].is_string() && shown.get("key").is_none() && shown.get("digest").is_none(), "{shown:#}");
}

#[test]
fn what_cannot_be_is_not_made() {
    let scene = Scene::new(Kind::Embedded, "");
    scene.tenant();
    let base = ["keys", "create", "--tenant", "acme", "--name", "ci"];
    for wrong in [
        &["--scope", "a*b"][..],
        &["--scope", "with space"],
        &["--ip", "10.0.0.1/8"],
        &["--ip", "localhost"],
        &["--referrer", "shop.example"],
        &["--endpoint", "v1/users"],
        &["--endpoint", "GET /v1/../users"],
        &["--expires", "soon"],
        &["--kind", "other"],
        &["--env", "other"],
        &["--meta", "novalue"],
    ] {
        let ended = scene.run(&[&base[..], wrong].concat());
        assert_eq!(ended.code, 2, "{wrong:?}: {ended:?}");
        assert!(!ended.stderr.is_empty() && ended.stdout.is_empty(), "{wrong:?}: {ended:?}");
    }
    assert_eq!(scene.run(&["keys", "list", "--json"]).json(), serde_json::json!([]));
}

#[test]
fn exit_codes_are_the_contracts() {
    let scene = Scene::new(Kind::Redis, "");
    scene.tenant();
    let (id, key) = scene.create(&[]);
    let code = |arguments: &[&str]| scene.run(arguments).code;
    assert_eq!(code(&["version"]), 0);
    assert_eq!(code(&["keys", "nonsense"]), 2);
    assert_eq!(code(&["keys", "create"]), 2);
    assert_eq!(code(&["keys", "show", "key_nobodys"]), 4);
    assert_eq!(code(&["keys", "revoke", "key_nobodys"]), 4);
    assert_eq!(code(&["keys", "rotate", "key_nobodys"]), 4);
    assert_eq!(code(&["keys", "create", "--tenant", "nobody", "--name", "x"]), 4);
    assert_eq!(code(&["tenants", "show", "nobody"]), 4);
    assert_eq!(code(&["tenants", "create", "--id", "acme", "--name", "again"]), 7);
    assert_eq!(code(&["explain", "-H", &format!("Authorization: Bearer {key}"), "/v1/users"]), 0);
    assert_eq!(code(&["explain", "/v1/users"]), 5);
    scene.run(&["keys", "revoke", &id]).ok();
    assert_eq!(code(&["keys", "rotate", &id]), 7);
    assert_eq!(code(&["keys", "activate", &id]), 7);
    assert_eq!(scene.run_with(&["keys", "verify"], "sk_live_nobodys").code, 4);
    assert_eq!(code(&["keys", "list", "--store", "redis+unix:///nowhere/redis.sock"]), 6);
    std::fs::write(scene.home.config_file(), "nonsense = true\n").unwrap();
    assert_eq!(code(&["keys", "list"]), 3);
    assert_eq!(code(&["check"]), 3);
    assert_eq!(code(&["serve"]), 3);
}

#[test]
fn check_reports_every_mistake_at_once_with_line_caret_and_a_fix() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("proxy.toml");
    let text = r#"deployment = "prodution"
listen = "127.0.0.1:0"

[restrictions]
ip_allowlist = ["10.0.0.1/8"]
secret_key_in_browser = "maybe"

[cache]
ttl = "half an hour"
negative_tll = "2s"

[[routes]]
name = "users"
match = "GET v1/users"
scopes = []

[store]
url = "postgres://nowhere"
"#;
    std::fs::write(&file, text).unwrap();
    let ended = process::run(&["check"], &file);
    assert_eq!(ended.code, 3, "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    let reports: Vec<&str> = said.split("\n\n").collect();
    for (place, fix) in [
        ("proxy.toml:1:14", "did you mean `production`?"),
        ("proxy.toml:5:17", "did you mean 10.0.0.0/8?"),
        ("proxy.toml:6:25", "`reject`, `flag`, `ignore`"),
        ("proxy.toml:9:7", "such as \"90s\""),
        ("proxy.toml:10:1", "did you mean `negative_ttl`?"),
        ("proxy.toml:14:9", "begins with /"),
        ("proxy.toml:15:10", "remove the key"),
        ("proxy.toml:18:7", "redis://"),
    ] {
        let report = reports.iter().find(|report| report.contains(place)).unwrap_or_else(|| panic!("nothing of {place}\n{said}"));
        assert!(report.contains(fix) && report.contains('^'), "{place} should say {fix} with a caret:\n{said}");
    }
}

#[test]
fn what_init_writes_is_right_and_runs() {
    let dir = tempfile::tempdir().unwrap();
    process::run_plain(&["init"], dir.path()).ok();
    let file = dir.path().join("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    process::run(&["check"], &file).ok();
    assert_ne!(process::run_plain(&["init"], dir.path()).code, 0, "a file that is there is left alone");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn every_profile_can_be_shown_and_used() {
    let dir = tempfile::tempdir().unwrap();
    for profile in ["standard", "gately", "g-tateth", "gatelithix", "problem-json"] {
        let shown = process::run_plain(&["config", "show", "--profile", profile], dir.path()).ok();
        let parsed: toml::Table = shown.parse().unwrap_or_else(|error| panic!("{profile}: {error}\n{shown}"));
        assert!(parsed.contains_key("errors"), "{profile}");
        let file = dir.path().join(format!("{profile}.toml"));
        std::fs::write(&file, format!("profile = \"{profile}\"\n")).unwrap();
        process::run(&["check"], &file).ok();
    }
}

#[test]
fn json_and_quiet_hold_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| process::run_plain(arguments, dir.path());
    let version = word(&run(&["version", "--json"]).json(), "version");
    assert_eq!(run(&["version", "--quiet"]).ok().trim_end(), version);
    let profile = run(&["config", "show", "--profile", "gatelithix", "--json"]).json();
    assert_eq!(profile["errors"]["code_case"], "lower", "{profile:#}");
    for both in [&["--profile", "gately"][..], &["--json"]] {
        assert_eq!(run(&[&["config", "show", "--origin"], both].concat()).code, 2, "{both:?}");
    }
    let told = run(&["demo", "--once", "--json"]).json();
    let answers = told.as_array().unwrap();
    assert!(answers.len() == 11 && answers.iter().all(|answer| answer["as_told"] == true), "{told:#}");
    assert_eq!(run(&["demo", "--once", "--quiet"]).ok(), "");
}

#[test]
fn a_profile_that_is_not_there_is_a_wrong_configuration_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    for command in [&["config", "show", "--profile", "gatly"][..], &["init", "--profile", "gatly"], &["serve", "--profile", "gatly"]] {
        let ended = process::run_plain(command, dir.path());
        assert_eq!(ended.code, 3, "{command:?}: {ended:?}");
        assert!(ended.stderr.contains("did you mean `gately`?"), "{command:?}: {ended:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn init_writes_to_stdout_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let text = process::run_plain(&["init", "-", "--profile", "gately"], dir.path()).ok();
    assert!(text.contains("profile = \"gately\"") && text.parse::<toml::Table>().is_ok(), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn serve_and_check_say_the_same_of_an_address() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("proxy.toml");
    for text in ["listen = \"localhost\"", "listen = \"127.0.0.1:0\"\nops.listen = \":8080\"", "upstream = \"http://127.0.0.1:8080\""] {
        std::fs::write(&file, text).unwrap();
        for command in ["check", "serve"] {
            let ended = process::run(&[command], &file);
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(ended.code == 3 && said.contains("proxy.toml:") && said.contains('^'), "{command} {text}: {ended:?}");
        }
    }
}

#[test]
fn routes_are_listed_most_specific_first() {
    let scene = Scene::new(
        Kind::Embedded,
        "routes = [{ name = \"rest\", match = \"* /**\" }, { name = \"user\", match = \"GET /users/{id}\" }, { name = \"me\", match = \"GET /users/me\" }]",
    );
    let shown = scene.run(&["routes"]).ok();
    let at = |name: &str| shown.find(name).unwrap_or_else(|| panic!("no {name}:\n{shown}"));
    assert!(at("/users/me") < at("/users/{id}") && at("/users/{id}") < at("/**"), "{shown}");
}

#[test]
fn keys_of_another_system_are_imported_and_work() {
    let config = "[[key_kinds]]\nname = \"secret\"\nprefixes = { live = \"sk_live_\", test = \"sk_test_\" }\nchecksum = \"optional\"";
    let scene = Scene::new(Kind::Redis, config);
    scene.tenant();
    let file = scene.home.dir.path().join("keys.ndjson");
    let digest = crate::support::seed::digest("sk_live_from_a_digest");
    let rows = [
        r#"{"tenant":"acme","name":"plain","key":"sk_live_abc123xyz789","scopes":["read:users"]}"#.to_owned(),
        format!(r#"{{"tenant":"acme","name":"digest","digest":"sha256:{digest}","environment":"live","kind":"secret"}}"#),
    ];
    std::fs::write(&file, rows.join("\n")).unwrap();
    let path = file.to_str().unwrap();
    scene.run(&["keys", "import", path, "--dry-run"]).ok();
    assert_eq!(scene.run(&["keys", "list", "--json"]).json(), serde_json::json!([]));
    scene.run(&["keys", "import", path]).ok();
    let serve = Serve::start(&scene.home.config_file());
    becomes(&serve, "sk_live_abc123xyz789", 200);
    becomes(&serve, "sk_live_from_a_digest", 200);
}

#[test]
fn import_refuses_keys_that_would_be_refused_later() {
    let scene = Scene::new(Kind::Embedded, "");
    scene.tenant();
    let file = scene.home.dir.path().join("keys.ndjson");
    std::fs::write(&file, "{\"tenant\":\"acme\",\"name\":\"x\",\"key\":\"sk_live_abc123xyz789\"}\n").unwrap();
    let ended = scene.run(&["keys", "import", file.to_str().unwrap()]);
    assert_ne!(ended.code, 0);
    assert!(ended.stderr.contains("checksum"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("abc123xyz789"), "{}", ended.stderr);
}

#[test]
fn serve_ends_well_on_sigterm() {
    let scene = Scene::new(Kind::Embedded, "");
    let serve = Serve::start(&scene.home.config_file());
    let (status, _, _) = serve.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn the_demo_is_as_told() {
    let dir = tempfile::tempdir().unwrap();
    let ended = process::run_plain(&["demo", "--once"], dir.path());
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("11 of 11 answers were as told"), "{}", ended.stdout);
    assert!(!ended.stdout.contains('\u{1b}'), "colours in a pipe");
    assert_eq!(ended.stdout.matches("    curl ").count(), 11, "{}", ended.stdout);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the demo left something behind");
}

#[test]
fn explain_says_every_step_and_never_the_key() {
    let scene = Scene::new(Kind::Embedded, "routes = [{ name = \"users\", match = \"GET /v1/users\", scopes = [\"read:users\"] }]");
    scene.tenant();
    let (_, key) = scene.create(&[]);
    let ended = scene.run(&["explain", "-H", &format!("X-API-Key: {key}"), "--from", "198.51.100.7", "/v1/users"]);
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(!ended.stdout.contains(&key) && ended.stdout.contains("scope_missing"), "{}", ended.stdout);
    let ended = scene.run_with(&["explain", "--credential-stdin", "/v1/users"], &key);
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(ended.stdout.contains("scope_missing"), "{}", ended.stdout);
}

#[test]
fn a_command_that_looks_makes_no_key_table_and_says_where_it_looked() {
    let dir = tempfile::tempdir().unwrap();
    let left = || std::fs::read_dir(dir.path()).unwrap().count();
    for (arguments, code) in [
        (&["keys", "list"][..], 0),
        (&["tenants", "list", "--quiet"], 0),
        (&["keys", "show", "key_1"], 4),
        (&["keys", "revoke", "key_1"], 4),
        (&["keys", "create", "--tenant", "acme", "--name", "ci"], 4),
    ] {
        let ended = process::run_plain(arguments, dir.path());
        assert_eq!((ended.code, ended.stdout.as_str(), left()), (code, "", 0), "{arguments:?}: {ended:?}");
        let data = dir.path().join("sidegate-data");
        assert!(ended.stderr.contains("no proxy.toml") && ended.stderr.contains(data.to_str().unwrap()), "{ended:?}");
    }
    let made = process::run_plain(&["tenants", "create", "--id", "acme"], dir.path());
    assert!(made.stderr.contains("no proxy.toml") && made.stderr.contains("sidegate-data"), "{made:?}");
    let listed = process::run_plain(&["tenants", "list"], dir.path());
    assert!(listed.stdout.contains("acme") && listed.stderr.is_empty(), "{listed:?}");
}

#[test]
fn a_missing_key_table_is_said_with_a_configuration_too() {
    let scene = Scene::new(Kind::Embedded, "");
    let ended = scene.run(&["keys", "list"]);
    assert!(ended.stderr.contains("no key table at") && !ended.stderr.contains("proxy.toml"), "{ended:?}");
    assert!(!scene.home.dir.path().join("data").exists());
}

#[test]
fn help_names_defaults_once_and_truly() {
    let dir = tempfile::tempdir().unwrap();
    let help = process::run_plain(&["tenants", "create", "--help"], dir.path()).ok();
    assert!(help.contains("[default: the id]") && help.contains("[default: no ceiling]"), "{help}");
    assert!(!help.contains("[default: \"\"]") && !help.contains("[default: none]"), "{help}");
}

#[test]
fn the_secret_before_is_told_from_the_current_one() {
    let scene = Scene::new(Kind::Embedded, "");
    scene.tenant();
    let (id, first) = scene.create(&[]);
    let second = scene.run(&["keys", "rotate", &id, "--overlap", "1h", "--json"]);
    assert!(!second.stderr.contains("ends now"), "{second:?}");
    let second = second.json();
    let verify = |secret: &str| scene.run_with(&["keys", "verify", "--json"], secret);
    let old = verify(&first);
    assert!(old.stderr.contains("previous secret") && old.stderr.contains(&word(&second, "previous_until")), "{old:?}");
    let old = old.json();
    assert_eq!((word(&old, "presented"), word(&old, "previous_until")), ("previous".into(), word(&second, "previous_until")));
    let current = verify(&word(&second, "key"));
    assert_eq!((current.stderr.as_str(), word(&verify(&word(&second, "key")).json(), "presented")), ("", "current".into()));
    let third = scene.run(&["keys", "rotate", &id, "--overlap", "1h", "--quiet"]);
    assert!(third.stderr.contains("ends now") && third.stderr.contains(&word(&second, "previous_until")), "{third:?}");
}

#[test]
fn a_secret_that_is_nobodys_is_told_with_its_line_or_its_fault_and_never_repeated() {
    let scene = Scene::new(Kind::Embedded, "");
    scene.tenant();
    let (id, key) = scene.create(&[]);
    let cut = key.get(..40).unwrap();
    let ended = scene.run_with(&["keys", "verify"], cut);
    assert!(ended.code == 4 && ended.stderr.contains("mistyped or cut off") && !ended.stderr.contains(cut), "{ended:?}");
    let ended = scene.run_with(&["keys", "verify"], "hunter2");
    assert!(ended.stderr.contains("no prefix of [[key_kinds]]") && !ended.stderr.contains("hunter2"), "{ended:?}");
    let ended = scene.run_with(&["keys", "revoke", "--stdin"], &format!("\n{cut}\n{key}\n"));
    assert!(ended.code == 4 && ended.stderr.contains("line 2 of stdin") && !ended.stderr.contains(cut), "{ended:?}");
    assert_eq!(word(&scene.run(&["keys", "show", &id, "--json"]).json(), "status"), "revoked");
}

#[test]
fn import_reads_stdin_and_counts_in_grammar() {
    let config = "[[key_kinds]]\nname = \"secret\"\nprefixes = { live = \"sk_live_\", test = \"sk_test_\" }\nchecksum = \"optional\"";
    let scene = Scene::new(Kind::Embedded, config);
    let csv = "tenant,name,key,scopes\nacme,ci,sk_live_abc123xyz789,read:a write:a\n";
    let ended = scene.run_with(&["keys", "import", "-", "--create-tenants"], csv);
    assert_eq!(ended.stdout, "1 imported, 0 updated, 0 skipped, 0 refused, 1 tenant made\n", "{ended:?}");
    let ended = scene.run_with(&["keys", "import", "-"], "tenant,key\nacme\n");
    assert!(ended.code == 1 && ended.stderr.contains("stdin:2: 1 field, the header has 2"), "{ended:?}");
}

#[test]
fn a_key_that_cannot_work_here_is_made_with_a_warning() {
    let config = "deployment = \"production\"\nroutes = [{ name = \"users\", match = \"GET /v1/users\" }]";
    let scene = Scene::new(Kind::Embedded, config);
    scene.run(&["tenants", "create", "--id", "acme", "--scope", "read:*"]).ok();
    let create = |more: &[&str]| {
        let ended = scene.run(&[&["keys", "create", "--tenant", "acme", "--name", "ci", "--quiet"], more].concat());
        assert!(ended.code == 0 && ended.stdout.lines().count() == 1, "{ended:?}");
        ended.stderr
    };
    assert_eq!(create(&["--scope", "read:users", "--endpoint", "GET /v1/users"]), "");
    let said = create(&["--env", "test", "--scope", "write:users", "--endpoint", "GET /v2/users"]);
    assert_eq!(said.matches("warning: ").count(), 3, "{said}");
}

#[test]
fn explain_makes_no_key_table() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("proxy.toml");
    std::fs::write(&config, "version = 1\n").unwrap();
    let ran = process::run(&["explain", "/v1/users"], &config);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
