//! A serving process' key table over real stores, changed by others: what it hears of, and what it does when the store is gone.

use redis::Commands as _;
use secrecy::ExposeSecret as _;

use super::*;
use crate::authn::Authenticated;
use crate::clock::Timestamp;
use crate::config::problem::Problems;
use crate::config::sections;
use crate::key::digest::{Digest, StoredDigest};
use crate::key::lifecycle::{Lifecycle, NewKey};
use crate::key::record::KeyStatus;
use crate::key::rules::Rules;
use crate::store::change::Position;
use crate::store::redis_server::RedisServer;
use crate::tenant::TenantStatus;
use crate::tenant::lifecycle::NewTenant;

const START: Timestamp = Timestamp(1_700_000_000_000);

/// Longer than a busy machine may take.
const PATIENCE: Duration = Duration::from_mins(1);

struct Bench {
    table: KeyTable,
    clock: Clock,
    config: Config,
}

impl Bench {
    fn new(store: sections::Store) -> Self {
        Self::configured(Config { store, ..Config::default() }, Clock::manual(START))
    }

    fn configured(config: Config, clock: Clock) -> Self {
        let headers = Arc::new(IdentityHeaders::compile(&config, &mut Problems::default()).unwrap());
        Self { table: KeyTable::start(&config, headers, &clock).unwrap(), clock, config }
    }

    /// Another table of the same process, which takes this one's place.
    fn replacement(&self) -> Self {
        let headers = Arc::new(IdentityHeaders::compile(&self.config, &mut Problems::default()).unwrap());
        let table = self.table.start_beside(&self.config, headers, &self.clock).unwrap();
        table.take_turn();
        Self { table, clock: self.clock.clone(), config: self.config.clone() }
    }

    /// The key table as another process manages it: with a store of its own.
    async fn manager(&self) -> Lifecycle {
        let opened = store::open(&self.config.store, &self.clock).await.unwrap();
        let rules = Rules::compile(&self.config, &mut Problems::default()).unwrap();
        let peppers = Peppers::from_file(&self.config.store.pepper_file).unwrap();
        Lifecycle::new(opened.store, Arc::new(rules), peppers, self.clock.clone(), crate::audit::Actor::local("test"))
    }

    async fn ask(&self, secret: &str) -> &'static str {
        let (digest, now, authn) = (Digest::of(secret.as_bytes()), self.clock.now(), self.table.authenticator());
        let answer: Authenticated = match authn.cached(&digest, now) {
            Some(answer) => answer,
            None => authn.load(&digest, now).await,
        };
        answer.map_or_else(|refusal| refusal.rejection.row().reason, |_| "admitted")
    }

    /// Asks until the answer is this one: the change is heard of within milliseconds, while this clock stands still.
    async fn becomes(&self, secret: &str, expected: &str) {
        while self.ask(secret).await != expected {
            tokio::task::yield_now().await;
        }
    }
}

fn new_key(name: &str) -> NewKey {
    NewKey {
        tenant: "acme".into(),
        name: name.into(),
        environment: sections::EnvironmentName::Live,
        kind: "secret".into(),
        scopes: Vec::new(),
        ip_allowlist: None,
        referrers: None,
        endpoints: None,
        rate_limit: None,
        expires: None,
        metadata: std::collections::BTreeMap::new(),
    }
}

#[tokio::test]
async fn what_the_command_line_changes_in_the_file_is_seen_although_it_is_cached() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("embedded:{}/keys", dir.path().display());
    let bench = Bench::new(sections::Store { url, ..sections::Store::default() });
    let manager = bench.manager().await;
    manager.create_tenant(NewTenant { id: "acme".into(), ..NewTenant::default() }).await.unwrap();
    let issued = manager.create(new_key("ci")).await.unwrap();
    let (id, secret) = (issued.record.id.as_str(), issued.key.expose_secret());
    bench.becomes(secret, "admitted").await;
    manager.set_tenant_status("acme", TenantStatus::Suspended).await.unwrap();
    bench.becomes(secret, "tenant_suspended").await;
    manager.set_tenant_status("acme", TenantStatus::Active).await.unwrap();
    bench.becomes(secret, "admitted").await;
    let rotated = manager.rotate(id, None).await.unwrap();
    bench.becomes(secret, "key_unknown").await;
    bench.becomes(rotated.key.expose_secret(), "admitted").await;
    manager.set_status(id, KeyStatus::Revoked).await.unwrap();
    bench.becomes(rotated.key.expose_secret(), "key_revoked").await;
}

