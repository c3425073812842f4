//! What is remembered of credentials: entries of keys or of tokens and, apart from them so that guesses evict nobody, refusals of bad ones.
//! moka is only a bounded map here: whether something may still be used is decided by generations and by [`super::freshness`].

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::LocalKey;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

mod hot;

use super::Authenticated;
use super::freshness::{Moment, Reading};
use super::held::TenantSlot;
use super::slots::Slot;
use crate::clock::Timestamp;
use crate::config::sections;
use crate::identity::Identity;
use crate::key::digest::Digest;
use crate::rejection::{Refusal, Rejection};
pub(super) use hot::{AtHand, Hot};

/// Refusals remembered.
const NEGATIVE_MAX: u64 = 100_000;

/// A key's records, compiled. There is one for each cached key: what most of them do not have stands apart.
pub(super) struct Entry {
    pub(super) key: Arc<Slot>,
    pub(super) key_generation: u64,
    pub(super) tenant: Arc<TenantSlot>,
    pub(super) tenant_generation: u64,
    pub(super) reading: Reading,
    /// Whether somebody has begun to read it again ahead of its end.
    pub(super) refreshed: AtomicBool,
    /// Whether a newer answer has taken its place.
    pub(super) superseded: AtomicBool,
    pub(super) verdict: Verdict,
    pub(super) rest: Option<Box<Rest>>,
}

/// What most entries do not have.
pub(super) struct Rest {
    /// Of this secret, if it is the one that was replaced.
    pub(super) secret_end: Option<End>,
    pub(super) expiry: Option<End>,
    /// The key's record as JSON, where a snapshot is made.
    pub(super) record: Option<Box<str>>,
}

impl Rest {
    /// None, if there is nothing in it.
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        let has_none = matches!(self, Self { secret_end: None, expiry: None, record: None });
        (!has_none).then(|| Box::new(self))
    }
}

/// A deadline. Once it was seen to be over it stays so, even if the clock is set back.
pub(super) struct End {
    at: Timestamp,
    is_over: AtomicBool,
}

impl End {
    pub(super) const fn new(at: Timestamp) -> Self {
        Self { at, is_over: AtomicBool::new(false) }
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        let was_over = self.is_over.load(Ordering::Relaxed);
        if !was_over && now >= self.at {
            self.is_over.store(true, Ordering::Relaxed);
        }
        was_over || now >= self.at
    }

    /// The same deadline, as it was seen before.
    pub(super) fn take_over(&self, before: &Self) {
        if self.at == before.at && before.is_over.load(Ordering::Relaxed) {
            self.is_over.store(true, Ordering::Relaxed);
        }
    }
}

/// What the records say, deadlines aside.
pub(super) enum Verdict {
    Revoked,
    TenantAbsent,
    TenantSuspended,
    Inactive,
    Unusable(Box<Refusal>),
    Admitted(Arc<Identity>),
}

impl Entry {
    /// Whether nothing is known to have changed since it was made.
    pub(super) fn is_current(&self) -> bool {
        !self.superseded.load(Ordering::Acquire) && self.has_its_generations()
    }

    fn has_its_generations(&self) -> bool {
        self.key.generation() == self.key_generation && self.tenant.slot.generation() == self.tenant_generation
    }

    /// What was over in the entry that this one replaces is over in this one.
    pub(super) fn take_over(&self, before: &Self) {
        let ends = [(self.secret_end(), before.secret_end()), (self.expiry(), before.expiry())];
        for (end, before) in ends {
            if let (Some(end), Some(before)) = (end, before) {
                end.take_over(before);
            }
        }
    }

    fn secret_end(&self) -> Option<&End> {
        self.rest.as_ref()?.secret_end.as_ref()
    }

    fn expiry(&self) -> Option<&End> {
        self.rest.as_ref()?.expiry.as_ref()
    }

    /// The key's record as JSON, where a snapshot is made.
    pub(super) fn record(&self) -> Option<&str> {
        self.rest.as_ref()?.record.as_deref()
    }

    /// Who called with a secret that works no more, if a rotation has replaced it and all else is well at this time.
    pub(super) fn replaced(&self, now: Timestamp) -> Option<&Arc<Identity>> {
        let Verdict::Admitted(identity) = &self.verdict else { return None };
        let is_over = |end: Option<&End>| end.is_some_and(|end| end.is_over(now));
        let is_replaced = identity.particulars().replaced.is_some() && is_over(self.secret_end()) && !is_over(self.expiry());
        Some(identity).filter(|_| is_replaced)
    }

    /// The answer at this time. The order is the contract's: what is for ever comes before what can be undone.
    pub(super) fn judge(&self, now: Timestamp) -> Authenticated {
        if self.secret_end().is_some_and(|end| end.is_over(now)) {
            return Err(Rejection::KeyUnknown.because("replaced by a rotation whose overlap is over"));
        }
        match &self.verdict {
            Verdict::Revoked => Err(Rejection::KeyRevoked.into()),
            Verdict::TenantAbsent => Err(Rejection::KeyUnknown.because("the key's tenant has no record")),
            Verdict::TenantSuspended => Err(Rejection::TenantSuspended.into()),
            Verdict::Inactive => Err(Rejection::KeyInactive.into()),
            Verdict::Unusable(_) | Verdict::Admitted(_) if let Some(end) = self.expiry().filter(|end| end.is_over(now)) => {
                Err(Rejection::KeyExpired.because(format!("since {}", end.at)))
            }
            Verdict::Unusable(why) => Err(Refusal::clone(why)),
            Verdict::Admitted(identity) => Ok(Arc::clone(identity)),
        }
    }
}

