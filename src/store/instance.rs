//! The sidecars that serve from a store, as they write themselves down in it: who, and how much of the change log each has applied.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::change::Position;
use crate::clock::Timestamp;

/// A running sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Random, for each start.
    pub id: String,
    /// What people call it: host and process.
    pub name: String,
    /// Its release.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// How much of the change log it has applied.
    pub position: Position,
    /// Silent for so long, it serves nothing any more that it had read before, in milliseconds.
    pub gone_after_ms: u64,
}

/// A sidecar, and for how long nothing was heard of it, by the store's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// As it wrote itself down last.
    pub instance: Instance,
    /// How long ago that was.
    pub silent: Duration,
}
