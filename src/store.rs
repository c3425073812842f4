//! The key table: few primitives, one contract for every store. Features are written on top of these once.
//! A store knows records and stored digests; it never sees a secret, and what it holds is never trusted to parse.

pub mod change;
mod codec;
#[cfg(test)]
pub(crate) mod contract;
pub mod draw;
mod empty;
pub mod instance;
mod redis;
#[cfg(test)]
pub(crate) mod redis_server;
pub mod reservation;
pub mod session;
mod sqlite;
pub mod target;
pub mod usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::audit::{self, Event};
use crate::clock::{Clock, Timestamp};
use crate::config::sections;
use crate::key::digest::StoredDigest;
use crate::key::record::KeyRecord;
use crate::session::record::SessionRecord;
use crate::tenant::TenantRecord;
use change::{ChangeLog, Changed, Position};
use draw::{Draw, Drawn};
use instance::{Instance, Seen};
use reservation::Reservations;
use session::Sessions;
use usage::Usages;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It could not be asked, or did not answer in time: says nothing about the record.
    #[error("the store is unreachable: {0}")]
    Unavailable(String),
    /// Another change came first (or, on creation, the id is taken).
    #[error("changed meanwhile: the store has version {found}")]
    Conflict {
        /// The version that is there; 0 = none.
        found: u64,
    },
    /// Another key has this secret already.
    #[error("key {id} has this secret already")]
    DigestTaken {
        /// The key that has it.
        id: String,
    },
    /// What is there cannot be read as a record of this release.
    #[error("unreadable record {id}: {why}")]
    Corrupt {
        /// Which.
        id: String,
        /// Why.
        why: String,
    },
}

impl StoreError {
    /// The record that it is about, where it is about one.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::DigestTaken { id } | Self::Corrupt { id, .. } => id,
            Self::Unavailable(_) | Self::Conflict { .. } => "",
        }
    }
}

/// How it went with one record of many.
pub type Outcome<T = ()> = Result<T, StoreError>;

/// What is one record's own, and what is no record's.
fn own<T>(outcome: Outcome<T>) -> Result<Outcome<T>, StoreError> {
    match outcome {
        Err(error @ StoreError::Unavailable(_)) => Err(error),
        outcome => Ok(outcome),
    }
}

/// One page of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// In the order of creation.
    pub items: Vec<T>,
    /// Where the next page begins; `None` = this was the last.
    pub next: Option<String>,
    /// Why records that belong here are not among the items.
    pub unreadable: Vec<StoreError>,
}

/// How long it is remembered that a secret was a key's: an older key system may know it still.
pub const FORMER_FOR: Duration = Duration::from_hours(400 * 24);

/// Whose a secret is.
#[derive(Debug, Clone, PartialEq)]
pub enum Named {
    /// Of the key whose record names it.
    Key(Box<KeyRecord>),
    /// Of none any more: it was replaced, or its key is gone.
    Former,
    /// Of nobody here.
    Nobody,
}

impl Named {
    /// The key.
    #[must_use]
    pub fn key(self) -> Option<KeyRecord> {
        match self {
            Self::Key(record) => Some(*record),
            Self::Former | Self::Nobody => None,
        }
    }

    /// What is found by this digest is the record's, if it names it.
    fn of(record: KeyRecord, digest: StoredDigest) -> Self {
        if codec::digests(&record).any(|named| named == digest) { Self::Key(Box::new(record)) } else { Self::Former }
    }
}

/// Where a key stands in lists: the cursor behind it.
#[must_use]
pub fn place_of_key(record: &KeyRecord) -> String {
    codec::Record::place(record)
}

/// Where a tenant stands in lists.
#[must_use]
pub fn place_of_tenant(record: &TenantRecord) -> String {
    codec::Record::place(record)
}

/// Primitives of the key table.
#[async_trait]
pub trait Store: Send + Sync {
    /// Whose a secret with this stored digest is. The digest index proves nothing by itself: only a record that names the digest
    /// (current or previous) is returned. That no record names it any more is remembered for [`FORMER_FOR`].
    async fn find_named(&self, digest: &StoredDigest) -> Result<Named, StoreError>;

