//! Reservations of Idempotency-Keys: few primitives, one contract for every store, judged by the store's own clock. A store sees
//! names that only who has the Idempotency-Key can make, and sealed bytes; never the key, never an answer.

mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use smallvec::SmallVec;

use super::StoreError;
use crate::clock::Timestamp;
pub(super) use state::{Change, End, Entry, State, millis};

/// Largest sealed answer that is fetched.
pub(crate) const SEALED_MAX: usize = 64 << 20;

/// A name in the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(pub [u8; 32]);

impl Id {
    /// 64 lower-case hex digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        crate::key::digest::StoredDigest(self.0).to_hex()
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Id(…)")
    }
}

/// Where a reservation is: under one of these names, and new ones under the first.
#[derive(Debug, Clone)]
pub struct Place {
    /// On whose account it is kept; its reservations are of one slot in a cluster.
    pub tenant: Box<str>,
    /// One for each pepper, the newest first; never empty.
    pub ids: SmallVec<[Id; 1]>,
}

/// Who holds a reservation: random, for each claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(pub [u8; 16]);

/// On which terms it is held.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// Who claims.
    pub owner: Owner,
    /// How long the request may run without saying so again.
    pub lease: Duration,
    /// How long the reservation lives, whatever becomes of the request.
    pub ttl: Duration,
}

/// What a claim came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is the first: the request may run.
    First,
    /// The first one runs.
    Running,
    /// How the first one ended is not known.
    Unknown,
    /// The first one's answer, sealed.
    Done(Vec<u8>),
}

/// How an exchange ended.
#[derive(Debug, Clone)]
pub enum Fate {
    /// With an answer that is kept.
    Done(Kept),
    /// Nobody knows, or the answer cannot be kept: it is never run again.
    Unknown,
    /// It did not run: it may be tried again.
    Released,
}

/// An answer to keep.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Sealed.
    pub sealed: Arc<[u8]>,
    /// Bytes that the tenant may have kept in all.
    pub bound: u64,
    /// Bytes are counted until their reservations end, in steps of this length.
    pub grain: Duration,
}

/// What came of settling a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is as asked.
    Settled,
    /// The tenant's bound is reached: the outcome counts as unknown.
    Full,
    /// It is not the owner's any more.
    Lost,
}

/// A reservation as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// How far its request is.
    pub standing: Standing,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The sealed answer; empty while there is none.
    pub sealed: Vec<u8>,
}

/// How far the request of a reservation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Standing {
    Running,
    Done,
    Unknown,
}

/// What came of an operator's release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Released {
    Released,
    /// It runs and may still act: it is left alone.
    Running,
    Absent,
}

/// Primitives of reservations. Each is one atomic step.
#[async_trait]
pub trait Reservations: Send + Sync {
    /// Reserves the place, unless it is reserved.
    async fn claim(&self, place: &Place, claim: &Claim) -> Result<Claimed, StoreError>;

    /// The request still runs. `false` = the reservation is not the owner's any more.
    async fn renew(&self, place: &Place, owner: Owner, lease: Duration) -> Result<bool, StoreError>;

    /// The request has ended. Saying it twice says the same.
    async fn settle(&self, place: &Place, owner: Owner, fate: &Fate) -> Result<Settled, StoreError>;

    /// What is there.
    async fn look(&self, place: &Place) -> Result<Option<Reserved>, StoreError>;

    /// Frees the place, whoever has it, unless its request runs.
    async fn release(&self, place: &Place) -> Result<Released, StoreError>;

    /// Whether there is anybody to ask, as far as is known.
    fn answers(&self) -> bool {
        true
    }
}
