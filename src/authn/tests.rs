//! The authenticator over a store that the test holds still, counts and changes.

mod invalidation;
mod law;
mod lookups;
mod refresh;
mod sessions;
mod snapshot;
mod stale;
mod standing;
mod tokens;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::*;
use crate::audit::{self, Query};
use crate::config::problem::Problems;
use crate::key::digest::StoredDigest;
use crate::key::record::{KeyRecord, KeyStatus, PreviousSecret};
use crate::session::record::SessionRecord;
use crate::store::Audited;
use crate::store::change::Position;
use crate::store::contract::{digest_of, key, tenant};
use crate::store::draw::{Draw, Drawn};
use crate::store::instance::{Instance, Seen};
use crate::store::session::{SessionQuery, SessionWrite};
use crate::store::{Named, Page, StoreError};
use crate::tenant::{TenantRecord, TenantStatus};

const START: Timestamp = Timestamp(1_700_000_000_000);

/// A store in memory. A look-up takes its picture of the record, then waits for the gate.
#[derive(Default)]
struct Fake {
    keys: Mutex<HashMap<String, KeyRecord>>,
    tenants: Mutex<HashMap<String, TenantRecord>>,
    sessions: Mutex<HashMap<String, SessionRecord>>,
    failure: Mutex<Option<StoreError>>,
    /// Whether the failure is known without asking.
    is_away: AtomicBool,
    tenants_fail: AtomicBool,
    /// No digest leads to its key any more.
    lost_index: AtomicBool,
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

    /// Nothing is answered from now on.
    fn fall_silent(&self) {
        self.fail(Some(StoreError::Unavailable("gone".into())));
    }

    /// The same, and everybody knows.
    fn go_away(&self) {
        self.fall_silent();
        self.is_away.store(true, Ordering::SeqCst);
    }

    fn come_back(&self) {
        self.fail(None);
        self.is_away.store(false, Ordering::SeqCst);
    }

    /// As after FLUSHALL.
    fn lose_everything(&self) {
        self.keys.lock().unwrap().clear();
        self.tenants.lock().unwrap().clear();
    }

    fn answer<T>(&self, answer: T) -> Result<T, StoreError> {
        self.failure.lock().unwrap().clone().map_or(Ok(answer), Err)
    }

    async fn pass(&self) -> Result<(), StoreError> {
        if let Some(gate) = &self.gate {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.arrived.notify_one();
            gate.acquire().await.unwrap().forget();
        }
        self.answer(())
    }
}

