//! The store is asked once for a key, however many requests wait for it.

use std::collections::BTreeMap;
use std::thread;

use secrecy::ExposeSecret as _;
use sidegate::key::format::generate;

use crate::support::PATIENCE;
use crate::support::client::{Client, Request};
use crate::support::redis::Redis;
use crate::support::seed;
use crate::support::sidecar::{Kind, Sidecar};
use crate::support::upstream::Upstream;

/// Calls of each command, since the last reset.
fn calls_of_all(redis: &Redis) -> BTreeMap<String, u64> {
    let text: String = redis::cmd("INFO").arg("commandstats").query(&mut redis.connection()).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    lines.map(|(name, rest)| (name.to_owned(), rest.split(',').next().unwrap().parse().unwrap())).collect()
}

/// Calls of each command that a look-up makes, since the last reset.
fn calls(redis: &Redis) -> BTreeMap<String, u64> {
    let mut calls = calls_of_all(redis);
    calls.retain(|name, _| ["get", "getrange", "hget", "hgetall", "mget"].contains(&name.as_str()));
    calls
}

fn reset(redis: &Redis) {
    redis::cmd("CONFIG").arg("RESETSTAT").query::<()>(&mut redis.connection()).unwrap();
}

/// Until the sidecar reads the change log on: what it read before its first look at it, it reads again.
fn until_heard(redis: &Redis) {
    let began = sidegate::clock::instant();
    while calls_of_all(redis).get("xread").is_none_or(|reads| *reads < 2) {
        assert!(began.elapsed() < PATIENCE, "it never read on");
    }
}

#[test]
fn a_thousand_simultaneous_requests_of_a_cold_key_are_one_look_up() {
    let upstream = Upstream::echo();
    let sidecar =
        Sidecar::with_manual_clock(Kind::Redis, &format!("upstream = \"{}\"\n[store]\ncommand_timeout = \"30s\"", upstream.url()))
            .in_touch();
    let table = sidecar.home.table();
    let one = table.issue(&sidecar.home.config, &serde_json::json!({}), &serde_json::json!({}));
    let other = seed::key(&sidecar.home.config, "acme", &serde_json::json!({ "id": "key_other" }));
    table.put_key(&other.record);
    let redis = sidecar.home.redis.as_ref().unwrap();

    until_heard(redis);
    // What one look-up of a key costs, its tenant being cached by the first.
    assert_eq!(crate::support::client::once(sidecar.address(), &Request::get("/").bearer(&one.secret)).status, 200);
    let third = seed::key(&sidecar.home.config, "acme", &serde_json::json!({ "id": "key_third" }));
    table.put_key(&third.record);
    reset(redis);
    assert_eq!(crate::support::client::once(sidecar.address(), &Request::get("/").bearer(&third.secret)).status, 200);
    let single = calls(redis);
    assert!(!single.is_empty());

    // The server stands still until all of them wait.
    reset(redis);
    redis.signal("STOP");
    let address = sidecar.address();
    let request = Request::get("/").bearer(&other.secret).bytes();
    let mut clients: Vec<Client> = (0..1000).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.send(&request);
    }
    let thawed = thread::scope(|scope| {
        let answers = scope.spawn(|| clients.iter_mut().map(|client| client.answer("GET").status).collect::<Vec<_>>());
        redis.signal("CONT");
        answers.join().unwrap()
    });
    assert_eq!(thawed.iter().filter(|status| **status == 200).count(), 1000, "{thawed:?}");
    assert_eq!(calls(redis), single);
}

#[test]
fn a_key_that_nobody_has_is_asked_for_once() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::with_manual_clock(Kind::Redis, &format!("upstream = \"{}\"", upstream.url())).in_touch();
    let redis = sidecar.home.redis.as_ref().unwrap();
    until_heard(redis);
    let unknown = generate("sk_live_").unwrap();
    let ask = || crate::support::client::once(sidecar.address(), &Request::get("/").bearer(unknown.expose_secret())).status;
    reset(redis);
    assert_eq!(ask(), 401);
    let single = calls(redis);
    for _ in 0..50 {
        assert_eq!(ask(), 401);
    }
    assert_eq!(calls(redis), single);
    sidecar.clock.advance(2_001);
    assert_eq!(ask(), 401);
    assert_ne!(calls(redis), single);
}

#[test]
fn what_is_written_by_another_process_is_seen_after_the_ttl_at_the_latest() {
    for kind in Kind::BOTH {
        let upstream = Upstream::echo();
        let sidecar = Sidecar::with_manual_clock(kind, &format!("upstream = \"{}\"", upstream.url()));
        let key = sidecar.home.issue();
        let ask = || crate::support::client::once(sidecar.address(), &Request::get("/").bearer(&key.secret)).status;
        assert_eq!(ask(), 200);
        sidecar.home.table().update_key(&key.record.id, |record| record.status = sidegate::key::record::KeyStatus::Revoked);
        sidecar.clock.advance(30_001);
        assert_eq!(ask(), 401, "{}", kind.name());
    }
}

#[test]
fn a_key_expires_in_the_cache_to_the_second() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::with_manual_clock(Kind::Embedded, &format!("upstream = \"{}\"", upstream.url()));
    let key = sidecar.home.issue_with(&serde_json::json!({ "expires_at": "2026-06-01T12:00:10Z" }));
    let ask = || crate::support::client::once(sidecar.address(), &Request::get("/").bearer(&key.secret));
    assert_eq!(ask().status, 200);
    sidecar.clock.advance(9_999);
    assert_eq!(ask().status, 200);
    sidecar.clock.advance(1);
    let answer = ask();
    assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("API_KEY_EXPIRED")));
}

#[test]
fn a_replaced_secret_stops_in_the_cache_to_the_second() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::with_manual_clock(Kind::Embedded, &format!("upstream = \"{}\"", upstream.url()));
    let old = generate("sk_live_").unwrap();
    let previous = serde_json::json!({ "digest": seed::digest(old.expose_secret()), "until": "2026-06-01T12:00:10Z" });
    let key = sidecar.home.issue_with(&serde_json::json!({ "previous": previous }));
    let ask = |secret: &str| crate::support::client::once(sidecar.address(), &Request::get("/").bearer(secret)).status;
    assert_eq!((ask(old.expose_secret()), ask(&key.secret)), (200, 200));
    sidecar.clock.advance(10_000);
    assert_eq!((ask(old.expose_secret()), ask(&key.secret)), (401, 200));
}
