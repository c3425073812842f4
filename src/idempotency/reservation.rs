//! A claim in hand. It ends with an outcome; dropped before its request was begun it is released, dropped afterwards its outcome is
//! unknown. A process that is killed says neither: its lease runs out, which is unknown too.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use tokio::time::{sleep, timeout};

use super::{Answer, Asked, Ledger, Roots, Taken};
use crate::store::reservation::{Owner, Place};

/// How often a lease is renewed before it is over.
const RENEWALS: u32 = 3;

/// What is claimed, and by whom.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) asked: Asked,
    pub(super) place: Place,
    pub(super) owner: Owner,
    /// Of the whole request.
    pub(super) fingerprint: [u8; 32],
}

impl Held {
    pub(super) fn new(asked: Asked, roots: &Roots, owner: Owner) -> Self {
        let (place, fingerprint) = (roots.place(&asked.ticket), asked.fingerprint.clone().finish());
        Self { asked, place, owner, fingerprint }
    }
}

/// How an exchange ended.
#[derive(Debug)]
pub enum Outcome {
    /// With an answer that is to be kept; and the room that it has taken.
    Answered(Box<Answer>, Taken),
    /// Nobody knows, or its answer cannot be kept.
    Unknown,
    /// It did not run.
    Released,
}

/// A claim in hand.
pub struct Reservation {
    ledger: Arc<Ledger>,
    /// `None` = settled.
    held: Option<Arc<Held>>,
    begun: bool,
}

impl Reservation {
    pub(super) fn new(ledger: &Arc<Ledger>, held: Held) -> Self {
        Self { ledger: Arc::clone(ledger), held: Some(Arc::new(held)), begun: false }
    }

    /// The request is sent from now on.
    pub fn begin(&mut self) {
        self.begun = true;
    }

    /// Of the whole request.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.held.as_ref().map(|held| held.fingerprint).unwrap_or_default()
    }

    /// On whose account it is kept.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.held.as_ref().map_or("", |held| held.asked.tenant())
    }

    /// Largest answer that is kept.
    #[must_use]
    pub fn max_body(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.asked.max_body())
    }

    #[cfg(test)]
    pub(super) fn place_and_owner(&self) -> (Place, Owner) {
        let held = self.held.as_ref().unwrap();
        (held.place.clone(), held.owner)
    }

    /// Renews the lease for as long as it is polled.
    pub fn renewing(&self) -> impl Future<Output = Infallible> + use<> {
        let (ledger, held) = (Arc::clone(&self.ledger), self.held.clone());
        async move {
            let Some(held) = held else { return std::future::pending().await };
            loop {
                sleep(held.asked.rules.lease / RENEWALS).await;
                ledger.renew(&held);
            }
        }
    }

    /// The exchange has ended so. Returns when the store has it, or does not answer: it is told again then, and nobody waits.
    pub async fn finish(mut self, outcome: Outcome) {
        if let Some(held) = self.held.take() {
            let _ = timeout(self.ledger.patience(), self.ledger.settle(held, outcome)).await;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        if self.begun {
            tracing::warn!("an exchange that is to be run once was cut off: its outcome is unknown");
        }
        drop(self.ledger.settle(held, if self.begun { Outcome::Unknown } else { Outcome::Released }));
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("begun", &self.begun).finish_non_exhaustive()
    }
}
