//! Who asks the store about reservations, on its runtime: a worker never waits for the disk, and what a client began goes on when
//! it leaves. What is claimed is released, kept or unknown in the end, whatever happens to whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::reservation::{Held, Outcome, Reservation};
use super::{Answer, Asked, GRAINS, Memory, Roots};
use crate::clock::instant;
use crate::store::StoreError;
use crate::store::reservation::{Claim, Claimed, Fate, Kept, Owner, Reservations, Settled};

/// Request bodies that are held at once, and answers that are being kept.
const REQUESTS_MAX: u64 = 64 << 20;
const ANSWERS_MAX: u64 = 64 << 20;
/// How long, and for how many at once, an outcome is told again to a store that did not take it.
const RETRY_FOR: Duration = Duration::from_mins(10);
const RETRIES: usize = 1024;
const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// The reservations of this process' store. Shared by all workers.
pub struct Ledger {
    store: Arc<dyn Reservations>,
    roots: Roots,
    runtime: Handle,
    /// How long anybody waits for the store.
    patience: Duration,
    requests: Arc<Memory>,
    answers: Arc<Memory>,
    retries: Semaphore,
    /// Outcomes that the store has not taken yet.
    untold: watch::Sender<usize>,
    counters: Counters,
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Answers kept.
    pub kept: AtomicU64,
    /// Answers that found the tenant's bound reached.
    pub full: AtomicU64,
    /// Requests that did not run, and may be tried again.
    pub released: AtomicU64,
    /// Requests whose outcome is not known.
    pub unknown: AtomicU64,
    /// Outcomes that the store never took.
    pub lost: AtomicU64,
    /// Answers given again.
    pub replayed: AtomicU64,
    /// Requests that had a key and were forwarded without its protection.
    pub unprotected: AtomicU64,
}

impl Counters {
    /// One more.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What becomes of a request that is to be run once.
#[derive(Debug)]
pub enum Begun {
    /// It is the first: it runs.
    First(Reservation),
    /// The first one's answer is its answer.
    Again(Box<Answer>),
    /// The first one runs.
    Running,
    /// How the first one ended is not known; why.
    Unknown(&'static str),
    /// The first one was another request.
    Differs,
}

impl Ledger {
    /// Over a store; its work runs on `runtime`, and nobody waits longer than `patience` for it.
    #[must_use]
    pub fn new(store: Arc<dyn Reservations>, roots: Roots, runtime: Handle, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            store,
            roots,
            runtime,
            patience,
            requests: Memory::new(REQUESTS_MAX),
            answers: Memory::new(ANSWERS_MAX),
            retries: Semaphore::new(RETRIES),
            untold: watch::Sender::new(0),
            counters: Counters::default(),
        })
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Room for the bodies of requests.
    #[must_use]
    pub const fn requests(&self) -> &Arc<Memory> {
        &self.requests
    }

    /// Room for answers that are being kept.
    #[must_use]
    pub const fn answers(&self) -> &Arc<Memory> {
        &self.answers
    }

