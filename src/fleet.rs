//! The sidecars that share a store. Each tells it once a second, and at once after every change, how much of the change log it
//! has applied; who made a change can so wait until all have it, and name those that have not.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock::{Clock, Timestamp, instant};
use crate::config::sections;
use crate::config::units::Span;
use crate::key::format::{NoRandomness, random_base62};
use crate::store::change::Position;
use crate::store::instance::{Instance, Seen};
use crate::store::{Store, StoreError};

/// How often a sidecar tells that it is there.
const BEAT: Duration = Duration::from_secs(1);
/// Silent for so long, it is late.
pub const LATE: Duration = Duration::from_secs(3);
/// How often who waits looks again.
const LOOK: Duration = Duration::from_millis(1);

/// This process, as it writes itself down.
///
/// # Errors
/// If the operating system gives no randomness.
pub fn this_process(cache: &sections::Cache, clock: &Clock) -> Result<Instance, NoRandomness> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    let stale = u64::try_from(cache.stale_for.as_millis()).unwrap_or(0);
    Ok(Instance {
        id: random_base62(16)?.to_string(),
        name: format!("{}/{}", host.trim(), std::process::id()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: clock.now(),
        position: Position::default(),
        gone_after_ms: stale.max(u64::try_from(LATE.as_millis()).unwrap_or(0)),
    })
}

/// How this process stands among those that share its store.
#[derive(Debug, Default)]
pub struct Standing {
    applied: watch::Sender<Position>,
    sidecars: AtomicU64,
}

impl Standing {
    /// How much of the change log is applied.
    #[must_use]
    pub fn position(&self) -> Position {
        *self.applied.borrow()
    }

    /// How many sidecars are written down in the store, as it said last.
    #[must_use]
    pub fn sidecars(&self) -> u64 {
        self.sidecars.load(Ordering::Relaxed)
    }

    /// The change log is applied so far.
    pub(crate) fn applied(&self, so_far: Position) {
        self.applied.send_if_modified(|position| std::mem::replace(position, so_far) != so_far);
    }
}

/// Writes this process down, for ever.
pub(crate) async fn heartbeat(store: &Arc<dyn Store>, mut instance: Instance, standing: &Standing) -> Infallible {
    let (mut first, mut applied) = (true, standing.applied.subscribe());
    loop {
        instance.position = *applied.borrow_and_update();
        if let Ok(sidecars) = store.beat(&instance, first).await {
            standing.sidecars.store(sidecars, Ordering::Relaxed);
            first = false;
        }
        tokio::select! {
            Ok(()) = applied.changed() => {}
            () = sleep(BEAT) => {}
        }
    }
}

/// Who has applied a change, and who has not.
#[derive(Debug)]
pub struct Receipt {
    /// How many have.
    pub confirmed: usize,
    /// The others.
    pub missing: Vec<Seen>,
    /// How long it took.
    pub took: Duration,
}

/// Waits until every sidecar that is not gone has applied the change log up to `position`, for `patience` at most.
///
/// # Errors
/// The store's.
pub async fn confirm(store: &dyn Store, position: Position, patience: Duration) -> Result<Receipt, StoreError> {
    let began = instant();
    loop {
        let live = store.instances().await?.into_iter().filter(|seen| !seen.is_gone());
        let (confirmed, missing): (Vec<_>, Vec<_>) = live.partition(|seen| seen.instance.position >= position);
        let took = began.elapsed();
        if missing.is_empty() || took >= patience {
            return Ok(Receipt { confirmed: confirmed.len(), missing, took });
        }
        sleep(LOOK).await;
    }
}

impl Seen {
    /// Whether it can serve nothing any more that it had read before it fell silent.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.silent > Duration::from_millis(self.instance.gone_after_ms)
    }

    /// Whether it should have been heard of.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.silent > LATE
    }

    /// Until when it may serve what it had read, should it be unable to reach the store.
    #[must_use]
    pub fn stale_until(&self, now: Timestamp) -> Timestamp {
        let left = Duration::from_millis(self.instance.gone_after_ms).saturating_sub(self.silent);
        now.plus_millis(Span(left).as_millis())
    }
}

#[cfg(test)]
mod tests;
