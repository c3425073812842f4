//! What the OpenAPI document says of records, which are shown by [`crate::key::shown`]: nothing is ever made of these types. A test
//! holds them against what is shown.

#![expect(dead_code, reason = "what is here is described, never made")]

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// An id in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct KeyId {
    /// The key
    #[param(example = "key_4fQ9c2LxR7tYv0Bn1mKs", pattern = "^[A-Za-z0-9._-]{1,64}$")]
    id: String,
}

/// A header of every POST.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Once {
    /// The same key again within `idempotency.ttl` gets the first one's answer again, with `Idempotent-Replayed: true`
    #[param(rename = "Idempotency-Key", example = "8e03978e-40d5-43e8-bc93-6894a57f9324", pattern = "^[A-Za-z0-9._-]{1,255}$")]
    idempotency_key: Option<String>,
}

/// An id in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TenantId {
    /// The tenant
    #[param(example = "acme", pattern = "^[A-Za-z0-9._-]{1,64}$")]
    id: String,
}

/// The version that is to be changed.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfMatch {
    /// Only if it still has this ETag; the same as `version` in the body
    #[param(rename = "If-Match", example = "\"3\"", pattern = "^\"[1-9][0-9]{0,8}\"$")]
    if_match: Option<String>,
}

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
}

/// What became of keys that were to be revoked
#[derive(ToSchema)]
pub(crate) struct Revoked {
    dry_run: bool,
    /// Ids of those that were revoked now
    revoked: Vec<String>,
    /// Ids of those that were so before
    already_revoked: Vec<String>,
    failed: Vec<super::keys::revoke::NotRevoked>,
    /// Whether others are left
    more: bool,
    #[serde(flatten)]
    extent: Extent,
}

/// Whether a tenant's credentials are accepted
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum TenantStatus {
    /// They are
    Active,
    /// They are not
    Suspended,
}

/// A tenant
#[derive(ToSchema)]
pub(crate) struct Tenant {
    id: String,
    /// What people call it
    name: String,
    status: TenantStatus,
    /// Networks its credentials may be used from; left out = any, empty = none
    #[schema(nullable = false)]
    ip_allowlist: Option<Vec<String>>,
    /// Ceiling; left out = none
    #[schema(nullable = false)]
    scopes: Option<Vec<String>>,
    #[schema(nullable = false)]
    rate_limit: Option<RateLimit>,
    #[schema(nullable = false)]
    metadata: Option<BTreeMap<String, String>>,
    #[schema(format = DateTime)]
    created_at: String,
    /// Counts the changes
    #[schema(minimum = 1)]
    version: u64,
}

/// A tenant that was changed, and how far that has got
#[derive(ToSchema)]
pub(crate) struct ChangedTenant {
    #[serde(flatten)]
    record: Tenant,
    #[serde(flatten)]
    extent: Extent,
}

/// One page of tenants
#[derive(ToSchema)]
pub(crate) struct Tenants {
    data: Vec<Tenant>,
    /// The cursor of the next page; null = this is the last
    #[schema(required)]
    next: Option<String>,
}

/// A change
#[derive(ToSchema)]
pub(crate) struct Event {
    #[schema(format = DateTime)]
    at: String,
    /// Who
    #[schema(example = "admin:console")]
    actor: String,
    /// From which address; null = from this machine
    #[schema(required)]
    from: Option<String>,
    /// With which request
    #[schema(nullable = false)]
    request_id: Option<String>,
    #[schema(example = "key.rotate")]
    action: String,
    /// key, tenant, session, idempotency
    object: String,
    id: String,
    tenant: String,
    /// The record's version since
    version: u64,
    /// What differs, as it was; null = there was nothing
    #[schema(value_type = Option<Object>, required)]
    before: Option<String>,
    /// What differs, as it is; null = there is nothing any more
    #[schema(value_type = Option<Object>, required)]
    after: Option<String>,
}

/// One page of changes
#[derive(ToSchema)]
pub(crate) struct Events {
    data: Vec<Event>,
    /// The cursor of the next page; null = this is the last
    #[schema(required)]
    next: Option<String>,
}

/// A sum
#[derive(ToSchema)]
pub(crate) struct Totals {
    /// All requests, those that were refused among them
    requests: u64,
    /// Those that were refused, by reason
    denied: BTreeMap<String, u64>,
    received_bytes: u64,
    sent_bytes: u64,
}

/// A day, UTC
#[derive(ToSchema)]
pub(crate) struct DayUsage {
    #[schema(format = Date)]
    day: String,
    #[serde(flatten)]
    counts: Totals,
}

/// A network that a key was admitted from
#[derive(ToSchema)]
pub(crate) struct NetworkSeen {
    network: String,
    #[schema(format = DateTime)]
    first: String,
    #[schema(format = DateTime)]
    last: String,
}