#[tokio::test]
async fn without_redis_known_keys_are_served_for_stale_for_and_all_is_well_when_it_returns() {
    let mut server = RedisServer::start();
    let bench = Bench::new(server.config());
    let manager = bench.manager().await;
    manager.create_tenant(NewTenant { id: "acme".into(), ..NewTenant::default() }).await.unwrap();
    let known = manager.create(new_key("known")).await.unwrap();
    let cold = manager.create(new_key("cold")).await.unwrap();
    let receipt = fleet::confirm(&**bench.table.store(), manager.position(), PATIENCE).await.unwrap();
    assert_eq!((receipt.confirmed, receipt.missing.len()), (1, 0));
    assert_eq!(bench.ask(known.key.expose_secret()).await, "admitted");
    server.stop();
    while bench.table.authenticator().store_status().reachable {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.ask(known.key.expose_secret()).await, "admitted");
    assert_eq!(bench.ask(cold.key.expose_secret()).await, "store_unavailable");
    assert_eq!(bench.ask("sk_live_never_was").await, "store_unavailable");
    bench.clock.advance(599_000);
    assert_eq!(bench.ask(known.key.expose_secret()).await, "admitted");
    bench.clock.advance(1_000);
    assert_eq!(bench.ask(known.key.expose_secret()).await, "store_unavailable");
    server.restart();
    // The server came back empty: an authoritative "no", not a failure. But what was there cannot be gone.
    bench.becomes("sk_live_never_was", "key_unknown").await;
    assert_eq!(bench.ask(known.key.expose_secret()).await, "admitted");
}

#[tokio::test]
async fn the_plaintext_is_nowhere_in_redis() {
    let server = RedisServer::start();
    let bench = Bench::new(server.config());
    let manager = bench.manager().await;
    manager.create_tenant(NewTenant { id: "acme".into(), ..NewTenant::default() }).await.unwrap();
    let first = manager.create(new_key("ci")).await.unwrap();
    let second = manager.rotate(&first.record.id, Some(std::time::Duration::from_mins(1))).await.unwrap();
    let mut raw = server.raw();
    let names: Vec<String> = raw.keys("*").unwrap();
    let mut held = String::new();
    for name in &names {
        let kind: String = redis::cmd("TYPE").arg(name).query(&mut raw).unwrap();
        let value: redis::Value = match kind.as_str() {
            "zset" => raw.zrange(name, 0, -1).unwrap(),
            "hash" => raw.hgetall(name).unwrap(),
            "stream" => redis::cmd("XRANGE").arg(name).arg("-").arg("+").query(&mut raw).unwrap(),
            _ => raw.get(name).unwrap(),
        };
        held = format!("{held}{name} {value:?}\n");
    }
    assert!(held.contains(&StoredDigest(Digest::of(second.key.expose_secret().as_bytes()).0).to_hex()), "the search must see values");
    for key in [&first.key, &second.key] {
        let random = key.expose_secret().strip_prefix("sk_live_").unwrap();
        assert!(!held.contains(random));
    }
}

#[tokio::test]
async fn a_flushed_redis_takes_no_key_away_and_brings_none_back() {
    let server = RedisServer::start();
    let bench = Bench::new(server.config());
    let manager = bench.manager().await;
    manager.create_tenant(NewTenant { id: "acme".into(), ..NewTenant::default() }).await.unwrap();
    let (good, bad) = (manager.create(new_key("good")).await.unwrap(), manager.create(new_key("bad")).await.unwrap());
    manager.set_status(&bad.record.id, KeyStatus::Revoked).await.unwrap();
    bench.becomes(good.key.expose_secret(), "admitted").await;
    bench.becomes(bad.key.expose_secret(), "key_revoked").await;
    redis::cmd("FLUSHALL").query::<()>(&mut server.raw()).unwrap();
    let faults = &bench.table.authenticator().counters().faults;
    while faults.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        bench.clock.advance(100);
        assert_eq!(bench.ask(good.key.expose_secret()).await, "admitted");
        assert_eq!(bench.ask(bad.key.expose_secret()).await, "key_revoked");
    }
    assert_eq!(bench.ask("sk_live_never_was").await, "key_unknown");
}

