//! `PATCH /tenants/{id}`: a merge patch, as for keys.

use std::collections::BTreeMap;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::answer::Record;
use super::super::call::By;
use super::super::input::{Content, Edit, Id, Query, if_match};
use super::super::keys::change::merge;
use super::super::permission::TENANTS_WRITE;
use super::super::problem::Refused;
use super::super::schema;
use super::super::wait::Wait;
use crate::tenant::TenantRecord;

/// What is to be different. What is left out stays; null takes away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantChange {
    /// Only if it still has this version
    #[schema(minimum = 1)]
    version: Option<u64>,
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 256)]
    #[serde(default)]
    name: Edit<String>,
    /// null = any, empty = none
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default)]
    ip_allowlist: Edit<Vec<String>>,
    /// Ceiling; null = none
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default)]
    scopes: Edit<Vec<String>>,
    /// null = no limit of its own
    #[schema(value_type = Option<schema::RateLimit>)]
    #[serde(default)]
    rate_limit: Edit<Value>,
    /// Each word by itself; null takes one away, or all of them
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    #[serde(default)]
    metadata: Edit<BTreeMap<String, Option<String>>>,
}

/// Changes a tenant
///
/// A merge patch. With `version` or `If-Match` only a tenant of that version is changed: else 409 names the one that is there.
#[utoipa::path(patch, path = "/tenants/{id}", tag = "tenants", params(schema::TenantId, Wait, schema::IfMatch), request_body = TenantChange,
    responses((status = 200, description = "The tenant", body = schema::ChangedTenant,
        headers(("ETag" = String, description = "Its version"))))
)]
pub(crate) async fn change_tenant(
    By(call): By<TENANTS_WRITE>,
    Id(id): Id,
    Query(wait): Query<Wait>,
    headers: HeaderMap,
    Content(change): Content<TenantChange>,
) -> Result<Record, Refused> {
    let version = if_match(&headers, change.version)?;
    if change.name == Edit::Clear {
        return Err(Refused::field("name", "a tenant has a name"));
    }
    let work = call.run(move |bench| async move {
        let apply = |tenant: &mut TenantRecord| {
            change.apply(tenant);
            Ok(())
        };
        let record = bench.lifecycle.update_tenant(&id, version, apply).await?;
        Ok(bench.changed_tenant(&record, wait).await)
    });
    work.await.map(Record::of)
}

impl TenantChange {
    fn apply(&self, tenant: &mut TenantRecord) {
        if let Edit::Set(name) = &self.name {
            tenant.name.clone_from(name);
        }
        self.ip_allowlist.apply(&mut tenant.ip_allowlist);
        self.scopes.apply(&mut tenant.scopes);
        self.rate_limit.apply(&mut tenant.rate_limit);
        merge(&mut tenant.metadata, &self.metadata);
    }
}
