//! Changes that are told of, found, missed and overtaken.

use super::*;

#[tokio::test]
async fn a_revocation_that_races_with_a_fill_is_never_undone() {
    let bench = Bench::held();
    let before = bench.spawn("s1");
    bench.until_waiting(1).await;
    // The look-up holds the old record. Now the key is revoked, and this process hears of it.
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    bench.authn.invalidate_key("key_1", 0);
    let after = bench.spawn("s1");
    bench.until_joined(1).await;
    bench.release(1);
    // Who came before the revocation may have the old answer; nobody else, and the cache has not.
    assert_eq!(reason(before.await.unwrap()), "admitted");
    bench.until_waiting(2).await;
    assert!(bench.authn.cached(&Digest::of(b"s1"), START).is_none());
    bench.release(1);
    assert_eq!(reason(after.await.unwrap()), "key_revoked");
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
    assert_eq!(bench.lookups(), 2);
}

#[tokio::test]
async fn a_creation_that_races_with_a_miss_is_seen_at_once() {
    let bench = Bench::held();
    let before = bench.spawn("s2");
    bench.until_waiting(1).await;
    bench.store.put(key("key_2", "acme", "s2"));
    bench.authn.invalidate_key("key_2", 0);
    bench.release(2);
    assert_eq!(reason(before.await.unwrap()), "key_unknown");
    assert_eq!(reason(bench.ask("s2").await), "admitted");
}

#[tokio::test]
async fn a_new_key_is_usable_at_once_although_it_was_negatively_cached() {
    let bench = Bench::new();
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
    assert_eq!(bench.lookups(), 1);
    assert_eq!(bench.counted(|counters| &counters.negative_hits), 1);
    bench.store.put(key("key_2", "acme", "s2"));
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
    bench.authn.invalidate_key("key_2", 0);
    assert_eq!(reason(bench.ask("s2").await), "admitted");
}

#[tokio::test]
async fn a_rotation_without_overlap_ends_the_old_secret_when_it_is_heard_of() {
    let bench = Bench::new();
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.store.change("key_1", |record| record.digest = digest_of("new").to_hex());
    bench.authn.invalidate_key("key_1", 0);
    assert_eq!(reason(bench.ask("s1").await), "key_unknown");
    assert_eq!(reason(bench.ask("new").await), "admitted");
}

#[tokio::test]
async fn a_tenants_suspension_reaches_all_its_keys() {
    let bench = Bench::new();
    bench.store.put(key("key_2", "acme", "s2"));
    bench.store.put(key("key_3", "globex", "s3"));
    bench.store.put_tenant(tenant("globex"));
    for secret in ["s1", "s2", "s3"] {
        assert_eq!(reason(bench.ask(secret).await), "admitted");
    }
    bench.store.put_tenant(TenantRecord { status: TenantStatus::Suspended, version: 2, ..tenant("acme") });
    bench.authn.invalidate_tenant("acme", 0);
    assert_eq!(reason(bench.ask("s1").await), "tenant_suspended");
    assert_eq!(reason(bench.ask("s2").await), "tenant_suspended");
    assert_eq!(reason(bench.ask("s3").await), "admitted");
}

#[tokio::test]
async fn a_clock_set_back_makes_nothing_live_longer() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.advance(-300_000);
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
}

#[tokio::test]
async fn a_look_up_that_finds_less_than_was_announced_is_done_again_before_anybody_is_answered() {
    let bench = Bench::held();
    let before = bench.spawn("s1");
    bench.until_waiting(1).await;
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    bench.authn.invalidate_key("key_1", 2);
    bench.release(2);
    assert_eq!(reason(before.await.unwrap()), "key_revoked");
    assert_eq!(bench.lookups(), 2);
}

#[tokio::test]
async fn a_change_that_is_announced_ends_what_was_read_whatever_its_number() {
    let bench = Bench::new();
    bench.store.change("key_1", |record| record.version = 4);
    // The same number again, an older one, a newer one, none.
    for version in [5, 4, 6, 0] {
        bench.ask("s1").await.unwrap();
        assert!(bench.cached("s1").is_some());
        bench.authn.invalidate_key("key_1", version);
        assert!(bench.cached("s1").is_none());
        bench.store.change("key_1", |record| record.version = 6);
    }
    bench.ask("s1").await.unwrap();
    bench.authn.invalidate_tenant("acme", 1);
    assert!(bench.cached("s1").is_none());
}