#[tokio::test]
async fn a_redis_that_stands_still_holds_nobody_up_and_what_changes_then_is_seen_at_once() {
    let server = RedisServer::start();
    let bench = Bench::new(server.config());
    let manager = bench.manager().await;
    manager.create_tenant(NewTenant { id: "acme".into(), ..NewTenant::default() }).await.unwrap();
    let known = manager.create(new_key("known")).await.unwrap();
    bench.becomes(known.key.expose_secret(), "admitted").await;
    server.signal("STOP");
    while bench.table.store().is_reachable() {
        bench.clock.advance(1);
        assert_eq!(bench.ask(known.key.expose_secret()).await, "admitted");
    }
    let lookups = || bench.table.authenticator().counters().key_lookups.load(std::sync::atomic::Ordering::Relaxed);
    let before = lookups();
    bench.clock.advance(60_000);
    assert_eq!(bench.ask(known.key.expose_secret()).await, "admitted");
    assert_eq!(lookups(), before);
    server.signal("CONT");
    while manager.set_status(&known.record.id, KeyStatus::Revoked).await.is_err() {
        tokio::task::yield_now().await;
    }
    bench.becomes(known.key.expose_secret(), "key_revoked").await;
}

#[tokio::test]
async fn a_sidecar_that_starts_while_redis_is_gone_serves_what_the_one_before_it_knew() {
    let mut server = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config { store: server.config(), ..Config::default() };
    config.store.pepper_file = dir.path().join("pepper");
    config.cache.snapshot_file = dir.path().join("snapshot");
    std::fs::write(&config.store.pepper_file, "pepper").unwrap();
    let bench = Bench::configured(config.clone(), Clock::manual(START));
    let manager = bench.manager().await;
    manager.create_tenant(NewTenant { id: "acme".into(), ..NewTenant::default() }).await.unwrap();
    let (good, bad) = (manager.create(new_key("good")).await.unwrap(), manager.create(new_key("bad")).await.unwrap());
    manager.set_status(&bad.record.id, KeyStatus::Revoked).await.unwrap();
    bench.becomes(good.key.expose_secret(), "admitted").await;
    bench.becomes(bad.key.expose_secret(), "key_revoked").await;
    drop(bench);
    server.stop();

    let bench = Bench::configured(config, Clock::manual(START.plus_millis(500_000)));
    assert!(bench.table.authenticator().has_warm_start());
    assert_eq!(bench.ask(good.key.expose_secret()).await, "admitted");
    assert_eq!(bench.ask(bad.key.expose_secret()).await, "key_revoked");
    assert_eq!(bench.ask("sk_live_never_was").await, "store_unavailable");
    bench.clock.advance(100_000);
    assert_eq!(bench.ask(good.key.expose_secret()).await, "store_unavailable");
}

#[tokio::test]
async fn who_left_a_snapshot_behind_is_not_gone_until_another_has_taken_it_over() {
    let server = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config { store: server.config(), ..Config::default() };
    config.store.pepper_file = dir.path().join("pepper");
    config.cache.snapshot_file = dir.path().join("snapshot");
    std::fs::write(&config.store.pepper_file, "pepper").unwrap();
    let store = store::open(&config.store, &Clock::System).await.unwrap().store;
    let ids = async || store.instances().await.unwrap().into_iter().map(|seen| seen.instance.id).collect::<Vec<_>>();
    let until_one_is_not = async |known: &[String]| loop {
        let ids = ids().await;
        if ids.len() == 1 && !known.contains(&ids[0]) {
            return ids;
        }
        tokio::task::yield_now().await;
    };
    let bench = Bench::configured(config.clone(), Clock::manual(START));
    let first = until_one_is_not(&[]).await;
    drop(bench);
    assert_eq!(ids().await, first);
    let _successor = Bench::configured(config, Clock::manual(START));
    until_one_is_not(&first).await;
}

