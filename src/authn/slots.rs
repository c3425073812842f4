//! What makes an invalidation reach everything that was read before it: each key and tenant in use has a slot with a generation,
//! shared by the entries made of it, and one epoch counts all invalidations, for look-ups that do not know yet what they will find.
//! Maps are locked only by look-ups and invalidations; the path of a cached request only loads atomics.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwapOption;

use crate::clock::Timestamp;
use crate::tenant::TenantRecord;

/// The generation of a key or a tenant.
#[derive(Default)]
pub(super) struct Slot {
    generation: AtomicU64,
}

impl Slot {
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn advance(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// What a look-up of a tenant found.
#[derive(Debug, PartialEq)]
pub(super) enum TenantState {
    Found(Box<TenantRecord>),
    Absent,
    Unusable(String),
}

/// A tenant, shared by the entries of all its keys.
pub(super) struct TenantSlot {
    pub(super) slot: Slot,
    /// When the look-up that found `state` began; the least number while there is none.
    pub(super) loaded_at: AtomicI64,
    pub(super) state: ArcSwapOption<TenantState>,
    /// Held by the one look-up that is under way.
    pub(super) loading: tokio::sync::Mutex<()>,
}

impl Default for TenantSlot {
    fn default() -> Self {
        Self {
            slot: Slot::default(),
            loaded_at: AtomicI64::new(i64::MIN),
            state: ArcSwapOption::empty(),
            loading: tokio::sync::Mutex::default(),
        }
    }
}

impl TenantSlot {
    fn invalidate(&self) {
        self.slot.advance();
        self.loaded_at.store(i64::MIN, Ordering::Release);
    }
}

/// All slots in use, and the epoch.
#[derive(Default)]
pub(super) struct Slots {
    epoch: AtomicU64,
    maps: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    keys: WeakMap<Slot>,
    tenants: WeakMap<TenantSlot>,
}

impl Slots {
    /// Rises with every invalidation.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tenant(&self, id: &str) -> Arc<TenantSlot> {
        self.lock().tenants.slot(id)
    }

    /// The key's slot and generation, if nothing was invalidated since `epoch`: then what was read since may be kept.
    /// An invalidation that comes later finds the slot.
    pub(super) fn key_if_current(&self, id: &str, epoch: u64) -> (Arc<Slot>, u64, bool) {
        let mut maps = self.lock();
        let slot = maps.keys.slot(id);
        let generation = slot.generation();
        (slot, generation, self.epoch() == epoch)
    }

    /// Keeps what a tenant's look-up found, unless the tenant was invalidated since `generation`.
    /// A state that differs from the one before is a change that nobody told of: its keys are compiled again.
    pub(super) fn keep_tenant(&self, slot: &TenantSlot, generation: u64, state: Arc<TenantState>, loaded_at: Timestamp) -> Option<u64> {
        let _maps = self.lock();
        if slot.slot.generation() != generation {
            return None;
        }
        if slot.state.load().as_ref().is_some_and(|before| **before != *state) {
            slot.slot.advance();
        }
        slot.state.store(Some(state));
        slot.loaded_at.store(loaded_at.0, Ordering::Release);
        Some(slot.slot.generation())
    }

    /// Keys are there that were not.
    pub(super) fn invalidate_refusals(&self) {
        let _maps = self.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn invalidate_key(&self, id: &str) {
        let maps = self.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        if let Some(slot) = maps.keys.find(id) {
            slot.advance();
        }
    }

    pub(super) fn invalidate_tenant(&self, id: &str) {
        let maps = self.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        if let Some(slot) = maps.tenants.find(id) {
            slot.invalidate();
        }
    }

    pub(super) fn invalidate_everything(&self) {
        let maps = self.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        maps.keys.live().for_each(|slot| slot.advance());
        maps.tenants.live().for_each(|slot| slot.invalidate());
    }
}

/// Slots by id, for as long as somebody uses them.
struct WeakMap<T> {
    map: HashMap<Box<str>, Weak<T>>,
    /// Size at which the dead ones are swept out.
    sweep_at: usize,
}

impl<T> Default for WeakMap<T> {
    fn default() -> Self {
        Self { map: HashMap::new(), sweep_at: 1024 }
    }
}

impl<T: Default> WeakMap<T> {
    fn find(&self, id: &str) -> Option<Arc<T>> {
        self.map.get(id).and_then(Weak::upgrade)
    }

    fn live(&self) -> impl Iterator<Item = Arc<T>> {
        self.map.values().filter_map(Weak::upgrade)
    }

    fn slot(&mut self, id: &str) -> Arc<T> {
        if let Some(slot) = self.find(id) {
            return slot;
        }
        if self.map.len() >= self.sweep_at {
            self.map.retain(|_, slot| slot.strong_count() > 0);
            self.sweep_at = (self.map.len() * 2).max(1024);
        }
        let slot = Arc::new(T::default());
        self.map.insert(id.into(), Arc::downgrade(&slot));
        slot
    }
}
