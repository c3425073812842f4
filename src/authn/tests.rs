//! The authenticator over a store that the test holds still, counts and changes.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::*;
use crate::config::problem::Problems;
use crate::config::sections::Config;
use crate::key::digest::StoredDigest;
use crate::key::record::{KeyRecord, KeyStatus, PreviousSecret};
use crate::store::change::Position;
use crate::store::contract::{digest_of, key, tenant};
use crate::store::instance::{Instance, Seen};
use crate::store::{Page, StoreError};
use crate::tenant::{TenantRecord, TenantStatus};

const START: Timestamp = Timestamp(1_700_000_000_000);

/// A store in memory. A look-up takes its picture of the record, then waits for the gate.
#[derive(Default)]
struct Fake {
    keys: Mutex<HashMap<String, KeyRecord>>,
    tenants: Mutex<HashMap<String, TenantRecord>>,
    failure: Mutex<Option<StoreError>>,
    gate: Option<Semaphore>,
    /// Look-ups that have their picture and wait.
    waiting: AtomicUsize,
    arrived: tokio::sync::Notify,
}

impl Fake {
    fn put(&self, record: KeyRecord) {
        self.keys.lock().unwrap().insert(record.id.clone(), record);
    }

    fn put_tenant(&self, record: TenantRecord) {
        self.tenants.lock().unwrap().insert(record.id.clone(), record);
    }

    fn change(&self, id: &str, modify: impl FnOnce(&mut KeyRecord)) {
        let mut keys = self.keys.lock().unwrap();
        let record = keys.get_mut(id).unwrap();
        modify(record);
        record.version += 1;
    }

    fn fail(&self, error: Option<StoreError>) {
        *self.failure.lock().unwrap() = error;
    }

