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
        let config = Config { store, ..Config::default() };
        let headers = Arc::new(IdentityHeaders::compile(&config, &mut Problems::default()).unwrap());
        let clock = Clock::manual(START);
        Self { table: KeyTable::start(&config, headers, &clock).unwrap(), clock, config }
    }

    /// The key table as another process manages it: with a store of its own.
    async fn manager(&self) -> Lifecycle {
        let opened = store::open(&self.config.store, &self.clock).await.unwrap();
        let rules = Rules::compile(&self.config, &mut Problems::default()).unwrap();
        Lifecycle::new(opened.store, Arc::new(rules), Peppers::default(), self.clock.clone(), "test")
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
async fn a_closed_table_answers_that_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("embedded:{}/keys", dir.path().display());
    let bench = Bench::new(sections::Store { url, ..sections::Store::default() });
    let authn = Arc::clone(bench.table.authenticator());
    drop(bench.table);
    let refusal = authn.load(&Digest::of(b"x"), START).await.unwrap_err();
    assert_eq!(refusal.rejection.row().reason, "store_unavailable");
}
