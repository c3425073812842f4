//! What makes a change reach everything that was read before it: each key and tenant in use has a slot with a generation,
//! shared by the entries made of it, and one epoch counts all changes, for look-ups that do not know yet what they will find.
//! A slot also knows the newest version of its record: a store that shows an older one has lost something and is doubted.
//! Maps are locked only by look-ups and changes; the path of a cached request only loads atomics.

mod index;
mod ledger;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;

use super::freshness::{Began, Reading};
use super::held::{ClientState, Held, SessionState, TenantSlot};
use crate::clock::Timestamp;
use index::{Index, Slotted};
pub(super) use ledger::Doubt;
use ledger::Ledger;

/// The generation of what must not be kept.
const OVERTAKEN: u64 = u64::MAX;

/// The generation of a key or a tenant.
pub(super) struct Slot {
    pub(super) id: Arc<str>,
    generation: AtomicU64,
    ledger: Mutex<Ledger>,
}

impl Slot {
    /// One that no change will find.
    pub(super) fn new(id: Arc<str>) -> Self {
        Self { id, generation: AtomicU64::new(0), ledger: Mutex::default() }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn advance(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slotted for Slot {
    fn with(slot: Slot) -> Self {
        slot
    }
    fn slot(&self) -> &Slot {
        self
    }
}

impl<S> Slotted for Held<S> {
    fn with(slot: Slot) -> Self {
        Self {
            slot,
            reading: Reading::none(),
            state: ArcSwapOption::empty(),
            loading: tokio::sync::Mutex::default(),
            refreshed: AtomicBool::new(false),
        }
    }
    fn slot(&self) -> &Slot {
        &self.slot
    }
    fn invalidate(&self) {
        self.slot.advance();
        self.state.store(None);
    }
}

/// All slots in use, and the epoch.
pub(super) struct Slots {
    epoch: AtomicU64,
    floor: AtomicU64,
    maps: Mutex<Maps>,
    stale_for_ms: i64,
}

#[derive(Default)]
struct Maps {
    keys: Index<Slot>,
    tenants: Index<TenantSlot>,
    sessions: Index<Held<SessionState>>,
    /// Keys again, as far as tokens stand for them.
    clients: Index<Held<ClientState>>,
}

impl Slots {
    /// `stale_for_ms`: how long a store that shows older records than are known is not believed.
    pub(super) fn new(stale_for_ms: i64) -> Self {
        Self { epoch: AtomicU64::new(0), floor: AtomicU64::new(0), maps: Mutex::default(), stale_for_ms }
    }

    /// Rises with every change.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// What was read in an earlier epoch is to be read again before it is used.
    pub(super) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under the lock of the maps, so that who holds it sees the change whole or not at all.
    fn next_epoch(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub(super) fn tenant(&self, id: &str) -> Arc<TenantSlot> {
        self.lock().tenants.slot(id)
    }

    pub(super) fn session(&self, id: &str) -> Arc<Held<SessionState>> {
        self.lock().sessions.slot(id)
    }

    pub(super) fn client(&self, id: &str) -> Arc<Held<ClientState>> {
        self.lock().clients.slot(id)
    }

    /// Takes note of what a look-up found of this key (version 0: nothing). Answers the generation of what
    /// may be made of it. A change that comes later finds the slot.
    pub(super) fn settle_key(&self, id: &str, version: u64, is_revoked: bool, began: Began) -> Result<(Arc<Slot>, u64), Doubt> {
        let mut maps = self.lock();
        let slot = maps.keys.slot(id);
        let mut ledger = slot.ledger();
        let generation = if ledger.is_overtaken(began.epoch) {
            // It may be of a history that is lost by now: nothing is learnt of it.
            if version < ledger.known() {
                return Err(Doubt::Older);
            }
            OVERTAKEN
        } else {
            if ledger.judge(version, is_revoked, began.at, self.stale_for_ms)? {
                slot.advance();
            }
            slot.generation()
        };
        drop(ledger);
        Ok((slot, generation))
    }

    /// Keeps what a look-up found, unless the record was changed since `generation`: then it is to be done again. A state that differs
    /// from the one before is a change that nobody told of: what rests on it is made again.
    pub(super) fn settle<S: PartialEq>(
        &self,
        held: &Held<S>,
        generation: u64,
        state: &Arc<S>,
        (version, is_for_ever): (Option<u64>, bool),
        began: Began,
    ) -> Result<u64, Doubt> {
        let _maps = self.lock();
        if held.slot.generation() != generation {
            return Err(Doubt::Older);
        }
        let mut ledger = held.slot.ledger();
        let version = version.unwrap_or_else(|| ledger.known());
        ledger.judge(version, is_for_ever, began.at, self.stale_for_ms)?;
        if held.state.load().as_ref().is_some_and(|before| *before != *state) {
            held.slot.advance();
        }
        held.state.store(Some(Arc::clone(state)));
        held.reading.renew(began);
        Ok(held.slot.generation())
    }

    /// Until which epoch an answer that rests on these generations holds, if it was read in epoch `began`.
    pub(super) fn holds_until(&self, is_current: impl FnOnce() -> bool, began: u64) -> u64 {
        let _maps = self.lock();
        if began >= self.floor() && is_current() { self.epoch() } else { began }
    }

    /// Keys are there that were not.
    pub(super) fn invalidate_refusals(&self) {
        let _maps = self.lock();
        self.next_epoch();
    }

    /// This key has this version now (0 = not known). Nothing that was read before is used again. Answers whether something may have been.
    pub(super) fn invalidate_key(&self, id: &str, version: u64, now: Timestamp) -> bool {
        let mut maps = self.lock();
        let epoch = self.next_epoch();
        if maps.clients.is_in_use(id) {
            maps.clients.announce(id, version, epoch, now, self.stale_for_ms);
        }
        maps.keys.announce(id, version, epoch, now, self.stale_for_ms)
    }

    /// The same of a tenant.
    pub(super) fn invalidate_tenant(&self, id: &str, version: u64, now: Timestamp) -> bool {
        let mut maps = self.lock();
        let epoch = self.next_epoch();
        maps.tenants.announce(id, version, epoch, now, self.stale_for_ms)
    }

    /// The same of a session.
    pub(super) fn invalidate_session(&self, id: &str, version: u64, now: Timestamp) {
        let mut maps = self.lock();
        let epoch = self.next_epoch();
        maps.sessions.announce(id, version, epoch, now, self.stale_for_ms);
    }

    /// Anything may have changed.
    pub(super) fn revalidate_everything(&self) {
        let _maps = self.lock();
        self.floor.store(self.next_epoch(), Ordering::Release);
    }
}
