//! The bytes of self-service: what a profile says of lists and revocations, and the one answer that shows a secret.

use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::config::problem::Problems;
use crate::config::sections::{Config, EnvironmentName};
use crate::config::suggest;
use crate::key::record::KeyRecord;
use crate::key::shown;

/// What a list may show of a key.
const FIELDS: [&str; 22] = [
    "id",
    "tenant",
    "name",
    "prefix",
    "last4",
    "kind",
    "environment",
    "scopes",
    "ip_allowlist",
    "referrers",
    "endpoints",
    "rate_limit",
    "status",
    "expires_at",
    "created_at",
    "rotated_at",
    "previous_until",
    "last_used",
    "last_used_from",
    "exposed",
    "metadata",
    "version",
];

/// Templates, compiled.
#[derive(Debug)]
pub(super) struct Shapes {
    fields: Box<[Box<str>]>,
    list: Box<str>,
    revoked: Box<str>,
}

impl Shapes {
    pub(super) fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let section = &config.self_service;
        let mut sound = true;
        for (index, field) in section.list_fields.iter().enumerate().filter(|(_, field)| !FIELDS.contains(&field.as_str())) {
            problems
                .error(format!("self_service.list_fields[{index}]"), format!("`{field}` is no field that a list shows"))
                .help(suggest::among(field, FIELDS));
            sound = false;
        }
        let shapes = Self {
            fields: section.list_fields.iter().map(|field| field.as_str().into()).collect(),
            list: section.list_body.as_str().into(),
            revoked: section.revoke_body.as_str().into(),
        };
        for (key, body) in [("list_body", shapes.list(&[], Timestamp(0))), ("revoke_body", shapes.revoked("key_1"))] {
            if serde_json::from_slice::<Value>(&body).is_err() {
                problems.error(format!("self_service.{key}"), "with its placeholder filled in it is no JSON");
                sound = false;
            }
        }
        sound.then_some(shapes)
    }

    /// Whether a list shows when keys were used.
    pub(super) fn show_use(&self) -> bool {
        self.fields.iter().any(|field| field.starts_with("last_used"))
    }

    /// Keys, in this order. What a key has not is null.
    pub(super) fn list(&self, keys: &[KeyRecord], now: Timestamp) -> Bytes {
        let shown: Vec<Map<String, Value>> = keys.iter().map(|key| self.entry(key, now)).collect();
        let shown = serde_json::to_string(&shown).unwrap_or_default();
        self.list.replace("{keys}", &shown).into()
    }

    fn entry(&self, key: &KeyRecord, now: Timestamp) -> Map<String, Value> {
        let mut all = shown::key(key, None, now);
        self.fields.iter().map(|field| (field.to_string(), all.remove(&**field).unwrap_or_default())).collect()
    }

    /// That the key with this id is revoked.
    pub(super) fn revoked(&self, id: &str) -> Bytes {
        self.revoked.replace("{id}", id).into()
    }
}

/// A key and its secret.
pub(super) fn issued(record: &KeyRecord, key: &SecretString) -> Bytes {
    #[derive(Serialize)]
    struct Issued<'a> {
        id: &'a str,
        name: &'a str,
        prefix: &'a str,
        kind: &'a str,
        environment: EnvironmentName,
        scopes: &'a [String],
        created_at: Timestamp,
        key: &'a str,
    }
    let KeyRecord { id, name, prefix, kind, environment, scopes, created_at, .. } = record;
    let shown = Issued { id, name, prefix, kind, environment: *environment, scopes, created_at: *created_at, key: key.expose_secret() };
    serde_json::to_vec(&shown).unwrap_or_default().into()
}
