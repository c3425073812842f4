//! `POST /keys/lookup`: whose key is this? It stands in the body, so that no log on the way has it.

use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::answer::Record;
use super::super::call::By;
use super::super::input::Content;
use super::super::permission::KEYS_READ;
use super::super::problem::{Problem, Refused};
use super::super::schema;
use crate::key::shown;

/// A key whose record is asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sought {
    /// The secret, whole
    #[schema(value_type = String, example = "sk_live_…", min_length = 1)]
    key: SecretString,
}

/// Finds the record of a secret
///
/// Revoked keys too, and by the secret before the last rotation: `presented` says which it is.
#[utoipa::path(post, path = "/keys/lookup", tag = "keys", params(schema::Once), request_body = Sought, responses(
    (status = 200, description = "The key", body = schema::FoundKey, headers(("ETag" = String, description = "Its version"))),
    (status = 404, description = "No key has this secret", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn look_up_key(By(call): By<KEYS_READ>, Content(Sought { key }): Content<Sought>) -> Result<Record, Refused> {
    let work = call.run(|bench| async move {
        let Some(record) = bench.lifecycle.find_by_secret(&key).await? else { return Ok(None) };
        let presented = if bench.lifecycle.is_previous(&record, &key) { "previous" } else { "current" };
        let keys = bench.with_last_use(vec![record]).await?;
        let mut shown = keys.first().map(|key| shown::key(key, None, bench.now)).unwrap_or_default();
        shown.insert("presented".into(), presented.into());
        Ok(Some(shown))
    });
    match work.await? {
        Some(shown) => Ok(Record::of(shown)),
        None => Err(Refused::new(StatusCode::NOT_FOUND, "key_not_found", "no key of this table has this secret")),
    }
}
