//! A store that does not answer, or has lost what it had.

use super::*;

const STALE_FOR_MS: i64 = 600_000;

#[tokio::test]
async fn without_the_store_known_keys_are_served_for_stale_for_and_others_are_unavailable_never_unknown() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
    bench.store.fall_silent();
    bench.clock.advance(STALE_FOR_MS - 1);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    assert_eq!(reason(bench.ask("s2").await), "store_unavailable");
    assert_eq!(reason(bench.ask("s3").await), "store_unavailable");
    bench.clock.advance(1);
    assert_eq!(reason(bench.ask("s1").await), "store_unavailable");
    bench.store.come_back();
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
}

#[tokio::test]
async fn stale_for_counts_from_when_an_entry_was_certain() {
    let bench = Bench::new();
    bench.store.put(key("key_2", "acme", "s2"));
    bench.ask("s1").await.unwrap();
    bench.advance(10_000);
    // The log falls silent before the store does: what was not read since may have been changed since.
    bench.clock.advance(100_000);
    bench.ask("s2").await.unwrap();
    assert_eq!(bench.authn.contact_at(), Some(START.plus_millis(110_000)));
    bench.store.go_away();
    bench.clock.advance(STALE_FOR_MS - 100_001);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.clock.advance(1);
    assert_eq!(reason(bench.ask("s1").await), "store_unavailable");
    bench.clock.advance(99_999);
    assert_eq!(reason(bench.ask("s2").await), "admitted");
    bench.clock.advance(1);
    assert_eq!(reason(bench.ask("s2").await), "store_unavailable");
}

#[tokio::test]
async fn a_log_that_is_heard_behind_a_gap_makes_nothing_certain_that_was_read_before_it() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.advance(300_000);
    bench.authn.revalidate_everything();
    bench.authn.heard(bench.clock.now());
    bench.store.go_away();
    bench.clock.advance(STALE_FOR_MS - 300_001);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.clock.advance(1);
    assert_eq!(reason(bench.ask("s1").await), "store_unavailable");
}

#[tokio::test]
async fn once_the_loss_is_seen_nobody_asks_in_vain() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.store.go_away();
    bench.clock.advance(60_000);
    assert_eq!(reason(bench.cached("s1").unwrap()), "admitted");
    assert_eq!((bench.lookups(), bench.counted(|counters| &counters.stale)), (1, 1));
    bench.clock.advance(STALE_FOR_MS);
    assert!(bench.cached("s1").is_none());
}

#[tokio::test]
async fn a_store_whose_loss_is_not_seen_is_asked_once_a_second_for_a_key() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.store.fall_silent();
    bench.clock.advance(60_000);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.clock.advance(999);
    assert_eq!(reason(bench.cached("s1").unwrap()), "admitted");
    bench.clock.advance(1);
    assert!(bench.cached("s1").is_none());
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    assert_eq!((bench.lookups(), bench.counted(|counters| &counters.stale)), (3, 3));
}

#[tokio::test]
async fn nobody_is_excused_beyond_stale_for() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.store.fall_silent();
    bench.clock.advance(STALE_FOR_MS - 1);
    bench.ask("s1").await.unwrap();
    bench.clock.advance(1);
    assert!(bench.cached("s1").is_none());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_for_a_command_and_the_answer_is_not_lost() {
    let timeout = Duration::from_millis(250);
    let bench = Bench::with(Fake { gate: Some(Semaphore::new(1)), ..Fake::default() }, |config| config.store.command_timeout.0 = timeout);
    bench.ask("s1").await.unwrap();
    bench.clock.advance(30_000);
    let began = tokio::time::Instant::now();
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    assert_eq!(reason(bench.ask("s2").await), "store_unavailable");
    assert_eq!(began.elapsed(), 2 * timeout);
    bench.clock.advance(1_000);
    bench.store.change("key_1", |record| record.status = KeyStatus::Inactive);
    bench.release(9);
    // What the first look-up had begun to read came in meanwhile; it is too old now.
    assert_eq!(reason(bench.ask("s1").await), "key_inactive");
}

#[tokio::test]
async fn with_stale_for_0_an_entry_ends_with_the_contact() {
    let bench = Bench::with(Fake::default(), |config| config.cache.stale_for.0 = Duration::ZERO);
    bench.ask("s1").await.unwrap();
    bench.store.go_away();
    bench.clock.advance(1_000);
    assert_eq!(reason(bench.ask("s1").await), "store_unavailable");
}

#[tokio::test]
async fn what_was_announced_before_the_loss_is_not_served_from_before() {
    let bench = Bench::new();
    bench.store.put(key("key_2", "globex", "s2"));
    bench.store.put_tenant(tenant("globex"));
    bench.ask("s1").await.unwrap();
    bench.ask("s2").await.unwrap();
    bench.authn.invalidate_key("key_1", 2);
    bench.authn.invalidate_tenant("globex", 2);
    bench.store.go_away();
    assert_eq!(reason(bench.ask("s1").await), "store_unavailable");
    assert_eq!(reason(bench.ask("s2").await), "store_unavailable");
}

#[tokio::test]
async fn a_gap_in_the_log_does_not_end_what_may_be_stale() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.authn.revalidate_everything();
    bench.store.fall_silent();
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    assert_eq!(bench.counted(|counters| &counters.stale), 1);
}

