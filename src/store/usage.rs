//! Usage of keys and recent denials: few primitives, one contract for every store. What a sidecar has gathered is added as a whole, by
//! one exchange, and never twice: what may have been added is given up. A store sees counts, names, addresses as the log tells them
//! and fingerprints; never a credential.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{Page, StoreError};
use crate::clock::Timestamp;
use crate::net::Network;
use crate::rejection::Rejection;
use crate::usage::Day;

/// How long counts are kept after their day.
pub const RETENTION_DAYS: u16 = 400;
/// Networks, and scopes, that are remembered of a key: the ones that were seen last.
pub const NETWORKS_MAX: usize = 32;
/// See [`NETWORKS_MAX`].
pub const SCOPES_MAX: usize = 256;
/// Denials kept, about.
pub const DENIALS_KEPT: usize = 10_000;

/// What requests came to on one day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub requests: u64,
    /// Bytes of their content.
    pub received_bytes: u64,
    /// Bytes of their answers' content.
    pub sent_bytes: u64,
    /// Those that were refused, by why.
    pub denied: SmallVec<[(Rejection, u64); 1]>,
}

/// What was gathered of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub key: Arc<str>,
    /// By day.
    pub days: SmallVec<[(Day, Counts); 1]>,
    /// When it was admitted last, and from where.
    pub last: Option<(Timestamp, Option<IpAddr>)>,
    /// Networks it was admitted from, and when first and last.
    pub networks: SmallVec<[(Network, Timestamp, Timestamp); 1]>,
    /// When there was last no room for a network.
    pub networks_missed: Option<Timestamp>,
    /// Scopes that were needed where it was admitted, and when last: those of one demand together, with spaces between them.
    pub scopes: SmallVec<[(Box<str>, Timestamp); 1]>,
    /// When there was last no room for a scope.
    pub scopes_missed: Option<Timestamp>,
}

impl KeyUse {
    /// Requests in it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.days.iter().map(|(_, counts)| counts.requests).sum()
    }

    /// Each scope that was needed, and when last.
    #[must_use]
    pub fn scopes(&self) -> BTreeMap<&str, Timestamp> {
        let mut scopes = BTreeMap::new();
        for (scope, at) in self.scopes.iter().flat_map(|(words, at)| words.split(' ').map(|scope| (scope, *at))) {
            let latest = scopes.entry(scope).or_insert(at);
            *latest = at.max(*latest);
        }
        scopes
    }
}

/// A refusal, as support looks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// When the request came.
    pub time: Timestamp,
    /// Its id, as in `X-Request-Id`.
    pub request_id: String,
    /// Why it was refused.
    pub reason: String,
    /// What decided.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Whether it was let through all the same (`[restrictions] observe`, `[migration]`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
    /// Status that the client got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Tenant of the caller, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The caller's key, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Prefix and fingerprint of a key that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The client, as `log.client_address` lets it be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// What was asked; empty where no head could be read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Of what, without its query, key-like parts masked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// What is added at once.
#[derive(Debug, Default)]
pub struct Flush {
    /// Each key once.
    pub keys: Vec<KeyUse>,
    /// In the order of their time.
    pub denials: Vec<Denial>,
}

impl Flush {
    /// Whether there is nothing to add.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.denials.is_empty()
    }
}

/// What came of a flush.
#[derive(Debug, Default)]
pub struct Flushed {
    /// What was certainly not added: it may be flushed again.
    pub left: Flush,
    /// Requests of which nobody knows whether they were added.
    pub unknown_requests: u64,
    /// Denials of which nobody knows that.
    pub unknown_denials: u64,
    /// Why, where anything is left or not known.
    pub error: Option<StoreError>,
}

/// A key's last use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastUse {
    /// When, as finely as `keys.last_used_resolution` says.
    pub at: Timestamp,
    /// From where, as `log.client_address` lets it be told.
    pub from: Option<String>,
}

/// What a key's requests came to on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayUsage {
    /// Which, UTC.
    pub day: Day,
    /// All of them, those that were refused among them.
    pub requests: u64,
    /// Those that were refused, by reason.
    pub denied: BTreeMap<String, u64>,
    /// Bytes of their content.
    pub received_bytes: u64,
    /// Bytes of their answers' content.
    pub sent_bytes: u64,
}

/// A network that a key was admitted from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[expect(missing_docs, reason = "the words say it")]
pub struct NetworkSeen {
    pub network: String,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// A scope that was needed where a key was admitted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[expect(missing_docs, reason = "the words say it")]
pub struct ScopeUsed {
    pub scope: String,
    pub last: Timestamp,
}

/// What is known of a key's use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KeyUsage {
    /// Days that were asked for, the oldest first; without those on which nothing was counted.
    pub days: Vec<DayUsage>,
    /// Its last use.
    pub last: Option<LastUse>,
    /// Where it was seen, the latest first.
    pub networks: Vec<NetworkSeen>,
    /// When a network was last left out, because there were more than are kept.
    pub networks_missed: Option<Timestamp>,
    /// What it was used for, the latest first.
    pub scopes: Vec<ScopeUsed>,
    /// When a scope was last left out.
    pub scopes_missed: Option<Timestamp>,
}

/// Which denials are asked for; what is unset allows all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of a denial")]
pub struct DenialFilter {
    pub request_id: Option<String>,
    pub key: Option<String>,
    pub tenant: Option<String>,
    pub reason: Option<String>,
    /// None earlier than this.
    pub since: Option<Timestamp>,
}

impl DenialFilter {
    /// Whether it is asked for.
    #[must_use]
    pub fn takes(&self, denial: &Denial) -> bool {
        let is = |asked: &Option<String>, found: Option<&str>| asked.as_deref().is_none_or(|asked| found == Some(asked));
        is(&self.request_id, Some(&denial.request_id))
            && is(&self.key, denial.key.as_deref())
            && is(&self.tenant, denial.tenant.as_deref())
            && is(&self.reason, Some(&denial.reason))
            && self.since.is_none_or(|since| denial.time >= since)
    }
}

/// Primitives of usage.
#[async_trait]
pub trait Usages: Send + Sync {
    /// Adds what was gathered, each key's wholly or not at all.
    async fn flush(&self, flush: Flush) -> Flushed;

    /// The use of each of these keys, with the counts of the days from `from` to `to`.
    async fn usage(&self, keys: &[&str], from: Day, to: Day) -> Result<Vec<KeyUsage>, StoreError>;

    /// The last use of each of these keys, as far as it was counted here.
    async fn last_uses(&self, keys: &[&str]) -> Result<Vec<Option<LastUse>>, StoreError>;

    /// Recent denials, the newest first, from a cursor on.
    async fn denials(&self, filter: &DenialFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Denial>, StoreError>;
}
