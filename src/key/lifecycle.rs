//! What may become of a key: made, changed, rotated, switched off and on, revoked for ever, removed. Each change is read, modify, write
//! by version, done again if another change came first, and audited in somebody's name. The plaintext exists in [`Issued`] and nowhere else.

mod create;
mod lists;
mod restore;
mod rotation;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};

use super::digest::{Digest, Peppers, StoredDigest};
use super::format::{NoRandomness, random_base62};
use super::record::{KeyRecord, KeyStatus};
use super::rules::{Fault, Rules};
use crate::audit::{Action, Actor, Event, Subject};
use crate::clock::{Clock, Timestamp};
use crate::config::sections::EnvironmentName;
use crate::store::change::{Changed, Position};
use crate::store::{Audited, Replication, Store, StoreError, Written};

pub use lists::Listed;
pub use rotation::Rotation;

/// Base62 characters of our own ids, behind `key_`.
const ID_LEN: usize = 20;
/// Attempts of a change that others get in the way of. Each is lost to another that was made: a revocation comes through a crowd.
const ATTEMPTS: usize = 64;
/// Records asked for at once.
pub(crate) const PAGE: usize = 500;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// What was asked for cannot be.
    #[error("{}", words(.0, "\n"))]
    Invalid(Vec<Fault>),
    /// No key with this id.
    #[error("there is no key {0}")]
    NoKey(String),
    /// No tenant with this id.
    #[error("there is no tenant {0}; `sidegate tenants create --id {0}` makes it")]
    NoTenant(String),
    /// No session with this id.
    #[error("there is no session {0}")]
    NoSession(String),
    /// It is in a state that does not allow it.
    #[error("{0}")]
    State(String),
    /// The tenant has as many keys as it may.
    #[error("tenant {tenant} has {limit} keys already (keys.max_per_tenant)")]
    Limit {
        /// Which.
        tenant: String,
        /// So many.
        limit: usize,
    },
    /// It is not of the version that was to be changed.
    #[error("{id} was changed meanwhile: it has version {found} now")]
    Version {
        /// Which.
        id: String,
        /// The version that is there.
        found: u64,
    },
    /// It was made, and the master that had it is gone.
    #[error("the change was lost in a failover; repeat the command")]
    Lost,
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system's.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// What a new key is to be.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the record")]
pub struct NewKey {
    pub tenant: String,
    pub name: String,
    pub environment: EnvironmentName,
    pub kind: String,
    pub scopes: Vec<String>,
    pub ip_allowlist: Option<Vec<String>>,
    pub referrers: Option<Vec<String>>,
    pub endpoints: Option<Vec<String>>,
    pub rate_limit: Option<serde_json::Value>,
    /// `90d`, RFC 3339, `never`; unset = as configured.
    pub expires: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// A record and the secret that opens it, shown once.
#[derive(Debug)]
pub struct Issued {
    /// The record.
    pub record: KeyRecord,
    /// The secret.
    pub key: SecretString,
    /// Until when the secret before the replaced one would have worked: a key has one previous secret, so that one ends now.
    pub ended: Option<Timestamp>,
}

/// Makes changes to the key table.
#[derive(Clone)]
pub struct Lifecycle {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) peppers: Peppers,
    pub(crate) clock: Clock,
    /// Who makes them: `created_by`, and in the audit.
    pub(crate) actor: Actor,
    /// Where the last change of it stands in the change log.
    made: Arc<AtomicU64>,
    /// Whether the store was asked to write anything.
    begun: Arc<AtomicBool>,
    /// The least that a change which had to be replicated has got to.
    replicated: Arc<Mutex<Option<Replication>>>,
}

