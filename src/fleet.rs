//! The sidecars that share a store. Each tells it once a second, and at once after every change, how much of the change log it
//! has applied; who made a change can so wait until all have it, and name those that have not.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde_json::{Value, json};
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
/// That there is nobody is believed when it was so for so long: after a failover or a loss all write themselves down anew.
const NOBODY: Duration = Duration::from_millis(1500);
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
    applied: watch::Sender<Applied>,
    sidecars: AtomicU64,
    /// Why the store does not take what is told to it.
    unheard: ArcSwapOption<String>,
}

/// How much of the change log is applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Applied {
    position: Position,
    /// Whether the log could be read when it was read last. If not it may be another one by now, in which the number means nothing.
    is_certain: bool,
}

impl Applied {
    /// What others may rely on.
    fn told(self) -> Position {
        if self.is_certain { self.position } else { Position::default() }
    }
}

impl Standing {
    /// How much of the change log is applied.
    #[must_use]
    pub fn position(&self) -> Position {
        self.applied.borrow().position
    }

    /// How many sidecars are written down in the store, as it said last.
    #[must_use]
    pub fn sidecars(&self) -> u64 {
        self.sidecars.load(Ordering::Relaxed)
    }

    /// Why the store does not take this process's beats, although its change log can be read.
    #[must_use]
    pub fn unheard(&self) -> Option<Arc<String>> {
        self.unheard.load_full()
    }

    /// The change log is applied so far.
    pub(crate) fn applied(&self, so_far: Position) {
        self.update(Applied { position: so_far, is_certain: true });
    }

    /// The change log cannot be read.
    pub(crate) fn lost(&self) {
        self.update(Applied { position: self.position(), is_certain: false });
    }

    fn update(&self, now: Applied) {
        self.applied.send_if_modified(|applied| std::mem::replace(applied, now) != now);
    }
}

/// Writes this process down, for ever.
pub(crate) async fn heartbeat(store: &Arc<dyn Store>, mut instance: Instance, standing: &Standing) -> Infallible {
    let (mut first, mut applied, mut failing_since) = (true, standing.applied.subscribe(), None);
    loop {
        let at = *applied.borrow_and_update();
        instance.position = at.told();
        match store.beat(&instance, first).await {
            Ok(sidecars) => {
                standing.sidecars.store(sidecars, Ordering::Relaxed);
                standing.unheard.store(None);
                (first, failing_since) = (false, None);
            }
            // A store that is away is told of elsewhere.
            Err(_) if !at.is_certain => failing_since = None,
            Err(error) => {
                let since = *failing_since.get_or_insert_with(instant);
                if since.elapsed() >= BEAT && standing.unheard.swap(Some(Arc::new(error.to_string()))).is_none() {
                    tracing::warn!(%error, "the store does not let this sidecar write itself down: --wait does not wait for it");
                }
            }
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

/// Waits until every sidecar that is not gone has applied the change log up to `position`, for `patience` at most. Nobody at all may
/// only mean that nobody is written down yet.
///
/// # Errors
/// The store's.
pub async fn confirm(store: &dyn Store, position: Position, patience: Duration) -> Result<Receipt, StoreError> {
    let began = instant();
    let mut nobody_since = began;
    loop {
        let live = store.instances().await?.into_iter().filter(|seen| !seen.is_gone());
        let (confirmed, missing): (Vec<_>, Vec<_>) = live.partition(|seen| seen.instance.position >= position);
        if !(confirmed.is_empty() && missing.is_empty()) {
            nobody_since = instant();
        }
        let is_believed = !confirmed.is_empty() || nobody_since.elapsed() >= NOBODY;
        let took = began.elapsed();
        if missing.is_empty() && is_believed || took >= patience {
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

    /// In one word.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (self.is_gone(), self.is_late()) {
            (true, _) => "gone",
            (false, true) => "late",
            (false, false) => "live",
        }
    }

    /// As people are shown it, where the change log ends at `position`.
    #[must_use]
    pub fn shown(&self, position: Position) -> Value {
        let instance = &self.instance;
        json!({
            "id": instance.id,
            "name": instance.name,
            "state": self.state(),
            "release": instance.version,
            "started_at": instance.started_at,
            "position": instance.position,
            "behind": position.0.saturating_sub(instance.position.0),
            "silent_ms": u64::try_from(self.silent.as_millis()).unwrap_or(u64::MAX),
        })
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
