//! Hot keys are read again ahead of their end, and none of their requests waits.

use super::*;

#[tokio::test]
async fn in_the_last_fifth_of_its_time_a_key_that_is_used_is_read_again_and_nobody_waits() {
    let bench = Bench::held();
    bench.release(1);
    bench.ask("s1").await.unwrap();
    bench.advance(23_999);
    assert!(bench.cached("s1").is_some());
    assert_eq!(bench.counted(|counters| &counters.refreshes), 0);
    bench.advance(1);
    for _ in 0..100 {
        assert_eq!(reason(bench.cached("s1").unwrap()), "admitted");
    }
    bench.until_waiting(2).await;
    bench.advance(5_999);
    // The store still holds the look-up, and the entry has a millisecond left.
    assert_eq!(reason(bench.cached("s1").unwrap()), "admitted");
    assert_eq!((bench.lookups(), bench.counted(|counters| &counters.refreshes)), (2, 1));
    bench.release(1);
    bench.until_landed("s1").await;
    bench.advance(10_000);
    assert_eq!(reason(bench.cached("s1").unwrap()), "admitted");
    assert_eq!((bench.lookups(), bench.counted(|counters| &counters.tenant_lookups)), (2, 2));
}

#[tokio::test]
async fn a_tenant_in_its_last_fifth_is_read_again_with_whatever_key_is_used() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.store.put(key("key_2", "acme", "s2"));
    bench.advance(20_000);
    bench.ask("s2").await.unwrap();
    bench.store.put_tenant(TenantRecord { status: TenantStatus::Suspended, version: 2, ..tenant("acme") });
    bench.advance(4_000);
    assert_eq!(reason(bench.cached("s2").unwrap()), "admitted");
    bench.until_landed("s2").await;
    assert_eq!(reason(bench.cached("s2").unwrap()), "tenant_suspended");
    assert_eq!((bench.lookups(), bench.counted(|counters| &counters.tenant_lookups)), (3, 2));
}

#[tokio::test]
async fn a_key_that_nobody_uses_is_not_read_again() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.advance(60_000);
    assert_eq!(bench.lookups(), 1);
    bench.ask("s1").await.unwrap();
    assert_eq!((bench.lookups(), bench.counted(|counters| &counters.refreshes)), (2, 0));
}

#[tokio::test]
async fn a_refresh_that_fails_takes_nothing_away() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.store.fall_silent();
    bench.advance(24_000);
    assert_eq!(reason(bench.cached("s1").unwrap()), "admitted");
    bench.until_landed("s1").await;
    assert_eq!(reason(bench.cached("s1").unwrap()), "admitted");
    assert_eq!((bench.lookups(), bench.counted(|counters| &counters.unanswered)), (2, 1));
}

#[tokio::test]
async fn who_finds_nothing_usable_joins_the_look_up_that_was_begun_ahead() {
    let bench = Bench::held();
    bench.release(1);
    bench.ask("s1").await.unwrap();
    bench.advance(29_500);
    assert!(bench.cached("s1").is_some());
    bench.until_waiting(2).await;
    bench.advance(500);
    assert!(bench.cached("s1").is_none());
    let late = bench.spawn("s1");
    bench.until_joined(1).await;
    bench.release(1);
    assert_eq!(reason(late.await.unwrap()), "admitted");
    assert_eq!(bench.lookups(), 2);
}

#[tokio::test]
async fn an_entry_that_is_due_when_it_is_kept_holds_up_nobody_who_joins() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.store.put(key("key_2", "acme", "s2"));
    bench.store.tenants_fail.store(true, Ordering::SeqCst);
    bench.advance(25_000);
    // Its tenant is excused, and in the last fifth of its time already.
    bench.ask("s2").await.unwrap();
    // Who missed it just before it landed comes to the table of the look-ups now.
    assert_eq!(reason(bench.authn.load(&Digest::of(b"s2"), bench.clock.now()).await), "admitted");
    assert_eq!((bench.lookups(), bench.counted(|counters| &counters.refreshes)), (2, 0));
    assert_eq!(reason(bench.cached("s2").unwrap()), "admitted");
    assert_eq!(bench.counted(|counters| &counters.refreshes), 1);
}