    /// The key that a secret with this stored digest opens.
    async fn find_key_by_digest(&self, digest: &StoredDigest) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.find_named(digest).await?.key())
    }

    /// The key with this id.
    async fn find_key(&self, id: &str) -> Result<Option<KeyRecord>, StoreError>;

    /// Writes a key and, with it or not at all, the event: `record.version` must be the version found plus one, 1 creates. Indexes the record's digests first;
    /// the record itself is the commit. Then the change is announced; if that fails the error says so, and the same change
    /// must be announced again.
    async fn put_key(&self, write: Audited<'_, KeyRecord>) -> Result<Position, StoreError>;

    /// Writes keys that are new (version 1), one by one where a store knows no better. Each has its own outcome, the one of
    /// [`Self::put_key`], but an unreachable store ends it all; a crash in the middle leaves whole records or none.
    async fn put_new_keys(&self, writes: &[Audited<'_, KeyRecord>]) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            outcomes.push(own(self.put_key(write.clone()).await.map(drop))?);
        }
        Ok(outcomes)
    }

    /// For each of these new keys the one that is in its way, if any: the key with its id, else the one with its secret.
    async fn find_rivals(&self, records: &[&KeyRecord]) -> Result<Vec<Outcome<Option<KeyRecord>>>, StoreError> {
        let mut rivals = Vec::with_capacity(records.len());
        for record in records {
            let mut rival = self.find_key(&record.id).await;
            for digest in codec::digests(record) {
                if matches!(rival, Ok(None)) {
                    rival = self.find_key_by_digest(&digest).await;
                }
            }
            rivals.push(own(rival)?);
        }
        Ok(rivals)
    }

    /// Keys, of one tenant or of all, from a cursor on.
    async fn list_keys(&self, tenant: Option<&str>, cursor: Option<&str>, limit: usize) -> Result<Page<KeyRecord>, StoreError>;

    /// The tenant with this id.
    async fn find_tenant(&self, id: &str) -> Result<Option<TenantRecord>, StoreError>;

    /// Writes a tenant, as [`Self::put_key`] does a key.
    async fn put_tenant(&self, write: Audited<'_, TenantRecord>) -> Result<Position, StoreError>;

    /// Writes tenants that are new, as [`Self::put_new_keys`] does keys.
    async fn put_new_tenants(&self, writes: &[Audited<'_, TenantRecord>]) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            outcomes.push(own(self.put_tenant(write.clone()).await.map(drop))?);
        }
        Ok(outcomes)
    }

    /// Tenants, from a cursor on.
    async fn list_tenants(&self, cursor: Option<&str>, limit: usize) -> Result<Page<TenantRecord>, StoreError>;

    /// Takes a key away, if this is what is there, and writes the event with that. Announced as a change of it.
    async fn remove_key(&self, removal: Audited<'_, KeyRecord>) -> Result<Position, StoreError>;

    /// Takes a tenant away, as [`Self::remove_key`] does a key.
    async fn remove_tenant(&self, removal: Audited<'_, TenantRecord>) -> Result<Position, StoreError>;

    /// Writes down an event that no record changes with.
    async fn append_event(&self, event: &Event) -> Result<(), StoreError>;

    /// Events, in the order of time or backwards.
    async fn list_events(&self, query: &audit::Query<'_>) -> Result<Page<Event>, StoreError>;

    /// Forgets events from before this time, so many at most. Answers how many.
    async fn forget_events(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Appends to the change log what was changed already. Answers where the last of it stands.
    async fn announce(&self, changes: &[Changed]) -> Result<Position, StoreError>;

    /// Where the change log ends.
    async fn position(&self) -> Result<Position, StoreError>;

    /// A sidecar is there, at this position. Answers how many are written down. The first time, those that are gone are struck out.
    async fn beat(&self, instance: &Instance, first: bool) -> Result<u64, StoreError>;

    /// A sidecar says goodbye.
    async fn leave(&self, instance: &str) -> Result<(), StoreError>;

    /// The sidecars that are written down.
    async fn instances(&self) -> Result<Vec<Seen>, StoreError>;

    /// Takes from a bucket that a fleet counts in together, or gives back to it. By the store's clock; a bucket that nobody has
    /// taken from is full.
    async fn draw(&self, draw: &Draw<'_>) -> Result<Drawn, StoreError>;

    /// Waits, for `command_timeout` at most, until as many replicas as `store.write_replicas` have this version of a record. For
    /// changes that take rights away: until then a failover may bring them back. A version that is not there any more conflicts;
    /// a store that cannot be asked acknowledges nothing.
    async fn await_replicas(&self, _written: Written<'_>) -> Result<Replication, StoreError> {
        Ok(Replication::default())
    }

    /// Whether the store answers now.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Whether there is anybody to ask, as far as is known; costs an atomic load.
    fn is_reachable(&self) -> bool {
        true
    }

    /// What is known of the store without asking it.
    fn status(&self) -> Status {
        Status { reachable: true, since: None, detail: String::new() }
    }
}

/// A record to be written or removed, and what the audit says of that: neither is done without the other.
#[derive(Debug, Clone)]
pub struct Audited<'a, R> {
    /// The record.
    pub record: &'a R,
    /// The event.
    pub event: Event,
}

/// A record that was written.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Written<'a> {
    Key(&'a KeyRecord),
    Tenant(&'a TenantRecord),
    Session(&'a SessionRecord),
}

/// How far a change has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replication {
    /// Replicas that were to have it.
    pub wanted: u32,
    /// Replicas that said so.
    pub acknowledged: u32,
}

impl Replication {
    /// Whether a failover to a replica cannot lose it, as far as that was asked for.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.acknowledged >= self.wanted
    }
}

/// Whether the store answers, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether it does.
    pub reachable: bool,
    /// Since when this is so; `None` = it was never otherwise.
    pub since: Option<Timestamp>,
    /// Why it does not; empty while it does.
    pub detail: String,
}

/// An open store.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The same, as it keeps reservations.
    pub reservations: Arc<dyn Reservations>,
    /// The same, as it keeps usage and recent denials.
    pub usages: Arc<dyn Usages>,
    /// The same, as it keeps sessions.
    pub sessions: Arc<dyn Sessions>,
    /// What changes in it; `None` where the store does not tell (cached entries then live for `cache.ttl`).
    pub changes: Option<Box<dyn ChangeLog>>,
}

impl Opened {
    fn of<S: Store + Reservations + Usages + Sessions + 'static>(store: Arc<S>, changes: Option<Box<dyn ChangeLog>>) -> Self {
        let reservations: Arc<dyn Reservations> = Arc::<S>::clone(&store);
        let usages: Arc<dyn Usages> = Arc::<S>::clone(&store);
        let sessions: Arc<dyn Sessions> = Arc::<S>::clone(&store);
        Self { store, reservations, usages, sessions, changes }
    }
}

/// Opens the store of a configuration, inside the runtime that is to serve it. An unreachable server is no error:
/// the store says `Unavailable` until it is there. The first attempt to reach it is over when this returns.
///
/// # Errors
/// What in the section is wrong, or why the file cannot be used.
pub async fn open(config: &sections::Store, clock: &Clock) -> Result<Opened, String> {
    match target::parse(config)? {
        target::Target::Redis(target) => {
            let (store, changes) = redis::RedisStore::connect(*target, clock.clone()).await;
            Ok(Opened::of(Arc::new(store), Some(Box::new(changes))))
        }
        target::Target::Embedded(path) => {
            let (store, changes) = sqlite::SqliteStore::open(&path, clock.clone())?;
            Ok(Opened::of(Arc::new(store), Some(Box::new(changes))))
        }
    }
}

/// The store of reservations, where that is another one; `None` = the key table's.
///
/// # Errors
/// What in its url cannot be used.
pub async fn open_reservations(config: &sections::Config, clock: &Clock) -> Result<Option<Arc<dyn Reservations>>, String> {
    match target::of_reservations(config) {
        None => Ok(None),
        Some(section) => Ok(Some(open(&section, clock).await?.reservations)),
    }
}

/// As [`open`], for a command that makes nothing new: a file that is not there is not made, it reads as empty. The path is then told.
///
/// # Errors
/// As [`open`].
pub async fn open_existing(config: &sections::Store, clock: &Clock) -> Result<(Opened, Option<PathBuf>), String> {
    if let target::Target::Embedded(path) = target::parse(config)?
        && !path.try_exists().map_err(|error| format!("{}: {error}", path.display()))?
    {
        return Ok((Opened::of(Arc::new(empty::EmptyStore), None), Some(path)));
    }
    Ok((open(config, clock).await?, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_not_there_reads_as_empty_and_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let section = sections::Store { url: format!("embedded:{}", path.display()), ..sections::Store::default() };
        let (opened, missing) = open_existing(&section, &Clock::System).await.unwrap();
        assert_eq!(missing.as_ref(), Some(&path));
        assert!(opened.store.list_keys(None, None, 10).await.unwrap().items.is_empty());
        assert!(opened.store.put_tenant(contract::bare(&contract::tenant("acme"))).await.is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let made = open(&section, &Clock::System).await.unwrap();
        made.store.put_tenant(contract::bare(&contract::tenant("acme"))).await.unwrap();
        let (opened, missing) = open_existing(&section, &Clock::System).await.unwrap();
        assert!(missing.is_none() && opened.store.find_tenant("acme").await.unwrap().is_some());
    }
}
