//! What every store must do: one suite, run against each. What differs (how a record can be spoiled) is beside it.

mod audit;

use std::collections::BTreeMap;
use std::sync::Arc;

use audit::*;

use super::*;
use crate::audit::{Action, Actor, Subject};
use crate::config::sections::QuotaPeriod;
use crate::key::digest::Digest;
use crate::key::record::{KeyStatus, PreviousSecret};
use crate::store::draw::Budget;
use crate::store::redis_server::certificates::Certificates;
use crate::store::redis_server::cluster::RedisCluster;
use crate::store::redis_server::sentinel::SentinelSet;
use crate::store::redis_server::{RedisServer, until};
use crate::tenant::TenantStatus;

/// A tenant as a fresh one is.
pub(crate) fn tenant(id: &str) -> TenantRecord {
    TenantRecord {
        format: 1,
        id: id.into(),
        name: id.to_uppercase(),
        status: TenantStatus::Active,
        ip_allowlist: None,
        scopes: None,
        rate_limit: None,
        metadata: BTreeMap::new(),
        created_at: Timestamp(1_700_000_000_000),
        version: 1,
        unknown: BTreeMap::new(),
    }
}

/// The stored digest of a secret, without pepper.
pub(crate) fn digest_of(secret: &str) -> StoredDigest {
    StoredDigest(Digest::of(secret.as_bytes()).0)
}

/// A key as a fresh one is.
pub(crate) fn key(id: &str, tenant: &str, secret: &str) -> KeyRecord {
    KeyRecord {
        format: 1,
        id: id.into(),
        tenant: tenant.into(),
        name: "ci".into(),
        prefix: "sk_live_".into(),
        last4: "abcd".into(),
        kind: "secret".into(),
        environment: sections::EnvironmentName::Live,
        scopes: vec!["read:a".into()],
        ip_allowlist: None,
        referrers: None,
        endpoints: None,
        rate_limit: None,
        status: KeyStatus::Active,
        expires_at: None,
        created_at: Timestamp(1_700_000_000_000),
        created_by: "test".into(),
        rotated_at: None,
        digest: digest_of(secret).to_hex(),
        previous: None,
        last_used: None,
        last_used_from: None,
        exposed: false,
        metadata: BTreeMap::new(),
        version: 1,
        unknown: BTreeMap::new(),
    }
}

/// A write that nobody in particular makes.
pub(crate) fn bare<R: Subject>(record: &R) -> Audited<'_, R> {
    let event = Event::of(&Actor::local("test"), Action::Update, Timestamp(1_700_000_000_000), None, record);
    Audited { record, event }
}

/// The same of many.
pub(crate) fn bare_all<'a, R: Subject>(records: &[&'a R]) -> Vec<Audited<'a, R>> {
    records.iter().map(|record| bare(*record)).collect()
}

type Shared = Arc<dyn Store>;

async fn a_written_key_is_found_by_id_and_by_digest(store: Shared) {
    let mut record = key("key_1", "acme", "s1");
    record.ip_allowlist = Some(vec![]);
    record.expires_at = Some(Timestamp(1_800_000_000_123));
    record.metadata.insert("plan".into(), "gold".into());
    store.put_key(bare(&record)).await.unwrap();
    assert_eq!(store.find_key("key_1").await.unwrap().as_ref(), Some(&record));
    assert_eq!(store.find_key_by_digest(&digest_of("s1")).await.unwrap(), Some(record));
}

async fn where_nothing_is_nothing_is_found(store: Shared) {
    assert_eq!(store.find_key("key_1").await.unwrap(), None);
    assert_eq!(store.find_key("").await.unwrap(), None);
    assert_eq!(store.find_key_by_digest(&digest_of("s1")).await.unwrap(), None);
    assert_eq!(store.find_tenant("acme").await.unwrap(), None);
    assert!(store.list_keys(None, None, 10).await.unwrap().items.is_empty());
    assert!(store.list_keys(Some("acme"), Some("zzz"), 10).await.unwrap().next.is_none());
    store.ping().await.unwrap();
}