impl Lifecycle {
    /// Over a store, in somebody's name.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, rules: Arc<Rules>, peppers: Peppers, clock: Clock, actor: Actor) -> Self {
        Self { store, rules, peppers, clock, actor, made: Arc::default(), begun: Arc::default(), replicated: Arc::default() }
    }

    /// The same for somebody else, who knows only of the changes of its own.
    #[must_use]
    pub fn on_behalf_of(&self, actor: Actor) -> Self {
        Self { actor, made: Arc::default(), begun: Arc::default(), replicated: Arc::default(), ..self.clone() }
    }

    /// Where the last of all changes that this made stands in the change log: a sidecar that has applied so much has applied them all.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.made.load(Ordering::Acquire))
    }

    /// Whether the store may have written anything of it, whatever it answered: what failed before has changed nothing.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
    }

    pub(crate) fn made(&self, position: Position) {
        self.made.fetch_max(position.0, Ordering::AcqRel);
    }

    /// The change that fewer replicas have acknowledged than `store.write_replicas` asks for: a failover may bring back what it took away.
    #[must_use]
    pub fn unreplicated(&self) -> Option<Replication> {
        self.replicated.lock().unwrap_or_else(PoisonError::into_inner).filter(|replication| !replication.is_complete())
    }

    /// Waits for the replicas of a change that takes rights away. It is committed: that nobody acknowledges it is no failure of it.
    ///
    /// # Errors
    /// It is not there any more; its record cannot be read.
    pub(crate) async fn replicate(&self, written: Written<'_>) -> Result<(), LifecycleError> {
        let replication = match self.store.await_replicas(written).await {
            // An older version than was written: whoever is the master now did not get it.
            Err(StoreError::Conflict { .. }) => return Err(LifecycleError::Lost),
            replication => replication?,
        };
        let mut least = self.replicated.lock().unwrap_or_else(PoisonError::into_inner);
        if least.is_none_or(|least| replication.acknowledged < least.acknowledged) {
            *least = Some(replication);
        }
        Ok(())
    }

    /// Switches a key off, on, or revokes it; doing it twice is as good as once. A revoked key stays so.
    ///
    /// # Errors
    /// No such key; revoked; the store's.
    pub async fn set_status(&self, id: &str, status: KeyStatus) -> Result<KeyRecord, LifecycleError> {
        let action = match status {
            KeyStatus::Active => Action::Activate,
            KeyStatus::Inactive => Action::Deactivate,
            KeyStatus::Revoked => Action::Revoke,
        };
        let change = self.change(id, action, |record| {
            if record.status == status {
                return Ok(Step::Nothing);
            }
            not_revoked(record)?;
            record.status = status;
            Ok(Step::Write)
        });
        let record = change.await?;
        if status != KeyStatus::Active {
            self.replicate(Written::Key(&record)).await?;
        }
        Ok(record)
    }

    /// Changes what an update may: all but id, tenant, secret, kind, environment and status. Where `version` is given only a key of
    /// that version is changed. A change that comes to nothing is none.
    ///
    /// # Errors
    /// Everything that is wrong with what it would be; no such key; revoked; of another version; the store's.
    pub async fn update(
        &self,
        id: &str,
        version: Option<u64>,
        modify: impl Fn(&mut KeyRecord) -> Result<(), LifecycleError> + Send + Sync,
    ) -> Result<KeyRecord, LifecycleError> {
        let found = self.find_key(id).await?;
        // A key's tenant never changes.
        let tenant = self.find_tenant(&found.tenant).await?;
        let change = self.change(id, Action::Update, |record| {
            if version.is_some_and(|asked| asked != record.version) {
                return Err(LifecycleError::Version { id: id.to_owned(), found: record.version });
            }
            not_revoked(record)?;
            let before = record.clone();
            modify(record)?;
            if *record == before {
                return Ok(Step::Nothing);
            }
            let wrong = self.rules.check_key(record, &tenant);
            if wrong.is_empty() { Ok(Step::Write) } else { Err(LifecycleError::Invalid(wrong)) }
        });
        let record = change.await?;
        self.replicate(Written::Key(&record)).await?;
        Ok(record)
    }

    /// Takes a key away that nobody can use any more, with its events kept.
    ///
    /// # Errors
    /// No such key; it may still be used; the store's.
    pub async fn purge(&self, id: &str) -> Result<(), LifecycleError> {
        let record = self.find_key(id).await?;
        if matches!(standing(&record, self.clock.now()), "active" | "inactive") {
            return Err(LifecycleError::State(format!("key {id} is neither revoked nor expired")));
        }
        let event = Event::of_removal(&self.actor, Action::Purge, self.clock.now(), &record);
        self.made(self.store.remove_key(Audited { record: &record, event }).await?);
        Ok(())
    }

    /// The key with this id.
    ///
    /// # Errors
    /// There is none; the store's.
    pub async fn find_key(&self, id: &str) -> Result<KeyRecord, LifecycleError> {
        self.store.find_key(id).await?.ok_or_else(|| LifecycleError::NoKey(id.to_owned()))
    }

    /// The key that this secret opens or opened, whatever its state: its current secret, or the one before.
    ///
    /// # Errors
    /// The store's.
    pub async fn find_by_secret(&self, key: &SecretString) -> Result<Option<KeyRecord>, LifecycleError> {
        self.find_by_digest(&Digest::of(key.expose_secret().as_bytes())).await
    }

    /// The same by the secret's digest.
    ///
    /// # Errors
    /// The store's.
    pub async fn find_by_digest(&self, digest: &Digest) -> Result<Option<KeyRecord>, LifecycleError> {
        for candidate in self.peppers.candidates(digest) {
            if let Some(record) = self.store.find_key_by_digest(&candidate).await? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Whether this secret of the key is not its current one but the one before.
    #[must_use]
    pub fn is_previous(&self, record: &KeyRecord, key: &SecretString) -> bool {
        let digest = Digest::of(key.expose_secret().as_bytes());
        !self.is_current(record, &digest) && record.previous.as_ref().is_some_and(|previous| self.is_stored_as(&digest, &previous.digest))
    }

    /// Whether the secret with this digest opens the key at this time.
    #[must_use]
    pub fn opens(&self, record: &KeyRecord, digest: &Digest, now: Timestamp) -> bool {
        self.is_current(record, digest)
            || record.previous.as_ref().is_some_and(|previous| now < previous.until && self.is_stored_as(digest, &previous.digest))
    }

    /// Whether it is the digest of the key's current secret.
    #[must_use]
    pub fn is_current(&self, record: &KeyRecord, digest: &Digest) -> bool {
        self.is_stored_as(digest, &record.digest)
    }

    fn is_stored_as(&self, digest: &Digest, hex: &str) -> bool {
        StoredDigest::from_hex(hex).is_some_and(|stored| self.peppers.candidates(digest).any(|candidate| candidate == stored))
    }

    fn stored(&self, key: &SecretString) -> StoredDigest {
        self.peppers.store(&Digest::of(key.expose_secret().as_bytes()))
    }

    /// A record to be written, with its event in the name of the actor.
    pub(crate) fn audited<'a, R: Subject>(&self, action: Action, before: Option<&R>, record: &'a R) -> Audited<'a, R> {
        self.begin();
        Audited { record, event: Event::of(&self.actor, action, self.clock.now(), before, record) }
    }

    async fn change(
        &self,
        id: &str,
        action: Action,
        mut modify: impl FnMut(&mut KeyRecord) -> Result<Step, LifecycleError>,
    ) -> Result<KeyRecord, LifecycleError> {
        let mut conflict = StoreError::Conflict { found: 0 };
        for _ in 0..ATTEMPTS {
            let before = self.find_key(id).await?;
            let mut record = before.clone();
            if let Step::Nothing = modify(&mut record)? {
                // Whoever asks again was perhaps not told that it was done: nor were the sidecars.
                self.made(self.store.announce(&[Changed::Key { id: record.id.clone(), version: record.version }]).await?);
                return Ok(record);
            }
            record.version += 1;
            match self.store.put_key(self.audited(action, Some(&before), &record)).await {
                Ok(position) => {
                    self.made(position);
                    return Ok(record);
                }
                Err(error @ StoreError::Conflict { .. }) => conflict = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(conflict.into())
    }
}

/// All that is wrong, in words.
pub(crate) fn words(wrong: &[Fault], between: &str) -> String {
    wrong.iter().map(|fault| fault.why.as_str()).collect::<Vec<_>>().join(between)
}

/// What a modification asks for.
pub(crate) enum Step {
    /// Write the record.
    Write,
    /// It is as it should be.
    Nothing,
}

fn not_revoked(record: &KeyRecord) -> Result<(), LifecycleError> {
    if record.status == KeyStatus::Revoked {
        return Err(LifecycleError::State(format!("key {} is revoked; that is for ever", record.id)));
    }
    Ok(())
}

/// A new id of ours.
///
/// # Errors
/// If the operating system gives no randomness.
pub(crate) fn new_id() -> Result<String, NoRandomness> {
    Ok(format!("key_{}", *random_base62(ID_LEN)?))
}

/// What a record means at this time, in one word: its status, or `expired`.
#[must_use]
pub fn standing(record: &KeyRecord, now: Timestamp) -> &'static str {
    match record.status {
        KeyStatus::Revoked => "revoked",
        KeyStatus::Inactive => "inactive",
        KeyStatus::Active if record.expires_at.is_some_and(|end| now >= end) => "expired",
        KeyStatus::Active => "active",
    }
}

#[cfg(test)]
mod tests;
