//! Keys, and how far a change of one has got.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

use crate::admin::keys::revoke::NotRevoked;

/// Environment of a key
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Environment {
    /// Real
    Live,
    /// For trying out
    Test,
}

/// What a key's state comes to now
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyStatus {
    /// It may be used
    Active,
    /// Switched off
    Inactive,
    /// Past its end
    Expired,
    /// For ever
    Revoked,
}

impl KeyStatus {
    /// Its word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A limit of its own
#[derive(ToSchema)]
pub(crate) struct RateLimit {
    /// So many requests
    #[schema(minimum = 1)]
    requests: u64,
    /// In this time
    #[schema(example = "1s")]
    per: String,
    /// So many at once
    burst: Option<u64>,
    /// By this sidecar alone, or by all together
    counted: Option<String>,
    /// While the store is away
    on_unavailable: Option<String>,
}

/// An API key, all but its secret
#[derive(ToSchema)]
pub(crate) struct Key {
    #[schema(example = "key_4fQ9c2LxR7tYv0Bn1mKs")]
    id: String,
    /// Tenant it acts for
    tenant: String,
    /// What people call it
    name: String,
    /// What its secret begins with
    prefix: String,
    /// Last four characters of its secret
    last4: String,
    kind: String,
    environment: Environment,
    /// Granted scopes
    scopes: Vec<String>,
    /// Networks it may be used from; left out = any, empty = none
    #[schema(nullable = false)]
    ip_allowlist: Option<Vec<String>>,
    /// Origins it may be used from; left out = any, empty = none
    #[schema(nullable = false)]
    referrers: Option<Vec<String>>,
    /// Endpoints it may call; left out = any, empty = none
    #[schema(nullable = false)]
    endpoints: Option<Vec<String>>,
    #[schema(nullable = false)]
    rate_limit: Option<RateLimit>,
    status: KeyStatus,
    /// When it stops working; null = never
    #[schema(value_type = Option<String>, format = DateTime, required)]
    expires_at: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    /// Who made it
    created_by: String,
    /// When its secret was replaced last
    #[schema(value_type = Option<String>, format = DateTime, required)]
    rotated_at: Option<String>,
    /// While the secret before works: until when
    #[schema(format = DateTime, nullable = false)]
    previous_until: Option<String>,
    /// When it was used last
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_used: Option<String>,
    /// The address it was used from last
    #[schema(nullable = false)]
    last_used_from: Option<String>,
    /// Whether it was seen where it must not be: in a browser
    exposed: bool,
    /// Words of the operator's
    #[schema(nullable = false)]
    metadata: Option<BTreeMap<String, String>>,
    /// Counts the changes
    #[schema(minimum = 1)]
    version: u64,
}

/// A key and its secret
#[derive(ToSchema)]
pub(crate) struct IssuedKey {
    /// The secret, which is shown this once
    #[schema(example = "sk_live_…")]
    key: String,
    #[serde(flatten)]
    record: Key,
}

/// A key and its new secret
#[derive(ToSchema)]
pub(crate) struct RotatedKey {
    /// The secret, which is shown this once
    #[schema(example = "sk_live_…")]
    key: String,
    /// Until when the secret before the replaced one would have worked: a key has one previous secret, so that one ends now
    #[schema(format = DateTime, nullable = false)]
    cut_short: Option<String>,
    #[serde(flatten)]
    changed: ChangedKey,
}

/// A key that was changed, and how far that has got
#[derive(ToSchema)]
pub(crate) struct ChangedKey {
    #[serde(flatten)]
    record: Key,
    #[serde(flatten)]
    extent: Extent,
}

/// A key that was found by its secret
#[derive(ToSchema)]
pub(crate) struct FoundKey {
    presented: Presented,
    #[serde(flatten)]
    record: Key,
}

/// Which of a key's secrets
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Presented {
    /// The one that it has
    Current,
    /// The one before the last rotation
    Previous,
}

/// How far a change has got
#[derive(ToSchema)]
pub(crate) struct Extent {
    /// With `wait`: the sidecars; null = the store could not be asked
    confirmation: Option<Confirmation>,
    /// Where fewer replicas have it than `store.write_replicas`
    #[schema(nullable = false)]
    replication: Option<Replication>,
}

/// Which sidecars have applied a change
#[derive(ToSchema)]
pub(crate) struct Confirmation {
    /// So many have
    confirmed: u64,
    /// Of so many
    of: u64,
    took_ms: u64,
    /// The others
    missing: Vec<Missing>,
}

/// A sidecar that has not applied a change
#[derive(ToSchema)]
pub(crate) struct Missing {
    sidecar: String,
    /// So long it was not heard of
    silent_ms: u64,
    /// Until when it may serve what it had, should it be unable to reach the store
    #[schema(format = DateTime)]
    may_serve_until: String,
}

/// Replicas that have a change
#[derive(ToSchema)]
pub(crate) struct Replication {
    acknowledged: u32,
    wanted: u32,
}

/// A key in a list
#[derive(ToSchema)]
pub(crate) struct ListedKey {
    /// Why somebody should look at it, where that was asked
    #[schema(nullable = false)]
    attention: Option<Vec<Mark>>,
    #[serde(flatten)]
    record: Key,
}

/// A reason to look at a key
#[derive(ToSchema)]
pub(crate) struct Mark {
    #[schema(example = "rotation_due")]
    mark: String,
    detail: String,
}

/// One page of keys
#[derive(ToSchema)]
pub(crate) struct Keys {
    data: Vec<ListedKey>,
    /// The cursor of the next page; null = this is the last
    #[schema(required)]
    next: Option<String>,
    /// Ids of records that belong here and cannot be read
    unreadable: Vec<String>,
}

/// What became of keys that were to be revoked
#[derive(ToSchema)]
pub(crate) struct Revoked {
    dry_run: bool,
    /// Ids of those that were revoked now
    revoked: Vec<String>,
    /// Ids of those that were so before
    already_revoked: Vec<String>,
    failed: Vec<NotRevoked>,
    /// Whether others are left
    more: bool,
    #[serde(flatten)]
    extent: Extent,
}
