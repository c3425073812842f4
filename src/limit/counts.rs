//! What is counted in this process: buckets of its own, and portions of the fleet's with the desk that asks the store for them. One for
//! all workers; it lives through reloads, so that a limit which did not change goes on where it was.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::desk::{Desk, Flight};
use super::gcra::Pace;
use super::lease::{Ask, Lease, Said, Terms};
use super::rule::{Count, Rule, Who};
use super::table::{Bucket, Name, Table};
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::draw::{Draw, Drawn};

/// Buckets held at once, of each sort.
const BUCKETS_MAX: usize = 100_000;

/// The counts of a process.
pub struct Counts {
    local: Table<Full>,
    fleet: Table<Arc<Portion>>,
    seeds: [RandomState; 2],
    desk: ArcSwap<Desk>,
    /// Questions to the store, and those that it did not answer.
    pub(super) asked: AtomicU64,
    pub(super) unanswered: AtomicU64,
    /// Requests refused by limits that records carry.
    pub(super) refused_by_records: AtomicU64,
}

/// A bucket of this process: when it will be full again.
struct Full {
    at: AtomicI64,
    /// In milliseconds, about: what buckets of several limits are compared by.
    until_ms: AtomicI64,
}

impl Bucket for Full {
    fn worth(&self) -> i64 {
        self.until_ms.load(Ordering::Relaxed)
    }
}

/// A portion of the fleet's bucket.
pub(super) struct Portion {
    pub(super) name: String,
    pub(super) terms: Terms,
    lease: Mutex<Lease>,
    landed: Notify,
}

impl Bucket for Arc<Portion> {
    fn worth(&self) -> i64 {
        self.lease().used_at()
    }
}

impl Portion {
    pub(super) fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store said, or did not.
    pub(super) fn land(&self, sidecars: u64, now: Timestamp, answer: Option<Drawn>) {
        self.lease().land(&self.terms, sidecars, now, answer);
        self.landed.notify_waiters();
    }
}

/// What one limit says of a request.
pub(super) enum Took {
    /// So many are left, and in so many milliseconds all are there again.
    Admitted { left: u64, reset_ms: u64 },
    /// For so many milliseconds.
    Refused(u64),
    /// It cannot be counted.
    Unavailable,
    /// The store's answer decides.
    Waits(Arc<Portion>),
}

impl Counts {
    /// Nothing counted yet; `desk` asks the store.
    #[must_use]
    pub fn new(desk: Arc<Desk>) -> Self {
        Self {
            local: Table::new(BUCKETS_MAX),
            fleet: Table::new(BUCKETS_MAX),
            seeds: [RandomState::new(), RandomState::new()],
            desk: ArcSwap::new(desk),
            asked: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            refused_by_records: AtomicU64::new(0),
        }
    }

    /// From now on the store of another is asked.
    pub fn move_to(self: &Arc<Self>, other: &Self) {
        let desk = other.desk.load_full();
        self.desk.store(Arc::clone(&desk));
        if self.fleet.len() > 0 {
            desk.keep(self);
        }
    }

    pub(super) fn desk(&self) -> Arc<Desk> {
        self.desk.load_full()
    }

    /// The bucket of a limit for a caller.
    pub(super) fn name(&self, rule: &Rule, who: &Who<'_>) -> Name {
        let [mut upper, mut lower] = self.seeds.each_ref().map(RandomState::build_hasher);
        rule.feed(who, &mut upper);
        rule.feed(who, &mut lower);
        u128::from(upper.finish()) << 64 | u128::from(lower.finish())
    }

    /// One more request.
    pub(super) fn take(self: &Arc<Self>, rule: &Rule, name: Name, who: &Who<'_>, now: Timestamp) -> Took {
        match &rule.count {
            Count::Local(pace) => {
                self.local.with(name, || Full { at: AtomicI64::new(0), until_ms: AtomicI64::new(0) }, |full| full.take(pace, now))
            }
            Count::Fleet(terms) => {
                let made =
                    || Arc::new(Portion { name: rule.name_in_store(who), terms: *terms, lease: Mutex::default(), landed: Notify::new() });
                self.fleet.with(name, made, |portion| self.take_leased(portion, now))
            }
        }
    }

    fn take_leased(self: &Arc<Self>, portion: &Arc<Portion>, now: Timestamp) -> Took {
        let desk = self.desk.load();
        let (terms, sidecars) = (&portion.terms, desk.sidecars());
        let mut lease = portion.lease();
        let (said, ask) = lease.take(terms, sidecars, now);
        let (left, reset_ms) = if said == Said::Admitted { lease.standing(terms, sidecars, now) } else { (0, 0) };
        drop(lease);
        if let Some(ask) = ask {
            self.fly(&desk, Arc::clone(portion), ask);
        }
        match said {
            Said::Admitted => Took::Admitted { left, reset_ms },
            Said::Refused(wait_ms) => Took::Refused(wait_ms),
            Said::Unavailable => Took::Unavailable,
            Said::Waits => Took::Waits(Arc::clone(portion)),
        }
    }