    async fn pass(&self) -> Result<(), StoreError> {
        if let Some(gate) = &self.gate {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.arrived.notify_one();
            gate.acquire().await.unwrap().forget();
        }
        self.failure.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Store for Fake {
    async fn find_key_by_digest(&self, digest: &StoredDigest) -> Result<Option<KeyRecord>, StoreError> {
        let named = |record: &&KeyRecord| {
            let previous = record.previous.as_ref().map(|previous| previous.digest.as_str());
            record.digest == digest.to_hex() || previous == Some(digest.to_hex().as_str())
        };
        let picture = self.keys.lock().unwrap().values().find(named).cloned();
        self.pass().await.map(|()| picture)
    }
    async fn find_key(&self, id: &str) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.keys.lock().unwrap().get(id).cloned())
    }
    async fn put_key(&self, _: &KeyRecord) -> Result<Position, StoreError> {
        unimplemented!()
    }
    async fn list_keys(&self, _: Option<&str>, _: Option<&str>, _: usize) -> Result<Page<KeyRecord>, StoreError> {
        unimplemented!()
    }
    async fn find_tenant(&self, id: &str) -> Result<Option<TenantRecord>, StoreError> {
        let failure = self.failure.lock().unwrap().clone();
        failure.map_or_else(|| Ok(self.tenants.lock().unwrap().get(id).cloned()), Err)
    }
    async fn put_tenant(&self, _: &TenantRecord) -> Result<Position, StoreError> {
        unimplemented!()
    }
    async fn list_tenants(&self, _: Option<&str>, _: usize) -> Result<Page<TenantRecord>, StoreError> {
        unimplemented!()
    }
    async fn announce(&self, _: &[Changed]) -> Result<Position, StoreError> {
        unimplemented!()
    }
    async fn position(&self) -> Result<Position, StoreError> {
        unimplemented!()
    }
    async fn beat(&self, _: &Instance, _: bool) -> Result<u64, StoreError> {
        unimplemented!()
    }
    async fn leave(&self, _: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
    async fn instances(&self) -> Result<Vec<Seen>, StoreError> {
        unimplemented!()
    }
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Bench {
    store: Arc<Fake>,
    clock: Clock,
    authn: Arc<Authenticator>,
}

impl Bench {
    /// Key `key_1` of tenant `acme`, secret `s1`.
    fn new() -> Self {
        Self::with(Fake::default(), Peppers::default())
    }

    /// The same, each look-up held until the test lets it go.
    fn held() -> Self {
        Self::with(Fake { gate: Some(Semaphore::new(0)), ..Fake::default() }, Peppers::default())
    }

    fn with(fake: Fake, peppers: Peppers) -> Self {
        let store = Arc::new(fake);
        store.put(key("key_1", "acme", "s1"));
        store.put_tenant(tenant("acme"));
        let clock = Clock::manual(START);
        let headers = Arc::new(IdentityHeaders::compile(&Config::default(), &mut Problems::default()).unwrap());
        let config = sections::Cache::default();
        let shared: Arc<dyn Store> = Arc::clone(&store) as _;
        let authn = Arc::new(Authenticator::new(shared, &config, peppers, headers, clock.clone(), Handle::current()));
        Self { store, clock, authn }
    }

    /// As the gate asks: the cache, then the store.
    async fn ask(&self, secret: &str) -> Authenticated {
        let (digest, now) = (Digest::of(secret.as_bytes()), self.clock.now());
        match self.authn.cached(&digest, now) {
            Some(answer) => answer,
            None => self.authn.load(&digest, now).await,
        }
    }

    fn spawn(&self, secret: &'static str) -> tokio::task::JoinHandle<Authenticated> {
        let (authn, now) = (Arc::clone(&self.authn), self.clock.now());
        tokio::spawn(async move { authn.load(&Digest::of(secret.as_bytes()), now).await })
    }

    async fn until_waiting(&self, count: usize) {
        while self.store.waiting.load(Ordering::SeqCst) < count {
            self.store.arrived.notified().await;
        }
    }

    fn release(&self, count: usize) {
        self.store.gate.as_ref().unwrap().add_permits(count);
    }

    fn lookups(&self) -> u64 {
        self.authn.counters().key_lookups.load(Ordering::Relaxed)
    }
}

fn reason(answer: Authenticated) -> &'static str {
    answer.map_or_else(|refusal| refusal.rejection.row().reason, |_| "admitted")
}

#[tokio::test]
async fn a_thousand_requests_of_a_cold_key_make_one_look_up() {
    let bench = Bench::held();
    let requests: Vec<_> = (0..1000).map(|_| bench.spawn("s1")).collect();
    bench.until_waiting(1).await;
    // All thousand have joined before the one look-up may end.
    while bench.authn.counters().joined.load(Ordering::Relaxed) < 999 {
        tokio::task::yield_now().await;
    }
    bench.release(1);
    for request in requests {
        assert_eq!(&*request.await.unwrap().unwrap().key_id, "key_1");
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
async fn a_revocation_that_races_with_a_fill_is_never_undone() {
    let bench = Bench::held();
    let before = bench.spawn("s1");
    bench.until_waiting(1).await;
    // The look-up holds the old record. Now the key is revoked, and this process hears of it.
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    bench.authn.invalidate_key("key_1");
    let after = bench.spawn("s1");
    while bench.authn.counters().joined.load(Ordering::Relaxed) < 1 {
        tokio::task::yield_now().await;
    }
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
    bench.authn.invalidate_key("key_2");
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
    assert_eq!(bench.authn.counters().negative_hits.load(Ordering::Relaxed), 1);
    bench.store.put(key("key_2", "acme", "s2"));
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
    bench.authn.invalidate_key("key_2");
    assert_eq!(reason(bench.ask("s2").await), "admitted");
}

#[tokio::test]
async fn unknown_keys_are_asked_for_again_after_the_negative_ttl() {
    let bench = Bench::new();
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
    bench.clock.advance(1_999);
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
    assert_eq!(bench.lookups(), 1);
    bench.clock.advance(1);
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
    assert_eq!(bench.lookups(), 2);
}

#[tokio::test]
async fn an_entry_lives_for_its_ttl_and_is_then_read_again() {
    let bench = Bench::new();
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.store.change("key_1", |record| record.status = KeyStatus::Inactive);
    bench.clock.advance(29_999);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.clock.advance(1);
    assert_eq!(reason(bench.ask("s1").await), "key_inactive");
}

#[tokio::test]
async fn expiry_holds_inside_the_cache_to_the_second() {
    let bench = Bench::new();
    bench.store.change("key_1", |record| record.expires_at = Some(START.plus_millis(10_000)));
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.clock.advance(9_999);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.clock.advance(1);
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
    bench.clock.advance(9_999);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.clock.advance(1);
    assert_eq!(reason(bench.ask("s1").await), "key_unknown");
    assert_eq!(reason(bench.ask("new").await), "admitted");
    assert_eq!(bench.lookups(), 2);
}

#[tokio::test]
async fn a_rotation_without_overlap_ends_the_old_secret_when_it_is_heard_of() {
    let bench = Bench::new();
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.store.change("key_1", |record| record.digest = digest_of("new").to_hex());
    bench.authn.invalidate_key("key_1");
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
    bench.authn.invalidate_tenant("acme");
    assert_eq!(reason(bench.ask("s1").await), "tenant_suspended");
    assert_eq!(reason(bench.ask("s2").await), "tenant_suspended");
    assert_eq!(reason(bench.ask("s3").await), "admitted");
}

#[tokio::test]
async fn a_tenant_is_read_once_for_all_its_keys_and_again_after_the_ttl() {
    let bench = Bench::new();
    bench.store.put(key("key_2", "acme", "s2"));
    bench.ask("s1").await.unwrap();
    bench.clock.advance(10_000);
    bench.ask("s2").await.unwrap();
    let tenant_lookups = || bench.authn.counters().tenant_lookups.load(Ordering::Relaxed);
    assert_eq!(tenant_lookups(), 1);
    // A change that nobody told of is found when the tenant's own time is over, and reaches keys read later, too.
    bench.store.put_tenant(TenantRecord { scopes: Some(vec![]), version: 2, ..tenant("acme") });
    bench.clock.advance(20_000);
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
        bench.authn.invalidate_everything();
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
async fn without_the_store_cached_keys_go_on_and_others_are_unavailable_never_unknown() {
    let bench = Bench::new();
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    bench.store.fail(Some(StoreError::Unavailable("gone".into())));
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    assert_eq!(reason(bench.ask("s2").await), "store_unavailable");
    bench.clock.advance(30_000);
    assert_eq!(reason(bench.ask("s1").await), "store_unavailable");
    bench.store.fail(None);
    assert_eq!(reason(bench.ask("s1").await), "admitted");
    assert_eq!(reason(bench.ask("s2").await), "key_unknown");
}

#[tokio::test]
async fn every_pepper_is_tried_and_the_previous_secret_is_told_apart() {
    let peppers = Peppers::from_lines(&secrecy::SecretSlice::from(b"new\nold\n".to_vec()));
    let old = Peppers::from_lines(&secrecy::SecretSlice::from(b"old\n".to_vec()));
    let bench = Bench::with(Fake::default(), peppers);
    let digest = Digest::of(b"s2");
    bench.store.put(KeyRecord { digest: old.store(&digest).to_hex(), ..key("key_2", "acme", "s2") });
    assert_eq!(reason(bench.ask("s2").await), "admitted");
    assert_eq!(bench.lookups(), 2);
    // Under a pepper a plain digest opens nothing.
    assert_eq!(reason(bench.ask("s1").await), "key_unknown");
}

#[tokio::test]
async fn a_clock_set_back_makes_nothing_live_longer() {
    let bench = Bench::new();
    bench.ask("s1").await.unwrap();
    bench.clock.advance(-300_000);
    bench.store.change("key_1", |record| record.status = KeyStatus::Revoked);
    assert_eq!(reason(bench.ask("s1").await), "key_revoked");
}

#[test]
fn nobody_waits_for_a_store_whose_runtime_has_stopped() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bench = runtime.block_on(async { Bench::new() });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(reason(other.block_on(bench.ask("s1"))), "store_unavailable");
}
