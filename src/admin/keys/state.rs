//! `POST /keys/{id}/activate`, `…/deactivate`, `…/revoke`. Doing it twice is as good as once.

use super::super::answer::Record;
use super::super::call::{By, Call};
use super::super::input::{Id, Query};
use super::super::permission::KEYS_WRITE;
use super::super::problem::Refused;
use super::super::schema;
use super::super::wait::Wait;
use crate::key::record::KeyStatus;

/// Switches a key on again
#[utoipa::path(post, path = "/keys/{id}/activate", tag = "keys", params(schema::KeyId, Wait, schema::Once), responses(
    (status = 200, description = "The key", body = schema::ChangedKey, headers(("ETag" = String, description = "Its version"))),
))]
pub(crate) async fn activate_key(By(call): By<KEYS_WRITE>, Id(id): Id, Query(wait): Query<Wait>) -> Result<Record, Refused> {
    set(&call, id, KeyStatus::Active, wait).await
}

/// Switches a key off
#[utoipa::path(post, path = "/keys/{id}/deactivate", tag = "keys", params(schema::KeyId, Wait, schema::Once), responses(
    (status = 200, description = "The key", body = schema::ChangedKey, headers(("ETag" = String, description = "Its version"))),
))]
pub(crate) async fn deactivate_key(By(call): By<KEYS_WRITE>, Id(id): Id, Query(wait): Query<Wait>) -> Result<Record, Refused> {
    set(&call, id, KeyStatus::Inactive, wait).await
}

/// Revokes a key, for ever
#[utoipa::path(post, path = "/keys/{id}/revoke", tag = "keys", params(schema::KeyId, Wait, schema::Once), responses(
    (status = 200, description = "The key", body = schema::ChangedKey, headers(("ETag" = String, description = "Its version"))),
))]
pub(crate) async fn revoke_key(By(call): By<KEYS_WRITE>, Id(id): Id, Query(wait): Query<Wait>) -> Result<Record, Refused> {
    set(&call, id, KeyStatus::Revoked, wait).await
}

async fn set(call: &Call, id: String, status: KeyStatus, wait: Wait) -> Result<Record, Refused> {
    let work = call.run(move |bench| async move {
        let record = bench.lifecycle.set_status(&id, status).await?;
        Ok(bench.changed(record, None, wait).await)
    });
    work.await.map(Record::of)
}
