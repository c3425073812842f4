//! Many keys of one tenant, made, revoked and taken away; at once, too, and with the tenant itself.

use super::*;
use crate::key::lifecycle::lists::REVOKED_KEPT;
use crate::session::record::Ended;
use crate::store::contract::{bare_all, digest_of, key};
use crate::store::redis_server::RedisServer;
use crate::store::session::fixture::session;
use crate::store::session::{SessionQuery, SessionWrite};
use crate::store::{Named, StoreError};

fn revoked(number: usize) -> KeyRecord {
    let id = format!("key_{number:04}");
    KeyRecord { status: KeyStatus::Revoked, ..key(&id, "acme", &id) }
}

#[tokio::test]
async fn of_revoked_keys_no_more_are_kept_than_so_many_and_their_secrets_stay_theirs() {
    let bench = Bench::new("").await;
    let records: Vec<KeyRecord> = (0..REVOKED_KEPT + 150).map(revoked).collect();
    bench.lifecycle.store.put_new_keys(&bare_all(&records.iter().collect::<Vec<_>>())).await.unwrap();
    let left = async || {
        let keys = bench.lifecycle.select_keys(Some("acme"), |key| key.status == KeyStatus::Revoked).await.unwrap().keys;
        (keys.len(), keys[0].id.clone())
    };
    bench.create().await;
    assert_eq!(left().await, (REVOKED_KEPT + 50, "key_0100".to_owned()));
    bench.create().await;
    bench.create().await;
    assert_eq!(left().await, (REVOKED_KEPT, "key_0150".to_owned()));
    assert_eq!(bench.lifecycle.store.find_named(&digest_of("key_0000")).await.unwrap(), Named::Former);
    let query = Query { of: Some((Object::Key, "key_0000")), limit: 1, ..Query::default() };
    let told = bench.lifecycle.store.list_events(&query).await.unwrap().items;
    assert_eq!((told[0].action.as_str(), told[0].actor.as_str()), ("key.purge", "sidegate"));
}

#[tokio::test]
async fn what_is_not_wanted_is_not_held_and_what_cannot_be_read_is_told() {
    let bench = Bench::new("").await;
    let records: Vec<KeyRecord> = (0..=PAGE).map(revoked).collect();
    bench.lifecycle.store.put_new_keys(&bare_all(&records.iter().collect::<Vec<_>>())).await.unwrap();
    let id = bench.create().await.record.id;
    let alive = async || bench.lifecycle.select_keys(Some("acme"), |key| key.status != KeyStatus::Revoked).await.unwrap();
    let ids = |listed: &Listed| listed.keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>();
    let listed = alive().await;
    assert_eq!((ids(&listed), listed.unreadable.len()), (vec![id.clone()], 0));
    bench.spoil("key_0003");
    let listed = alive().await;
    assert_eq!((ids(&listed), listed.unreadable.iter().map(StoreError::id).collect::<Vec<_>>()), (vec![id], vec!["key_0003"]));
}

#[tokio::test]
async fn of_many_that_are_made_at_once_no_more_stay_than_may_be() {
    let bench = Bench::new("[keys]\nmax_per_tenant = 5").await;
    for _ in 0..5 {
        let makers: Vec<_> = (0..16)
            .map(|_| {
                let lifecycle = bench.lifecycle.clone();
                tokio::spawn(async move { lifecycle.create(new_key()).await })
            })
            .collect();
        let mut made = Vec::new();
        for maker in makers {
            match maker.await.unwrap() {
                Ok(issued) => made.push(issued.record.id),
                Err(error) => assert!(matches!(error, LifecycleError::Limit { .. }), "{error}"),
            }
        }
        let keys = bench.lifecycle.select_keys(Some("acme"), |key| key.status != KeyStatus::Revoked).await.unwrap().keys;
        let mut there: Vec<String> = keys.into_iter().map(|key| key.id).collect();
        made.sort();
        there.sort();
        assert_eq!(made, there, "who was told of a key has it");
        assert!(there.len() <= 5, "{}", there.len());
        for id in there {
            bench.lifecycle.set_status(&id, KeyStatus::Revoked).await.unwrap();
        }
    }
    for _ in 0..5 {
        bench.create().await;
    }
}

#[tokio::test]
async fn a_tenant_that_is_suspended_or_gone_gets_no_keys() {
    let bench = Bench::new("").await;
    bench.lifecycle.set_tenant_status("acme", TenantStatus::Suspended).await.unwrap();
    assert!(matches!(bench.lifecycle.create(new_key()).await, Err(LifecycleError::State(_))));
    // Its maker had seen the tenant before it went.
    let record = key("key_late", "acme", "late");
    bench.lifecycle.store.put_key(bare(&record)).await.unwrap();
    assert!(matches!(bench.lifecycle.confirm(&record, 0).await, Err(LifecycleError::State(_))));
    assert!(matches!(bench.lifecycle.find_key("key_late").await, Err(LifecycleError::NoKey(_))));
    bench.sessions.delete_tenant("acme").await.unwrap();
    bench.lifecycle.store.put_key(bare(&record)).await.unwrap();
    assert!(matches!(bench.lifecycle.confirm(&record, 0).await, Err(LifecycleError::NoTenant(_))));
    assert!(bench.lifecycle.list_keys(None).await.unwrap().keys.is_empty());
}

async fn nothing_of_a_tenant_outlives_it(bench: &Bench) {
    let store = &bench.sessions;
    for (id, tenant) in [("ses_1", "acme"), ("ses_2", "acme"), ("ses_3", "globex")] {
        let record = session(id, tenant, "user_1");
        let write = SessionWrite { record: &record, event: None, at: START, until: START.plus_millis(1_000_000_000) };
        store.sessions.put_session(write).await.unwrap();
    }
    bench.lifecycle.set_tenant_status("acme", TenantStatus::Suspended).await.unwrap();
    store.delete_tenant("acme").await.unwrap();
    bench.lifecycle.create_tenant(NewTenant { id: "acme".into(), ..NewTenant::default() }).await.unwrap();
    let all = store.list(&SessionQuery { limit: 10, ..SessionQuery::default() }).await.unwrap().items;
    let ended: Vec<_> = all.iter().map(|record| (record.id.as_str(), record.ended.is_some())).collect();
    assert_eq!(ended, [("ses_1", true), ("ses_2", true), ("ses_3", false)]);
    assert!(all[..2].iter().all(|record| matches!(&record.ended, Some(Ended { reason, .. }) if reason == "revoked")));
}

#[tokio::test]
async fn nothing_of_a_tenant_outlives_it_in_the_file() {
    nothing_of_a_tenant_outlives_it(&Bench::new("").await).await;
}

#[tokio::test]
async fn nothing_of_a_tenant_outlives_it_in_redis() {
    let server = RedisServer::start();
    nothing_of_a_tenant_outlives_it(&Bench::on(&server.config().url, "").await).await;
}

#[tokio::test]
async fn a_tenant_with_a_key_that_cannot_be_read_is_not_taken_away() {
    let bench = Bench::new("").await;
    let id = bench.create().await.record.id;
    bench.lifecycle.set_tenant_status("acme", TenantStatus::Suspended).await.unwrap();
    bench.spoil(&id);
    assert!(
        matches!(bench.sessions.delete_tenant("acme").await, Err(LifecycleError::Store(StoreError::Corrupt { id: told, .. })) if told == id)
    );
    assert!(bench.lifecycle.find_tenant("acme").await.is_ok());
}