/// A scope that was needed where a key was admitted
#[derive(ToSchema)]
pub(crate) struct ScopeUsed {
    scope: String,
    #[schema(format = DateTime)]
    last: String,
}

/// What a key could do without
#[derive(ToSchema)]
pub(crate) struct Report {
    unused_scopes: Vec<String>,
    wide_scopes: Vec<WideScope>,
    networks: Vec<NetworkSeen>,
    unused_networks: Vec<String>,
    /// The command that leaves it what it uses; null = there is nothing to take away
    #[schema(required)]
    command: Option<String>,
    /// What stands in the way of saying more
    notes: Vec<String>,
}

/// A grant that ends in *
#[derive(ToSchema)]
pub(crate) struct WideScope {
    scope: String,
    used: Vec<String>,
}

/// What a key came to
#[derive(ToSchema)]
pub(crate) struct KeyUsage {
    id: String,
    tenant: String,
    #[schema(format = Date)]
    from: String,
    #[schema(format = Date)]
    to: String,
    days: Vec<DayUsage>,
    total: Totals,
    #[schema(format = DateTime, required)]
    last_used: Option<String>,
    #[schema(required)]
    last_used_from: Option<String>,
    networks: Vec<NetworkSeen>,
    scopes: Vec<ScopeUsed>,
    report: Report,
}

/// What one of a tenant's keys came to
#[derive(ToSchema)]
pub(crate) struct KeyTotal {
    id: String,
    name: String,
    #[schema(format = DateTime, required)]
    last_used: Option<String>,
    total: Totals,
}

/// What a tenant's keys came to
#[derive(ToSchema)]
pub(crate) struct TenantUsage {
    tenant: String,
    #[schema(format = Date)]
    from: String,
    #[schema(format = Date)]
    to: String,
    days: Vec<DayUsage>,
    total: Totals,
    keys: Vec<KeyTotal>,
}

/// A refusal
#[derive(ToSchema)]
pub(crate) struct Denial {
    #[schema(format = DateTime)]
    time: String,
    request_id: String,
    reason: String,
    #[schema(nullable = false)]
    detail: Option<String>,
    /// Whether it was let through all the same
    #[schema(nullable = false)]
    observed: Option<bool>,
    #[schema(nullable = false)]
    status: Option<u16>,
    #[schema(nullable = false)]
    tenant: Option<String>,
    #[schema(nullable = false)]
    key: Option<String>,
    /// Prefix and fingerprint of a key that is not known
    #[schema(nullable = false)]
    credential: Option<String>,
    #[schema(nullable = false)]
    client: Option<String>,
    #[schema(nullable = false)]
    method: Option<String>,
    #[schema(nullable = false)]
    path: Option<String>,
}

/// One page of refusals
#[derive(ToSchema)]
pub(crate) struct Denials {
    data: Vec<Denial>,
    /// The cursor of the next page; null = this is the last
    #[schema(required)]
    next: Option<String>,
}

/// How a request would be judged
#[derive(ToSchema)]
pub(crate) struct Explanation {
    /// Method and target, a key in it masked
    request: String,
    steps: Vec<Step>,
    /// Reason of the refusal; empty if there is none
    reason: String,
    /// What decided it
    detail: String,
    /// What the client would get, if it were refused or answered here
    #[schema(required)]
    answer: Option<Answer>,
    /// What the upstream would get
    #[schema(required)]
    forward: Option<Forwarded>,
}

/// A step of the gate
#[derive(ToSchema)]
pub(crate) struct Step {
    step: String,
    /// `ok`, `refused`, `not reached`
    verdict: String,
    input: String,
    detail: String,
    /// Path in the configuration that decides it
    path: String,
}

/// An exact answer
#[derive(ToSchema)]
pub(crate) struct Answer {
    status: u16,
    /// Each name and value
    headers: Vec<Vec<String>>,
    body: String,
}

/// What would be forwarded
#[derive(ToSchema)]
pub(crate) struct Forwarded {
    /// Index of the upstream in the configuration
    upstream: u64,
    request: String,
    /// Each name and value; never a credential
    headers: Vec<Vec<String>>,
    /// Names of headers that the upstream does not get as they were sent
    removed: Vec<String>,
}

/// This sidecar, its store, and the sidecars that serve from it
#[derive(ToSchema)]
pub(crate) struct Status {
    store: StoreStatus,
    #[schema(value_type = Object)]
    sidecar: String,
    #[schema(value_type = Vec<Object>)]
    sidecars: Vec<String>,
}

/// The store
#[derive(ToSchema)]
pub(crate) struct StoreStatus {
    reachable: bool,
    #[schema(nullable = false)]
    answered_in_ms: Option<u64>,
    /// Where the change log ends
    #[schema(nullable = false)]
    position: Option<u64>,
}
