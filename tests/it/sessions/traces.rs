//! What is left of refresh tokens: nothing but digests and seals, wherever one looks. And of 50 who come at once, all get one pair.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::thread;

use super::*;
use crate::support::chaos::{Chaos, LastAnswer};
use crate::support::fleet::Fleet;
use crate::support::logins::Logins;
use crate::support::node::agreed;
use crate::support::process::{self, Serve};
use crate::support::redis::Redis;
use sidegate::session::authority::NewSession;

const AT_ONCE: usize = 50;

fn new_session(subject: &str) -> NewSession {
    let environment = sidegate::config::sections::EnvironmentName::Live;
    NewSession { tenant: "acme".into(), subject: subject.into(), environment, scopes: vec!["read:a".into()] }
}

#[test]
fn fifty_who_refresh_one_token_at_once_over_two_sidecars_get_one_pair() {
    let (redis, files) = (Redis::start(), tempfile::tempdir().unwrap());
    let text = format!("profile = \"gately\"\n{}refresh_grace = \"1h\"\n", signing(&files));
    let fleet = Fleet::start(&vec![redis.url(); 2], &text);
    let key = fleet.home().issue().secret;
    let logins = Logins::open(&fleet.home().config, Clock::System);
    for round in 0..3 {
        let first = logins.begin(new_session(&format!("ada{round}")));
        let start = Arc::new(Barrier::new(AT_ONCE));
        let refreshing: Vec<_> = (0..AT_ONCE)
            .map(|number| {
                let (start, address) = (Arc::clone(&start), fleet.addresses()[number % 2]);
                let request = refreshing(&key, &first.refresh);
                thread::spawn(move || {
                    start.wait();
                    pair(&once(address, &request))
                })
            })
            .collect();
        let pairs: BTreeSet<(String, String)> =
            refreshing.into_iter().map(|thread| thread.join().unwrap()).map(|login| (login.access, login.refresh)).collect();
        assert_eq!(pairs.len(), 1);
        let (access, refresh) = pairs.into_iter().next().unwrap();
        assert_ne!(refresh, first.refresh);
        for address in fleet.addresses() {
            assert_eq!(once(address, &Request::get("/api/v1/members").bearer(&access)).status, 200);
        }
        // It is good, and the session is whole.
        pair(&once(fleet.addresses()[0], &super::refreshing(&key, &refresh)));
        assert_eq!(logins.ends(&format!("ada{round}")), [""]);
    }
}

fn fifty_at_once_by_default(kind: Kind) {
    // No time goes by: the grace is as long as it is by default.
    let scene = Scene::new(kind, "");
    let (first, start) = (scene.login("ada"), Arc::new(Barrier::new(AT_ONCE)));
    let refreshing: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (start, address, request) = (Arc::clone(&start), scene.sidecar.address(), refreshing(&scene.key, &first.refresh));
            thread::spawn(move || {
                start.wait();
                pair(&once(address, &request))
            })
        })
        .collect();
    let pairs: BTreeSet<String> = refreshing.into_iter().map(|thread| thread.join().unwrap().refresh).collect();
    assert_eq!(pairs.len(), 1);
    assert_eq!(scene.profile(&scene.refreshed(pairs.first().unwrap()).access).status, 200);
}

#[test]
fn fifty_who_refresh_one_token_at_once_get_one_pair_on_the_embedded_store() {
    fifty_at_once_by_default(Kind::Embedded);
}

#[test]
fn fifty_who_refresh_one_token_at_once_get_one_pair_on_redis() {
    fifty_at_once_by_default(Kind::Redis);
}

#[test]
fn a_refresh_whose_answer_the_store_lost_gives_its_pair_to_who_asks_again() {
    let (redis, files) = (Redis::start(), tempfile::tempdir().unwrap());
    let chaos = Chaos::before(&redis);
    let text = format!("profile = \"gately\"\n{}refresh_grace = \"1h\"\n", signing(&files));
    let fleet = Fleet::start(&[chaos.url()], &text);
    let key = fleet.home().issue().secret;
    // Logins go straight to the store.
    let mut straight = fleet.home().config.clone();
    straight.store.url = redis.url();
    let (logins, address) = (Logins::open(&straight, Clock::System), fleet.addresses()[0]);
    let mut lost = 0;
    for point in 1..10 {
        let subject = format!("ada{point}");
        let first = logins.begin(new_session(&subject));
        // Connected, and the key is known.
        agreed("it is connected", || once(address, &refreshing(&key, "rt_nobody")).status == 401);
        chaos.cut_after(point, LastAnswer::Lost);
        let answer = once(address, &refreshing(&key, &first.refresh));
        chaos.heal();
        assert!(matches!(answer.status, 200 | 503), "{}", answer.text());
        lost += usize::from(answer.status == 503 && logins.version(&subject) == 2);
        let answered = std::cell::OnceCell::new();
        agreed("it is answered", || {
            let again = once(address, &refreshing(&key, &first.refresh));
            again.status == 200 && answered.set(pair(&again)).is_ok()
        });
        let second = answered.into_inner().unwrap();
        if answer.status == 200 {
            assert_eq!(pair(&answer).refresh, second.refresh);
        }
        assert_eq!(logins.ends(&subject), [""]);
        agreed("it goes on", || once(address, &refreshing(&key, &second.refresh)).status == 200);
    }
    assert!(lost > 0, "nothing that was written was not answered");
}

