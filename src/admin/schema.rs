//! What the OpenAPI document says of records, which are shown by [`crate::key::shown`]: nothing is ever made of these types. A test
//! holds them against what is shown.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// An id in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it is described, never made")]
pub(super) struct KeyId {
    /// The key
    #[param(example = "key_4fQ9c2LxR7tYv0Bn1mKs", pattern = "^[A-Za-z0-9._-]{1,64}$")]
    id: String,
}

/// A header of every POST.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described, never made")]
pub(super) struct Once {
    /// The same key again within `idempotency.ttl` gets the first one's answer again, with `Idempotent-Replayed: true`
    #[param(rename = "Idempotency-Key", example = "8e03978e-40d5-43e8-bc93-6894a57f9324", pattern = "^[A-Za-z0-9._-]{1,255}$")]
    idempotency_key: Option<String>,
}

/// Environment of a key
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it is described, never made")]
pub enum Environment {
    /// Real
    Live,
    /// For trying out
    Test,
}

/// What a key's state comes to now
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyStatus {
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
    pub(super) const fn word(self) -> &'static str {
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
#[expect(dead_code, reason = "it is described, never made")]
pub struct RateLimit {
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
#[expect(dead_code, reason = "it is described, never made")]
pub struct Key {
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

/// A key and its secret, which is shown this once
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is described, never made")]
pub struct IssuedKey {
    #[schema(inline)]
    #[allow(clippy::struct_field_names, reason = "the name of the field in the answer")]
    key: String,
    #[serde(flatten)]
    record: Key,
}

/// One page of keys
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is described, never made")]
pub struct Keys {
    data: Vec<Key>,
    /// The cursor of the next page; null = this is the last
    #[schema(required)]
    next: Option<String>,
}
