//! Objects of other systems, as their exports hold them, read as our entries. Pure. A field nobody knows is an error here too,
//! and so is a limit that would not be carried over: a key must not open more here than it did there.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Number, Value};

use super::digest::{SHA256, from_base64, of_bare};
use super::entry::{Entry, secret};
use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;
use crate::key::record::KeyStatus;

/// The year 9999, in milliseconds: what systems write there that have no word for never.
const NEVER: i64 = 253_370_764_800_000;

/// A key of Unkey: what its API lists (`keyId`, `start`, `identity`) and what its migrations take (`hash`, `externalId`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Unkey {
    #[serde(alias = "id")]
    key_id: Option<String>,
    name: Option<String>,
    hash: Option<Value>,
    #[serde(default, alias = "plaintext", deserialize_with = "secret")]
    key: Option<SecretString>,
    start: Option<String>,
    prefix: Option<String>,
    external_id: Option<String>,
    owner_id: Option<String>,
    identity: Option<Map<String, Value>>,
    environment: Option<String>,
    enabled: Option<bool>,
    expires: Option<i64>,
    created_at: Option<i64>,
    last_used_at: Option<i64>,
    meta: Option<Map<String, Value>>,
    permissions: Option<Vec<String>>,
    roles: Option<Vec<String>>,
    credits: Option<Value>,
    ratelimits: Option<Value>,
    ratelimit: Option<Value>,
    remaining: Option<Value>,
    refill: Option<Value>,
    #[serde(rename = "apiId")]
    _api_id: Option<IgnoredAny>,
    #[serde(rename = "workspaceId")]
    _workspace_id: Option<IgnoredAny>,
    #[serde(rename = "updatedAt")]
    _updated_at: Option<IgnoredAny>,
    #[serde(rename = "byteLength")]
    _byte_length: Option<IgnoredAny>,
    #[serde(rename = "recoverable")]
    _recoverable: Option<IgnoredAny>,
}

impl TryFrom<Unkey> for Entry {
    type Error = String;
    fn try_from(key: Unkey) -> Result<Self, String> {
        let limits = [
            ("credits", &key.credits),
            ("ratelimits", &key.ratelimits),
            ("ratelimit", &key.ratelimit),
            ("remaining", &key.remaining),
            ("refill", &key.refill),
        ];
        if let Some((name, _)) = limits.into_iter().find(|(_, limit)| limit.as_ref().is_some_and(is_something)) {
            return Err(format!("`{name}` limits the key and is not carried over; without it (jq 'del(.{name})') the key is imported"));
        }
        let of_identity = || key.identity.as_ref().and_then(|identity| identity.get("externalId")?.as_str().map(ToOwned::to_owned));
        Ok(Self {
            id: key.key_id,
            tenant: key.external_id.or(key.owner_id).or_else(of_identity),
            name: key.name,
            environment: key.environment.as_deref().map(environment).transpose()?,
            scopes: key.permissions.into_iter().chain(key.roles).flatten().collect(),
            status: key.enabled.map(|enabled| if enabled { KeyStatus::Active } else { KeyStatus::Inactive }),
            expires_at: milliseconds("expires", key.expires.filter(|ms| *ms < NEVER))?,
            created_at: milliseconds("createdAt", key.created_at)?,
            last_used: milliseconds("lastUsedAt", key.last_used_at)?,
            metadata: words(key.meta.unwrap_or_default()),
            // A prefix is written there without the _ that follows it in the key.
            start: key.start.or_else(|| key.prefix.map(|prefix| format!("{prefix}_"))),
            digest: key.hash.map(|hash| sha256(&hash)).transpose()?,
            key: key.key,
            ..Self::default()
        })
    }
}

/// A credential of Kong's key-auth, as its admin API lists it (`GET /key-auths`), or as decK dumps it, with its consumer put in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kong {
    id: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    key: Option<SecretString>,
    consumer: Option<Value>,
    created_at: Option<Number>,
    /// Seconds of life from then on.
    ttl: Option<i64>,
    tags: Option<Vec<String>>,
    #[serde(rename = "updated_at")]
    _updated_at: Option<IgnoredAny>,
}

impl TryFrom<Kong> for Entry {
    type Error = String;
    fn try_from(credential: Kong) -> Result<Self, String> {
        if credential.key.as_ref().is_some_and(|key| ["{vault://", "$e$"].iter().any(|mark| key.expose_secret().starts_with(mark))) {
            return Err("`key` is encrypted or kept in a vault: export the keys themselves".into());
        }
        let created_at = credential.created_at.as_ref().map(|at| from_seconds(at).ok_or("`created_at` is no time")).transpose()?;
        let expires_at = match (credential.ttl.filter(|ttl| *ttl > 0), created_at) {
            (None, _) => None,
            (Some(ttl), Some(created_at)) => {
                let end = created_at.plus_millis(ttl.saturating_mul(1000)).in_range();
                Some(end.map_err(|why| format!("`ttl` is too long: {why}"))?)
            }
            (Some(_), None) => return Err("`ttl` counts from `created_at`, which is missing".into()),
        };
        let tags = credential.tags.filter(|tags| !tags.is_empty()).map(|tags| ("tags".to_owned(), tags.join(" ")));
        Ok(Self {
            id: credential.id,
            tenant: credential.consumer.as_ref().and_then(consumer),
            created_at,
            expires_at,
            metadata: tags.into_iter().collect(),
            key: credential.key,
            ..Self::default()
        })
    }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => map.values().any(is_something),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// What a consumer is called: by its owner, by its owner's system, by Kong.
fn consumer(consumer: &Value) -> Option<String> {
    match consumer {
        Value::String(name) => Some(name.clone()),
        Value::Object(fields) => ["username", "custom_id", "id"].iter().find_map(|name| fields.get(*name)?.as_str()).map(ToOwned::to_owned),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

fn environment(word: &str) -> Result<EnvironmentName, String> {
    match word {
        "live" | "production" | "prod" => Ok(EnvironmentName::Live),
        "test" => Ok(EnvironmentName::Test),
        _ => Err("`environment` must be live or test".into()),
    }
}

/// The hash alone, or with its variant.
fn sha256(hash: &Value) -> Result<String, String> {
    let digest = match hash {
        Value::String(text) => of_bare(text),
        Value::Object(fields) => match (fields.get("value").and_then(Value::as_str), fields.get("variant").and_then(Value::as_str)) {
            (Some(text), Some("sha256_base64")) => from_base64(text),
            (Some(text), None) => of_bare(text),
            _ => None,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    };
    let digest = digest.ok_or("`hash` must be a SHA-256 in base64 or hex, or that as `value` with variant sha256_base64")?;
    Ok(format!("{SHA256}:{}", digest.to_hex()))
}

/// Metadata is text here.
fn words(meta: Map<String, Value>) -> BTreeMap<String, String> {
    let word = |value: Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    };
    meta.into_iter().filter_map(|(name, value)| Some((name, word(value)?))).collect()
}

/// A time in the milliseconds since 1970; in microseconds it would be of no year that there is.
fn milliseconds(name: &str, ms: Option<i64>) -> Result<Option<Timestamp>, String> {
    ms.map(|ms| Timestamp(ms).in_range()).transpose().map_err(|why| format!("`{name}` must be in milliseconds: {why}"))
}

/// Whole seconds, or with a fraction.
fn from_seconds(number: &Number) -> Option<Timestamp> {
    let since = number.as_u64().map(Duration::from_secs).or_else(|| Duration::try_from_secs_f64(number.as_f64()?).ok())?;
    Timestamp(i64::try_from(since.as_millis()).ok()?).in_range().ok()
}
