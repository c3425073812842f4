//! Slots by id. A slot lives as long as somebody uses it, and for `stale_for` after its record was changed: a look-up that is under
//! way, or a store that falls back, must not bring back what was.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, Weak};

use hashbrown::HashTable;

use super::Slot;
use super::ledger::Ledger;
use crate::clock::Timestamp;

/// Changes remembered of keys, and of tenants, that nobody uses.
const REMEMBERED_MAX: usize = 100_000;

/// What has a slot.
pub(super) trait Slotted {
    fn with(slot: Slot) -> Self;
    fn slot(&self) -> &Slot;
    /// What was read before is not used again.
    fn invalidate(&self) {
        self.slot().advance();
    }
}

/// Slots by id, for as long as somebody uses them or their last change is remembered.
pub(super) struct Index<T> {
    /// By the hash of the id, which each has itself.
    table: HashTable<Weak<T>>,
    hash: RandomState,
    /// Size at which the dead ones are swept out.
    sweep_at: usize,
    remembered: VecDeque<Remembered<T>>,
    /// Up to this epoch, a slot that is made anew may have been changed.
    forgotten: u64,
}

struct Remembered<T> {
    at: Timestamp,
    epoch: u64,
    /// Keeps it.
    _slot: Arc<T>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { table: HashTable::new(), hash: RandomState::new(), sweep_at: 1024, remembered: VecDeque::new(), forgotten: 0 }
    }
}

impl<T: Slotted> Index<T> {
    pub(super) fn slot(&mut self, id: &str) -> Arc<T> {
        if let Some(slot) = self.find(id) {
            return slot;
        }
        if self.table.len() >= self.sweep_at {
            self.table.retain(|slot| slot.strong_count() > 0);
            self.sweep_at = (self.table.len() * 2).max(1024);
        }
        let ledger = Mutex::new(Ledger::overtaken_until(self.forgotten));
        let slot = Arc::new(T::with(Slot { id: id.into(), generation: AtomicU64::new(0), ledger }));
        let hash = &self.hash;
        // What nobody uses any more is never found, wherever it stands.
        let hash_of = |slot: &Weak<T>| slot.upgrade().map_or(0, |slot| hash.hash_one(&*slot.slot().id));
        self.table.insert_unique(hash.hash_one(id), Arc::downgrade(&slot), hash_of);
        slot
    }

    fn find(&self, id: &str) -> Option<Arc<T>> {
        let is_it = |slot: &Weak<T>| slot.upgrade().is_some_and(|slot| *slot.slot().id == *id);
        self.table.find(self.hash.hash_one(id), is_it)?.upgrade()
    }

    /// Whether anybody has it, or its last change is remembered.
    pub(super) fn is_in_use(&self, id: &str) -> bool {
        self.find(id).is_some()
    }

    /// A change: nothing that was read before is used again. Answers whether something may have been.
    pub(super) fn announce(&mut self, id: &str, version: u64, epoch: u64, now: Timestamp, stale_for_ms: i64) -> bool {
        let in_use = self.is_in_use(id);
        let found = self.slot(id);
        found.slot().ledger().announce(version, epoch);
        found.invalidate();
        self.remembered.push_back(Remembered { at: now, epoch, _slot: found });
        while let Some(oldest) = self.remembered.front()
            && (self.remembered.len() > REMEMBERED_MAX || now.0.saturating_sub(oldest.at.0) >= stale_for_ms)
        {
            self.forgotten = oldest.epoch;
            self.remembered.pop_front();
        }
        in_use
    }
}
