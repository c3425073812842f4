//! Slots by id. A slot lives as long as somebody uses it, and for `stale_for` after its record was changed: a look-up that is under
//! way, or a store that falls back, must not bring back what was.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, Weak};

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
    map: HashMap<Arc<str>, Weak<T>>,
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
        Self { map: HashMap::new(), sweep_at: 1024, remembered: VecDeque::new(), forgotten: 0 }
    }
}

impl<T: Slotted> Index<T> {
    pub(super) fn slot(&mut self, id: &str) -> Arc<T> {
        if let Some(slot) = self.map.get(id).and_then(Weak::upgrade) {
            return slot;
        }
        if self.map.len() >= self.sweep_at {
            self.map.retain(|_, slot| slot.strong_count() > 0);
            self.sweep_at = (self.map.len() * 2).max(1024);
        }
        let id: Arc<str> = id.into();
        let ledger = Mutex::new(Ledger::overtaken_until(self.forgotten));
        let slot = Arc::new(T::with(Slot { id: Arc::clone(&id), generation: AtomicU64::new(0), ledger }));
        self.map.insert(id, Arc::downgrade(&slot));
        slot
    }

    /// Whether anybody has it, or its last change is remembered.
    pub(super) fn is_in_use(&self, id: &str) -> bool {
        self.map.get(id).is_some_and(|slot| slot.strong_count() > 0)
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
