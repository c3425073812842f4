//! What every store must do with events: written with their record or not at all, listed by time, forgotten from the oldest on.

use super::{Shared, bare, key, tenant};
use crate::audit::{Action, Actor, Event, Object, Query};
use crate::clock::Timestamp;
use crate::key::record::KeyRecord;
use crate::store::{Audited, StoreError};

fn at(ms: i64) -> Timestamp {
    Timestamp(1_700_000_000_000 + ms)
}

fn write(before: Option<&KeyRecord>, record: &KeyRecord, ms: i64) -> Event {
    Event::of(&Actor::local("test"), Action::Update, at(ms), before, record)
}

async fn events(store: &Shared, query: Query<'_>) -> Vec<Event> {
    let page = store.list_events(&Query { limit: 100, ..query }).await.unwrap();
    assert!(page.unreadable.is_empty() && page.next.is_none());
    page.items
}

/// Keys of two tenants, and what was done to them.
async fn three(store: &Shared) -> Vec<Event> {
    let (one, two) = (key("key_1", "acme", "s1"), key("key_2", "globex", "s2"));
    let renamed = KeyRecord { name: "other".into(), version: 2, ..one.clone() };
    let told = vec![write(None, &one, 0), write(None, &two, 5), write(Some(&one), &renamed, 10)];
    for (record, event) in [&one, &two, &renamed].into_iter().zip(&told) {
        store.put_key(Audited { record, event: event.clone() }).await.unwrap();
    }
    told
}

pub(super) async fn every_change_is_an_event_and_each_is_found_by_what_it_is_about(store: Shared) {
    let mut told = three(&store).await;
    assert_eq!(events(&store, Query { oldest_first: true, ..Query::default() }).await, told);
    let of = Some((Object::Key, "key_1"));
    let of_one = vec![told[2].clone(), told[0].clone()];
    assert_eq!(events(&store, Query { of, ..Query::default() }).await, of_one);
    assert_eq!(events(&store, Query { tenant: Some("acme"), ..Query::default() }).await, of_one);
    assert!(events(&store, Query { of, tenant: Some("globex"), ..Query::default() }).await.is_empty());
    assert!(events(&store, Query { of: Some((Object::Tenant, "key_1")), ..Query::default() }).await.is_empty());
    let between = Query { since: Some(at(5)), until: Some(at(10)), ..Query::default() };
    assert_eq!(events(&store, between).await, [told[1].clone()]);
    let first = store.list_events(&Query { limit: 2, ..Query::default() }).await.unwrap();
    let next = first.next.unwrap();
    let second = store.list_events(&Query { limit: 2, cursor: Some(&next), ..Query::default() }).await.unwrap();
    told.reverse();
    assert_eq!((first.items, second.items), (told[..2].to_vec(), told[2..].to_vec()));
    let page = store.list_events(&Query { limit: 1, of, ..Query::default() }).await.unwrap();
    assert_eq!(events(&store, Query { of, cursor: page.next.as_deref(), ..Query::default() }).await, of_one[1..]);
}

pub(super) async fn a_change_that_is_not_made_is_no_event(store: Shared) {
    let told = three(&store).await;
    let stale = KeyRecord { version: 2, ..key("key_1", "acme", "s1") };
    let put = store.put_key(Audited { record: &stale, event: write(None, &stale, 20) }).await;
    assert!(matches!(put, Err(StoreError::Conflict { found: 2 })));
    let taken = key("key_3", "acme", "s1");
    assert!(matches!(store.put_key(bare(&taken)).await, Err(StoreError::DigestTaken { .. })));
    let outcomes = store.put_new_keys(&[bare(&taken), bare(&key("key_2", "globex", "s9"))]).await.unwrap();
    assert!(outcomes.iter().all(Result::is_err));
    assert_eq!(events(&store, Query { oldest_first: true, ..Query::default() }).await, told);
}

