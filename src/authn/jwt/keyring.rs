//! The keys of one issuer, and where they come from. Those of a file are what they are; a document at a URL is read again before it is
//! too old and when a token names a key that it has not, by one question at a time and seldom. A document that cannot be had, or be
//! used, changes nothing for a day.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::algorithm::Algorithm;
use super::jwk::KeySet;
use crate::authn::fetch::Endpoint;
use crate::clock::{Clock, Timestamp};
use crate::key::digest::Digest;

/// Least time between two questions, while there are keys.
const PAUSE_MS: i64 = 10_000;
/// The same after the first failure while there are none; doubled with each, up to [`PAUSE_MS`].
const FIRST_PAUSE_MS: i64 = 1_000;
/// How long keys are used that cannot be read again.
const STALE_MS: i64 = 24 * 3_600_000;
/// Tokens that wait for one answer at once while there are keys: those of a rotation do, a flood does not.
const WAITING_MAX: usize = 64;
/// How often it is looked whether something is to be done.
const LOOK: Duration = Duration::from_secs(1);

/// The keys of an issuer.
#[derive(Debug)]
pub struct Keyring {
    keys: ArcSwapOption<KeySet>,
    /// Of all issuers together; rises when keys change.
    version: Arc<AtomicU64>,
    remote: Option<Remote>,
}

#[derive(Debug)]
struct Remote {
    issuer: Arc<str>,
    endpoint: Endpoint,
    algorithms: Box<[Algorithm]>,
    refresh_ms: i64,
    state: Mutex<State>,
    /// Questions that have ended.
    landed: watch::Sender<u64>,
    /// Who reads it again in time.
    keeper: Mutex<Option<AbortHandle>>,
    counters: Counters,
}

/// What was counted of a URL's document.
#[derive(Debug, Default)]
pub struct Counters {
    /// Documents that were put to use, or were the same as before.
    pub read: AtomicU64,
    /// Questions that yielded none.
    pub failed: AtomicU64,
    /// Tokens with an unknown key for which nobody was asked, since somebody just was.
    pub spared: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    is_asking: bool,
    asked: Option<Timestamp>,
    /// When the keys in use were read last.
    read: Option<Timestamp>,
    /// What they were made of.
    document: Option<Digest>,
    failures: u32,
}

impl Keyring {
    /// Keys that do not change.
    #[must_use]
    pub(super) fn fixed(keys: KeySet, version: &Arc<AtomicU64>) -> Self {
        Self { keys: ArcSwapOption::from_pointee(keys), version: Arc::clone(version), remote: None }
    }

    /// Those of a URL; none yet.
    #[must_use]
    pub(super) fn remote(
        issuer: &Arc<str>,
        endpoint: Endpoint,
        algorithms: Box<[Algorithm]>,
        refresh_ms: i64,
        version: &Arc<AtomicU64>,
    ) -> Self {
        let remote = Remote {
            issuer: Arc::clone(issuer),
            endpoint,
            algorithms,
            refresh_ms,
            state: Mutex::default(),
            landed: watch::Sender::new(0),
            keeper: Mutex::default(),
            counters: Counters::default(),
        };
        Self { keys: ArcSwapOption::empty(), version: Arc::clone(version), remote: Some(remote) }
    }

    /// The keys; `None` while there are none.
    pub(super) fn keys(&self) -> Guard<Option<Arc<KeySet>>> {
        self.keys.load()
    }

    /// Whether others may be had.
    pub(super) const fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// What another has read at the same place for the same algorithms.
    pub(super) fn take_over(&self, earlier: &Self) {
        let (Some(remote), Some(before)) = (&self.remote, &earlier.remote) else { return };
        if remote.endpoint.url() == before.endpoint.url() && remote.algorithms == before.algorithms {
            let (asked, read, document, failures) = {
                let state = before.state();
                (state.asked, state.read, state.document, state.failures)
            };
            let mut state = remote.state();
            (state.asked, state.read, state.document, state.failures) = (asked, read, document, failures);
            self.keys.store(earlier.keys.load_full());
        }
    }

