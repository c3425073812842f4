//! Look-ups: one in flight per digest, in a task of its own on the store's runtime, shared by all who wait.
//! An answer that began before an invalidation is neither kept nor given to who came after it; the look-up is done again.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Counters;
use super::cache::{Caches, DigestHash, Entry, Verdict};
use super::slots::{Slots, TenantSlot, TenantState};
use crate::clock::{Clock, Timestamp};
use crate::config::sections;
use crate::identity::Identity;
use crate::identity::template::IdentityHeaders;
use crate::key::digest::{Digest, Peppers, StoredDigest};
use crate::key::record::{KeyRecord, KeyStatus};
use crate::rejection::{Refusal, Rejection};
use crate::store::{Store, StoreError};
use crate::tenant::TenantStatus;

/// What a look-up yields; deadlines are judged by who receives it.
pub(super) type Answer = Result<Arc<Entry>, Refusal>;

/// What workers and look-ups share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) slots: Slots,
    pub(super) counters: Counters,
    caches: Caches,
    peppers: Peppers,
    headers: Arc<IdentityHeaders>,
    clock: Clock,
    pub(super) runtime: Handle,
    in_flight: Mutex<HashMap<Digest, Vec<Waiter>, DigestHash>>,
}

struct Waiter {
    /// The epoch when it came.
    epoch: u64,
    reply: oneshot::Sender<Answer>,
}

impl Shared {
    pub(super) fn new(
        store: Arc<dyn Store>,
        cache: &sections::Cache,
        peppers: Peppers,
        headers: Arc<IdentityHeaders>,
        clock: Clock,
        runtime: Handle,
    ) -> Self {
        Self {
            store,
            slots: Slots::default(),
            counters: Counters::default(),
            caches: Caches::new(cache),
            peppers,
            headers,
            clock,
            runtime,
            in_flight: Mutex::new(HashMap::with_hasher(DigestHash::new())),
        }
    }

    pub(super) fn cached(&self, digest: &Digest, now: Timestamp) -> Option<Answer> {
        if let Some(entry) = self.caches.entry(digest, now) {
            return Some(Ok(entry));
        }
        let refusal = self.caches.refusal(digest, now, self.slots.epoch())?;
        Counters::count(&self.counters.negative_hits);
        Some(Err(refusal))
    }

    /// Waits for the look-up of this digest, beginning it if nobody did.
    pub(super) fn join(self: &Arc<Self>, digest: &Digest, now: Timestamp, reply: oneshot::Sender<Answer>) {
        let waiter = Waiter { epoch: self.slots.epoch(), reply };
        let mut in_flight = self.flights();
        if let Some(waiters) = in_flight.get_mut(digest) {
            waiters.push(waiter);
            Counters::count(&self.counters.joined);
            return;
        }
        // A look-up that ended between the caller's miss and now has left its answer in the cache before it left the table.
        if let Some(answer) = self.cached(digest, now) {
            drop(waiter.reply.send(answer));
            return;
        }
        in_flight.insert(*digest, vec![waiter]);
        // Unlocked first: on a runtime that has stopped, the flight is dropped at once and locks the table itself.
        drop(in_flight);
        let flight = Flight { shared: Arc::clone(self), digest: *digest, landed: false };
        drop(self.runtime.spawn(flight.run()));
    }

