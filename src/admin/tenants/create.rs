//! `POST /tenants`.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

use super::super::answer::Record;
use super::super::call::By;
use super::super::document::ROOT;
use super::super::input::Content;
use super::super::permission::TENANTS_WRITE;
use super::super::problem::Refused;
use super::super::schema;
use crate::key::shown;
use crate::tenant::lifecycle;

/// A tenant that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// Chosen by you
    #[schema(example = "acme", pattern = "^[A-Za-z0-9._-]{1,64}$")]
    id: String,
    /// What people call it; left out = its id
    #[serde(default)]
    name: String,
    /// Networks its credentials may be used from; null = any, empty = none
    ip_allowlist: Option<Vec<String>>,
    /// Ceiling: what else its credentials are granted is not effective; null = none
    scopes: Option<Vec<String>>,
    #[schema(value_type = Option<schema::RateLimit>)]
    rate_limit: Option<serde_json::Value>,
    /// Words for header templates
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Makes a tenant
#[utoipa::path(post, path = "/tenants", tag = "tenants", params(schema::Once), request_body = NewTenant, responses(
    (status = 201, description = "The tenant", body = schema::Tenant,
        headers(("ETag" = String, description = "Its version"), ("Location" = String, description = "Where it is"))),
))]
pub(crate) async fn create_tenant(By(call): By<TENANTS_WRITE>, Content(new): Content<NewTenant>) -> Result<Record, Refused> {
    let new = lifecycle::NewTenant {
        id: new.id,
        name: new.name,
        ip_allowlist: new.ip_allowlist,
        scopes: new.scopes,
        rate_limit: new.rate_limit,
        metadata: new.metadata,
    };
    let record = call.run(|bench| async move { bench.lifecycle.create_tenant(new).await }).await?;
    Ok(Record::made(shown::fields(&record), format!("{ROOT}/tenants/{}", record.id)))
}