    /// Claims the reservation of a request whose body has been added to its fingerprint. Who stops waiting leaves nothing claimed.
    ///
    /// # Errors
    /// `Unavailable`: the store cannot say, or not in time.
    pub async fn claim(self: &Arc<Self>, asked: Asked) -> Result<Begun, StoreError> {
        let (reply, answer) = oneshot::channel();
        let ledger = Arc::clone(self);
        // A reservation that nobody takes is dropped, and thereby released.
        self.runtime.spawn(async move { drop(reply.send(ledger.begin(asked).await)) });
        match timeout(self.patience, answer).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(_)) => Err(StoreError::Unavailable("the store is closed".into())),
            Err(_) => Err(StoreError::Unavailable(format!("no answer within {} ms", self.patience.as_millis()))),
        }
    }

    async fn begin(self: &Arc<Self>, asked: Asked) -> Result<Begun, StoreError> {
        if !self.store.answers() {
            return Err(StoreError::Unavailable("the store of reservations is away".into()));
        }
        let mut owner = [0; 16];
        rand::fill(&mut owner).map_err(|_| StoreError::Unavailable("the operating system gives no randomness".into()))?;
        let claim = Claim { owner: Owner(owner), lease: asked.rules.lease, ttl: asked.rules.ttl };
        let held = Held::new(asked, &self.roots, claim.owner);
        match self.store.claim(&held.place, &claim).await {
            Ok(Claimed::First) => Ok(Begun::First(Reservation::new(self, held))),
            Ok(Claimed::Running) => Ok(Begun::Running),
            Ok(Claimed::Unknown) => Ok(Begun::Unknown("its exchange was not seen to end, or its answer was not kept")),
            Ok(Claimed::Done(sealed)) => Ok(self.again(&held, &sealed)),
            Err(StoreError::Unavailable(why)) => {
                // It may have been claimed all the same.
                drop(Reservation::new(self, held));
                Err(StoreError::Unavailable(why))
            }
            Err(_) => Ok(Begun::Unknown("what the store has of it cannot be read")),
        }
    }

    fn again(&self, held: &Held, sealed: &[u8]) -> Begun {
        match self.roots.open(&held.asked.ticket, &held.place, sealed).and_then(Answer::decode) {
            None => Begun::Unknown("its answer cannot be opened"),
            Some(answer) if answer.fingerprint != held.fingerprint => Begun::Differs,
            Some(answer) => Begun::Again(Box::new(answer)),
        }
    }

    /// Says that a request still runs; nobody waits for it.
    pub(super) fn renew(self: &Arc<Self>, held: &Arc<Held>) {
        let (ledger, held) = (Arc::clone(self), Arc::clone(held));
        self.runtime.spawn(async move {
            if let Err(error) = ledger.store.renew(&held.place, held.owner, held.asked.rules.lease).await {
                tracing::debug!(%error, "a lease could not be renewed");
            }
        });
    }

    /// Writes an outcome down: once while somebody waits, then again until the store takes it.
    pub(super) fn settle(self: &Arc<Self>, held: Arc<Held>, outcome: Outcome) -> oneshot::Receiver<()> {
        let (reply, settled) = oneshot::channel();
        let ledger = Arc::clone(self);
        self.untold.send_modify(|untold| *untold += 1);
        self.runtime.spawn(async move {
            let (fate, memory) = ledger.fate(&held, outcome);
            let first = ledger.try_settle(&held, &fate).await;
            let _ = reply.send(());
            if !first && !ledger.insist(&held, &fate).await {
                Counters::count(&ledger.counters.lost);
                tracing::warn!("the store of reservations never took an outcome: it counts as unknown when its lease is over");
            }
            drop(memory);
            ledger.untold.send_modify(|untold| *untold -= 1);
        });
        settled
    }

    /// Waits until the store has taken every outcome so far.
    pub async fn told(&self) {
        let _ = self.untold.subscribe().wait_for(|untold| *untold == 0).await;
    }

    /// How long anybody waits for that.
    pub(super) const fn patience(&self) -> Duration {
        self.patience
    }

    fn fate(&self, held: &Held, outcome: Outcome) -> (Fate, Option<super::Taken>) {
        let rules = &held.asked.rules;
        match outcome {
            Outcome::Unknown => (Fate::Unknown, None),
            Outcome::Released => (Fate::Released, None),
            Outcome::Answered(answer, memory) => match self.roots.seal(&held.asked.ticket, &held.place, answer.encode()) {
                Some(sealed) => {
                    let grain = (rules.ttl / GRAINS).max(Duration::from_millis(1));
                    (Fate::Done(Kept { sealed: sealed.into(), bound: rules.max_stored, grain }), Some(memory))
                }
                None => (Fate::Unknown, None),
            },
        }
    }

    /// Whether that is settled, for better or worse.
    async fn try_settle(&self, held: &Held, fate: &Fate) -> bool {
        let counters = &self.counters;
        match self.store.settle(&held.place, held.owner, fate).await {
            Ok(Settled::Settled) => Counters::count(match fate {
                Fate::Done(_) => &counters.kept,
                Fate::Unknown => &counters.unknown,
                Fate::Released => &counters.released,
            }),
            Ok(Settled::Full) => {
                Counters::count(&counters.full);
                tracing::warn!(tenant = %held.place.tenant, "an answer is not kept: idempotency.max_stored_per_tenant is reached");
            }
            // A claim that was never made has nothing to release.
            Ok(Settled::Lost) if matches!(fate, Fate::Released) => {}
            Ok(Settled::Lost) => Counters::count(&counters.lost),
            Err(StoreError::Unavailable(_)) => return false,
            Err(error) => {
                Counters::count(&counters.lost);
                tracing::warn!(%error, "a reservation cannot be settled");
            }
        }
        true
    }

    async fn insist(&self, held: &Held, fate: &Fate) -> bool {
        let Ok(_permit) = self.retries.try_acquire() else { return false };
        let (began, mut back_off) = (instant(), BACK_OFF_FIRST);
        while began.elapsed() < RETRY_FOR {
            sleep(back_off.mul_f64(fastrand::f64().mul_add(0.5, 0.5))).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
            if self.try_settle(held, fate).await {
                return true;
            }
        }
        false
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("roots", &self.roots).finish_non_exhaustive()
    }
}
