//! Look-ups: one in flight per digest, in a task of its own on the store's runtime, shared by all who wait.
//! An answer is given to those only whom it may serve: who came after a change that it may have missed gets another.
//! What is used in the last fifth of its time is looked up ahead, and nobody waits.

use std::collections::HashMap;
use std::collections::hash_map::Entry::Vacant;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Counters;
use super::cache::{DigestHash, Entry};
use super::freshness::{Began, SILENCE_MS};
use super::load::{Answer, Shared};
use crate::clock::Timestamp;
use crate::key::digest::Digest;

/// The look-ups under way.
pub(super) struct Flights(Mutex<HashMap<Digest, Vec<Waiter>, DigestHash>>);

struct Waiter {
    /// When it came.
    came: Began,
    reply: oneshot::Sender<Answer>,
}

impl Flights {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::with_hasher(DigestHash::new())))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Vec<Waiter>, DigestHash>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_loading(&self, digest: &Digest) -> bool {
        self.lock().contains_key(digest)
    }
}

impl Shared {
    /// Waits for the look-up of this digest, beginning it if nobody did.
    pub(super) fn join(self: &Arc<Self>, digest: &Digest, now: Timestamp, reply: oneshot::Sender<Answer>) {
        let waiter = Waiter { came: Began { at: now, epoch: self.slots.epoch() }, reply };
        let mut in_flight = self.flights.lock();
        if let Some(waiters) = in_flight.get_mut(digest) {
            waiters.push(waiter);
            Counters::count(&self.counters.joined);
            return;
        }
        // A look-up that ended between the caller's miss and now has left its answer in the cache before it left the table.
        if let Some((answer, _)) = self.known(digest, now) {
            drop(waiter.reply.send(answer));
            return;
        }
        in_flight.insert(*digest, vec![waiter]);
        // Unlocked first: on a runtime that has stopped, the flight is dropped at once and locks the table itself.
        drop(in_flight);
        self.take_off(digest);
    }

    /// Begins a look-up that nobody waits for, once for an entry: whoever uses it next finds a younger one.
    #[cold]
    pub(super) fn refresh(self: &Arc<Self>, digest: &Digest, entry: &Entry) {
        if entry.refreshed.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Vacant(place) = self.flights.lock().entry(*digest) {
            place.insert(Vec::new());
        } else {
            return;
        }
        Counters::count(&self.counters.refreshes);
        self.take_off(digest);
    }

    fn take_off(self: &Arc<Self>, digest: &Digest) {
        let flight = Flight { shared: Arc::clone(self), digest: *digest, landed: false };
        drop(self.runtime.spawn(flight.run()));
    }
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
            let began = self.shared.begin();
            if let Some((answer, holds_until)) = self.shared.look_up(&self.digest, began).await {
                self.land(&answer, Began { epoch: holds_until, ..began });
            }
            if self.landed {
                return;
            }
            Counters::count(&self.shared.counters.repeated);
        }
    }

    /// Answers those who came before any change that this look-up may have missed, and not long after it began (a process that was
    /// stopped finds an answer of yesterday waiting); the others need another one.
    fn land(&mut self, answer: &Answer, holds: Began) {
        let mut in_flight = self.shared.flights.lock();
        let Some(waiters) = in_flight.get_mut(&self.digest) else { return };
        let (served, late): (Vec<_>, Vec<_>) = std::mem::take(waiters)
            .into_iter()
            .partition(|waiter| waiter.came.epoch <= holds.epoch && waiter.came.at < holds.at.plus_millis(SILENCE_MS));
        if late.is_empty() {
            in_flight.remove(&self.digest);
            self.landed = true;
        } else {
            *waiters = late;
        }
        drop(in_flight);
        for waiter in served {
            drop(waiter.reply.send(answer.clone()));
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            self.shared.flights.lock().remove(&self.digest);
        }
    }
}
