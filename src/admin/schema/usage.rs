//! Usage and denials.

use std::collections::BTreeMap;

use utoipa::ToSchema;

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
    /// Ids of records that belong here and cannot be read
    unreadable: Vec<String>,
}