    /// What was counted, and when the keys in use were read; `None` where they do not change.
    #[must_use]
    pub fn counters(&self) -> Option<(&Counters, Option<Timestamp>)> {
        self.remote.as_ref().map(|remote| (&remote.counters, remote.state().read))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys().as_ref().map_or(0, |keys| keys.len())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps it fresh from now on, on this runtime and no other, for as long as somebody holds it.
    pub(super) fn keep(self: &Arc<Self>, runtime: &Handle, clock: &Clock) {
        let Some(remote) = &self.remote else { return };
        let keeper = runtime.spawn(look_after(Arc::downgrade(self), clock.clone()));
        if let Some(earlier) = remote.keeper.lock().unwrap_or_else(PoisonError::into_inner).replace(keeper.abort_handle()) {
            earlier.abort();
        }
    }

    /// A token asks for a key that is not here. Waits for the answer of who was asked, if somebody may be asked.
    pub(super) async fn ask(self: &Arc<Self>, runtime: &Handle, clock: &Clock) {
        let Some(remote) = &self.remote else { return };
        let mut landed = remote.landed.subscribe();
        if remote.begin(clock.now(), self.keys().is_some()) {
            let asking = Asking { ring: Arc::clone(self), clock: clock.clone() };
            drop(runtime.spawn(asking.run()));
        } else if !remote.state().is_asking || self.keys().is_some() && remote.landed.receiver_count() > WAITING_MAX {
            remote.counters.spared.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // If nobody can answer any more, that is an answer too.
        let _ = landed.changed().await;
    }

    /// Reads the document again if it is time for that, and forgets it if that was in vain for too long.
    async fn look(self: &Arc<Self>, clock: &Clock) {
        let Some(remote) = &self.remote else { return };
        let now = clock.now();
        if self.keys().is_some() && remote.state().read.is_some_and(|read| now >= read.plus_millis(STALE_MS)) {
            tracing::error!(issuer = %remote.issuer, "the issuer's keys could not be read again for a day and are used no more");
            self.replace(None);
        }
        let is_due = remote.state().read.is_none_or(|read| now >= read.plus_millis(remote.refresh_ms));
        if is_due && remote.begin(now, self.keys().is_some()) {
            Asking { ring: Arc::clone(self), clock: clock.clone() }.run().await;
        }
    }

    fn replace(&self, keys: Option<KeySet>) {
        self.keys.store(keys.map(Arc::new));
        // After the keys: who sees the new number finds what belongs to it.
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// What a question yielded.
    fn settle(&self, remote: &Remote, answer: Result<bytes::Bytes, String>, began: Timestamp) {
        let answer = answer.and_then(|document| {
            let digest = Digest::of(&document);
            if self.keys().is_some() && remote.state().document == Some(digest) {
                return Ok((None, digest));
            }
            KeySet::parse(&document, &remote.algorithms).map(|keys| (Some(keys), digest))
        });
        match answer {
            Ok((keys, digest)) => {
                remote.counters.read.fetch_add(1, Ordering::Relaxed);
                let failures = {
                    let mut state = remote.state();
                    (state.read, state.document) = (Some(began), Some(digest));
                    std::mem::take(&mut state.failures)
                };
                if failures > 0 {
                    tracing::info!(issuer = %remote.issuer, "the issuer's keys can be read again");
                }
                if let Some(keys) = keys {
                    self.replace(Some(keys));
                }
            }
            Err(why) => {
                remote.counters.failed.fetch_add(1, Ordering::Relaxed);
                let failures = {
                    let mut state = remote.state();
                    state.failures = state.failures.saturating_add(1);
                    state.failures
                };
                // The first is told at once, the others would be as many lines.
                if failures == 1 {
                    let meanwhile = if self.keys().is_some() { "those known are used meanwhile" } else { "there are none" };
                    tracing::warn!(issuer = %remote.issuer, %why, "the issuer's keys cannot be read; {meanwhile}");
                }
            }
        }
    }
}

impl Remote {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a question may begin now; then it has.
    fn begin(&self, now: Timestamp, has_keys: bool) -> bool {
        let mut state = self.state();
        let pause = if has_keys { PAUSE_MS } else { PAUSE_MS.min(FIRST_PAUSE_MS << state.failures.saturating_sub(1).min(4)) };
        // A clock that was set back makes nobody wait longer.
        let is_free = state.asked.is_none_or(|asked| now < asked || now >= asked.plus_millis(pause));
        if state.is_asking || !is_free {
            return false;
        }
        (state.is_asking, state.asked) = (true, Some(now));
        true
    }
}

/// A question under way. However it ends, even by the runtime's, nobody waits for it for ever.
struct Asking {
    ring: Arc<Keyring>,
    clock: Clock,
}

impl Asking {
    async fn run(self) {
        let Some(remote) = &self.ring.remote else { return };
        let began = self.clock.now();
        let answer = remote.endpoint.document().await;
        self.ring.settle(remote, answer, began);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(remote) = &self.ring.remote {
            remote.state().is_asking = false;
            remote.landed.send_modify(|landed| *landed += 1);
        }
    }
}

async fn look_after(ring: Weak<Keyring>, clock: Clock) {
    loop {
        match ring.upgrade() {
            Some(ring) => ring.look(&clock).await,
            None => return,
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_makes_nobody_ask_sooner() {
        let (version, algorithms): (_, Box<[Algorithm]>) = (Arc::new(AtomicU64::new(0)), Box::new([Algorithm::EdDsa]));
        let ring = |url: &str| Keyring::remote(&"users".into(), Endpoint::parse(url).unwrap(), algorithms.clone(), 300_000, &version);
        let (before, now) = (ring("https://auth.example/jwks"), Timestamp(1_700_000_000_000));
        assert!(before.remote.as_ref().unwrap().begin(now, true));
        let (after, elsewhere) = (ring("https://auth.example/jwks"), ring("https://other.example/jwks"));
        for ring in [&after, &elsewhere] {
            ring.take_over(&before);
        }
        let begins = |ring: &Keyring, ms| ring.remote.as_ref().unwrap().begin(now.plus_millis(ms), true);
        assert!(begins(&elsewhere, 1));
        assert!(!begins(&after, PAUSE_MS - 1) && begins(&after, PAUSE_MS));
    }
}
