//! What a crash in the middle of a batch leaves, and what others put in its way.

use redis::Commands as _;

use super::RedisStore;

use crate::clock::Clock;
use crate::key::record::KeyRecord;
use crate::store::contract::{bare, bare_all, digest_of, key};
use crate::store::redis_server::RedisServer;
use crate::store::target::{RedisTarget, Target, parse};
use crate::store::{Store as _, StoreError, open};

fn parsed(server: &RedisServer) -> Box<RedisTarget> {
    match parse(&server.config()).unwrap() {
        Target::Redis(target) => target,
        Target::Embedded(path) => panic!("{}", path.display()),
    }
}

#[tokio::test]
async fn index_entries_that_no_record_confirms_are_in_nobodys_way() {
    let server = RedisServer::start();
    let store = open(&server.config(), &Clock::System).await.unwrap().store;
    let mut raw = server.raw();
    // What a batch leaves that was killed before its records, and another key's index entry that lies.
    let digest = |secret: &str| format!("sidegate:digest:{}", digest_of(secret).to_hex());
    let _: () = raw.set(digest("s1"), "key_before").unwrap();
    let _: () = raw.set(digest("s2"), "key_2").unwrap();
    let _: () = raw.set(digest("s3"), "x".repeat(100)).unwrap();
    let _: () = raw.zadd("sidegate:keys", "0000000000000001:key_2", 0).unwrap();
    store.put_key(bare(&key("key_other", "acme", "other"))).await.unwrap();
    let _: () = raw.set(digest("s4"), "key_other").unwrap();
    let records = [key("key_1", "acme", "s1"), key("key_2", "acme", "s2"), key("key_3", "acme", "s3"), key("key_4", "acme", "s4")];
    let records: Vec<&KeyRecord> = records.iter().collect();
    let rivals = store.find_rivals(&records).await.unwrap();
    assert!(rivals.iter().all(|rival| matches!(rival, Ok(None))), "{rivals:?}");
    assert!(store.put_new_keys(&bare_all(&records)).await.unwrap().iter().all(Result::is_ok));
    for (record, secret) in records.iter().zip(["s1", "s2", "s3", "s4"]) {
        assert_eq!(store.find_key_by_digest(&digest_of(secret)).await.unwrap().as_ref(), Some(*record));
    }
    assert_eq!(store.list_keys(None, None, 10).await.unwrap().items.len(), 5);
}

#[tokio::test]
async fn what_is_no_record_spoils_one_key_and_what_is_no_index_the_batch() {
    let server = RedisServer::start();
    let store = open(&server.config(), &Clock::System).await.unwrap().store;
    let mut raw = server.raw();
    let _: () = raw.lpush("sidegate:key:{key_1}", "a").unwrap();
    let _: () = raw.set("sidegate:key:{key_2}", "{").unwrap();
    let records = [key("key_1", "acme", "s1"), key("key_2", "acme", "s2"), key("key_3", "acme", "s3")];
    let records: Vec<&KeyRecord> = records.iter().collect();
    for outcomes in [
        store.find_rivals(&records).await.unwrap().into_iter().map(|rival| rival.map(drop)).collect(),
        store.put_new_keys(&bare_all(&records)).await.unwrap(),
    ] {
        assert!(matches!(outcomes[..], [Err(StoreError::Corrupt { .. }), Err(StoreError::Corrupt { .. }), Ok(())]), "{outcomes:?}");
    }
    let _: () = raw.del("sidegate:keys").unwrap();
    let _: () = raw.set("sidegate:keys", "no set").unwrap();
    assert!(store.put_new_keys(&bare_all(&[&key("key_4", "acme", "s4")])).await.is_err());
    assert!(store.find_key("key_4").await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_not_there_yet_is_taken_for_a_leftover_and_then_gives_way() {
    let server = RedisServer::start();
    let store = RedisStore::connect(*parsed(&server), Clock::System).await.0;
    let (a, b) = (key("key_a", "acme", "s1"), key("key_b", "acme", "s1"));
    // A has claimed its digest; B comes and is done; A goes on.
    let writes = [bare(&a)];
    let claimed = store.claim_digests(&writes).await.unwrap();
    assert!(claimed[0].is_some());
    store.put_key(bare(&b)).await.unwrap();
    store.write_new(&claimed, [].into(), |id| store.layout.key(id)).await.unwrap();
    assert!(matches!(store.settle(&bare(&a)).await, Err(StoreError::DigestTaken { id }) if id == "key_b"));
    assert_eq!(store.find_key("key_a").await.unwrap(), None);
    assert_eq!(store.find_key_by_digest(&digest_of("s1")).await.unwrap().as_ref(), Some(&b));
    let said = store.said_of(&[bare(&a), bare(&b)]).await.unwrap();
    assert_eq!(said, [Some(b"key_b".to_vec()), None]);
}

#[tokio::test]
async fn two_imports_of_the_same_secrets_at_once_double_none() {
    let server = RedisServer::start();
    let import = |name: &'static str| {
        let config = server.config();
        tokio::spawn(async move {
            let store = open(&config, &Clock::System).await.unwrap().store;
            let records: Vec<KeyRecord> = (0..1000).map(|n| key(&format!("key_{name}{n}"), "acme", &format!("s{n}"))).collect();
            store.put_new_keys(&bare_all(&records.iter().collect::<Vec<_>>())).await.unwrap()
        })
    };
    let (a, b) = (import("a"), import("b"));
    let (a, b) = (a.await.unwrap(), b.await.unwrap());
    for (a, b) in a.iter().zip(&b) {
        assert!(!(a.is_ok() && b.is_ok()));
        for outcome in [a, b] {
            assert!(matches!(outcome, Ok(()) | Err(StoreError::DigestTaken { .. })), "{outcome:?}");
        }
    }
    let store = open(&server.config(), &Clock::System).await.unwrap().store;
    let listed = store.list_keys(None, None, 5000).await.unwrap().items;
    assert_eq!(listed.len(), a.iter().chain(&b).filter(|outcome| outcome.is_ok()).count());
    for record in listed {
        let digest = crate::key::digest::StoredDigest::from_hex(&record.digest).unwrap();
        assert_eq!(store.find_key_by_digest(&digest).await.unwrap(), Some(record));
    }
}

#[tokio::test]
async fn the_secret_of_a_record_that_cannot_be_read_is_not_taken() {
    let server = RedisServer::start();
    let store = open(&server.config(), &Clock::System).await.unwrap().store;
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    let _: () = server.raw().set("sidegate:key:{key_1}", "{\"format\":99}").unwrap();
    let refused = store.put_key(bare(&key("key_2", "acme", "s1"))).await;
    assert!(matches!(&refused, Err(StoreError::Corrupt { id, .. }) if id == "key_1"), "{refused:?}");
    assert_eq!(server.raw().get::<_, String>(format!("sidegate:digest:{}", digest_of("s1").to_hex())).unwrap(), "key_1");
}
