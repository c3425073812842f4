//! What a look-up finds, how often the store is asked, and how long that is remembered.

use super::*;

#[tokio::test]
async fn a_thousand_requests_of_a_cold_key_make_one_look_up() {
    let bench = Bench::held();
    let requests: Vec<_> = (0..1000).map(|_| bench.spawn("s1")).collect();
    bench.until_waiting(1).await;
    // All thousand have joined before the one look-up may end.
    bench.until_joined(999).await;
    bench.release(1);
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().key_id().map(|id| &**id), Some("key_1"));
    }
    assert_eq!(bench.lookups(), 1);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    assert_eq!(bench.lookups(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_end_the_look_up() {
    let bench = Bench::held();
    let leaver = bench.spawn("s1");
    bench.until_waiting(1).await;
    let stayer = bench.spawn("s1");
    leaver.abort();
    assert!(leaver.await.unwrap_err().is_cancelled());
    bench.release(1);
    assert_eq!(reason(stayer.await.unwrap()), "admitted");
    assert_eq!(bench.lookups(), 1);
}

#[tokio::test]
async fn unknown_keys_are_asked_for_again_after_the_negative_ttl() {
    let bench = Bench::new();
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
    bench.advance(1_999);
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
    assert_eq!(bench.lookups(), 1);
    bench.advance(1);
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
    assert_eq!(bench.lookups(), 2);
}

#[tokio::test]
async fn an_entry_lives_for_its_ttl_and_is_then_read_again() {
    let bench = Bench::new();
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.store.change("key_1", |record| record.status = KeyStatus::Inactive);
    bench.advance(29_999);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.advance(1);
    assert_eq!(reason(bench.ask("s1").await), "key_inactive");
}

#[tokio::test]
async fn expiry_holds_inside_the_cache_to_the_second() {
    let bench = Bench::new();
    bench.store.change("key_1", |record| record.expires_at = Some(START.plus_millis(10_000)));
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.advance(9_999);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.advance(1);
    assert_eq!(reason(bench.ask("s1").await), "key_expired");
    assert_eq!(bench.lookups(), 1);
}

#[tokio::test]
async fn a_replaced_secret_works_until_the_end_of_its_overlap_and_then_is_unknown() {
    let bench = Bench::new();
    bench.store.change("key_1", |record| {
        record.previous = Some(PreviousSecret { digest: digest_of("s1").to_hex(), until: START.plus_millis(10_000) });
        record.digest = digest_of("new").to_hex();
    });
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    assert_eq!(reason(bench.ask("new").await), "admitted");
    bench.advance(9_999);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.advance(1);
    assert_eq!(reason(bench.ask("s1").await), "key_unknown");
    assert_eq!(reason(bench.ask("new").await), "admitted");
    assert_eq!(bench.lookups(), 2);
}

#[tokio::test]
async fn what_was_refused_as_over_stays_so_when_the_clock_is_set_back_and_it_is_read_again() {
    let bench = Bench::new();
    let end = START.plus_millis(10_000);
    bench.store.put(KeyRecord { expires_at: Some(end), ..key("key_2", "acme", "s2") });
    bench.store.change("key_1", |record| {
        record.previous = Some(PreviousSecret { digest: digest_of("s1").to_hex(), until: end });
        record.digest = digest_of("new").to_hex();
    });
    bench.ask("s1").await.unwrap();
    bench.ask("s2").await.unwrap();
    bench.advance(10_000);
    let refused = async || (reason(bench.ask("s1").await), reason(bench.ask("s2").await));
    assert_eq!(refused().await, ("key_unknown", "key_expired"));
    bench.advance(-500);
    assert_eq!(refused().await, ("key_unknown", "key_expired"));
    bench.advance(-300_000);
    assert_eq!(refused().await, ("key_unknown", "key_expired"));
    assert_eq!(bench.lookups(), 4);
    // Another end is another matter.
    bench.store.change("key_2", |record| record.expires_at = Some(end.plus_millis(1)));
    bench.authn.invalidate_key("key_2", 2);
    assert_eq!(reason(bench.ask("s2").await), "admitted");
}

#[tokio::test]
async fn a_tenant_is_read_once_for_all_its_keys_and_again_after_the_ttl() {
    let bench = Bench::new();
    bench.store.put(key("key_2", "acme", "s2"));
    bench.ask("s1").await.unwrap();
    bench.advance(10_000);
    bench.ask("s2").await.unwrap();
    let tenant_lookups = || bench.counted(|counters| &counters.tenant_lookups);
    assert_eq!(tenant_lookups(), 1);
    // A change that nobody told of is found when the tenant's own time is over, and reaches keys read later, too.
    bench.store.put_tenant(TenantRecord { scopes: Some(vec![]), version: 2, ..tenant("acme") });
    bench.advance(20_000);
    assert!(bench.ask("s1").await.unwrap().grants.is_empty());
    assert!(bench.ask("s2").await.unwrap().grants.is_empty());
    assert_eq!(tenant_lookups(), 2);
}

#[tokio::test]
async fn the_holder_of_a_secret_learns_the_gravest_reason() {
    let bench = Bench::new();
    let past = Some(START.plus_millis(-1));
    let suspended = TenantRecord { status: TenantStatus::Suspended, version: 2, ..tenant("acme") };
    let ask = async |expected: &str| {
        bench.authn.revalidate_everything();
        assert_eq!(reason(bench.ask("s1").await), expected);
    };
    bench.store.change("key_1", |record| record.expires_at = past);
    ask("key_expired").await;
    bench.store.change("key_1", |record| record.status = KeyStatus::Inactive);
    ask("key_inactive").await;
    bench.store.put_tenant(suspended);
    ask("tenant_suspended").await;
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    ask("key_revoked").await;
}

#[tokio::test]
async fn a_key_without_a_tenant_record_is_unknown() {
    let bench = Bench::new();
    bench.store.put(key("key_2", "nobody", "s2"));
    let refusal = bench.ask("s2").await.unwrap_err();
    assert_eq!(refusal.rejection, Rejection::KeyUnknown);
    assert!(refusal.detail.contains("tenant"), "{refusal}");
}

#[tokio::test]
async fn a_record_that_cannot_be_used_refuses_its_key_only() {
    let bench = Bench::new();
    bench.store.put(KeyRecord { ip_allowlist: Some(vec!["nonsense".into()]), ..key("key_2", "acme", "s2") });
    assert_eq!(reason(bench.ask("s2").await), "identity_invalid");
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.store.fail(Some(StoreError::Corrupt { id: "key_3".into(), why: "garbage".into() }));
    assert_eq!(reason(bench.ask("s3").await), "identity_invalid");
    assert_eq!(reason(bench.ask("s1").await), "admitted");
}

#[tokio::test]
async fn every_pepper_is_tried_and_the_previous_secret_is_told_apart() {
    let peppers = Peppers::from_lines(&secrecy::SecretSlice::from(b"new\nold\n".to_vec()));
    let old = Peppers::from_lines(&secrecy::SecretSlice::from(b"old\n".to_vec()));
    let bench = Bench::configured(Fake::default(), &Config::default(), peppers);
    let digest = Digest::of(b"s2");
    bench.store.put(KeyRecord { digest: old.store(&digest).to_hex(), ..key("key_2", "acme", "s2") });
    assert_eq!(reason(bench.ask("s2").await), "admitted");
    assert_eq!(bench.lookups(), 2);
    // Under a pepper a plain digest opens nothing.
    assert_eq!(reason(bench.ask("s1").await), "key_unknown");
}

#[test]
fn nobody_waits_for_a_store_whose_runtime_has_stopped() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let bench = runtime.block_on(async { Bench::new() });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    assert_eq!(reason(other.block_on(bench.ask("s1"))), "store_unavailable");
}
