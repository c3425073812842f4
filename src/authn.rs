//! Who is calling, from what was presented. A cached credential is answered synchronously ([`Authenticator::cached`]);
//! an uncached one asks the store once, however many requests wait ([`Authenticator::load`]).
//! What is cached are identities, never decisions; every deadline is judged against the time that is handed in.

mod cache;
mod compile;
mod exposure;
mod fetch;
mod flight;
mod freshness;
mod held;
pub mod introspection;
pub mod jwt;
mod key_table;
mod load;
mod opaque;
mod slots;
mod snapshot;
mod standing;
#[cfg(test)]
mod tests;
mod token;
mod trouble;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::clock::{Clock, Timestamp};
use crate::config::sections::Config;
use crate::identity::Identity;
use crate::identity::template::IdentityHeaders;
use crate::key::digest::{Digest, Peppers};
use crate::key::record::KeyRecord;
use crate::rejection::{Refusal, Rejection};
use crate::store::change::Changed;
use crate::store::session::Sessions;
use crate::store::{Status, Store};

pub use jwt::{Issuers, Verified};
pub use key_table::KeyTable;
pub use standing::{Admission, ENDINGS, Standing};
pub use token::Token;

use load::Shared;

/// What authentication says: an identity, or why not.
pub type Authenticated = Result<Arc<Identity>, Refusal>;

/// Authenticates API keys and tokens against the cache and the store. Shared by all workers.
pub struct Authenticator {
    shared: Arc<Shared>,
    /// How long anybody waits for a look-up.
    patience: Duration,
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// `find_key_by_digest` calls.
    pub key_lookups: AtomicU64,
    /// `find_tenant` calls.
    pub tenant_lookups: AtomicU64,
    /// `find_session` calls.
    pub session_lookups: AtomicU64,
    /// Requests that waited for a look-up that was already under way.
    pub joined: AtomicU64,
    /// Answers from the negative cache.
    pub negative_hits: AtomicU64,
    /// Look-ups begun ahead of the end of what is used.
    pub refreshes: AtomicU64,
    /// Look-ups done again, because something changed while they ran.
    pub repeated: AtomicU64,
    /// Records that could not be read or used.
    pub unusable: AtomicU64,
    /// Look-ups that the store did not answer.
    pub unanswered: AtomicU64,
    /// Answers from what should have been read again and could not be.
    pub stale: AtomicU64,
    /// Look-ups that found less than was there before: the store has lost something.
    pub faults: AtomicU64,
}

impl Counters {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The first is told at once, the others would be as many lines as there are keys.
    fn count_fault(&self) {
        if self.faults.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("the store has lost records that were there, or shows older ones; what was known before is served meanwhile");
        }
    }
}

