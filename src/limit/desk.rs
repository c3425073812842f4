//! Who asks the store for portions: on the store's own thread, one question a bucket at a time, whoever waits for it. Now and then it
//! hands back what nobody uses, and at the end everything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::counts::{Counts, Portion};
use super::lease::{Ask, GAP_MS};
use crate::clock::Clock;
use crate::fleet::Standing;
use crate::store::Store;
use crate::store::draw::{Draw, Drawn};

/// The desk of a key table.
pub struct Desk {
    pub(super) store: Arc<dyn Store>,
    standing: Arc<Standing>,
    runtime: Handle,
    clock: Clock,
    /// How long anybody waits for an answer.
    pub(super) patience: Duration,
    is_kept: AtomicBool,
    counts: OnceLock<Weak<Counts>>,
}

impl Desk {
    /// Over a store, whose calls run on `runtime`; `standing` knows how many others count with this one.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, standing: Arc<Standing>, runtime: Handle, clock: Clock, patience: Duration) -> Self {
        Self { store, standing, runtime, clock, patience, is_kept: AtomicBool::new(false), counts: OnceLock::new() }
    }

    /// Sidecars that count together, as the store said last.
    pub(super) fn sidecars(&self) -> u64 {
        self.standing.sidecars().max(1)
    }

    /// From the first question on somebody looks after the portions.
    pub(super) fn keep(self: &Arc<Self>, counts: &Arc<Counts>) {
        if !self.is_kept.swap(true, Ordering::Relaxed) {
            let counts = Arc::downgrade(counts);
            let _ = self.counts.set(Weak::clone(&counts));
            drop(self.runtime.spawn(keep(counts, Arc::clone(self))));
        }
    }

    /// The process ends: what it holds is handed back.
    pub async fn close(self: &Arc<Self>) {
        let Some(counts) = self.counts.get().and_then(Weak::upgrade).filter(|counts| Arc::ptr_eq(&counts.desk(), self)) else { return };
        for portion in counts.untold() {
            let ask = portion.lease().hand_back(0);
            let _ = self.put(&portion, ask).await;
        }
    }

    async fn put(&self, portion: &Portion, ask: Ask) -> Option<Drawn> {
        let draw = Draw { name: &portion.name, budget: portion.terms.budget, want: ask.want, back: ask.back, of: ask.of };
        self.store.draw(&draw).await.ok()
    }
}

async fn keep(counts: Weak<Counts>, desk: Arc<Desk>) {
    loop {
        sleep(Duration::from_millis(GAP_MS.unsigned_abs())).await;
        match counts.upgrade() {
            Some(counts) if Arc::ptr_eq(&counts.desk(), &desk) => counts.tidy(&desk, desk.clock.now()),
            _ => return,
        }
    }
}

/// A question under way. However it ends, even by the runtime's, nobody waits for it for ever.
pub(super) struct Flight {
    counts: Arc<Counts>,
    desk: Arc<Desk>,
    portion: Arc<Portion>,
    landed: bool,
}

impl Flight {
    pub(super) fn take_off(counts: Arc<Counts>, desk: Arc<Desk>, portion: Arc<Portion>, ask: Ask) {
        let runtime = desk.runtime.clone();
        drop(runtime.spawn(Self { counts, desk, portion, landed: false }.run(ask)));
    }

    async fn run(mut self, ask: Ask) {
        let answer = self.desk.put(&self.portion, ask).await;
        self.land(answer);
    }

    fn land(&mut self, answer: Option<Drawn>) {
        self.landed = true;
        if answer.is_none() {
            self.counts.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        self.portion.land(self.desk.sidecars(), self.desk.clock.now(), answer);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            self.land(None);
        }
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}