#[tokio::test]
async fn a_table_that_is_replaced_says_goodbye_and_leaves_the_snapshot_to_the_one_that_replaces_it() {
    let server = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config { store: server.config(), ..Config::default() };
    config.store.pepper_file = dir.path().join("pepper");
    config.cache.snapshot_file = dir.path().join("snapshot");
    std::fs::write(&config.store.pepper_file, "pepper").unwrap();
    let store = store::open(&config.store, &Clock::System).await.unwrap().store;
    let until = async |what: &dyn Fn(&[String]) -> bool| loop {
        let ids: Vec<_> = store.instances().await.unwrap().into_iter().map(|seen| seen.instance.id).collect();
        if what(&ids) {
            return ids;
        }
        tokio::task::yield_now().await;
    };
    let old = Bench::configured(config.clone(), Clock::manual(START));
    let manager = old.manager().await;
    manager.create_tenant(NewTenant { id: "acme".into(), ..NewTenant::default() }).await.unwrap();
    let key = manager.create(new_key("ci")).await.unwrap();
    old.becomes(key.key.expose_secret(), "admitted").await;
    // A change of what is cached has the file written soon.
    manager.set_tenant_status("acme", TenantStatus::Suspended).await.unwrap();
    old.becomes(key.key.expose_secret(), "tenant_suspended").await;
    manager.set_tenant_status("acme", TenantStatus::Active).await.unwrap();
    old.becomes(key.key.expose_secret(), "admitted").await;
    while !config.cache.snapshot_file.exists() {
        tokio::task::yield_now().await;
    }
    let first = until(&|ids| ids.len() == 1).await;
    let new = old.replacement();
    let both = until(&|ids| ids.len() == 2).await;
    assert!(both.contains(&first[0]), "it still serves");
    new.becomes(key.key.expose_secret(), "admitted").await;
    drop(new);
    drop(old);
    let left = until(&|_| true).await;
    assert!(left.len() == 1 && left != first, "the old one is gone; what the new one knew is in the snapshot");
    // The file is the new one's: who takes it over says goodbye for it.
    let _successor = Bench::configured(config, Clock::manual(START));
    until(&|ids| ids.len() == 1 && !both.contains(&ids[0])).await;
}

const LOG: &str = "sidegate:{changes}:log";

#[tokio::test]
async fn a_sidecar_that_cannot_read_the_change_log_confirms_nothing_until_it_can() {
    let server = RedisServer::start();
    let bench = Bench::new(server.config());
    let (store, manager) = (bench.table.store(), bench.manager().await);
    manager.create_tenant(NewTenant { id: "acme".into(), ..NewTenant::default() }).await.unwrap();
    let position = manager.position();
    assert_eq!(fleet::confirm(&**store, position, PATIENCE).await.unwrap().confirmed, 1);
    server.tell::<()>(&format!("DEL {LOG}"));
    server.tell::<()>(&format!("SET {LOG} spoilt"));
    while store.instances().await.unwrap()[0].instance.position != Position::default() {
        tokio::task::yield_now().await;
    }
    // Its beats arrive, and say that what it had read may not be what is there.
    let receipt = fleet::confirm(&**store, position, Duration::ZERO).await.unwrap();
    assert_eq!((receipt.confirmed, receipt.missing.len()), (0, 1));
    server.tell::<()>(&format!("DEL {LOG}"));
    manager.set_tenant_status("acme", TenantStatus::Suspended).await.unwrap();
    assert_eq!(fleet::confirm(&**store, manager.position(), PATIENCE).await.unwrap().confirmed, 1);
}

#[tokio::test]
async fn a_sidecar_that_may_not_write_itself_down_says_so() {
    let server = RedisServer::start_with(&["--user", "svc", "on", ">pw", "%R~sidegate:*", "+@all"]);
    let url = format!("{}?user=svc&pass=pw", server.config().url);
    let bench = Bench::new(sections::Store { url, ..server.config() });
    let standing = bench.table.standing();
    while standing.unheard().is_none() {
        tokio::task::yield_now().await;
    }
    assert!(bench.table.authenticator().store_status().reachable);
    server.tell::<()>("ACL SETUSER svc ~sidegate:*");
    while standing.unheard().is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(standing.sidecars(), 1);
}

#[tokio::test]
async fn a_closed_table_answers_that_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("embedded:{}/keys", dir.path().display());
    let bench = Bench::new(sections::Store { url, ..sections::Store::default() });
    let authn = Arc::clone(bench.table.authenticator());
    drop(bench.table);
    let refusal = authn.load(&Digest::of(b"x"), START).await.unwrap_err();
    assert_eq!(refusal.rejection.row().reason, "store_unavailable");
}