impl Authenticator {
    /// An empty cache over `store`. Look-ups run on `runtime`, the store's own, whichever worker asks, and nobody waits longer for
    /// one than for a command.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        sessions: Arc<dyn Sessions>,
        config: &Config,
        peppers: Peppers,
        headers: Arc<IdentityHeaders>,
        clock: Clock,
        runtime: Handle,
    ) -> Self {
        let shared = Arc::new(Shared::new(store, sessions, &config.cache, peppers, headers, clock, runtime));
        Self { shared, patience: config.store.command_timeout.0 }
    }

    /// The answer for a credential that is in a cache, positive or negative, and still fresh; `None` = ask the store.
    /// Expiry and rotation deadlines are judged here, at `now`.
    #[must_use]
    pub fn cached(&self, digest: &Digest, now: Timestamp) -> Option<Authenticated> {
        self.shared.cached(digest, now).map(|answer| answer.and_then(|entry| entry.judge(now)))
    }

    /// Who it was that a credential refused at `now` had authenticated until a rotation replaced it. For who asks again what came of
    /// that rotation; nobody is authenticated by it.
    #[must_use]
    pub fn replaced(&self, digest: &Digest, now: Timestamp) -> Option<Arc<Identity>> {
        let (answer, _) = self.shared.known(digest, now)?;
        answer.ok()?.replaced(now).cloned()
    }

    /// Ids of the key and the tenant that a credential is known to be of, whether or not it may be used.
    #[must_use]
    pub fn owner(&self, digest: &Digest) -> Option<(Arc<str>, Arc<str>)> {
        let entry = self.shared.caches.entry(digest)?;
        Some((Arc::clone(&entry.key.id), Arc::clone(&entry.tenant.slot.id)))
    }

    /// Whether a look-up of this credential is under way: who asks now joins it and costs the store nothing.
    #[must_use]
    pub fn is_loading(&self, digest: &Digest) -> bool {
        self.shared.flights.is_loading(digest)
    }

    /// Asks the store (one look-up for all who wait for the same digest) and fills the cache.
    /// A caller that leaves does not end the look-up.
    ///
    /// # Errors
    /// Why the caller is refused; `store_unavailable` when it cannot be asked.
    pub async fn load(&self, digest: &Digest, now: Timestamp) -> Authenticated {
        let (reply, answer) = oneshot::channel();
        self.shared.join(digest, now, reply);
        match timeout(self.patience, answer).await {
            Ok(Ok(answer)) => answer?.judge(now),
            Ok(Err(_)) => Err(Rejection::StoreUnavailable.because("the store is closed")),
            // The look-up goes on, and whoever asks then has its answer.
            Err(_) => {
                let why = format!("no answer within {} ms", self.patience.as_millis());
                self.shared.overdue(digest, why)?.judge(now)
            }
        }
    }

    /// What a caller with the current secret of this record would be told; nothing is cached.
    ///
    /// # Errors
    /// Why the caller would be refused.
    pub async fn of_record(&self, record: &KeyRecord, now: Timestamp) -> Authenticated {
        self.shared.entry_of(record).await?.judge(now)
    }

    /// This key has this version now (0 = not known): nothing older is used again, even if the store should show it.
    pub fn invalidate_key(&self, id: &str, version: u64) {
        self.shared.changed(self.shared.slots.invalidate_key(id, version, self.now()));
    }

    /// The same of a tenant, and thereby of all its keys.
    pub fn invalidate_tenant(&self, id: &str, version: u64) {
        self.shared.changed(self.shared.slots.invalidate_tenant(id, version, self.now()));
    }

    /// The same of a session, and thereby of its tokens.
    pub fn invalidate_session(&self, id: &str, version: u64) {
        self.shared.slots.invalidate_session(id, version, self.now());
    }

    /// Anything may have changed: everything is read again before it is used, as long as the store answers.
    pub fn revalidate_everything(&self) {
        self.shared.slots.revalidate_everything();
    }

    /// What a store tells of its changes.
    pub fn apply(&self, changed: &Changed) {
        match changed {
            Changed::Key { id, version } => self.invalidate_key(id, *version),
            Changed::Tenant { id, version } => self.invalidate_tenant(id, *version),
            Changed::Session { id, version } => self.invalidate_session(id, *version),
            Changed::NewKeys => self.shared.slots.invalidate_refusals(),
            Changed::Everything => self.revalidate_everything(),
        }
    }

    /// All changes up to `at` are applied.
    pub fn heard(&self, at: Timestamp) {
        self.shared.freshness.heard(at);
    }

    /// Up to when all changes are applied; `None` = the change log was never read.
    #[must_use]
    pub fn heard_at(&self) -> Option<Timestamp> {
        self.shared.freshness.heard_at()
    }

    /// Whether that is recent enough for what is cached to be used without asking.
    #[must_use]
    pub fn is_heard(&self, now: Timestamp) -> bool {
        self.shared.freshness.is_heard(now)
    }

    /// When the store answered last; `None` = never.
    #[must_use]
    pub fn contact_at(&self) -> Option<Timestamp> {
        self.shared.freshness.contact_at()
    }

    /// Keys held.
    #[must_use]
    pub fn cached_keys(&self) -> u64 {
        self.shared.caches.sizes().0
    }

    /// Refusals of unknown keys held.
    #[must_use]
    pub fn cached_refusals(&self) -> u64 {
        self.shared.caches.sizes().1
    }

    /// How long what is held is served while the store does not answer.
    #[must_use]
    pub fn stale_for(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.shared.freshness.stale_for_ms()).unwrap_or(0))
    }

    /// Whether keys of a snapshot can be served, although the store may never have answered.
    #[must_use]
    pub fn has_warm_start(&self) -> bool {
        self.shared.freshness.is_warm(self.now())
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Whether the store answers, as far as is known without asking.
    #[must_use]
    pub fn store_status(&self) -> Status {
        self.shared.store.status()
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}
