//! The record of a key, as every store keeps it: JSON, `format = 1`. Fields that a newer release added survive our updates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;

/// Newest format this release reads and the one it writes.
pub const FORMAT: u32 = 1;

/// Whether a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyStatus {
    /// It may.
    Active,
    /// Switched off; can be switched on again.
    Inactive,
    /// For ever.
    Revoked,
}

/// The secret that was replaced by a rotation and still works for a while, or is dead and only named.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct PreviousSecret {
    /// Hex of its stored digest.
    pub digest: String,
    /// When it stops working.
    pub until: Timestamp,
}

impl PreviousSecret {
    /// One that works no more, by no sidecar's clock.
    #[must_use]
    pub const fn dead(digest: String) -> Self {
        Self { digest, until: Timestamp(0) }
    }

    /// Whether it was dead when it was replaced.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        self.until.0 == 0
    }
}

/// An API key, all but its secret.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct KeyRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// `key_…`, public.
    pub id: String,
    /// Id of the tenant it acts for.
    pub tenant: String,
    /// What people call it.
    pub name: String,
    /// What its secret begins with.
    pub prefix: String,
    /// Last four characters of its secret.
    pub last4: String,
    /// Name of its kind.
    pub kind: String,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Granted scopes; none = none.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Networks it may be used from; absent = any, empty = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_allowlist: Option<Vec<String>>,
    /// Origins it may be used from; absent = any, empty = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referrers: Option<Vec<String>>,
    /// Endpoints it may call; absent = any, empty = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<String>>,
    /// Its own limit: `requests`, `per`, `burst`, `counted`, `on_unavailable`, as in `[rate_limits]`; counted by the fleet unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<serde_json::Value>,
    /// Whether it may be used.
    pub status: KeyStatus,
    /// When it stops working.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    #[serde(default)]
    pub created_by: String,
    /// When its secret was replaced last.
    #[serde(default)]
    pub rotated_at: Option<Timestamp>,
    /// Hex of the stored digest of its secret.
    pub digest: String,
    /// The secret before, while it still works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousSecret>,
    /// When it was used last.
    #[serde(default)]
    pub last_used: Option<Timestamp>,
    /// The address it was used from last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_from: Option<String>,
    /// Whether it was seen where it must not be (a browser).
    #[serde(default)]
    pub exposed: bool,
    /// Words of the operator's, usable in header templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Counts the changes; an update names the version it saw.
    pub version: u64,
    /// What a newer release added.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}
