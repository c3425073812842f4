//! The store stops answering: what is cached goes on, what is not gets 503 and never 401, and nobody has to restart anything.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::json;
use sidegate::clock::{Clock, instant};
use sidegate::key::format::generate;
use sidegate::key::record::KeyStatus;

use crate::support::PATIENCE;
use crate::support::client::{Answer, Request, once};
use crate::support::desk::Desk;
use crate::support::fleet::{Figures, Fleet, Load};
use crate::support::process::Serve;
use crate::support::redis::Redis;
use crate::support::seed;
use crate::support::sidecar::{Home, Kind, NOW, Sidecar};
use crate::support::upstream::Upstream;

struct Scene {
    upstream: Upstream,
    sidecar: Sidecar,
}

impl Scene {
    fn new(config: &str) -> Self {
        let upstream = Upstream::echo();
        let sidecar = Sidecar::with_manual_clock(Kind::Redis, &format!("upstream = \"{}\"\n{config}", upstream.url())).in_touch();
        Self { upstream, sidecar }
    }

    fn ask(&self, key: &str) -> Answer {
        once(self.sidecar.address(), &Request::get("/").bearer(key))
    }

    fn ask_unknown(&self) -> Answer {
        self.ask(generate("sk_live_").unwrap().expose_secret())
    }
}

fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("Retry-After").is_some());
    assert_eq!(answer.header("WWW-Authenticate"), None);
}

/// Asks until the answer is another than 503.
fn recovered(ask: impl Fn() -> Answer) -> Answer {
    let began = instant();
    loop {
        let answer = ask();
        if answer.status != 503 {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "it never recovered");
    }
}

#[test]
fn cached_keys_go_on_while_redis_is_gone_and_unknown_ones_get_503() {
    let mut scene = Scene::new("");
    let key = scene.sidecar.home.issue().secret;
    assert_eq!(scene.ask(&key).status, 200);
    let redis = scene.sidecar.home.redis.as_mut().unwrap();
    redis.stop();

    assert_eq!(scene.ask(&key).status, 200);
    assert_unavailable(&scene.ask_unknown());
    scene.sidecar.clock.advance(29_000);
    assert_eq!(scene.ask(&key).status, 200);
    assert_unavailable(&scene.ask_unknown());

    scene.sidecar.home.redis.as_mut().unwrap().run();
    let again = scene.sidecar.home.issue_with(&serde_json::json!({ "secret": key, "id": "key_main" })).secret;
    assert_eq!(recovered(|| scene.ask_unknown()).status, 401);
    assert_eq!(scene.ask(&again).status, 200);
    assert!(scene.upstream.recorded().len() >= 4);
}

#[test]
fn a_redis_that_hangs_is_a_redis_that_is_gone() {
    let scene = Scene::new("[store]\ncommand_timeout = \"100ms\"");
    let key = scene.sidecar.home.issue().secret;
    assert_eq!(scene.ask(&key).status, 200);
    let redis = scene.sidecar.home.redis.as_ref().unwrap();
    redis.signal("STOP");
    assert_eq!(scene.ask(&key).status, 200);
    assert_unavailable(&scene.ask_unknown());
    redis.signal("CONT");
    assert_eq!(recovered(|| scene.ask_unknown()).status, 401);
}

#[test]
fn a_sidecar_that_starts_without_its_store_says_so_and_serves_when_it_comes() {
    let upstream = Upstream::echo();
    let mut home = Home::new(Kind::Redis, &format!("upstream = \"{}\"", upstream.url()));
    home.redis.as_mut().unwrap().stop();
    let mut sidecar = Sidecar::in_home(home, Clock::System);
    let key = generate("sk_live_").unwrap().expose_secret().to_owned();
    let ask = |sidecar: &Sidecar| once(sidecar.address(), &Request::get("/").bearer(&key));
    assert_unavailable(&ask(&sidecar));
    sidecar.home.redis.as_mut().unwrap().run();
    sidecar.home.issue_with(&serde_json::json!({ "secret": key }));
    assert_eq!(recovered(|| ask(&sidecar)).status, 200);
}