async fn only_digests_that_the_record_names_open_it(store: Shared) {
    let mut record = key("key_1", "acme", "old");
    store.put_key(bare(&record)).await.unwrap();
    record.previous = Some(PreviousSecret { digest: record.digest.clone(), until: Timestamp(1_900_000_000_000) });
    record.digest = digest_of("new").to_hex();
    record.version = 2;
    store.put_key(bare(&record)).await.unwrap();
    assert!(store.find_key_by_digest(&digest_of("old")).await.unwrap().is_some());
    assert!(store.find_key_by_digest(&digest_of("new")).await.unwrap().is_some());
    record.previous = None;
    record.version = 3;
    store.put_key(bare(&record)).await.unwrap();
    assert_eq!(store.find_key_by_digest(&digest_of("old")).await.unwrap(), None);
    assert!(store.find_key_by_digest(&digest_of("new")).await.unwrap().is_some());
    // A freed digest may be another key's.
    store.put_key(bare(&key("key_2", "acme", "old"))).await.unwrap();
    assert_eq!(store.find_key_by_digest(&digest_of("old")).await.unwrap().unwrap().id, "key_2");
}

async fn a_secret_that_was_a_keys_is_never_nobodys_again(store: Shared) {
    let named = async |secret: &str| store.find_named(&digest_of(secret)).await.unwrap();
    assert_eq!(named("s1").await, Named::Nobody);
    let first = key("key_1", "acme", "s1");
    store.put_key(bare(&first)).await.unwrap();
    let previous = PreviousSecret { digest: digest_of("s1").to_hex(), until: Timestamp(1_900_000_000_000) };
    let second = KeyRecord { version: 2, previous: Some(previous), ..key("key_1", "acme", "s2") };
    store.put_key(bare(&second)).await.unwrap();
    assert_eq!(named("s1").await.key().as_ref(), Some(&second));
    let third = KeyRecord { version: 3, ..key("key_1", "acme", "s3") };
    store.put_key(bare(&third)).await.unwrap();
    assert_eq!((named("s1").await, named("s2").await), (Named::Former, Named::Former));
    let event = Event::of_removal(&Actor::local("test"), Action::Purge, Timestamp(1_700_000_000_030), &third);
    store.remove_key(Audited { record: &third, event }).await.unwrap();
    assert_eq!((named("s2").await, named("s3").await, named("s4").await), (Named::Former, Named::Former, Named::Nobody));
    // It may be a key's again: the same one's, another's, one of many.
    let bulk = key("key_3", "acme", "s3");
    assert!(store.put_new_keys(&bare_all(&[&bulk])).await.unwrap()[0].is_ok());
    for record in [&first, &key("key_2", "acme", "s2")] {
        store.put_key(bare(record)).await.unwrap();
    }
    for (secret, id) in [("s1", "key_1"), ("s2", "key_2"), ("s3", "key_3")] {
        assert_eq!(named(secret).await.key().unwrap().id, id);
    }
}

async fn a_taken_id_and_a_stale_version_conflict(store: Shared) {
    let record = key("key_1", "acme", "s1");
    store.put_key(bare(&record)).await.unwrap();
    assert!(matches!(store.put_key(bare(&key("key_1", "acme", "s2"))).await, Err(StoreError::Conflict { found: 1 })));
    assert_eq!(store.find_key("key_1").await.unwrap(), Some(record.clone()));
    assert_eq!(store.find_key_by_digest(&digest_of("s2")).await.unwrap(), None);
    let ahead = KeyRecord { version: 3, ..record.clone() };
    assert!(matches!(store.put_key(bare(&ahead)).await, Err(StoreError::Conflict { found: 1 })));
    let missing = KeyRecord { id: "key_2".into(), digest: digest_of("s3").to_hex(), version: 2, ..record };
    assert!(matches!(store.put_key(bare(&missing)).await, Err(StoreError::Conflict { found: 0 })));
}

