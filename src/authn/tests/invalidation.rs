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
async fn an_announcement_of_what_was_read_already_costs_no_look_up() {
    let bench = Bench::new();
    bench.store.change("key_1", |record| record.scopes = vec!["read:b".into()]);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.authn.invalidate_key("key_1", 2);
    bench.authn.invalidate_tenant("acme", 1);
    assert!(bench.cached("s1").is_some());
    bench.authn.invalidate_key("key_1", 3);
    assert!(bench.cached("s1").is_none());
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
