//! `GET /tenants`, `GET /tenants/{id}`.

use serde::Deserialize;
use utoipa::IntoParams;

use super::super::answer::{Json, Page, Record};
use super::super::bench::Shown;
use super::super::call::By;
use super::super::input::{Id, Query};
use super::super::paging::{Cursor, Limit};
use super::super::permission::TENANTS_READ;
use super::super::problem::Refused;
use super::super::schema;
use crate::key::shown;

/// Which tenants are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// At most so many
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
    /// Behind the page that named this as `next`
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// Tenants, in the order of creation
#[utoipa::path(get, path = "/tenants", tag = "tenants", params(Asked), responses(
    (status = 200, description = "One page of them", body = schema::Tenants),
))]
pub(crate) async fn list_tenants(By(call): By<TENANTS_READ>, Query(asked): Query<Asked>) -> Result<Json<Page<Shown>>, Refused> {
    let work = call.run(|bench| async move {
        let cursor = asked.cursor.as_ref().map(|cursor| cursor.0.as_str());
        Ok(Page::of(bench.lifecycle.store.list_tenants(cursor, asked.limit.0).await?, |record| shown::fields(&record)))
    });
    work.await.map(Json)
}

/// A tenant
#[utoipa::path(get, path = "/tenants/{id}", tag = "tenants", params(schema::TenantId), responses(
    (status = 200, description = "The tenant", body = schema::Tenant, headers(("ETag" = String, description = "Its version"))),
))]
pub(crate) async fn show_tenant(By(call): By<TENANTS_READ>, Id(id): Id) -> Result<Record, Refused> {
    let record = call.run(|bench| async move { bench.lifecycle.find_tenant(&id).await }).await?;
    Ok(Record::of(shown::fields(&record)))
}
