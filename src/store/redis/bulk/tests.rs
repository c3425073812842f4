//! What a crash in the middle of a batch leaves, and what others put in its way.

use redis::Commands as _;

use crate::clock::Clock;
use crate::key::record::KeyRecord;
use crate::store::contract::{digest_of, key};
use crate::store::redis_server::RedisServer;
use crate::store::{StoreError, open};

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
    store.put_key(&key("key_other", "acme", "other")).await.unwrap();
    let _: () = raw.set(digest("s4"), "key_other").unwrap();
    let records = [key("key_1", "acme", "s1"), key("key_2", "acme", "s2"), key("key_3", "acme", "s3"), key("key_4", "acme", "s4")];
    let records: Vec<&KeyRecord> = records.iter().collect();
    let rivals = store.find_rivals(&records).await.unwrap();
    assert!(rivals.iter().all(|rival| matches!(rival, Ok(None))), "{rivals:?}");
    assert!(store.put_new_keys(&records).await.unwrap().iter().all(Result::is_ok));
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
        store.put_new_keys(&records).await.unwrap(),
    ] {
        assert!(matches!(outcomes[..], [Err(StoreError::Corrupt { .. }), Err(StoreError::Corrupt { .. }), Ok(())]), "{outcomes:?}");
    }
    let _: () = raw.del("sidegate:keys").unwrap();
    let _: () = raw.set("sidegate:keys", "no set").unwrap();
    assert!(store.put_new_keys(&[&key("key_4", "acme", "s4")]).await.is_err());
    assert!(store.find_key("key_4").await.unwrap().is_none());
}
