//! What only Redis can do to us: values that are no records, indexes that lie, servers that go, freeze, come back or say no.

mod cluster;
mod replicas;
mod sentinel;
mod tls;
mod trouble;

use std::time::Duration;

use redis::Commands as _;

use super::*;
use crate::config::sections;
use crate::config::units::Span;
use crate::store::contract::{bare, digest_of, key, tenant};
use crate::store::open;
use crate::store::redis_server::{RedisServer, until};

async fn store_of(config: &sections::Store) -> std::sync::Arc<dyn Store> {
    open(config, &Clock::System).await.unwrap().store
}

/// A busy machine is no reason to fail.
fn patient(config: sections::Store) -> sections::Store {
    sections::Store { connect_timeout: Span::secs(10), command_timeout: Span::secs(10), ..config }
}

fn is_corrupt<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Corrupt { .. }))
}

#[tokio::test]
async fn what_is_no_record_is_corrupt_for_its_key_only() {
    let server = RedisServer::start();
    let store = store_of(&server.config()).await;
    let mut raw = server.raw();
    let newer = serde_json::json!({ "format": 2, "id": "key_newer", "shape": "unheard of" }).to_string();
    let other = serde_json::to_string(&key("key_else", "acme", "s9")).unwrap();
    for (id, text) in [("garbage", "{\"format\":1,"), ("null", "null"), ("newer", newer.as_str()), ("foreign", other.as_str())] {
        let _: () = raw.set(format!("sidegate:key:{{key_{id}}}"), text).unwrap();
    }
    let _: () = raw.set("sidegate:key:{key_huge}", "x".repeat(100 << 20)).unwrap();
    let _: () = raw.hset("sidegate:key:{key_hash}", "a", "b").unwrap();
    let _: () = raw.lpush("sidegate:key:{key_list}", "a").unwrap();
    for id in ["garbage", "null", "newer", "foreign", "huge", "hash", "list"] {
        let id = format!("key_{id}");
        let digest = digest_of(&id);
        let _: () = raw.set(format!("sidegate:digest:{}", digest.to_hex()), &id).unwrap();
        assert!(is_corrupt(&store.find_key(&id).await), "{id}");
        assert!(is_corrupt(&store.find_key_by_digest(&digest).await), "{id}");
        let update = KeyRecord { version: 2, ..key(&id, "acme", &format!("secret of {id}")) };
        if id != "key_foreign" {
            assert!(is_corrupt(&store.put_key(bare(&update)).await), "{id}");
        }
    }
    let why = store.find_key("key_newer").await.unwrap_err().to_string();
    assert!(why.contains("newer release: format 2"), "{why}");
    store.put_key(bare(&key("key_good", "acme", "good"))).await.unwrap();
    assert!(store.find_key_by_digest(&digest_of("good")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_digest_index_proves_nothing() {
    let server = RedisServer::start();
    let store = store_of(&server.config()).await;
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    let mut raw = server.raw();
    let entry = |secret: &str| format!("sidegate:digest:{}", digest_of(secret).to_hex());
    // Who can write an index entry has not opened a key by it.
    let _: () = raw.set(entry("guess"), "key_1").unwrap();
    assert_eq!(store.find_key_by_digest(&digest_of("guess")).await.unwrap(), None);
    let _: () = raw.set(entry("dangling"), "key_none").unwrap();
    assert_eq!(store.find_key_by_digest(&digest_of("dangling")).await.unwrap(), None);
    let _: () = raw.set(entry("long"), "k".repeat(10_000)).unwrap();
    let _: () = raw.set(entry("bytes"), &[0xff_u8, 0xfe][..]).unwrap();
    let _: () = raw.lpush(entry("list"), "key_1").unwrap();
    for secret in ["long", "bytes", "list"] {
        assert!(is_corrupt(&store.find_key_by_digest(&digest_of(secret)).await), "{secret}");
    }
    // A leftover gives way to the key whose secret it is.
    store.put_key(bare(&key("key_2", "acme", "dangling"))).await.unwrap();
    assert_eq!(store.find_key_by_digest(&digest_of("dangling")).await.unwrap().unwrap().id, "key_2");
}

#[tokio::test]
async fn a_secret_that_is_no_keys_any_more_is_remembered_for_a_time_and_one_that_is_again_for_good() {
    let server = RedisServer::start();
    let store = store_of(&server.config()).await;
    let ends_in = |secret: &str| server.tell::<i64>(&format!("TTL sidegate:digest:{}", digest_of(secret).to_hex()));
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    assert_eq!(ends_in("s1"), -1);
    store.put_key(bare(&KeyRecord { version: 2, ..key("key_1", "acme", "s2") })).await.unwrap();
    assert!(ends_in("s1") > 399 * 86_400 && ends_in("s2") == -1);
    // As after a restore of what was before the rotation.
    store.put_key(bare(&KeyRecord { version: 3, ..key("key_1", "acme", "s1") })).await.unwrap();
    assert!(ends_in("s1") == -1 && ends_in("s2") > 0);
    assert_eq!(store.find_named(&digest_of("s1")).await.unwrap().key().unwrap().version, 3);
}

#[tokio::test]
async fn events_that_an_earlier_release_has_written_are_found_and_none_are_read_at_once() {
    let server = RedisServer::start();
    let store = store_of(&server.config()).await;
    let mut record = key("key_1", "acme", "s1");
    for version in 1..=600 {
        record.version = version;
        let event = Event { at: crate::clock::Timestamp(1_700_000_000_000 + i64::try_from(version).unwrap()), ..bare(&record).event };
        store.put_key(Audited { record: &record, event }).await.unwrap();
    }
    let _: () = server.raw().del("sidegate:audit:key:{key_1}:places").unwrap();
    let of = Some((crate::audit::Object::Key, "key_1"));
    let page = store.list_events(&Query { of, limit: 5, ..Query::default() }).await.unwrap();
    assert_eq!(page.items.iter().map(|event| event.version).collect::<Vec<_>>(), [600, 599, 598, 597, 596]);
    record.version = 601;
    store.put_key(bare(&record)).await.unwrap();
    let first = store.list_events(&Query { of, limit: 1, oldest_first: true, ..Query::default() }).await.unwrap();
    assert_eq!(first.items[0].version, 601, "by time");
    assert_eq!(server.tell::<u64>("ZCARD sidegate:audit:key:{key_1}:places"), 601);
    assert!(!server.tell::<String>("INFO commandstats").contains("cmdstat_hvals"));
    assert_eq!(store.forget_events(crate::clock::Timestamp(1_700_000_000_500), 1000).await.unwrap(), 500);
    assert_eq!(server.tell::<u64>("ZCARD sidegate:audit:key:{key_1}:places"), 101);
}

#[tokio::test]
async fn one_spoilt_record_hides_no_other_from_a_list() {
    let server = RedisServer::start();
    let store = store_of(&server.config()).await;
    for id in ["key_a", "key_b", "key_c"] {
        store.put_key(bare(&key(id, "acme", id))).await.unwrap();
    }
    let mut raw = server.raw();
    let _: () = raw.del("sidegate:key:{key_b}").unwrap();
    let _: () = raw.lpush("sidegate:key:{key_b}", "x").unwrap();
    let _: () = raw.zadd("sidegate:keys", "no place at all", 0).unwrap();
    let _: () = raw.zadd("sidegate:keys", "0000000000000001:key_a", 0).unwrap();
    let page = store.list_keys(None, None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["key_a", "key_c"]);
}

#[tokio::test]
async fn two_prefixes_share_a_server_and_nothing_else() {
    let server = RedisServer::start();
    let one = store_of(&server.config()).await;
    let two = store_of(&sections::Store { key_prefix: "other:".into(), ..server.config() }).await;
    one.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    one.put_tenant(bare(&tenant("acme"))).await.unwrap();
    assert_eq!(two.find_key("key_1").await.unwrap(), None);
    assert!(two.list_tenants(None, 9).await.unwrap().items.is_empty());
    let names: Vec<String> = server.raw().keys("*").unwrap();
    assert!(names.iter().all(|name| name.starts_with("sidegate:")), "{names:?}");
}

#[tokio::test]
async fn a_server_that_goes_is_told_at_once_and_one_that_returns_is_used_again() {
    let mut server = RedisServer::start();
    // A look-up that waited for its deadline would wait for an hour.
    let config = sections::Store { command_timeout: Span::secs(3600), ..server.config() };
    let store = store_of(&config).await;
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    assert_eq!(store.status().since, None);
    server.stop();
    while store.status().reachable {
        tokio::task::yield_now().await;
    }
    assert!(matches!(store.find_key("key_1").await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.put_tenant(bare(&tenant("acme"))).await, Err(StoreError::Unavailable(_))));
    assert!(store.status().since.is_some() && !store.status().detail.is_empty());
    server.restart();
    while !store.status().reachable {
        tokio::task::yield_now().await;
    }
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    assert!(store.find_key_by_digest(&digest_of("s1")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_frozen_server_is_noticed_without_anybody_asking_for_a_key() {
    let server = RedisServer::start();
    let config = sections::Store { command_timeout: Span(Duration::from_millis(50)), ..server.config() };
    let store = store_of(&config).await;
    server.signal("STOP");
    while store.status().reachable {
        tokio::task::yield_now().await;
    }
    assert!(matches!(store.find_key("key_1").await, Err(StoreError::Unavailable(_))));
    server.signal("CONT");
    while !store.status().reachable {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.find_key("key_1").await.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_no_error() {
    let mut server = RedisServer::start();
    server.stop();
    let store = store_of(&server.config()).await;
    assert!(!store.status().reachable);
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    server.restart();
    while !store.status().reachable {
        tokio::task::yield_now().await;
    }
    store.ping().await.unwrap();
}

#[tokio::test]
async fn passwords_and_acl_users_open_the_door_and_their_absence_does_not() {
    let server = RedisServer::start_with(&["--user", "svc", "on", ">opensesame", "~sidegate:*", "+@all", "--user", "default", "off"]);
    let dir = tempfile::tempdir().unwrap();
    let login = |password: &str| {
        let path = dir.path().join(password);
        std::fs::write(&path, password).unwrap();
        sections::Store { username: "svc".into(), password_file: path, ..server.config() }
    };
    let good = store_of(&login("opensesame")).await;
    good.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    assert!(good.find_key("key_1").await.unwrap().is_some());
    for config in [login("closesesame"), server.config()] {
        let status = store_of(&config).await.status();
        assert!(!status.reachable);
        assert!(!status.detail.contains("sesame"), "{}", status.detail);
    }
}

#[tokio::test]
async fn the_rights_that_the_manual_names_are_enough() {
    let rights = "+@read +@write +@scripting +@connection +time";
    assert!(include_str!("../../../proxy.toml").contains(&format!("~sidegate:* {rights};")));
    let user = ["--user", "svc", "on", ">pw", "~sidegate:*"];
    let server = RedisServer::start_with(&user.into_iter().chain(rights.split(' ')).collect::<Vec<_>>());
    let url = format!("{}?user=svc&pass=pw", server.config().url);
    let opened = open(&sections::Store { url, write_replicas: 1, ..server.config() }, &Clock::System).await.unwrap();
    let (store, mut changes) = (opened.store, opened.changes.unwrap());
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    store.put_key(bare(&KeyRecord { version: 2, ..key("key_1", "acme", "s2") })).await.unwrap();
    assert_eq!(store.list_keys(Some("acme"), None, 5).await.unwrap().items.len(), 1);
    assert_eq!(store.await_replicas(Written::Key(&key("key_1", "acme", "s1"))).await.unwrap().acknowledged, 0);
    changes.next().await.unwrap();
    store.announce(&[Changed::Everything]).await.unwrap();
    changes.next().await.unwrap();
    let position = store.position().await.unwrap();
    let instance = Instance {
        id: "i1".into(),
        name: "host".into(),
        version: "0".into(),
        started_at: crate::clock::Timestamp(1),
        position,
        gone_after_ms: 1,
    };
    store.beat(&instance, true).await.unwrap();
    assert_eq!(store.instances().await.unwrap().len(), 1);
    store.leave("i1").await.unwrap();
}

#[tokio::test]
async fn a_server_is_reached_over_tcp_too() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _server = RedisServer::start_with(&["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    let store = store_of(&sections::Store { url: format!("redis://localhost:{port}/3"), ..sections::Store::default() }).await;
    store.put_tenant(bare(&tenant("acme"))).await.unwrap();
    assert!(store.find_tenant("acme").await.unwrap().is_some());
}