#[test]
fn a_record_that_cannot_be_read_refuses_its_key_and_nobody_else() {
    let scene = Scene::new("");
    let table = scene.sidecar.home.table();
    let config = &scene.sidecar.home.config;
    let good = table.issue(config, &serde_json::json!({}), &serde_json::json!({}));
    let bad = crate::support::seed::key(config, "acme", &serde_json::json!({ "id": "key_bad" }));
    table.put_key(&bad.record);
    let mut connection = scene.sidecar.home.redis.as_ref().unwrap().connection();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*key_bad*").query(&mut connection).unwrap();
    assert!(!keys.is_empty());
    for key in keys {
        redis::cmd("SET").arg(key).arg("{\"format\":1,\"id\":").query::<()>(&mut connection).unwrap();
    }
    let answer = scene.ask(&bad.secret);
    assert!(matches!(answer.status, 401 | 403 | 503), "{} {}", answer.status, answer.text());
    assert_eq!(scene.ask(&good.secret).status, 200);
    assert_eq!(scene.upstream.recorded().len(), 1);
}

/// A redis-server that finds its data again after it was killed.
fn durable() -> Redis {
    Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
}

#[test]
fn ten_minutes_without_redis_cost_no_known_key_a_request() {
    let mut redis = durable();
    let clock = Clock::manual(NOW.parse().unwrap());
    let fleet = Fleet::with_clock(&vec![redis.url(); 2], "", clock.clone());
    let desk = Desk::open(&fleet.home().config);
    desk.run(desk.store.put_tenant(seed::bare(&seed::tenant(&json!({})))));
    let issue = |id: &str| {
        let issued = seed::key(&fleet.home().config, "acme", &json!({ "id": id }));
        desk.run(desk.store.put_key(seed::bare(&issued.record)));
        issued.secret
    };
    let known: Vec<String> = (0..20).map(|index| issue(&format!("key_{index}"))).collect();
    let (revoked, unseen) = (issue("key_revoked"), issue("key_unseen"));
    let mut poll = fleet.poll();
    let mut statuses = |key: &str| -> Vec<u16> { poll.ask(&Request::get("/").bearer(key)).iter().map(|answer| answer.status).collect() };
    for key in known.iter().chain([&revoked]) {
        assert_eq!(statuses(key), [200, 200]);
    }
    desk.run(desk.lifecycle.set_status("key_revoked", KeyStatus::Revoked));
    desk.wait_for_everybody(2);
    assert_eq!(statuses(&revoked), [401, 401]);
    let load = Load::start(fleet.addresses(), known.clone(), 2, Duration::from_millis(2));
    load.wait_for(50);

    redis.stop();
    let mut waits = Vec::new();
    // 595 s in all: the loss is seen a moment after it happened, and 600 s are counted from then.
    for _ in 0..119 {
        load.wait_for(10);
        clock.advance(5_000);
        let asked = instant();
        assert_eq!(statuses(&unseen), [503, 503]);
        waits.push(asked.elapsed());
        assert_eq!(statuses(generate("sk_live_").unwrap().expose_secret()), [503, 503]);
        assert!(statuses(&revoked).iter().all(|status| matches!(status, 401 | 503)));
        assert_eq!(statuses(&known[0]), [200, 200]);
    }
    let samples = load.stop();
    let failed: Vec<_> = samples.iter().filter(|sample| sample.status != 200).collect();
    println!(
        "10 minutes without Redis: {} requests of known keys, {} failed, {}; two 503 for unknown ones {}",
        samples.len(),
        failed.len(),
        Figures::new(samples.iter().map(|sample| sample.took)),
        Figures::new(waits)
    );
    assert!(failed.is_empty(), "{failed:?}");

    clock.advance(10_000);
    for key in &known {
        assert_eq!(statuses(key), [503, 503], "stale_for is over");
    }
    redis.run();
    desk.insist(async |lifecycle| lifecycle.set_status("key_19", KeyStatus::Revoked).await);
    desk.wait_for_everybody(2);
    for key in &known[..19] {
        assert_eq!(statuses(key), [200, 200]);
    }
    assert_eq!(statuses(&known[19]), [401, 401], "the log is read on");
    assert_eq!((statuses(&revoked), statuses(&unseen)), (vec![401, 401], vec![200, 200]));
}

