//! What is cached, and what a look-up finds where nothing is: a key's record and its tenant's, each asked for once however many wait.
//! What the store shows is taken note of before it is used, so that nothing older can come after it.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::Counters;
use super::cache::{Caches, Entry};
use super::compile::{CURRENT, secret_until};
use super::flight::Flights;
use super::freshness::{Began, Freshness, Reading};
use super::held::{Found, TenantState};
use super::opaque::Questions;
use super::slots::{Slot, Slots};
use super::snapshot::Place;
use super::token::{Token, Verifying};
use super::trouble::Trouble;
use crate::clock::{Clock, Timestamp};
use crate::config::sections;
use crate::identity::template::IdentityHeaders;
use crate::key::digest::{Digest, Peppers};
use crate::key::record::{KeyRecord, KeyStatus};
use crate::rejection::{Refusal, Rejection};
use crate::store::session::Sessions;
use crate::store::{Named, Store, StoreError};

/// What a look-up yields; deadlines are judged by who receives it.
pub(super) type Answer = Result<Arc<Entry>, Refusal>;

/// A tenant as it is known.
pub(super) type Tenant = Found<TenantState>;

/// What workers and look-ups share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) sessions: Arc<dyn Sessions>,
    pub(super) slots: Slots,
    pub(super) counters: Counters,
    pub(super) freshness: Freshness,
    pub(super) caches: Caches<Entry>,
    pub(super) tokens: Caches<Token>,
    /// Tokens that are being verified.
    pub(super) verifying: Verifying,
    /// Tokens that somebody is asked about.
    pub(super) questions: Questions,
    pub(super) flights: Flights,
    pub(super) peppers: Peppers,
    pub(super) headers: Arc<IdentityHeaders>,
    pub(super) clock: Clock,
    pub(super) runtime: Handle,
    /// Of the snapshot: if it is somewhere, entries keep their records.
    pub(super) place: Place,
    /// Told when a change ended what was cached.
    pub(super) concerned: Notify,
}

/// What the store has of a key that was asked for by digest.
enum FoundKey {
    /// A record that names the digest, and until when it opens it.
    Opens(Box<KeyRecord>, Timestamp),
    /// None that does, but the key with this id did, and has this version now (0 = no record).
    Closed(Arc<str>, u64),
    /// None any more.
    Former,
    /// None ever, as far as anybody remembers.
    Nobody,
}

impl Shared {
    pub(super) fn new(
        store: Arc<dyn Store>,
        sessions: Arc<dyn Sessions>,
        cache: &sections::Cache,
        peppers: Peppers,
        headers: Arc<IdentityHeaders>,
        clock: Clock,
        runtime: Handle,
    ) -> Self {
        let freshness = Freshness::new(cache);
        let slots = Slots::new(freshness.stale_for_ms());
        let (counters, caches, tokens) = (Counters::default(), Caches::new(cache), Caches::new(cache));
        let (verifying, questions, flights) = (Verifying::new(), Questions::new(), Flights::new());
        let (place, concerned) = (Place::new(&cache.snapshot_file), Notify::new());
        Self {
            store,
            sessions,
            slots,
            counters,
            freshness,
            caches,
            tokens,
            verifying,
            questions,
            flights,
            peppers,
            headers,
            clock,
            runtime,
            place,
            concerned,
        }
    }

    /// Something was changed, and what was read of it is not used again; whether anything was.
    pub(super) fn changed(&self, was_in_use: bool) {
        if self.place.withdraw(was_in_use) {
            self.concerned.notify_one();
        }
    }

    pub(super) fn begin(&self) -> Began {
        Began { epoch: self.slots.epoch(), at: self.clock.now() }
    }

    pub(super) fn cached(self: &Arc<Self>, digest: &Digest, now: Timestamp) -> Option<Answer> {
        let (answer, is_due) = self.known(digest, now)?;
        if let (Ok(entry), true) = (&answer, is_due) {
            self.refresh(digest, entry);
        }
        Some(answer)
    }

