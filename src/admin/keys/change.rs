//! `PATCH /keys/{id}`: a merge patch (RFC 7396) of what a key may, is called, and how long it lives. Its secret, kind, environment
//! and tenant stay. By the version that the caller saw, if it says one.

use std::collections::BTreeMap;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::answer::Record;
use super::super::call::By;
use super::super::input::{Content, Edit, Id, Query, if_match};
use super::super::permission::KEYS_WRITE;
use super::super::problem::Refused;
use super::super::schema;
use super::super::wait::Wait;
use super::create::expiry;
use crate::clock::Timestamp;
use crate::key::lifecycle::LifecycleError;
use crate::key::record::KeyRecord;
use crate::key::rules::Fault;

/// What is to be different. What is left out stays; null takes away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyChange {
    /// Only if it still has this version
    #[schema(minimum = 1)]
    version: Option<u64>,
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 256)]
    #[serde(default)]
    name: Edit<String>,
    /// null = none
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default)]
    scopes: Edit<Vec<String>>,
    /// null = any, empty = none
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default)]
    ip_allowlist: Edit<Vec<String>>,
    /// null = any, empty = none
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default)]
    referrers: Edit<Vec<String>>,
    /// null = any, empty = none
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default)]
    endpoints: Edit<Vec<String>>,
    /// null = no limit of its own
    #[schema(value_type = Option<schema::RateLimit>)]
    #[serde(default)]
    rate_limit: Edit<Value>,
    /// null = never
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    expires_at: Edit<Timestamp>,
    /// Instead: how long it lives from now on
    #[schema(example = "90d")]
    expires_in: Option<String>,
    /// Each word by itself; null takes one away, or all of them
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    #[serde(default)]
    metadata: Edit<BTreeMap<String, Option<String>>>,
}

/// Changes a key
///
/// A merge patch. With `version` or `If-Match` only a key of that version is changed: else 409 names the one that is there.
#[utoipa::path(patch, path = "/keys/{id}", tag = "keys", params(schema::KeyId, Wait, schema::IfMatch), request_body = KeyChange, responses(
    (status = 200, description = "The key", body = schema::ChangedKey, headers(("ETag" = String, description = "Its version"))),
))]
pub(crate) async fn change_key(
    By(call): By<KEYS_WRITE>,
    Id(id): Id,
    Query(wait): Query<Wait>,
    headers: HeaderMap,
    Content(change): Content<KeyChange>,
) -> Result<Record, Refused> {
    let version = if_match(&headers, change.version)?;
    if change.name == Edit::Clear {
        return Err(Refused::field("name", "a key has a name"));
    }
    let asked = expiry(&change.expires_at, change.expires_in.clone())?;
    let work = call.run(move |bench| async move {
        let expires_at = match asked.as_deref() {
            None => Edit::Keep,
            Some(asked) => match bench.lifecycle.rules.expiry(Some(asked), bench.now) {
                Ok(end) => end.map_or(Edit::Clear, Edit::Set),
                Err(why) => return Err(LifecycleError::Invalid(vec![Fault::new("expires_at", why)])),
            },
        };
        let record = bench.lifecycle.update(&id, version, |key| change.apply(key, &expires_at)).await?;
        Ok(bench.changed(record, None, wait).await)
    });
    work.await.map(Record::of)
}

impl KeyChange {
    #[expect(clippy::unnecessary_wraps, reason = "the shape that an update takes")]
    fn apply(&self, key: &mut KeyRecord, expires_at: &Edit<Timestamp>) -> Result<(), LifecycleError> {
        if let Edit::Set(name) = &self.name {
            key.name.clone_from(name);
        }
        match &self.scopes {
            Edit::Keep => {}
            Edit::Clear => key.scopes.clear(),
            Edit::Set(scopes) => key.scopes.clone_from(scopes),
        }
        self.ip_allowlist.apply(&mut key.ip_allowlist);
        self.referrers.apply(&mut key.referrers);
        self.endpoints.apply(&mut key.endpoints);
        self.rate_limit.apply(&mut key.rate_limit);
        expires_at.apply(&mut key.expires_at);
        merge(&mut key.metadata, &self.metadata);
        Ok(())
    }
}

/// Changes words one by one, or takes them all away.
pub(crate) fn merge(metadata: &mut BTreeMap<String, String>, asked: &Edit<BTreeMap<String, Option<String>>>) {
    match asked {
        Edit::Keep => {}
        Edit::Clear => metadata.clear(),
        Edit::Set(words) => {
            for (name, word) in words {
                match word {
                    Some(word) => drop(metadata.insert(name.clone(), word.clone())),
                    None => drop(metadata.remove(name)),
                }
            }
        }
    }
}
