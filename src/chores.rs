//! What a store must be rid of from time to time: records of keys that nobody can use any more, and events that are too old. Of the
//! sidecars that share a store one does it at a time, every few hours, a little at once. Never on the way of a request, and nothing
//! goes that is not audited or does not say itself that it is over.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::audit::{Action, Actor, Event, Object, Query};
use crate::clock::{Clock, Timestamp};
use crate::config::sections::Config;
use crate::config::units::Span;
use crate::key::lifecycle::standing;
use crate::key::record::KeyRecord;
use crate::store::draw::{Budget, Draw};
use crate::store::{Audited, Store, StoreError};

/// How often it is done, by whichever sidecar.
const PERIOD_MS: u64 = 4 * 3_600_000;
/// The claim: a bucket that gives one in a period. "chores", in hexadecimal digits as all names of buckets are.
const CLAIM: &str = "63686f726573";
/// Nobody does it right after a start, and not all do at once.
const SOON: Duration = Duration::from_mins(1);
const JITTER: Duration = Duration::from_mins(10);
/// Done at once, and the pause in which others are served.
const BATCH: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// The chores of a store.
pub struct Chores {
    store: Arc<dyn Store>,
    clock: Clock,
    purge_after: Option<Duration>,
    retention: Option<Duration>,
}

/// Keys in a row that the store cannot be asked about: then it is not the keys.
const FAILURES_MAX: usize = 3;

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Records that were taken away.
    pub purged: usize,
    /// Records that could not be judged: they are left to the next time.
    pub failed: usize,
    /// Events that were forgotten.
    pub forgotten: usize,
}

impl Chores {
    /// As configured; `"0s"` keeps everything.
    #[must_use]
    pub fn new(config: &Config, store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock, purge_after: config.keys.purge_after.nonzero(), retention: config.audit.retention.nonzero() }
    }

    /// Does them, for ever.
    pub(crate) async fn run(self) -> Infallible {
        let jitter = || JITTER.mul_f64(fastrand::f64());
        let mut pause = SOON;
        loop {
            sleep(pause + jitter()).await;
            pause = match self.turn().await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::debug!(%error, "old records and events are not cleared away; later");
                    JITTER
                }
            };
        }
    }

    /// Does them if it is time and nobody else did; how long until it is time again. What was cut off is for whoever comes next.
    async fn turn(&self) -> Result<Duration, StoreError> {
        let budget = Budget::Rate { requests: 1, per_ms: PERIOD_MS, capacity: 1 };
        let claim = Draw { name: CLAIM, budget, want: 1, back: 0, of: 0 };
        let drawn = self.store.draw(&claim).await?;
        if drawn.granted > 0 {
            match self.tidy().await {
                Ok(Done { purged: 0, failed: 0, forgotten: 0 }) => {}
                Ok(Done { purged, failed, forgotten }) => {
                    tracing::info!(purged, failed, forgotten, "old records and events are cleared away");
                }
                Err(error) => {
                    self.store.draw(&Draw { want: 0, back: 1, ..claim }).await?;
                    return Err(error);
                }
            }
        }
        Ok(Duration::from_millis(drawn.wait_ms))
    }

    /// Does them now.
    ///
    /// # Errors
    /// The store's.
    pub async fn tidy(&self) -> Result<Done, StoreError> {
        // Records first: when one ended may stand in an event alone.
        let (purged, failed) = self.purge().await?;
        Ok(Done { purged, failed, forgotten: self.forget().await? })
    }

    fn before(&self, age: Duration) -> Timestamp {
        self.clock.now().plus_millis(-Span(age).as_millis())
    }

    /// How many it has purged, and how many it could not judge.
    async fn purge(&self) -> Result<(usize, usize), StoreError> {
        let Some(horizon) = self.purge_after.map(|age| self.before(age)) else { return Ok((0, 0)) };
        let (mut purged, mut failed, mut in_a_row, mut cursor) = (0, 0, 0, None);
        loop {
            let page = self.store.list_keys(None, cursor.as_deref(), BATCH).await?;
            for key in &page.items {
                match self.purge_one(key, horizon).await {
                    Ok(is_gone) => {
                        purged += usize::from(is_gone);
                        in_a_row = 0;
                    }
                    // One key that cannot be judged keeps no other.
                    Err(error) if in_a_row + 1 < FAILURES_MAX => {
                        tracing::warn!(key = key.id, %error, "whether it is to be cleared away cannot be told");
                        failed += 1;
                        in_a_row += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok((purged, failed));
            }
            sleep(PAUSE).await;
        }
    }

    async fn purge_one(&self, key: &KeyRecord, horizon: Timestamp) -> Result<bool, StoreError> {
        Ok(self.is_over(key, horizon).await? && self.remove(key).await?)
    }

    /// Whether nobody could use it since before then.
    async fn is_over(&self, key: &KeyRecord, horizon: Timestamp) -> Result<bool, StoreError> {
        match standing(key, self.clock.now()) {
            "expired" => Ok(key.expires_at.is_some_and(|end| end < horizon)),
            "revoked" if last_sign(key) < horizon => {
                // A record does not say when it was revoked; where no event does any more it is longer ago than those are kept.
                let query = Query { of: Some((Object::Key, &key.id)), limit: 1, ..Query::default() };
                let events = self.store.list_events(&query).await?.items;
                Ok(events.first().is_none_or(|event| event.at < horizon))
            }
            _ => Ok(false),
        }
    }

    /// Whether it was this that took it away.
    async fn remove(&self, key: &KeyRecord) -> Result<bool, StoreError> {
        let event = Event::of_removal(&Actor::local("sidegate"), Action::Purge, self.clock.now(), key);
        match self.store.remove_key(Audited { record: key, event }).await {
            Ok(_) => Ok(true),
            // Somebody has just changed it, or it cannot be judged.
            Err(StoreError::Conflict { .. } | StoreError::DigestTaken { .. } | StoreError::Corrupt { .. }) => Ok(false),
            Err(error @ StoreError::Unavailable(_)) => Err(error),
        }
    }

    async fn forget(&self) -> Result<usize, StoreError> {
        let Some(horizon) = self.retention.map(|age| self.before(age)) else { return Ok(0) };
        let mut forgotten = 0;
        loop {
            let n = self.store.forget_events(horizon, BATCH).await?;
            forgotten += n;
            if n < BATCH {
                return Ok(forgotten);
            }
            sleep(PAUSE).await;
        }
    }
}

/// The last time that a record itself names.
fn last_sign(key: &KeyRecord) -> Timestamp {
    [key.rotated_at, key.last_used].into_iter().flatten().fold(key.created_at, Timestamp::max)
}
