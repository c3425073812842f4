//! `GET /keys/{id}`.

use super::super::answer::Record;
use super::super::call::By;
use super::super::input::Id;
use super::super::permission::KEYS_READ;
use super::super::problem::{Problem, Refused};
use super::super::schema;
use super::answer;

/// A key
#[utoipa::path(get, path = "/keys/{id}", tag = "keys", params(schema::KeyId), responses(
    (status = 200, description = "The key", body = schema::Key, headers(("ETag" = String, description = "Its version"))),
    (status = 404, description = "There is no such key", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(By(call): By<KEYS_READ>, Id(id): Id) -> Result<Record, Refused> {
    let record = call.run(|lifecycle| async move { lifecycle.find_key(&id).await }).await?;
    Ok(answer(&call, &record))
}