    /// A request that was admitted is refused after all.
    pub(super) fn give_back(&self, rule: &Rule, name: Name) {
        match &rule.count {
            Count::Local(pace) => {
                self.local.find(name, |full| full.update(|at| (pace.give_back(at), ())));
            }
            Count::Fleet(_) => {
                self.fleet.find(name, |portion| portion.lease().give_back());
            }
        }
    }

    /// How long a request would be refused, in milliseconds, as far as is known here; `None` = it would not. Takes nothing.
    pub(super) fn wait_ms(&self, rule: &Rule, name: Name, now: Timestamp) -> Option<u64> {
        match &rule.count {
            Count::Local(pace) => self.local.find(name, |full| pace.take(full.at.load(Ordering::Acquire), now).1.err())?,
            Count::Fleet(terms) => self.fleet.find(name, |portion| portion.lease().wait_ms(terms, now))?,
        }
    }

    /// Waits for the store's answer. One that does not come in time is none.
    pub(super) async fn wait(&self, portion: &Portion, now: Timestamp) {
        let desk = self.desk.load_full();
        let answer = async {
            let mut landed = std::pin::pin!(portion.landed.notified());
            landed.as_mut().enable();
            let is_flying = portion.lease().is_flying();
            if is_flying {
                landed.await;
            }
        };
        if timeout(desk.patience, answer).await.is_err() {
            portion.lease().lose(&portion.terms, desk.sidecars(), now);
        }
    }

    /// What is left in the fleet's bucket, and how long it takes until there is one if there is none. Takes nothing.
    pub(super) async fn look(&self, rule: &Rule, who: &Who<'_>, terms: &Terms) -> Result<Drawn, StoreError> {
        let (name, desk) = (rule.name_in_store(who), self.desk.load_full());
        desk.store.draw(&Draw { name: &name, budget: terms.budget, want: 0, back: 0, of: 0 }).await
    }

    pub(super) fn fly(self: &Arc<Self>, desk: &Arc<Desk>, portion: Arc<Portion>, ask: Ask) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        desk.keep(self);
        Flight::take_off(Arc::clone(self), Arc::clone(desk), portion, ask);
    }

    /// Hands back what nobody uses, and forgets what is not used at all.
    pub(super) fn tidy(self: &Arc<Self>, desk: &Arc<Desk>, now: Timestamp) {
        if !desk.store.is_reachable() {
            return;
        }
        let mut unused = Vec::new();
        self.fleet.retain(|portion| {
            let mut lease = portion.lease();
            unused.extend(lease.look(&portion.terms, desk.sidecars(), now).map(|ask| (Arc::clone(portion), ask)));
            // Whoever holds it may take from it still.
            !(lease.is_spent() && Arc::strong_count(portion) == 1)
        });
        for (portion, ask) in unused {
            self.fly(desk, portion, ask);
        }
    }

    /// All portions that the store should hear of before this process ends.
    pub(super) fn untold(&self) -> Vec<Arc<Portion>> {
        let mut untold = Vec::new();
        self.fleet.retain(|portion| {
            let has_news = portion.lease().has_news();
            untold.extend(has_news.then(|| Arc::clone(portion)));
            true
        });
        untold
    }

    /// Buckets held: this process' own, and portions of the fleet's.
    #[must_use]
    pub fn buckets(&self) -> [usize; 2] {
        [self.local.len(), self.fleet.len()]
    }

    /// Requests refused by limits that records carry.
    #[must_use]
    pub fn refused_by_records(&self) -> u64 {
        self.refused_by_records.load(Ordering::Relaxed)
    }

    /// Questions to the store, and those that it did not answer.
    #[must_use]
    pub fn questions(&self) -> [u64; 2] {
        [self.asked.load(Ordering::Relaxed), self.unanswered.load(Ordering::Relaxed)]
    }
}

impl Full {
    fn take(&self, pace: &Pace, now: Timestamp) -> Took {
        let (at, verdict) = self.update(|at| pace.take(at, now));
        let reset_ms = pace.full_in_ms(at, now);
        self.until_ms.store(now.0.saturating_add(reset_ms.cast_signed()), Ordering::Relaxed);
        match verdict {
            Ok(()) => Took::Admitted { left: pace.left(at, now), reset_ms },
            Err(wait_ms) => Took::Refused(wait_ms),
        }
    }

    fn update<T>(&self, change: impl Fn(i64) -> (i64, T)) -> (i64, T) {
        let mut at = self.at.load(Ordering::Acquire);
        loop {
            let (next, said) = change(at);
            match self.at.compare_exchange_weak(at, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return (next, said),
                Err(meanwhile) => at = meanwhile,
            }
        }
    }
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counts").field("buckets", &self.buckets()).finish_non_exhaustive()
    }
}