pub(super) async fn what_is_new_in_bulk_has_its_events_too(store: Shared) {
    let (one, two) = (key("key_1", "acme", "s1"), key("key_2", "acme", "s2"));
    store.put_new_tenants(&[bare(&tenant("acme"))]).await.unwrap();
    store.put_new_keys(&[bare(&one), bare(&two)]).await.unwrap();
    let ids: Vec<String> =
        events(&store, Query { tenant: Some("acme"), ..Query::default() }).await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), 3);
    assert!(["acme", "key_1", "key_2"].iter().all(|id| ids.iter().any(|known| known == id)), "{ids:?}");
}

pub(super) async fn a_removed_record_leaves_its_events(store: Shared) {
    let told = three(&store).await;
    let record = store.find_key("key_1").await.unwrap().unwrap();
    let older = KeyRecord { version: 1, ..record.clone() };
    let event = Event::of_removal(&Actor::local("test"), Action::Purge, at(30), &record);
    let removed = store.remove_key(Audited { record: &older, event: event.clone() }).await;
    assert!(matches!(removed, Err(StoreError::Conflict { found: 2 })));
    store.remove_key(Audited { record: &record, event: event.clone() }).await.unwrap();
    assert!(store.find_key("key_1").await.unwrap().is_none());
    assert!(store.list_keys(Some("acme"), None, 10).await.unwrap().items.is_empty());
    assert_eq!(
        events(&store, Query { of: Some((Object::Key, "key_1")), ..Query::default() }).await,
        [event, told[2].clone(), told[0].clone()]
    );
    // Id and secret are free again.
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    let record = tenant("acme");
    store.put_tenant(bare(&record)).await.unwrap();
    let event = Event::of_removal(&Actor::local("test"), Action::Delete, at(40), &record);
    store.remove_tenant(Audited { record: &record, event }).await.unwrap();
    assert!(store.find_tenant("acme").await.unwrap().is_none());
    assert!(store.list_tenants(None, 10).await.unwrap().items.is_empty());
}

pub(super) async fn the_events_of_one_are_listed_page_by_page(store: Shared) {
    let mut record = key("key_1", "acme", "s1");
    for version in 1..=25 {
        record.version = version;
        let event = write(None, &record, 100 - i64::try_from(version).unwrap());
        store.put_key(Audited { record: &record, event }).await.unwrap();
    }
    store.put_key(bare(&key("key_2", "acme", "s2"))).await.unwrap();
    for oldest_first in [true, false] {
        let (mut versions, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let query = Query { of: Some((Object::Key, "key_1")), cursor: cursor.as_deref(), limit: 10, oldest_first, ..Query::default() };
            let page = store.list_events(&query).await.unwrap();
            assert!(page.items.len() <= 10);
            versions.extend(page.items.iter().map(|event| event.version));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        if !oldest_first {
            versions.reverse();
        }
        assert_eq!(versions, (1..=25).rev().collect::<Vec<_>>(), "by time, each once");
    }
}

pub(super) async fn old_events_are_forgotten_and_those_of_no_record_are_kept_like_others(store: Shared) {
    let told = three(&store).await;
    let noted = Event::about(&Actor::local("test"), Action::Revoke, at(7), (Object::Session, "ses_1", "acme"), 1);
    store.append_event(&noted).await.unwrap();
    assert_eq!(events(&store, Query { of: Some((Object::Session, "ses_1")), ..Query::default() }).await, std::slice::from_ref(&noted));
    assert_eq!(store.forget_events(at(10), 2).await.unwrap(), 2);
    assert_eq!(events(&store, Query { oldest_first: true, ..Query::default() }).await, [noted, told[2].clone()]);
    assert_eq!(store.forget_events(at(10), 100).await.unwrap(), 1);
    assert_eq!(store.forget_events(at(10), 100).await.unwrap(), 0);
    assert_eq!(events(&store, Query { tenant: Some("acme"), ..Query::default() }).await, [told[2].clone()]);
    assert_eq!(events(&store, Query { of: Some((Object::Key, "key_1")), ..Query::default() }).await, [told[2].clone()]);
}