async fn of_many_writers_of_one_version_one_wins(store: Shared) {
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    let writers: Vec<_> = (0..20)
        .map(|writer| {
            let store = Arc::clone(&store);
            let record = KeyRecord { name: format!("writer {writer}"), version: 2, ..key("key_1", "acme", "s1") };
            tokio::spawn(async move { store.put_key(bare(&record)).await.map(|_| record.name) })
        })
        .collect();
    let mut winners = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            Ok(name) => winners.push(name),
            Err(error) => assert!(matches!(error, StoreError::Conflict { found: 2 }), "{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(store.find_key("key_1").await.unwrap().unwrap().name, winners[0]);
}

async fn the_secret_of_another_key_is_refused(store: Shared) {
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    let error = store.put_key(bare(&key("key_2", "acme", "s1"))).await.unwrap_err();
    assert!(matches!(error, StoreError::DigestTaken { ref id } if id == "key_1"), "{error}");
    assert_eq!(store.find_key_by_digest(&digest_of("s1")).await.unwrap().unwrap().id, "key_1");
}

async fn lists_are_in_order_of_creation_page_by_page(store: Shared) {
    let mut expected = Vec::new();
    for number in 0..23_u32 {
        let id = format!("key_{:03}", (number * 7) % 23);
        let tenant = if number % 2 == 0 { "acme" } else { "globex" };
        let created_at = Timestamp(1_700_000_000_000 + i64::from(number / 3) * 1000);
        store.put_key(bare(&KeyRecord { created_at, ..key(&id, tenant, &id) })).await.unwrap();
        expected.push((created_at, id, tenant));
    }
    expected.sort();
    for of_tenant in [None, Some("acme"), Some("globex"), Some("nobody")] {
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.list_keys(of_tenant, cursor.as_deref(), 5).await.unwrap();
            assert!(page.items.len() <= 5);
            found.extend(page.items.into_iter().map(|record| record.id));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let of_it = expected.iter().filter(|(_, _, tenant)| of_tenant.is_none_or(|of| of == *tenant));
        assert_eq!(found, of_it.map(|(_, id, _)| id.clone()).collect::<Vec<_>>());
    }
}

async fn an_update_keeps_its_place_in_the_list(store: Shared) {
    for id in ["key_a", "key_b"] {
        store.put_key(bare(&key(id, "acme", id))).await.unwrap();
    }
    store.put_key(bare(&KeyRecord { version: 2, status: KeyStatus::Revoked, ..key("key_a", "acme", "key_a") })).await.unwrap();
    let page = store.list_keys(Some("acme"), None, 10).await.unwrap();
    let found: Vec<_> = page.items.iter().map(|record| (record.id.as_str(), record.version)).collect();
    assert_eq!(found, [("key_a", 2), ("key_b", 1)]);
}

async fn fields_of_a_newer_release_survive(store: Shared) {
    let mut record = key("key_1", "acme", "s1");
    record.unknown.insert("colour".into(), serde_json::json!({ "of": ["the", "future", 1.5, null] }));
    store.put_key(bare(&record)).await.unwrap();
    let mut found = store.find_key("key_1").await.unwrap().unwrap();
    assert_eq!(found, record);
    found.version = 2;
    found.status = KeyStatus::Inactive;
    store.put_key(bare(&found)).await.unwrap();
    assert_eq!(store.find_key("key_1").await.unwrap().unwrap().unknown, record.unknown);
}

async fn tenants_are_written_found_and_listed(store: Shared) {
    for id in ["globex", "acme"] {
        store.put_tenant(bare(&tenant(id))).await.unwrap();
    }
    assert!(matches!(store.put_tenant(bare(&tenant("acme"))).await, Err(StoreError::Conflict { found: 1 })));
    let suspended = TenantRecord { version: 2, status: TenantStatus::Suspended, ..tenant("acme") };
    store.put_tenant(bare(&suspended)).await.unwrap();
    assert_eq!(store.find_tenant("acme").await.unwrap(), Some(suspended));
    let first = store.list_tenants(None, 1).await.unwrap();
    let second = store.list_tenants(first.next.as_deref(), 5).await.unwrap();
    let ids: Vec<_> = first.items.iter().chain(&second.items).map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["acme", "globex"]);
    assert_eq!(second.next, None);
}