    /// What is cached, and whether it is to be looked up ahead. Begins nothing: who asks may hold the table of the look-ups.
    pub(super) fn known(&self, digest: &Digest, now: Timestamp) -> Option<(Answer, bool)> {
        let moment = self.freshness.moment(now, self.slots.floor());
        if let Some(entry) = self.caches.entry(digest)
            && entry.is_current()
        {
            if let (Some(age), Some(tenant_age)) = (moment.age(&entry.reading), moment.age(&entry.tenant.reading)) {
                return Some((Ok(entry), self.freshness.is_due(age.max(tenant_age))));
            }
            let is_usable = |reading: &Reading| moment.age(reading).is_some() || moment.excuses(reading);
            // Once the loss is seen, nobody asks in vain.
            if is_usable(&entry.reading) && is_usable(&entry.tenant.reading)
                || !self.store.is_reachable() && now < self.stale_until(&entry, moment)
            {
                Counters::count(&self.counters.stale);
                return Some((Ok(entry), false));
            }
        }
        let refusal = self.caches.refusal(digest, moment, self.slots.epoch())?;
        Counters::count(&self.counters.negative_hits);
        Some((Err(refusal), false))
    }

    /// One look-up: the answer, and until which epoch it holds. `None` = it was overtaken and is to be done again.
    pub(super) async fn look_up(&self, digest: &Digest, began: Began) -> Option<(Answer, u64)> {
        let trouble = match self.read(digest, began).await {
            Ok(entry) => {
                let entry = Arc::new(entry);
                if let Some(before) = self.caches.entry(digest) {
                    entry.take_over(&before);
                }
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
            let _ = self.find::<TenantState>(&entry.tenant.slot.id).await;
        }
        Some((self.fall_back(known, &trouble), began.epoch))
    }

    async fn read(&self, digest: &Digest, began: Began) -> Result<Entry, Trouble> {
        let found = self.find_key(digest).await.inspect_err(|error| self.blame(error))?;
        self.freshness.answered(began.at);
        let unknown = || Refusal::from(Rejection::KeyUnknown);
        match found {
            FoundKey::Nobody => Err(Trouble::Refused(unknown().of_nobody())),
            FoundKey::Former => Err(Trouble::Refused(unknown())),
            FoundKey::Opens(record, secret_until) => {
                let key = self.slots.settle_key(&record.id, record.version, record.status == KeyStatus::Revoked, began)?;
                self.compile(&record, secret_until, key, began).await
            }
            FoundKey::Closed(id, version) => {
                self.slots.settle_key(&id, version, false, began)?;
                Err(Trouble::Refused(unknown()))
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
        let detached = Arc::new(Slot::new(record.id.as_str().into()));
        let entry = self.compile(record, CURRENT, (detached, 0), self.begin()).await;
        entry.map(Arc::new).or_else(|trouble| self.fall_back(None, &trouble))
    }

    /// A record and its tenant's, compiled.
    async fn compile(&self, record: &KeyRecord, secret_until: Timestamp, key: (Arc<Slot>, u64), began: Began) -> Result<Entry, Trouble> {
        let tenant = self.find::<TenantState>(&record.tenant).await?;
        Ok(self.assemble(record, secret_until, key, tenant, began))
    }

    async fn find_key(&self, digest: &Digest) -> Result<FoundKey, StoreError> {
        let mut was_named = false;
        for candidate in self.peppers.candidates(digest) {
            Counters::count(&self.counters.key_lookups);
            match self.store.find_named(&candidate).await? {
                Named::Key(record) => match secret_until(&record, candidate) {
                    Some(until) => return Ok(FoundKey::Opens(record, until)),
                    None => was_named = true,
                },
                Named::Former => was_named = true,
                Named::Nobody => {}
            }
        }
        // It was there a while ago: either the key has another secret now, or the store has lost the record or the way to it.
        let Some(known) = self.caches.entry(digest) else {
            return Ok(if was_named { FoundKey::Former } else { FoundKey::Nobody });
        };
        let id = &known.key.id;
        let Some(record) = self.store.find_key(id).await? else { return Ok(FoundKey::Closed(Arc::clone(id), 0)) };
        let until = self.peppers.candidates(digest).find_map(|candidate| secret_until(&record, candidate));
        Ok(match until {
            Some(until) => FoundKey::Opens(Box::new(record), until),
            None => FoundKey::Closed(Arc::clone(id), record.version),
        })
    }
}
