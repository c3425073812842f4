//! The record of a session, as every store keeps it: JSON, `format = 1`. It holds digests of its refresh tokens and what is sealed
//! under them; never a token. Fields that a newer release added survive our updates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::audit::{Object, Subject};
use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;

/// A session: what a login has begun, and every refresh goes on with.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct SessionRecord {
    /// As in key records: 1.
    pub format: u32,
    /// `ses_…`, public: the `sid` of its access tokens.
    pub id: String,
    /// Id of the tenant it acts for.
    pub tenant: String,
    /// Who has logged in.
    pub subject: String,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Granted scopes; none = none.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// Who asked for it.
    #[serde(default)]
    pub created_by: String,
    /// When its tokens were replaced last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshed_at: Option<Timestamp>,
    /// When its refresh token stops working.
    pub expires_at: Timestamp,
    /// When the last of its access tokens stops working.
    pub access_expires_at: Timestamp,
    /// Why it is over ahead of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Hex of what its refresh tokens are marked with: an old one is known by that long after its digest is forgotten.
    pub family: String,
    /// Hex of the stored digest of its refresh token.
    pub digest: String,
    /// Refresh tokens that were used a moment ago, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spent: Vec<Spent>,
    /// Counts the changes.
    pub version: u64,
    /// What a newer release added.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

/// A refresh token that was used.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Spent {
    /// Hex of its stored digest.
    pub digest: String,
    /// When it was used.
    pub at: Timestamp,
    /// Id of the key it was used with; empty = none was asked for.
    pub caller: String,
    /// What was given for it, sealed under a key that only who has it can derive.
    pub sealed: String,
}

/// The end of a session ahead of its time.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// `revoked`; `reuse` of a refresh token that was used before. Words of later releases are kept as they are.
    pub reason: String,
}

impl Subject for SessionRecord {
    const OBJECT: Object = Object::Session;
    fn id(&self) -> &str {
        &self.id
    }
    fn tenant(&self) -> &str {
        &self.tenant
    }
    fn version(&self) -> u64 {
        self.version
    }
    // Its tokens end with it: no replay has to end them.
    fn digest(&self) -> Option<&str> {
        None
    }
}