#[tokio::test]
async fn a_revocation_that_has_the_number_of_a_change_that_was_lost_is_heard() {
    let bench = Bench::held();
    bench.release(1);
    bench.store.change("key_1", |record| record.version = 4);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.advance(30_000);
    let before = bench.spawn("s1");
    bench.until_waiting(2).await;
    // Version 5 is lost, and its number is given out again.
    bench.store.change("key_1", |record| (record.status, record.version) = (KeyStatus::Revoked, 4));
    bench.authn.invalidate_key("key_1", 5);
    bench.release(2);
    // What was read of the lost one meanwhile is not kept.
    assert_eq!(reason(before.await.unwrap()), "admitted");
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
}

#[tokio::test]
async fn what_is_done_to_a_store_that_fell_back_is_heard_although_more_was_known() {
    for status in [KeyStatus::Revoked, KeyStatus::Inactive] {
        let bench = Bench::new();
        bench.store.put(key("key_2", "globex", "s2"));
        bench.store.put_tenant(TenantRecord { version: 5, ..tenant("globex") });
        bench.store.change("key_1", |record| record.version = 4);
        bench.ask("s1").await.unwrap();
        bench.ask("s2").await.unwrap();
        bench.store.change("key_1", |record| (record.status, record.version) = (status, 3));
        bench.store.put_tenant(TenantRecord { status: TenantStatus::Suspended, version: 4, ..tenant("globex") });
        bench.authn.invalidate_key("key_1", 4);
        bench.authn.invalidate_tenant("globex", 4);
        assert_ne!(reason(bench.ask("s1").await), "admitted");
        assert!(["key_revoked", "key_inactive"].contains(&reason(bench.cached("s1").unwrap())));
        assert_eq!(reason(bench.ask("s2").await), "tenant_suspended");
        assert_eq!(bench.counted(|counters| &counters.faults), 0);
    }
}

#[tokio::test]
async fn a_look_up_that_began_before_a_change_teaches_nothing_of_the_history_that_is_lost() {
    let bench = Bench::held();
    bench.store.change("key_1", |record| record.version = 4);
    let before = bench.spawn("s1");
    bench.until_waiting(1).await;
    bench.store.change("key_1", |record| (record.status, record.version) = (KeyStatus::Inactive, 3));
    bench.authn.invalidate_key("key_1", 4);
    bench.release(9);
    assert_eq!(reason(before.await.unwrap()), "admitted");
    assert_eq!(reason(bench.ask("s1").await), "key_inactive");
    assert_eq!(bench.counted(|counters| &counters.faults), 0);
}

#[tokio::test]
async fn a_revocation_is_believed_whatever_its_version() {
    let bench = Bench::new();
    bench.store.change("key_1", |record| record.version = 4);
    bench.ask("s1").await.unwrap();
    // Nobody has told of it.
    bench.store.change("key_1", |record| (record.status, record.version) = (KeyStatus::Revoked, 1));
    bench.advance(30_000);
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
    // Nothing else that old is.
    bench.store.put(key("key_1", "acme", "s1"));
    bench.advance(30_000);
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
}

#[tokio::test]
async fn a_reader_that_catches_up_costs_look_ups_and_makes_nothing_older_believed() {
    let bench = Bench::new();
    let older = key("key_1", "acme", "s1");
    bench.store.change("key_1", |record| (record.status, record.version) = (KeyStatus::Inactive, 4));
    assert_eq!(reason(bench.ask("s1").await), "key_inactive");
    for version in [3, 4, 5] {
        bench.authn.invalidate_key("key_1", version);
        assert_eq!(reason(bench.ask("s1").await), "key_inactive");
    }
    assert_eq!((bench.lookups(), bench.counted(|counters| &counters.faults)), (4, 0));
    bench.store.put(older);
    bench.advance(30_000);
    assert_eq!(reason(bench.ask("s1").await), "key_inactive");
}

#[tokio::test]
async fn what_one_secret_shows_of_a_key_holds_for_the_other() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.store.change("key_1", |record| record.digest = digest_of("new").to_hex());
    // Nobody has told of the rotation yet, but the new secret is used, and then it is told of.
    bench.ask("new").await.unwrap();
    bench.authn.invalidate_key("key_1", 2);
    assert_eq!(reason(bench.ask("s1").await), "key_unknown");
    assert_eq!(reason(bench.ask("new").await), "admitted");
}

