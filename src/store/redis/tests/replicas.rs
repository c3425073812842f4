//! `write_replicas`: a change that takes rights away counts when replicas have it.

use super::*;
use crate::store::contract::bare;
use crate::store::redis_server::eventually;

#[tokio::test]
async fn replicas_acknowledge_what_they_have_and_nothing_else() {
    let master = RedisServer::start_on_tcp(&[]);
    let replica = RedisServer::start_on_tcp(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    eventually("the replica follows", || master.tell::<String>("INFO replication").contains("state=online"));
    let config = sections::Store { write_replicas: 1, ..master.config() };
    let store = store_of(&sections::Store { command_timeout: Span::secs(20), ..config.clone() }).await;
    let first = key("key_1", "acme", "s1");
    store.put_key(bare(&first)).await.unwrap();
    let done = store.await_replicas(Written::Key(&first)).await.unwrap();
    assert_eq!(done, Replication { wanted: 1, acknowledged: 1 });
    assert!(replica.tell::<String>("GET sidegate:key:{key_1}").contains("key_1"));
    // What asks has changed nothing.
    assert_eq!(store.find_key("key_1").await.unwrap().as_ref(), Some(&first));

    let store = store_of(&config).await;
    replica.signal("STOP");
    store.put_tenant(bare(&tenant("acme"))).await.unwrap();
    let missed = store.await_replicas(Written::Tenant(&tenant("acme"))).await.unwrap();
    assert_eq!((missed.acknowledged, missed.is_complete()), (0, false));
    // It held up nobody.
    assert!(store.is_reachable() && store.find_key("key_1").await.unwrap().is_some());
    replica.signal("CONT");
}

#[tokio::test]
async fn a_change_that_got_lost_is_not_acknowledged() {
    let server = RedisServer::start();
    let store = store_of(&sections::Store { write_replicas: 1, ..server.config() }).await;
    let second = KeyRecord { version: 2, ..key("key_1", "acme", "s1") };
    let lost = store.await_replicas(Written::Key(&second)).await;
    assert!(matches!(lost, Err(StoreError::Conflict { found: 0 })), "{lost:?}");
    assert_eq!(store.find_key("key_1").await.unwrap(), None);
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    let lost = store.await_replicas(Written::Key(&second)).await;
    assert!(matches!(lost, Err(StoreError::Conflict { found: 1 })), "{lost:?}");
}

#[tokio::test]
async fn where_none_are_wanted_nobody_is_asked() {
    let mut server = RedisServer::start();
    let store = store_of(&server.config()).await;
    server.stop();
    assert!(store.await_replicas(Written::Tenant(&tenant("acme"))).await.unwrap().is_complete());
}

#[tokio::test]
async fn a_store_that_is_gone_acknowledges_nothing_of_what_was_wanted() {
    let mut server = RedisServer::start();
    let store = store_of(&sections::Store { write_replicas: 2, ..server.config() }).await;
    server.stop();
    let unknown = store.await_replicas(Written::Tenant(&tenant("acme"))).await.unwrap();
    assert_eq!(unknown, Replication { wanted: 2, acknowledged: 0 });
}