async fn a_record_too_large_to_read_back_is_not_written(store: Shared) {
    let mut record = key("key_1", "acme", "s1");
    record.metadata.insert("all".into(), "x".repeat(300_000));
    assert!(matches!(store.put_key(bare(&record)).await, Err(StoreError::Corrupt { .. })));
    assert_eq!(store.find_key("key_1").await.unwrap(), None);
}

async fn many_new_keys_have_each_the_outcome_of_one(store: Shared) {
    store.put_key(bare(&key("key_taken", "acme", "taken"))).await.unwrap();
    let before = store.position().await.unwrap();
    let mut records: Vec<KeyRecord> = (0..600).map(|n| key(&format!("key_{n:03}"), "acme", &format!("s{n}"))).collect();
    records.extend([
        key("key_taken", "acme", "another"),
        key("key_thief", "acme", "taken"),
        key("key_001", "globex", "yet another"),
        key("key_twin", "acme", "s2"),
        KeyRecord { metadata: [("all".into(), "x".repeat(300_000))].into(), ..key("key_huge", "acme", "huge") },
        KeyRecord { version: 2, ..key("key_later", "acme", "later") },
        key("key_last", "globex", "last"),
    ]);
    let outcomes = store.put_new_keys(&bare_all(&records.iter().collect::<Vec<_>>())).await.unwrap();
    assert!(outcomes[..600].iter().all(Result::is_ok));
    assert!(matches!(outcomes[600], Err(StoreError::Conflict { found: 1 })), "{:?}", outcomes[600]);
    assert!(matches!(&outcomes[601], Err(StoreError::DigestTaken { id }) if id == "key_taken"), "{:?}", outcomes[601]);
    assert!(matches!(outcomes[602], Err(StoreError::Conflict { found: 1 })), "{:?}", outcomes[602]);
    assert!(matches!(&outcomes[603], Err(StoreError::DigestTaken { id }) if id == "key_002"), "{:?}", outcomes[603]);
    assert!(matches!(outcomes[604], Err(StoreError::Corrupt { .. })), "{:?}", outcomes[604]);
    assert!(matches!(outcomes[605], Err(StoreError::Conflict { found: 0 })), "{:?}", outcomes[605]);
    assert!(outcomes[606].is_ok());
    assert!(store.position().await.unwrap() > before, "it was not announced");
    assert_eq!(store.find_key_by_digest(&digest_of("s599")).await.unwrap().as_ref(), Some(&records[599]));
    assert_eq!(store.find_key_by_digest(&digest_of("taken")).await.unwrap().unwrap().id, "key_taken");
    assert_eq!(store.find_key_by_digest(&digest_of("another")).await.unwrap(), None);
    assert_eq!(store.list_keys(None, None, 1000).await.unwrap().items.len(), 602);
    assert_eq!(store.list_keys(Some("globex"), None, 10).await.unwrap().items, [records[606].clone()]);
    assert!(store.put_new_keys(&bare_all(&[])).await.unwrap().is_empty());
}