fn refresh_tokens_are_nowhere(kind: Kind) {
    let (upstream, files, tokens) = (Upstream::echo(), tempfile::tempdir().unwrap(), tokens());
    let socket = files.path().join("admin.sock");
    let config = format!(
        "profile = \"gately\"\nupstream = \"{}\"\n{}refresh_grace = \"0s\"\ntoken_path = \"/oauth/token\"\n{}[log]\nquery = \"full\"\nlevel = \"debug\"",
        upstream.url(),
        signing(&files),
        tokens.config(&format!("unix:{}", socket.display())),
    );
    let home = Home::new(kind, &config);
    let key = home.issue();
    let serve = Serve::start(&home.config_file());
    let admin = Caller::new(crate::support::stream::Address::Unix(socket), LOGIN);
    let mut secrets = Vec::new();
    let first = login(&admin, &json!({ "tenant": "acme", "subject": "ada" }));
    let kept =
        admin.request("POST", "/sessions", Some(&json!({ "tenant": "acme", "subject": "bob" }))).header("Idempotency-Key", "login-1");
    let (one, two) = (ok(&admin.send(&kept)), ok(&admin.send(&kept)));
    assert_eq!(one, two, "the same login is answered as it was");
    secrets.push(text(&one, "refresh_token"));
    let ask = |request: &Request| once(serve.address, request);
    let second = pair(&ask(&refreshing(&key.secret, &first.refresh)));
    let form = format!("grant_type=refresh_token&refresh_token={}", second.refresh);
    let form = Request::new("POST", "/oauth/token")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(format!("{form}&client_id={}&client_secret={}", key.record.id, key.secret));
    let third = text(&ask(&form).json(), "refresh_token");
    // Where it does not belong, and once too often.
    assert_eq!(ask(&Request::get("/api/v1/members").bearer(&third)).status, 401);
    assert!(is_invalid(&ask(&refreshing(&key.secret, &first.refresh))));
    assert_eq!(ask(&form).status, 400);
    secrets.extend([first.refresh, second.refresh, third, key.secret.clone()]);
    let listed = process::run(&["sessions", "list", "--json"], &home.config_file()).ok();
    assert!(listed.contains("\"reuse\""), "{listed}");
    let audited = process::run(&["audit", "--json"], &home.config_file()).ok();
    for secret in &secrets {
        upstream.must_never_see(secret);
    }
    let (status, stdout, stderr) = serve.stop();
    assert!(status.success());
    let printed = format!("{}{}", stdout.text(), stderr.text());
    let places = [("a list", listed), ("the audit", audited), ("what was printed", printed)];
    let places = places.map(|(place, text)| (place.to_owned(), text.into_bytes()));
    crate::secrets::search(&home, places.into(), &secrets, "ses_");
}

#[test]
fn refresh_tokens_are_nowhere_in_the_embedded_store_or_in_what_is_printed() {
    refresh_tokens_are_nowhere(Kind::Embedded);
}

#[test]
fn refresh_tokens_are_nowhere_in_redis_or_in_what_is_printed() {
    refresh_tokens_are_nowhere(Kind::Redis);
}

#[test]
fn a_store_that_is_away_invents_no_answer() {
    let (mut redis, files) = (Redis::start(), tempfile::tempdir().unwrap());
    let text = format!("profile = \"gately\"\n{}", signing(&files));
    let fleet = Fleet::start(&[redis.url()], &text);
    let key = fleet.table().issue(&fleet.home().config, &json!({}), &json!({})).secret;
    let logins = Logins::open(&fleet.home().config, Clock::System);
    let (known, other) = (logins.begin(new_session("ada")), logins.begin(new_session("bob")));
    let address = fleet.addresses()[0];
    let profile = |access: &str| once(address, &Request::get("/api/v1/members").bearer(access)).status;
    assert_eq!(profile(&known.access), 200);
    assert_eq!(once(address, &Request::get("/api/v1/members").bearer(&key)).status, 200);
    redis.stop();
    // Who is known is served, nobody else is, and nobody is told that a good token is a bad one.
    assert_eq!(profile(&known.access), 200);
    assert_eq!(profile(&other.access), 503);
    assert_eq!(once(address, &refreshing(&key, &known.refresh)).status, 503);
}
