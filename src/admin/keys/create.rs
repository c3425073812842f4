//! `POST /keys`: the one answer with the secret of a new key.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

use super::super::answer::Record;
use super::super::call::By;
use super::super::document::ROOT;
use super::super::input::{Content, Edit};
use super::super::permission::KEYS_WRITE;
use super::super::problem::{Problem, Refused};
use super::super::schema;
use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;
use crate::config::units::Span;
use crate::key::lifecycle;
use crate::key::shown;

/// A key that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// Tenant it acts for
    #[schema(example = "acme")]
    tenant: String,
    /// What people call it
    #[schema(example = "ci", min_length = 1, max_length = 256)]
    name: String,
    #[schema(value_type = schema::Environment, default = "live")]
    #[serde(default = "live")]
    environment: EnvironmentName,
    /// Its kind, of `[[key_kinds]]`
    #[schema(default = "secret")]
    #[serde(default = "secret")]
    kind: String,
    /// Scopes to grant; each may end in *
    #[serde(default)]
    scopes: Vec<String>,
    /// Networks it may be used from; null = any, empty = none
    ip_allowlist: Option<Vec<String>>,
    /// Origins it may be used from; null = any, empty = none
    referrers: Option<Vec<String>>,
    /// Endpoints it may call; null = any, empty = none
    endpoints: Option<Vec<String>>,
    #[schema(value_type = Option<schema::RateLimit>)]
    rate_limit: Option<serde_json::Value>,
    /// When it ends; null = never; left out = as configured
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    expires_at: Edit<Timestamp>,
    /// Instead: how long it lives, such as 90d
    #[schema(example = "90d")]
    expires_in: Option<String>,
    /// Words for header templates
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

const fn live() -> EnvironmentName {
    EnvironmentName::Live
}

fn secret() -> String {
    "secret".to_owned()
}

/// Makes a key
#[utoipa::path(post, path = "/keys", tag = "keys", params(schema::Once), request_body = NewKey, responses(
    (status = 201, description = "The key, with its secret, which is shown this once", body = schema::IssuedKey,
        headers(("ETag" = String, description = "Its version"), ("Location" = String, description = "Where it is"))),
    (status = 404, description = "There is no such tenant", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create_key(By(call): By<KEYS_WRITE>, Content(new): Content<NewKey>) -> Result<Record, Refused> {
    let expires = expiry(&new.expires_at, new.expires_in)?;
    let new = lifecycle::NewKey {
        tenant: new.tenant,
        name: new.name,
        environment: new.environment,
        kind: new.kind,
        scopes: new.scopes,
        ip_allowlist: new.ip_allowlist,
        referrers: new.referrers,
        endpoints: new.endpoints,
        rate_limit: new.rate_limit,
        expires,
        metadata: new.metadata,
    };
    let (shown, id) = call
        .run(|bench| async move {
            let issued = bench.lifecycle.create(new).await?;
            Ok((shown::key(&issued.record, Some(&issued.key), bench.now), issued.record.id))
        })
        .await?;
    Ok(Record::made(shown, format!("{ROOT}/keys/{id}")))
}

/// An end, in the words of the rules; `None` = nothing is said of it.
pub(super) fn expiry(at: &Edit<Timestamp>, within: Option<String>) -> Result<Option<String>, Refused> {
    match (at, within) {
        (Edit::Clear | Edit::Set(_), Some(_)) => Err(Refused::field("expires_in", "expires_at says it already: send one of them")),
        (Edit::Set(at), None) => Ok(Some(at.to_string())),
        (Edit::Clear, None) => Ok(Some("never".to_owned())),
        (Edit::Keep, Some(span)) if span.parse::<Span>().is_err() => {
            Err(Refused::field("expires_in", "a time to live is a whole number and ms, s, m, h or d, such as 90d"))
        }
        (Edit::Keep, within) => Ok(within),
    }
}
