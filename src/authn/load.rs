//! What a look-up finds: a key's record and its tenant's, compiled. What it cannot find out, or what the store has lost, is answered
//! from what was known before, for as long as the rules of staleness allow.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::runtime::Handle;

use super::Counters;
use super::cache::{Caches, Entry, Verdict};
use super::flight::Flights;
use super::freshness::{Began, Freshness, Moment, Reading};
use super::slots::{Doubt, Slot, Slots, TenantSlot, TenantState};
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

/// A tenant as it is known, the generation that makes it so, and its state.
type Tenant = (Arc<TenantSlot>, u64, Arc<TenantState>);

/// What workers and look-ups share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) slots: Slots,
    pub(super) counters: Counters,
    pub(super) freshness: Freshness,
    pub(super) caches: Caches,
    pub(super) flights: Flights,
    peppers: Peppers,
    headers: Arc<IdentityHeaders>,
    pub(super) clock: Clock,
    pub(super) runtime: Handle,
}

/// What the store has of a key that was asked for by digest.
enum Found {
    /// A record that names the digest, and until when it opens it.
    Opens(Box<KeyRecord>, Timestamp),
    /// None that does, but the key with this id did, and has this version now (0 = no record).
    Closed(Arc<str>, u64),
}

/// Why a look-up yields no entry.
enum Trouble {
    /// It was overtaken by a change, and is to be done again.
    Overtaken,
    /// The store says no.
    Refused(Refusal),
    /// The store says nothing.
    Silent(String),
    /// The store has lost what it had, and is not believed until then.
    Lost(Timestamp),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => Self::Silent(why),
            StoreError::Corrupt { .. } | StoreError::Conflict { .. } | StoreError::DigestTaken { .. } => {
                Self::Refused(Rejection::IdentityInvalid.because(error.to_string()))
            }
        }
    }
}

