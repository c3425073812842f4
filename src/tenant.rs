//! The record of a tenant: the account on whose behalf keys act.

pub mod lifecycle;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Whether a tenant's credentials are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TenantStatus {
    /// They are.
    Active,
    /// They are not.
    Suspended,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct TenantRecord {
    /// As in key records: 1.
    pub format: u32,
    /// Chosen by the operator: 1–64 of `A-Z a-z 0-9 . _ -`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whether its credentials are accepted.
    pub status: TenantStatus,
    /// Networks its credentials may be used from; absent = any, empty = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_allowlist: Option<Vec<String>>,
    /// Ceiling: scopes beyond it are not effective; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Its own limit: `requests`, `per`, `burst`, `counted`, `on_unavailable`, as in `[rate_limits]`; counted by the fleet unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<serde_json::Value>,
    /// Words of the operator's, usable in header templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts the changes.
    pub version: u64,
    /// What a newer release added.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}
