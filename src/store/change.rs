//! The change log: what somebody changed in the store, another process included, in one order that every reader sees.
//! Readers go on from where they were; what a reader cannot be sure to have seen is told as [`Changed::Everything`].

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::key::record::KeyRecord;
use crate::tenant::TenantRecord;

/// Where a change stands in the log: numbers go up by one. 0 = before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The key with this id, which has this version now (0 = not known).
    Key {
        /// Which.
        id: String,
        /// Since the change.
        version: u64,
    },
    /// The tenant with this id, likewise.
    Tenant {
        /// Which.
        id: String,
        /// Since the change.
        version: u64,
    },
    /// The session with this id, likewise.
    Session {
        /// Which.
        id: String,
        /// Since the change.
        version: u64,
    },
    /// Keys that were not there before: refusals of unknown ones end.
    NewKeys,
    /// Anything: changes were missed, or the log is another one.
    Everything,
}

impl Changed {
    /// What the writing of this record changed.
    #[must_use]
    pub fn of_key(record: &KeyRecord) -> Self {
        if record.version == 1 { Self::NewKeys } else { Self::Key { id: record.id.clone(), version: record.version } }
    }

    /// What the writing of this record changed.
    #[must_use]
    pub fn of_tenant(record: &TenantRecord) -> Self {
        Self::Tenant { id: record.id.clone(), version: record.version }
    }

    /// As logs keep it: a word, an id, a version.
    pub(super) fn fields(&self) -> (&'static str, &str, u64) {
        match self {
            Self::Key { id, version } => ("key", id, *version),
            Self::Tenant { id, version } => ("tenant", id, *version),
            Self::Session { id, version } => ("session", id, *version),
            Self::NewKeys => ("new", "", 0),
            Self::Everything => ("everything", "", 0),
        }
    }

    /// Reads what [`Self::fields`] wrote. Words of a later release mean anything.
    pub(super) fn from_fields(what: &str, id: &str, version: u64) -> Self {
        match what {
            "key" => Self::Key { id: id.to_owned(), version },
            "tenant" => Self::Tenant { id: id.to_owned(), version },
            "session" => Self::Session { id: id.to_owned(), version },
            "new" => Self::NewKeys,
            _ => Self::Everything,
        }
    }
}

/// What was read at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// In the order in which it happened; empty = nothing.
    pub changes: Vec<Changed>,
    /// Where the reader stands behind them.
    pub position: Position,
    /// Whether that was the end of the log when it was read.
    pub current: bool,
}

/// The longest wait of a reader. What it answers is certain only for when it began to wait: cached entries are used without asking
/// for a second after that, so that two turns must fit into it with room to spare.
pub(super) const TURN: Duration = Duration::from_millis(250);

/// A reader of the log, for as long as the process runs.
#[async_trait]
pub trait ChangeLog: Send {
    /// Waits for the next changes, [`TURN`] at most; none is an answer too. After an error the next call goes on from
    /// the same position. The first call answers `Everything`, and where the log ends.
    async fn next(&mut self) -> Result<Batch, StoreError>;
}