    pub(super) fn is_loading(&self, digest: &Digest) -> bool {
        self.flights().contains_key(digest)
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Digest, Vec<Waiter>, DigestHash>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One look-up that began at `epoch`; kept if nothing was invalidated since.
    async fn look_up(&self, digest: &Digest, epoch: u64) -> Answer {
        let loaded_at = self.clock.now();
        let (record, stored) = match self.find_key(digest).await {
            Ok(Some(found)) => found,
            Ok(None) => return Err(self.deny(digest, loaded_at, epoch, Rejection::KeyUnknown.into())),
            Err(error @ (StoreError::Corrupt { .. } | StoreError::Conflict { .. } | StoreError::DigestTaken { .. })) => {
                Counters::count(&self.counters.unusable);
                return Err(self.deny(digest, loaded_at, epoch, Rejection::IdentityInvalid.because(error.to_string())));
            }
            Err(StoreError::Unavailable(why)) => return Err(self.unanswered(why)),
        };
        let (entry, current) = self.compile(&record, secret_until(&record, stored), loaded_at, epoch).await?;
        if current {
            self.caches.keep(*digest, Arc::clone(&entry));
        }
        Ok(entry)
    }

    /// The entry of a record that is at hand, as its current secret would find it.
    pub(super) async fn entry_of(&self, record: &KeyRecord) -> Answer {
        Ok(self.compile(record, None, self.clock.now(), self.slots.epoch()).await?.0)
    }

    /// A record and its tenant's, compiled; and whether nothing of them was invalidated since `epoch`.
    async fn compile(
        &self,
        record: &KeyRecord,
        secret_until: Option<Timestamp>,
        loaded_at: Timestamp,
        epoch: u64,
    ) -> Result<(Arc<Entry>, bool), Refusal> {
        let (tenant, tenant_generation, state) = self.find_tenant(&record.tenant).await?;
        let verdict = self.verdict(record, &state);
        let (key, key_generation, current) = self.slots.key_if_current(&record.id, epoch);
        let expires_at = record.expires_at;
        Ok((Arc::new(Entry { key, key_generation, tenant, tenant_generation, loaded_at, secret_until, expires_at, verdict }), current))
    }

    fn deny(&self, digest: &Digest, loaded_at: Timestamp, epoch: u64, refusal: Refusal) -> Refusal {
        self.caches.deny(*digest, loaded_at, epoch, refusal.clone());
        refusal
    }

    fn unanswered(&self, why: String) -> Refusal {
        Counters::count(&self.counters.unanswered);
        Rejection::StoreUnavailable.because(why)
    }

    /// The record that a secret of this digest opens, and what of the record names it.
    async fn find_key(&self, digest: &Digest) -> Result<Option<(KeyRecord, StoredDigest)>, StoreError> {
        for candidate in self.peppers.candidates(digest) {
            Counters::count(&self.counters.key_lookups);
            if let Some(record) = self.store.find_key_by_digest(&candidate).await? {
                return Ok(Some((record, candidate)));
            }
        }
        Ok(None)
    }

    /// The tenant as it is known, asking the store (once for all its keys) if that is too long ago.
    async fn find_tenant(&self, id: &str) -> Result<(Arc<TenantSlot>, u64, Arc<TenantState>), Refusal> {
        let tenant = self.slots.tenant(id);
        let alone = tenant.loading.lock().await;
        loop {
            let generation = tenant.slot.generation();
            let loaded_at = self.clock.now();
            let known = tenant.state.load_full();
            if let Some(state) = known
                && self.caches.is_fresh(Timestamp(tenant.loaded_at.load(Ordering::Acquire)), loaded_at)
            {
                drop(alone);
                return Ok((tenant, generation, state));
            }
            Counters::count(&self.counters.tenant_lookups);
            let state = Arc::new(match self.store.find_tenant(id).await {
                Ok(Some(record)) => TenantState::Found(Box::new(record)),
                Ok(None) => TenantState::Absent,
                Err(StoreError::Unavailable(why)) => return Err(self.unanswered(why)),
                Err(error) => TenantState::Unusable(error.to_string()),
            });
            if let Some(generation) = self.slots.keep_tenant(&tenant, generation, Arc::clone(&state), loaded_at) {
                drop(alone);
                return Ok((tenant, generation, state));
            }
            Counters::count(&self.counters.repeated);
        }
    }

    fn verdict(&self, record: &KeyRecord, tenant: &TenantState) -> Verdict {
        if record.status == KeyStatus::Revoked {
            return Verdict::Revoked;
        }
        let tenant = match tenant {
            TenantState::Found(tenant) if tenant.status == TenantStatus::Suspended => return Verdict::TenantSuspended,
            TenantState::Found(tenant) => tenant,
            TenantState::Absent => return Verdict::TenantAbsent,
            TenantState::Unusable(why) => return self.unusable(why),
        };
        if record.status == KeyStatus::Inactive {
            return Verdict::Inactive;
        }
        match Identity::compile(record, tenant, &self.headers) {
            Ok(identity) => Verdict::Admitted(Arc::new(identity)),
            Err(why) => self.unusable(&format!("{}: {why}", record.id)),
        }
    }

    fn unusable(&self, why: &str) -> Verdict {
        Counters::count(&self.counters.unusable);
        Verdict::Unusable(why.into())
    }
}

/// When the presented secret ends, if it is the one that was replaced. What the record does not name at all has ended already.
fn secret_until(record: &KeyRecord, presented: StoredDigest) -> Option<Timestamp> {
    let is = |hex: &str| StoredDigest::from_hex(hex).is_some_and(|named| named == presented);
    if is(&record.digest) {
        return None;
    }
    let previous = record.previous.as_ref().filter(|previous| is(&previous.digest));
    Some(previous.map_or(Timestamp(i64::MIN), |previous| previous.until))
}

/// A look-up under way. However it ends, even by the runtime's, nobody waits for it for ever.
struct Flight {
    shared: Arc<Shared>,
    digest: Digest,
    landed: bool,
}

impl Flight {
    async fn run(mut self) {
        loop {
            let epoch = self.shared.slots.epoch();
            let answer = self.shared.look_up(&self.digest, epoch).await;
            self.land(&answer, epoch);
            if self.landed {
                return;
            }
            Counters::count(&self.shared.counters.repeated);
        }
    }

    /// Answers those who came before any invalidation that this look-up may have missed; the others need another one.
    fn land(&mut self, answer: &Answer, epoch: u64) {
        let mut in_flight = self.shared.flights();
        let Some(waiters) = in_flight.get_mut(&self.digest) else { return };
        let (early, late): (Vec<_>, Vec<_>) = std::mem::take(waiters).into_iter().partition(|waiter| waiter.epoch <= epoch);
        if late.is_empty() {
            in_flight.remove(&self.digest);
            self.landed = true;
        } else {
            *waiters = late;
        }
        drop(in_flight);
        for waiter in early {
            drop(waiter.reply.send(answer.clone()));
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            self.shared.flights().remove(&self.digest);
        }
    }
}