async fn the_rival_of_a_new_key_has_its_id_or_its_secret(store: Shared) {
    let previous = PreviousSecret { digest: digest_of("old").to_hex(), until: Timestamp(1_900_000_000_000) };
    store.put_key(bare(&KeyRecord { previous: Some(previous), ..key("key_1", "acme", "s1") })).await.unwrap();
    store.put_key(bare(&key("key_2", "acme", "s2"))).await.unwrap();
    let asked = [
        key("key_1", "acme", "s2"),
        key("key_3", "globex", "s2"),
        key("key_3", "acme", "old"),
        key("key_3", "acme", "s3"),
        key("", "acme", "s1"),
    ];
    let rivals = store.find_rivals(&asked.iter().collect::<Vec<_>>()).await.unwrap();
    let rivals: Vec<_> = rivals.into_iter().map(|rival| rival.unwrap().map(|rival| rival.id)).collect();
    assert_eq!(rivals, ["key_1", "key_2", "key_1", "", "key_1"].map(|id| (!id.is_empty()).then(|| id.to_owned())));
}

async fn many_new_tenants_have_each_the_outcome_of_one(store: Shared) {
    store.put_tenant(bare(&tenant("acme"))).await.unwrap();
    let records: Vec<_> = (0..300).map(|n| tenant(&format!("t{n:03}"))).chain([tenant("acme"), tenant("t001"), tenant("zeta")]).collect();
    let outcomes = store.put_new_tenants(&bare_all(&records.iter().collect::<Vec<_>>())).await.unwrap();
    let wrong: Vec<_> = (0..).zip(&outcomes).filter(|(_, outcome)| outcome.is_err()).map(|(at, _)| at).collect();
    assert_eq!(wrong, [300, 301]);
    assert!(matches!(outcomes[300], Err(StoreError::Conflict { found: 1 })));
    assert_eq!(store.list_tenants(None, 1000).await.unwrap().items.len(), 302);
    assert!(store.find_tenant("zeta").await.unwrap().is_some());
}

fn draw(name: &str, budget: Budget, want: u64, back: i64, of: i64) -> Draw<'_> {
    Draw { name, budget, want, back, of }
}

/// So slow that nothing gathers while a test runs.
const SLOW: Budget = Budget::Rate { requests: 100, per_ms: 360_000_000, capacity: 100 };

async fn a_bucket_gives_what_it_holds_and_takes_back_what_was_not_used(store: Shared) {
    let ask = async |name, want, back| {
        let drawn = store.draw(&draw(name, SLOW, want, back, 0)).await.unwrap();
        assert_eq!((drawn.period, drawn.ends_in_ms, drawn.wait_ms > 0), (0, 0, drawn.left == 0));
        (drawn.granted, drawn.left)
    };
    assert_eq!(ask("0a", 0, 0).await, (0, 100));
    assert_eq!(ask("0a", 60, 0).await, (60, 40));
    assert_eq!(ask("0a", 60, 0).await, (40, 0));
    assert_eq!(ask("0a", 1, 0).await, (0, 0));
    assert_eq!(ask("0a", 0, 30).await, (0, 30));
    assert_eq!(ask("0a", 40, 10).await, (40, 0));
    assert_eq!(ask("0a", 0, 1000).await, (0, 100), "never more than it holds");
    assert_eq!(ask("0a", 0, -70).await, (0, 30), "what was used without being asked for");
    assert_eq!(ask("0b", 1, 0).await, (1, 99));
}

async fn a_bucket_fills_with_time(store: Shared) {
    let fast = Budget::Rate { requests: 1000, per_ms: 1000, capacity: 5 };
    assert_eq!(store.draw(&draw("0a", fast, 5, 0, 0)).await.unwrap().granted, 5);
    until("it fills", async || store.draw(&draw("0a", fast, 0, 0, 0)).await.unwrap().left == 5).await;
}

