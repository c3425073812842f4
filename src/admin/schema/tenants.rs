//! Tenants.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::keys::{Extent, RateLimit};

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
    /// Ids of records that belong here and cannot be read
    unreadable: Vec<String>,
}
