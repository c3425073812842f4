//! Sentinel: the store is where the master is, and nowhere else.

use super::*;
use crate::store::contract::bare;
use crate::store::redis_server::sentinel::SentinelSet;

async fn revoked_before(store: &dyn Store) -> KeyRecord {
    let revoked = KeyRecord { version: 2, status: crate::key::record::KeyStatus::Revoked, ..key("key_1", "acme", "s1") };
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    store.put_key(bare(&revoked)).await.unwrap();
    let replication = store.await_replicas(Written::Key(&revoked)).await.unwrap();
    assert!(replication.is_complete(), "{replication:?}");
    revoked
}

/// Writes until it is done, and answers where.
async fn written_on(store: &dyn Store, set: &SentinelSet) -> usize {
    until("the store can be written", async || {
        let done = store.put_tenant(bare(&tenant("globex"))).await;
        // It may have been written where the answer got lost.
        matches!(done, Ok(_) | Err(StoreError::Conflict { .. }))
    })
    .await;
    let has_it = |server: &RedisServer| server.try_tell::<bool>("EXISTS sidegate:tenant:{globex}").unwrap_or(false);
    let is_master = |server: &RedisServer| server.try_tell::<String>("INFO replication").is_ok_and(|info| info.contains("role:master"));
    set.servers.iter().position(|server| has_it(server) && is_master(server)).unwrap()
}

#[tokio::test]
async fn a_master_that_dies_is_followed_by_the_next() {
    let mut set = SentinelSet::start();
    let store = store_of(&sections::Store { write_replicas: 2, ..patient(set.config()) }).await;
    let revoked = revoked_before(&*store).await;
    let old = set.master();
    set.servers[old].stop();
    let new = written_on(&*store, &set).await;
    assert_ne!(new, old);
    assert_eq!(store.find_key("key_1").await.unwrap(), Some(revoked));
}

#[tokio::test]
async fn a_master_that_is_demoted_is_left() {
    let set = SentinelSet::start();
    let store = store_of(&sections::Store { write_replicas: 2, ..patient(set.config()) }).await;
    let revoked = revoked_before(&*store).await;
    let old = set.master();
    set.fail_over();
    // Two say so while the old one has not heard of it.
    until("another is the master", async || set.master() != old).await;
    assert_ne!(written_on(&*store, &set).await, old);
    assert_eq!(store.find_key("key_1").await.unwrap(), Some(revoked));
}

#[tokio::test]
async fn sentinels_that_know_no_such_master_say_so() {
    let config = SentinelSet::shared().config();
    let config = sections::Store { url: config.url.replace("mymaster", "another"), ..config };
    let store = store_of(&config).await;
    assert!(store.status().detail.contains("it knows no master another"), "{}", store.status().detail);
    // A password of the servers is none of a sentinel that has no password.
    let with_password = SentinelSet::shared().config().url.replace("redis-sentinel://", "redis-sentinel://:secret@");
    let store = store_of(&sections::Store { url: with_password, ..config }).await;
    let why = store.status().detail;
    assert!(why.contains("names it as the master") && why.contains("AUTH") && !why.contains("secret"), "{why}");
}