impl AtHand for Entry {
    fn superseded(&self) -> &AtomicBool {
        &self.superseded
    }
    fn table() -> &'static LocalKey<RefCell<Hot<Self>>> {
        thread_local!(static HOT: RefCell<Hot<Entry>> = Hot::new());
        &HOT
    }
}

/// An authoritative "no".
struct Denied {
    began: Timestamp,
    /// Any change since may have made it a "yes".
    epoch: u64,
    refusal: Refusal,
}

/// The two caches of one kind of credential.
pub(super) struct Caches<E> {
    /// Of all that this process ever has.
    id: u64,
    /// Entries that each thread has at hand.
    hot_max: usize,
    entries: Cache<Digest, Arc<E>, DigestHash>,
    denied: Cache<Digest, Arc<Denied>, DigestHash>,
    negative_ttl_ms: i64,
}

impl<E: AtHand> Caches<E> {
    pub(super) fn new(config: &sections::Cache) -> Self {
        static CACHES: AtomicU64 = AtomicU64::new(1);
        Self {
            id: CACHES.fetch_add(1, Ordering::Relaxed),
            hot_max: usize::try_from(config.max_entries.min(hot::ENTRIES)).unwrap_or(usize::MAX),
            // The one used longest ago goes: a count of uses would keep a key that has begun to be used waiting at the door, a look-up each time.
            entries: Cache::builder()
                .max_capacity(config.max_entries)
                .eviction_policy(EvictionPolicy::lru())
                .build_with_hasher(DigestHash::new()),
            denied: Cache::builder().max_capacity(NEGATIVE_MAX).build_with_hasher(DigestHash::new()),
            negative_ttl_ms: config.negative_ttl.as_millis(),
        }
    }

    /// What is remembered of this credential, whether or not it may be used.
    pub(super) fn entry(&self, digest: &Digest) -> Option<Arc<E>> {
        hot::entry(self.id, self.hot_max, digest, || self.entries.get(digest))
    }

    /// All that is remembered.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Digest, Arc<E>)> {
        self.entries.iter().map(|(digest, entry)| (*digest, entry))
    }

    /// How many entries and refusals are remembered, about.
    pub(super) fn sizes(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        self.denied.run_pending_tasks();
        (self.entries.entry_count(), self.denied.entry_count())
    }

    pub(super) fn refusal(&self, digest: &Digest, moment: Moment, epoch: u64) -> Option<Refusal> {
        let denied = self.denied.get(digest)?;
        (denied.epoch == epoch && moment.allows(denied.began, self.negative_ttl_ms)).then(|| denied.refusal.clone())
    }

    pub(super) fn keep(&self, digest: Digest, entry: Arc<E>) {
        self.supersede(&digest);
        self.entries.insert(digest, entry);
        self.denied.invalidate(&digest);
    }

    pub(super) fn deny(&self, digest: Digest, began: Timestamp, epoch: u64, refusal: Refusal) {
        self.supersede(&digest);
        self.denied.insert(digest, Arc::new(Denied { began, epoch, refusal }));
        self.entries.invalidate(&digest);
    }

    /// Whoever has the entry at hand asks again. Answers of one digest come one at a time, by one look-up.
    fn supersede(&self, digest: &Digest) {
        if let Some(entry) = self.entries.get(digest) {
            entry.superseded().store(true, Ordering::Release);
        }
    }
}

/// Hashes digests by one multiplication. They are random already; the seed keeps who chooses keys from choosing buckets.
#[derive(Clone)]
pub(super) struct DigestHash {
    seeds: [u64; 2],
}

impl DigestHash {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Self { seeds: [random.hash_one(0), random.hash_one(1)] }
    }
}

impl BuildHasher for DigestHash {
    type Hasher = DigestHasher;
    fn build_hasher(&self) -> DigestHasher {
        DigestHasher { seeds: self.seeds, state: 0 }
    }
}

pub(super) struct DigestHasher {
    seeds: [u64; 2],
    state: u64,
}

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks::<8>();
        if let [first, second, ..] = words {
            let [one, two] = self.seeds;
            let product = u128::from(u64::from_le_bytes(*first) ^ one) * u128::from(u64::from_le_bytes(*second) ^ two);
            #[expect(clippy::cast_possible_truncation, reason = "the two halves are folded")]
            let folded = (product as u64) ^ ((product >> 64) as u64);
            self.state ^= folded;
        }
    }

    /// The length in front of the bytes is always the same.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_cached_key_has_is_small() {
        assert!(size_of::<Entry>() <= 88, "{}", size_of::<Entry>());
        assert!(size_of::<Slot>() <= 80, "{}", size_of::<Slot>());
    }
}