#[test]
fn an_outage_is_one_line_at_its_begin_and_one_at_its_end() {
    let (mut redis, upstream) = (durable(), Upstream::echo());
    let home = crate::support::fleet::home(&redis.url(), &upstream, "");
    let key = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    Desk::open(&home.config).wait_for_everybody(1);
    let ask = |key: &str| once(serve.address, &Request::get("/").bearer(key));
    assert_eq!(ask(&key).status, 200);
    let lines = |word: &str| serve.stderr.text().lines().filter(|line| line.contains(word)).count();
    let (loss, end) = ("the store is unreachable", "the store is back");
    redis.stop();
    assert_unavailable(&recovering(|| ask(generate("sk_live_").unwrap().expose_secret()), 503));
    serve.stderr.wait(1, |line| line.contains(loss).then_some(()));
    // Long enough for several attempts to reach it, by the data's connection and by the log's.
    let began = instant();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(ask(&key).status, 200);
    }
    redis.run();
    serve.stderr.wait(1, |line| line.contains(end).then_some(()));
    assert_eq!(recovering(|| ask(generate("sk_live_").unwrap().expose_secret()), 401).status, 401);
    assert_eq!(ask(&key).status, 200);
    assert_eq!((lines(loss), lines(end)), (1, 1), "{}", serve.stderr.text());
    let warnings = serve.stderr.text().lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).count();
    assert_eq!(warnings, 1, "{}", serve.stderr.text());
}

/// Asks until the answer has this status.
fn recovering(ask: impl Fn() -> Answer, status: u16) -> Answer {
    let began = instant();
    loop {
        let answer = ask();
        if answer.status == status {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "still {}", answer.text());
    }
}

#[test]
fn without_stale_for_nothing_is_served_while_redis_is_gone() {
    let mut scene = Scene::new("[cache]\nstale_for = \"0s\"");
    let key = scene.sidecar.home.issue().secret;
    assert_eq!(scene.ask(&key).status, 200);
    scene.sidecar.home.redis.as_mut().unwrap().stop();
    assert_unavailable(&recovering(|| scene.ask_unknown(), 503));
    scene.sidecar.clock.advance(1_001);
    assert_unavailable(&recovering(|| scene.ask(&key), 503));
}

#[test]
fn a_key_that_expires_or_was_replaced_during_an_outage_ends_to_the_second() {
    let mut scene = Scene::new("");
    let old = generate("sk_live_").unwrap();
    let (table, config) = (scene.sidecar.home.table(), &scene.sidecar.home.config);
    let lasting = table.issue(config, &json!({}), &json!({})).secret;
    let put = |over: serde_json::Value| {
        let issued = seed::key(config, "acme", &over);
        table.put_key(&issued.record);
        issued.secret
    };
    let expiring = put(json!({ "id": "key_expiring", "expires_at": "2026-06-01T12:05:00Z" }));
    let previous = json!({ "digest": seed::digest(old.expose_secret()), "until": "2026-06-01T12:05:00Z" });
    put(json!({ "id": "key_rotated", "previous": previous }));
    let all = [lasting.as_str(), expiring.as_str(), old.expose_secret()];
    assert_eq!(all.map(|key| scene.ask(key).status), [200; 3]);
    scene.sidecar.home.redis.as_mut().unwrap().stop();
    scene.sidecar.clock.advance(299_999);
    assert_eq!(all.map(|key| scene.ask(key).status), [200; 3]);
    scene.sidecar.clock.advance(1);
    assert_eq!(all.map(|key| scene.ask(key).status), [200, 401, 401]);
}

#[test]
fn a_store_that_lost_its_records_is_a_fault_and_no_revocation() {
    let scene = Scene::new("");
    let (table, config) = (scene.sidecar.home.table(), &scene.sidecar.home.config);
    let good = table.issue(config, &json!({}), &json!({})).secret;
    let revoked = seed::key(config, "acme", &json!({ "id": "key_revoked", "status": "revoked" }));
    table.put_key(&revoked.record);
    assert_eq!((scene.ask(&good).status, scene.ask(&revoked.secret).status), (200, 401));
    redis::cmd("FLUSHALL").query::<()>(&mut scene.sidecar.home.redis.as_ref().unwrap().connection()).unwrap();
    for _ in 0..20 {
        scene.sidecar.clock.advance(28_000);
        assert_eq!(scene.ask(&good).status, 200, "revocation never deletes: what is absent was lost");
        assert_eq!(scene.ask(&revoked.secret).status, 401);
        assert_eq!(scene.ask_unknown().status, 401);
    }
    // Not for ever: nobody knows what else was lost.
    scene.sidecar.clock.advance(100_000);
    assert_ne!(scene.ask(&good).status, 200);
    assert_ne!(scene.ask(&revoked.secret).status, 200);
}