#[tokio::test]
async fn deadlines_hold_without_the_store() {
    let bench = Bench::new();
    bench.store.change("key_1", |record| {
        record.expires_at = Some(START.plus_millis(120_000));
        record.previous = Some(PreviousSecret { digest: digest_of("old").to_hex(), until: START.plus_millis(60_000) });
    });
    bench.ask("s1").await.unwrap();
    bench.ask("old").await.unwrap();
    bench.store.go_away();
    bench.clock.advance(59_999);
    assert_eq!(reason(bench.ask("old").await), "admitted");
    bench.clock.advance(1);
    assert_eq!(reason(bench.ask("old").await), "key_unknown");
    bench.clock.advance(59_999);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.clock.advance(1);
    assert_eq!(reason(bench.ask("s1").await), "key_expired");
}

#[tokio::test]
async fn a_clock_set_back_does_not_make_an_outage_longer() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.store.go_away();
    bench.clock.advance(-3_600_000);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.clock.advance(STALE_FOR_MS);
    assert_eq!(reason(bench.ask("s1").await), "store_unavailable");
}

#[tokio::test]
async fn a_tenant_that_cannot_be_read_does_not_hide_what_is_new_of_its_key() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    bench.store.tenants_fail.store(true, Ordering::SeqCst);
    bench.clock.advance(30_000);
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
}

#[tokio::test]
async fn a_store_that_lost_everything_is_not_believed_for_stale_for() {
    let bench = Bench::new();
    bench.store.put(key("key_2", "acme", "s2"));
    bench.store.change("key_2", |record| record.status = KeyStatus::Revoked);
    bench.ask("s1").await.unwrap();
    assert_eq!(reason(bench.ask("s2").await), "key_revoked");
    bench.store.lose_everything();
    bench.advance(30_000);
    for _ in 0..2 {
        assert_eq!(reason(bench.ask("s1").await), "admitted");
        assert_eq!(reason(bench.ask("s2").await), "key_revoked");
    }
    // Each was asked for twice, the second time to be sure; and the tenant, too.
    assert_eq!((bench.lookups(), bench.counted(|counters| &counters.faults)), (6, 3));
    bench.advance(STALE_FOR_MS - 1);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    assert_eq!(reason(bench.ask("s2").await), "key_revoked");
    bench.advance(1);
    assert_eq!(reason(bench.ask("s1").await), "key_unknown");
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
}

#[tokio::test]
async fn a_store_that_fell_back_to_an_older_record_is_not_believed_for_stale_for() {
    let bench = Bench::new();
    let (active, unsuspended) = (key("key_1", "acme", "s1"), tenant("globex"));
    bench.store.put(key("key_2", "globex", "s2"));
    bench.store.put_tenant(TenantRecord { status: TenantStatus::Suspended, version: 2, ..unsuspended.clone() });
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
    assert_eq!(reason(bench.ask("s2").await), "tenant_suspended");
    bench.store.put(active);
    bench.store.put_tenant(unsuspended);
    bench.advance(30_000);
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
    assert_eq!(reason(bench.ask("s2").await), "tenant_suspended");
    bench.advance(STALE_FOR_MS);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    assert_eq!(reason(bench.ask("s2").await), "admitted");
}

#[tokio::test]
async fn a_record_older_than_was_announced_opens_nothing_for_stale_for() {
    let bench = Bench::new();
    bench.authn.invalidate_key("key_1", 2);
    let refusal = bench.ask("s1").await.unwrap_err();
    assert_eq!(refusal.rejection, Rejection::StoreUnavailable);
    assert!(refusal.detail.contains("older record"), "{refusal}");
    bench.advance(STALE_FOR_MS - 1);
    assert_eq!(reason(bench.ask("s1").await), "store_unavailable");
    bench.advance(1);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
}

#[tokio::test]
async fn a_doubt_ends_when_the_store_shows_what_was_announced() {
    let bench = Bench::new();
    bench.authn.invalidate_key("key_1", 2);
    bench.authn.invalidate_tenant("acme", 2);
    assert_eq!(reason(bench.ask("s1").await), "store_unavailable");
    bench.store.change("key_1", |_| {});
    assert_eq!(reason(bench.ask("s1").await), "store_unavailable");
    bench.store.put_tenant(TenantRecord { version: 2, ..tenant("acme") });
    assert_eq!(reason(bench.ask("s1").await), "admitted");
}

#[tokio::test]
async fn what_is_announced_again_is_held_for_another_stale_for() {
    let bench = Bench::new();
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
    bench.store.put(key("key_1", "acme", "s1"));
    bench.advance(30_000);
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
    bench.advance(STALE_FOR_MS);
    bench.authn.invalidate_key("key_1", 2);
    assert_eq!(reason(bench.ask("s1").await), "store_unavailable");
    bench.advance(STALE_FOR_MS - 1);
    assert_eq!(reason(bench.ask("s1").await), "store_unavailable");
}

#[tokio::test]
async fn a_lost_index_closes_no_key_that_is_known() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.store.lost_index.store(true, Ordering::SeqCst);
    bench.store.change("key_1", |record| record.scopes = vec!["read:b".into()]);
    bench.advance(30_000);
    assert_eq!(bench.ask("s1").await.unwrap().grants.to_string(), "read:b");
    assert_eq!(bench.counted(|counters| &counters.faults), 0);
}

#[tokio::test]
async fn a_rotation_that_nobody_told_of_is_no_fault() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.store.change("key_1", |record| record.digest = digest_of("new").to_hex());
    bench.advance(30_000);
    assert_eq!(reason(bench.ask("s1").await), "key_unknown");
    assert_eq!(bench.counted(|counters| &counters.faults), 0);
}
