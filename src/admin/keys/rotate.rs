//! `POST /keys/{id}/rotate`, `POST /keys/{id}/end-overlap`.

use serde::Deserialize;
use utoipa::ToSchema;

use super::super::answer::Record;
use super::super::call::By;
use super::super::input::{Id, Perhaps, Query};
use super::super::permission::KEYS_WRITE;
use super::super::problem::Refused;
use super::super::schema;
use super::super::wait::Wait;
use crate::config::units::Span;

/// How a secret is replaced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rotation {
    /// How long the old secret still works; left out = as configured
    #[schema(value_type = Option<String>, example = "24h", pattern = "^[0-9]{1,5}(ms|s|m|h|d)$")]
    overlap: Option<Span>,
}

/// Replaces a key's secret
///
/// Id, name and rights stay. The answer has the new secret, which is shown this once.
#[utoipa::path(post, path = "/keys/{id}/rotate", tag = "keys", params(schema::KeyId, Wait, schema::Once), request_body = Option<Rotation>,
    responses((status = 200, description = "The key, with its new secret", body = schema::RotatedKey,
        headers(("ETag" = String, description = "Its version"))))
)]
pub(crate) async fn rotate_key(
    By(call): By<KEYS_WRITE>,
    Id(id): Id,
    Query(wait): Query<Wait>,
    Perhaps(rotation): Perhaps<Rotation>,
) -> Result<Record, Refused> {
    let work = call.run(move |bench| async move {
        let issued = bench.lifecycle.rotate(&id, rotation.overlap.map(|span| span.0)).await?;
        let mut shown = bench.changed(issued.record, Some(&issued.key), wait).await;
        shown.extend(issued.ended.map(|until| ("cut_short".to_owned(), until.to_string().into())));
        Ok(shown)
    });
    work.await.map(Record::of)
}

/// Ends the time in which a replaced secret still works
#[utoipa::path(post, path = "/keys/{id}/end-overlap", tag = "keys", params(schema::KeyId, Wait, schema::Once), responses(
    (status = 200, description = "The key", body = schema::ChangedKey, headers(("ETag" = String, description = "Its version"))),
))]
pub(crate) async fn end_overlap(By(call): By<KEYS_WRITE>, Id(id): Id, Query(wait): Query<Wait>) -> Result<Record, Refused> {
    let work = call.run(move |bench| async move {
        let record = bench.lifecycle.end_overlap(&id).await?;
        Ok(bench.changed(record, None, wait).await)
    });
    work.await.map(Record::of)
}