#[async_trait]
impl Store for Fake {
    async fn find_named(&self, digest: &StoredDigest) -> Result<Named, StoreError> {
        let named = |record: &&KeyRecord| {
            let previous = record.previous.as_ref().map(|previous| previous.digest.as_str());
            record.digest == digest.to_hex() || previous == Some(digest.to_hex().as_str())
        };
        let picture = self.keys.lock().unwrap().values().find(named).filter(|_| !self.lost_index.load(Ordering::SeqCst)).cloned();
        self.pass().await.map(|()| picture.map_or(Named::Nobody, |record| Named::Key(Box::new(record))))
    }
    async fn find_key(&self, id: &str) -> Result<Option<KeyRecord>, StoreError> {
        self.answer(self.keys.lock().unwrap().get(id).cloned())
    }
    async fn put_key(&self, _: Audited<'_, KeyRecord>) -> Result<Position, StoreError> {
        unimplemented!()
    }
    async fn list_keys(&self, _: Option<&str>, _: Option<&str>, _: usize) -> Result<Page<KeyRecord>, StoreError> {
        unimplemented!()
    }
    async fn find_tenant(&self, id: &str) -> Result<Option<TenantRecord>, StoreError> {
        if self.tenants_fail.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("gone".into()));
        }
        self.answer(self.tenants.lock().unwrap().get(id).cloned())
    }
    async fn put_tenant(&self, _: Audited<'_, TenantRecord>) -> Result<Position, StoreError> {
        unimplemented!()
    }
    async fn list_tenants(&self, _: Option<&str>, _: usize) -> Result<Page<TenantRecord>, StoreError> {
        unimplemented!()
    }
    async fn remove_key(&self, _: Audited<'_, KeyRecord>) -> Result<Position, StoreError> {
        unimplemented!()
    }
    async fn remove_tenant(&self, _: Audited<'_, TenantRecord>) -> Result<Position, StoreError> {
        unimplemented!()
    }
    async fn append_event(&self, _: &audit::Event) -> Result<(), StoreError> {
        unimplemented!()
    }
    async fn list_events(&self, _: &Query<'_>) -> Result<Page<audit::Event>, StoreError> {
        unimplemented!()
    }
    async fn forget_events(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
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
    async fn draw(&self, _: &Draw<'_>) -> Result<Drawn, StoreError> {
        unimplemented!()
    }
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
    fn is_reachable(&self) -> bool {
        !self.is_away.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Sessions for Fake {
    async fn find_session(&self, id: &str) -> Result<Option<SessionRecord>, StoreError> {
        self.answer(self.sessions.lock().unwrap().get(id).cloned())
    }
    async fn put_session(&self, write: SessionWrite<'_>) -> Result<(), StoreError> {
        self.sessions.lock().unwrap().insert(write.record.id.clone(), write.record.clone());
        self.answer(())
    }
    async fn list_sessions(&self, _: &SessionQuery<'_>) -> Result<Page<SessionRecord>, StoreError> {
        unimplemented!()
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
        Self::with(Fake::default(), |_| {})
    }

    /// The same, each look-up held until the test lets it go.
    fn held() -> Self {
        Self::with(Fake { gate: Some(Semaphore::new(0)), ..Fake::default() }, |_| {})
    }

    fn with(fake: Fake, configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        // Longer than a busy machine may take.
        config.store.command_timeout.0 = Duration::from_mins(1);
        configure(&mut config);
        let bench = Self::configured(fake, &config, Peppers::default());
        bench.authn.heard(START);
        bench
    }

    fn configured(fake: Fake, config: &Config, peppers: Peppers) -> Self {
        let store = Arc::new(fake);
        store.put(key("key_1", "acme", "s1"));
        store.put_tenant(tenant("acme"));
        let clock = Clock::manual(START);
        let headers = Arc::new(IdentityHeaders::compile(config, &mut Problems::default()).unwrap());
        let shared: Arc<dyn Store> = Arc::clone(&store) as _;
        let authn =
            Arc::new(Authenticator::new(shared, Arc::clone(&store) as _, config, peppers, headers, clock.clone(), Handle::current()));
        Self { store, clock, authn }
    }

    /// Time goes by, and the change log is read on.
    fn advance(&self, ms: i64) {
        self.clock.advance(ms);
        self.authn.heard(self.clock.now());
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

    /// Until this many requests have joined a look-up.
    async fn until_joined(&self, count: u64) {
        while self.counted(|counters| &counters.joined) < count {
            tokio::task::yield_now().await;
        }
    }

    /// Until no look-up of this secret is under way.
    async fn until_landed(&self, secret: &str) {
        while self.authn.is_loading(&Digest::of(secret.as_bytes())) {
            tokio::task::yield_now().await;
        }
    }

    async fn until_waiting(&self, count: usize) {
        while self.store.waiting.load(Ordering::SeqCst) < count {
            self.store.arrived.notified().await;
        }
    }

    fn release(&self, count: usize) {
        self.store.gate.as_ref().unwrap().add_permits(count);
    }

    fn cached(&self, secret: &str) -> Option<Authenticated> {
        self.authn.cached(&Digest::of(secret.as_bytes()), self.clock.now())
    }

    fn counted(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        counter(self.authn.counters()).load(Ordering::Relaxed)
    }

    fn lookups(&self) -> u64 {
        self.counted(|counters| &counters.key_lookups)
    }
}

fn reason(answer: Authenticated) -> &'static str {
    answer.map_or_else(|refusal| refusal.rejection.row().reason, |_| "admitted")
}