#[tokio::test]
async fn a_change_of_another_key_does_not_make_anybody_wait_for_a_second_look_up() {
    let bench = Bench::held();
    let before = bench.spawn("s1");
    bench.until_waiting(1).await;
    bench.authn.invalidate_key("key_2", 7);
    let after = bench.spawn("s1");
    bench.until_joined(1).await;
    bench.release(1);
    assert_eq!(reason(before.await.unwrap()), "admitted");
    assert_eq!(reason(after.await.unwrap()), "admitted");
    assert_eq!(bench.lookups(), 1);
}

#[tokio::test]
async fn who_comes_after_a_gap_in_the_log_gets_nothing_that_was_read_before() {
    let bench = Bench::held();
    let before = bench.spawn("s1");
    bench.until_waiting(1).await;
    bench.authn.revalidate_everything();
    let after = bench.spawn("s1");
    bench.until_joined(1).await;
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    bench.release(1);
    assert_eq!(reason(before.await.unwrap()), "admitted");
    bench.until_waiting(2).await;
    bench.release(1);
    assert_eq!(reason(after.await.unwrap()), "key_revoked");
}

#[tokio::test]
async fn an_answer_that_waited_while_the_process_was_stopped_serves_nobody_who_came_later() {
    let bench = Bench::held();
    let before = bench.spawn("s1");
    bench.until_waiting(1).await;
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    bench.clock.advance(3_600_000);
    let after = bench.spawn("s1");
    bench.until_joined(1).await;
    bench.release(1);
    assert_eq!(reason(before.await.unwrap()), "admitted");
    bench.until_waiting(2).await;
    assert!(bench.cached("s1").is_none());
    bench.release(1);
    assert_eq!(reason(after.await.unwrap()), "key_revoked");
}

#[tokio::test]
async fn changes_that_are_not_remembered_any_more_are_not_missed() {
    let bench = Bench::with(Fake { gate: Some(Semaphore::new(0)), ..Fake::default() }, |config| config.cache.stale_for.0 = Duration::ZERO);
    let before = bench.spawn("s1");
    bench.until_waiting(1).await;
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    // Nothing is remembered for no time at all: the look-up does not know which keys these were.
    bench.authn.invalidate_key("key_1", 2);
    bench.release(2);
    assert_eq!(reason(before.await.unwrap()), "admitted");
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
}

#[tokio::test]
async fn while_the_log_is_silent_an_entry_is_read_again_once_a_second_and_nothing_is_flushed() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.clock.advance(999);
    assert!(bench.cached("s1").is_some());
    bench.clock.advance(1);
    assert!(bench.cached("s1").is_none());
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
    assert_eq!(bench.lookups(), 2);
    bench.clock.advance(999);
    assert!(bench.cached("s1").is_some());
    bench.clock.advance(10_000);
    assert!(bench.cached("s1").is_none());
    bench.authn.heard(bench.clock.now());
    assert!(bench.cached("s1").is_some());
}

#[tokio::test]
async fn while_the_log_is_silent_a_tenant_is_read_once_a_second_for_all_its_keys() {
    let bench = Bench::new();
    bench.store.put(key("key_2", "acme", "s2"));
    bench.ask("s1").await.unwrap();
    bench.ask("s2").await.unwrap();
    bench.clock.advance(1_000);
    bench.store.put_tenant(TenantRecord { status: TenantStatus::Suspended, version: 2, ..tenant("acme") });
    assert_eq!(reason(bench.ask("s1").await), "tenant_suspended");
    assert_eq!(reason(bench.ask("s2").await), "tenant_suspended");
    assert_eq!(bench.counted(|counters| &counters.tenant_lookups), 2);
}

#[tokio::test]
async fn a_log_that_was_heard_in_the_future_counts_as_silent() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.clock.advance(500);
    bench.authn.heard(START.plus_millis(60_000));
    bench.clock.advance(500);
    assert!(bench.cached("s1").is_none());
}

#[tokio::test]
async fn a_gap_in_the_log_makes_everything_be_read_again_once() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.authn.revalidate_everything();
    assert!(bench.cached("s1").is_none());
    bench.ask("s1").await.unwrap();
    assert!(bench.cached("s1").is_some());
    assert_eq!((bench.lookups(), bench.counted(|counters| &counters.tenant_lookups)), (2, 2));
}
