//! `POST /tenants/{id}/suspend`, `…/resume`, `DELETE /tenants/{id}`.

use http::StatusCode;

use super::super::answer::Record;
use super::super::call::{By, Call};
use super::super::input::{Id, Query};
use super::super::permission::TENANTS_WRITE;
use super::super::problem::Refused;
use super::super::schema;
use super::super::wait::Wait;
use crate::tenant::TenantStatus;

/// Refuses all credentials of a tenant
#[utoipa::path(post, path = "/tenants/{id}/suspend", tag = "tenants", params(schema::TenantId, Wait, schema::Once), responses(
    (status = 200, description = "The tenant", body = schema::ChangedTenant, headers(("ETag" = String, description = "Its version"))),
))]
pub(crate) async fn suspend_tenant(By(call): By<TENANTS_WRITE>, Id(id): Id, Query(wait): Query<Wait>) -> Result<Record, Refused> {
    set(&call, id, TenantStatus::Suspended, wait).await
}

/// Accepts them again
#[utoipa::path(post, path = "/tenants/{id}/resume", tag = "tenants", params(schema::TenantId, Wait, schema::Once), responses(
    (status = 200, description = "The tenant", body = schema::ChangedTenant, headers(("ETag" = String, description = "Its version"))),
))]
pub(crate) async fn resume_tenant(By(call): By<TENANTS_WRITE>, Id(id): Id, Query(wait): Query<Wait>) -> Result<Record, Refused> {
    set(&call, id, TenantStatus::Active, wait).await
}

/// Takes a suspended tenant away, and its keys, which must all be revoked
///
/// Their events are kept. Its keys can be had before by `GET /keys?tenant=…`.
#[utoipa::path(delete, path = "/tenants/{id}", tag = "tenants", params(schema::TenantId), responses(
    (status = 204, description = "It is gone"),
    (status = 409, description = "It is not suspended, or a key of it is not revoked", body = super::super::problem::Problem,
        content_type = "application/problem+json"),
))]
pub(crate) async fn delete_tenant(By(call): By<TENANTS_WRITE>, Id(id): Id) -> Result<StatusCode, Refused> {
    call.run(|bench| async move { bench.sessions.delete_tenant(&id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set(call: &Call, id: String, status: TenantStatus, wait: Wait) -> Result<Record, Refused> {
    let work = call.run(move |bench| async move {
        let record = bench.lifecycle.set_tenant_status(&id, status).await?;
        Ok(bench.changed_tenant(&record, wait).await)
    });
    work.await.map(Record::of)
}