async fn a_quota_counts_within_its_period(store: Shared) {
    for (name, period) in [("0a", QuotaPeriod::Day), ("0b", QuotaPeriod::Month)] {
        let budget = Budget::Quota { requests: 10, period };
        let first = store.draw(&draw(name, budget, 7, 0, 0)).await.unwrap();
        assert_eq!((first.granted, first.left, first.wait_ms), (7, 3, 0));
        let now = Clock::System.now().0;
        assert!(first.period <= now + 1000 && first.period + 31 * 86_400_000 >= now && first.ends_in_ms <= 31 * 86_400_000);
        let again = store.draw(&draw(name, budget, 7, 0, 0)).await.unwrap();
        assert_eq!((again.granted, again.left, again.wait_ms), (3, 0, again.ends_in_ms));
        let back = store.draw(&draw(name, budget, 0, 4, first.period)).await.unwrap();
        assert_eq!(back.left, 4);
        let stale = store.draw(&draw(name, budget, 0, 4, first.period - 1)).await.unwrap();
        assert_eq!(stale.left, 4, "what was of another period");
        let owed = store.draw(&draw(name, budget, 5, -2, first.period)).await.unwrap();
        assert_eq!((owed.granted, owed.left), (2, 0));
    }
}

async fn all_who_take_at_once_get_no_more_than_there_is(store: Shared) {
    let takers: Vec<_> = (0..20)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.draw(&draw("0a", SLOW, 7, 0, 0)).await.unwrap().granted })
        })
        .collect();
    let mut granted = 0;
    for taker in takers {
        granted += taker.await.unwrap();
    }
    assert_eq!(granted, 100);
}

macro_rules! against_every_store {
    (shared $topology:ident, $config:expr, $($case:ident)+) => {
        mod $topology {
            $(#[tokio::test]
            async fn $case() {
                let config = super::sections::Store { key_prefix: concat!(stringify!($case), ":").into(), ..$config };
                super::$case(super::open(&config, &Default::default()).await.unwrap().store).await;
            })+
        }
    };
    ($($case:ident)+) => {
        mod embedded {
            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                let config = super::sections::Store { url: format!("embedded:{}/keys", dir.path().display()), ..Default::default() };
                super::$case(super::open(&config, &Default::default()).await.unwrap().store).await;
            })+
        }
        mod redis {
            $(#[tokio::test]
            async fn $case() {
                let server = super::RedisServer::start();
                super::$case(super::open(&server.config(), &Default::default()).await.unwrap().store).await;
            })+
        }
        against_every_store!(shared tls, super::Certificates::shared_server(), $($case)+);
        against_every_store!(shared sentinel, super::SentinelSet::shared().config(), $($case)+);
        against_every_store!(shared cluster, super::RedisCluster::shared().config(), $($case)+);
    };
}

against_every_store! {
    a_written_key_is_found_by_id_and_by_digest
    where_nothing_is_nothing_is_found
    only_digests_that_the_record_names_open_it
    a_secret_that_was_a_keys_is_never_nobodys_again
    a_taken_id_and_a_stale_version_conflict
    of_many_writers_of_one_version_one_wins
    the_secret_of_another_key_is_refused
    lists_are_in_order_of_creation_page_by_page
    an_update_keeps_its_place_in_the_list
    fields_of_a_newer_release_survive
    tenants_are_written_found_and_listed
    a_record_too_large_to_read_back_is_not_written
    many_new_keys_have_each_the_outcome_of_one
    the_rival_of_a_new_key_has_its_id_or_its_secret
    many_new_tenants_have_each_the_outcome_of_one
    a_bucket_gives_what_it_holds_and_takes_back_what_was_not_used
    a_bucket_fills_with_time
    a_quota_counts_within_its_period
    all_who_take_at_once_get_no_more_than_there_is
    every_change_is_an_event_and_each_is_found_by_what_it_is_about
    a_change_that_is_not_made_is_no_event
    what_is_new_in_bulk_has_its_events_too
    a_removed_record_leaves_its_events
    the_events_of_one_are_listed_page_by_page
    old_events_are_forgotten_and_those_of_no_record_are_kept_like_others
}