impl From<Doubt> for Trouble {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Older => Self::Overtaken,
            Doubt::Lost(until) => Self::Lost(until),
        }
    }
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
        let freshness = Freshness::new(cache);
        let slots = Slots::new(freshness.stale_for_ms());
        let (counters, caches, flights) = (Counters::default(), Caches::new(cache), Flights::new());
        Self { store, slots, counters, freshness, caches, flights, peppers, headers, clock, runtime }
    }

    pub(super) fn begin(&self) -> Began {
        Began { epoch: self.slots.epoch(), at: self.clock.now() }
    }

    pub(super) fn cached(self: &Arc<Self>, digest: &Digest, now: Timestamp) -> Option<Answer> {
        let moment = self.freshness.moment(now, self.slots.floor());
        if let Some(entry) = self.caches.entry(digest)
            && entry.is_current()
        {
            if let (Some(age), Some(tenant_age)) = (moment.age(&entry.reading), moment.age(&entry.tenant.reading)) {
                if self.freshness.is_due(age.max(tenant_age)) {
                    self.refresh(digest, &entry);
                }
                return Some(Ok(entry));
            }
            let is_usable = |reading: &Reading| moment.age(reading).is_some() || moment.excuses(reading);
            // Once the loss is seen, nobody asks in vain.
            if is_usable(&entry.reading) && is_usable(&entry.tenant.reading)
                || !self.store.is_reachable() && now < self.stale_until(&entry, moment)
            {
                Counters::count(&self.counters.stale);
                return Some(Ok(entry));
            }
        }
        let refusal = self.caches.refusal(digest, moment, self.slots.epoch())?;
        Counters::count(&self.counters.negative_hits);
        Some(Err(refusal))
    }

    /// One look-up: the answer, and until which epoch it holds. `None` = it was overtaken and is to be done again.
    pub(super) async fn look_up(&self, digest: &Digest, began: Began) -> Option<(Answer, u64)> {
        let trouble = match self.read(digest, began).await {
            Ok(entry) => {
                let entry = Arc::new(entry);
                let holds_until = self.slots.holds_until(|| entry.is_current(), began.epoch);
                if entry.is_current() {
                    self.caches.keep(*digest, Arc::clone(&entry));
                }
                return Some((Ok(entry), holds_until));
            }
            Err(Trouble::Overtaken) => return None,
            Err(Trouble::Refused(refusal)) => {
                self.caches.deny(*digest, began.at, began.epoch, refusal.clone());
                return Some((Err(refusal), began.epoch));
            }
            Err(trouble) => trouble,
        };
        let known = self.caches.entry(digest);
        if let (Trouble::Lost(_), Some(entry)) = (&trouble, &known) {
            // The store answers: the tenant's part of the entry need not become stale with it.
            let _ = self.find_tenant(&entry.tenant.slot.id).await;
        }
        Some((self.fall_back(known, &trouble), began.epoch))
    }

    /// What a caller may be told whom a look-up did not answer in time.
    pub(super) fn overdue(&self, digest: &Digest, why: String) -> Answer {
        self.fall_back(self.caches.entry(digest), &Trouble::Silent(why))
    }

    /// What was known before, if that may still be used.
    fn fall_back(&self, known: Option<Arc<Entry>>, trouble: &Trouble) -> Answer {
        let now = self.clock.now();
        if let Some(entry) = known.filter(|entry| entry.is_current())
            && let moment = self.freshness.moment(now, self.slots.floor())
            && let Some(end) = self.excused_until(trouble, now, || self.stale_until(&entry, moment))
        {
            entry.reading.excuse(now, end);
            if matches!(trouble, Trouble::Silent(_)) {
                entry.tenant.reading.excuse(now, end);
            }
            Counters::count(&self.counters.stale);
            return Ok(entry);
        }
        Err(match trouble {
            Trouble::Silent(why) => Rejection::StoreUnavailable.because(why.clone()),
            Trouble::Refused(refusal) => refusal.clone(),
            Trouble::Overtaken | Trouble::Lost(_) => Rejection::StoreUnavailable.because("the store has an older record than was known"),
        })
    }

    /// Until when what was known before may be used in its stead; `None` = not at all. Counts the trouble.
    fn excused_until(&self, trouble: &Trouble, now: Timestamp, stale_until: impl FnOnce() -> Timestamp) -> Option<Timestamp> {
        let end = match trouble {
            Trouble::Silent(_) => {
                Counters::count(&self.counters.unanswered);
                stale_until()
            }
            Trouble::Lost(end) => {
                self.counters.count_fault();
                *end
            }
            Trouble::Overtaken | Trouble::Refused(_) => return None,
        };
        Some(end).filter(|end| now < *end)
    }

    /// Until when an entry may be used while the store does not answer.
    fn stale_until(&self, entry: &Entry, moment: Moment) -> Timestamp {
        let end = |reading| self.freshness.stale_until(moment, reading);
        end(&entry.reading).min(end(&entry.tenant.reading))
    }

    async fn read(&self, digest: &Digest, began: Began) -> Result<Entry, Trouble> {
        let found = self.find_key(digest).await.inspect_err(|error| self.blame(error))?;
        self.freshness.answered(began.at);
        let unknown = || Trouble::Refused(Rejection::KeyUnknown.into());
        match found.ok_or_else(unknown)? {
            Found::Opens(record, secret_until) => {
                let (key, generation) = self.slots.settle_key(&record.id, record.version, began)?;
                self.compile(&record, secret_until, key, generation, began).await
            }
            Found::Closed(id, version) => {
                self.slots.settle_key(&id, version, began)?;
                Err(unknown())
            }
        }
    }

    fn blame(&self, error: &StoreError) {
        if !matches!(error, StoreError::Unavailable(_)) {
            Counters::count(&self.counters.unusable);
        }
    }

    /// The entry of a record that is at hand, as its current secret would find it.
    pub(super) async fn entry_of(&self, record: &KeyRecord) -> Answer {
        let entry = self.compile(record, Timestamp(i64::MAX), Arc::new(Slot::new(record.id.as_str().into())), 0, self.begin()).await;
        entry.map(Arc::new).or_else(|trouble| self.fall_back(None, &trouble))
    }

    /// A record and its tenant's, compiled.
    async fn compile(
        &self,
        record: &KeyRecord,
        secret_until: Timestamp,
        key: Arc<Slot>,
        key_generation: u64,
        began: Began,
    ) -> Result<Entry, Trouble> {
        let (tenant, tenant_generation, state) = self.find_tenant(&record.tenant).await?;
        let verdict = self.verdict(record, &state);
        let (reading, refreshed, expires_at) = (Reading::new(began), AtomicBool::new(false), record.expires_at);
        Ok(Entry { key, key_generation, tenant, tenant_generation, reading, refreshed, secret_until, expires_at, verdict })
    }

    async fn find_key(&self, digest: &Digest) -> Result<Option<Found>, StoreError> {
        for candidate in self.peppers.candidates(digest) {
            Counters::count(&self.counters.key_lookups);
            if let Some(record) = self.store.find_key_by_digest(&candidate).await?
                && let Some(until) = secret_until(&record, candidate)
            {
                return Ok(Some(Found::Opens(Box::new(record), until)));
            }
        }
        // It was there a while ago: either the key has another secret now, or the store has lost the record or the way to it.
        let Some(known) = self.caches.entry(digest) else { return Ok(None) };
        let id = &known.key.id;
        let Some(record) = self.store.find_key(id).await? else { return Ok(Some(Found::Closed(Arc::clone(id), 0))) };
        let until = self.peppers.candidates(digest).find_map(|candidate| secret_until(&record, candidate));
        Ok(Some(match until {
            Some(until) => Found::Opens(Box::new(record), until),
            None => Found::Closed(Arc::clone(id), record.version),
        }))
    }

    /// The tenant as it is known, asking the store (once for all its keys) if that is too long ago.
    async fn find_tenant(&self, id: &str) -> Result<Tenant, Trouble> {
        let tenant = self.slots.tenant(id);
        let alone = tenant.loading.lock().await;
        let (generation, state) = loop {
            let (generation, began) = (tenant.slot.generation(), self.begin());
            let moment = self.freshness.moment(began.at, self.slots.floor());
            let known = tenant.state.load_full();
            if let Some(state) = &known
                && (moment.age(&tenant.reading).is_some_and(|age| !self.freshness.is_due(age)) || moment.excuses(&tenant.reading))
            {
                break (generation, Arc::clone(state));
            }
            let trouble = match self.read_tenant(&tenant, generation, began).await {
                Ok(found) => break found,
                Err(Trouble::Overtaken) => {
                    Counters::count(&self.counters.repeated);
                    continue;
                }
                Err(trouble) => trouble,
            };
            let now = self.clock.now();
            match (known, self.excused_until(&trouble, now, || self.freshness.stale_until(moment, &tenant.reading))) {
                (Some(state), Some(end)) if tenant.slot.generation() == generation => {
                    tenant.reading.excuse(now, end);
                    break (generation, state);
                }
                _ => return Err(trouble),
            }
        };
        drop(alone);
        Ok((tenant, generation, state))
    }

    async fn read_tenant(&self, tenant: &TenantSlot, generation: u64, began: Began) -> Result<(u64, Arc<TenantState>), Trouble> {
        Counters::count(&self.counters.tenant_lookups);
        let state = Arc::new(match self.store.find_tenant(&tenant.slot.id).await {
            Ok(Some(record)) => TenantState::Found(Box::new(record)),
            Ok(None) => TenantState::Absent,
            Err(StoreError::Unavailable(why)) => return Err(Trouble::Silent(why)),
            Err(error) => TenantState::Unusable(error.to_string()),
        });
        self.freshness.answered(began.at);
        Ok((self.slots.settle_tenant(tenant, generation, &state, began)?, state))
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

/// When the presented secret ends, if the record names it. The one that was replaced has an end of its own.
fn secret_until(record: &KeyRecord, presented: StoredDigest) -> Option<Timestamp> {
    let is = |hex: &str| StoredDigest::from_hex(hex).is_some_and(|named| named == presented);
    if is(&record.digest) {
        return Some(Timestamp(i64::MAX));
    }
    record.previous.as_ref().filter(|previous| is(&previous.digest)).map(|previous| previous.until)
}
