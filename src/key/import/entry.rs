//! One line of an import: what it says, and the record it becomes. Pure. A field nobody knows is an error: a misspelt
//! restriction that is silently dropped would open a key.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};

use super::digest;
use super::spool::Candidate;
use crate::clock::Timestamp;
use crate::config::sections::{Checksum, EnvironmentName};
use crate::key::digest::{Digest, Peppers, StoredDigest};
use crate::key::format::last4;
use crate::key::kind::Prefix;
use crate::key::lifecycle::new_id;
use crate::key::record::{FORMAT, KeyRecord, KeyStatus};
use crate::key::rules::Rules;

const NO_PREFIX: &str = "the key begins with no prefix of [[key_kinds]]";

/// The fields of a line.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) id: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) name: Option<String>,
    pub(super) environment: Option<EnvironmentName>,
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) scopes: Vec<String>,
    pub(super) ip_allowlist: Option<Vec<String>>,
    pub(super) referrers: Option<Vec<String>>,
    pub(super) endpoints: Option<Vec<String>>,
    pub(super) rate_limit: Option<serde_json::Value>,
    pub(super) status: Option<KeyStatus>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) created_at: Option<Timestamp>,
    pub(super) created_by: Option<String>,
    pub(super) rotated_at: Option<Timestamp>,
    pub(super) last_used: Option<Timestamp>,
    pub(super) last_used_from: Option<String>,
    #[serde(default)]
    pub(super) exposed: bool,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) prefix: Option<String>,
    pub(super) last4: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    pub(super) key: Option<SecretString>,
    pub(super) digest: Option<String>,
    /// Whether the key behind the digest has the checksum of the native format, as who wrote the file knows.
    #[serde(default)]
    pub(super) native: bool,
    /// What the key behind the digest begins with: its prefix and perhaps more.
    #[serde(skip)]
    pub(super) start: Option<String>,
}

/// What entries become records by.
pub(super) struct Terms<'a> {
    pub(super) rules: &'a Rules,
    pub(super) peppers: &'a Peppers,
    pub(super) actor: &'a str,
    pub(super) now: Timestamp,
    /// Tenant of the entries that name none.
    pub(super) tenant: Option<&'a str>,
}

/// serde's own words would repeat the value.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let key = Option::<String>::deserialize(deserializer).map_err(|_| serde::de::Error::custom("`key` must be a string"))?;
    Ok(key.map(SecretString::from))
}

/// What the secret of an entry is known by.
struct Named {
    prefix: Prefix,
    last4: String,
    /// What is stored; then what it may be stored under in a table with older peppers.
    digests: Vec<StoredDigest>,
}

impl Entry {
    /// The record, its restrictions not checked yet.
    pub(super) fn into_candidate(self, terms: &Terms<'_>) -> Result<Candidate, String> {
        let named = match (&self.key, &self.digest) {
            (Some(key), None) => self.by_key(key, terms)?,
            (None, Some(digest)) => self.by_digest(digest, terms)?,
            (Some(_), Some(_)) => return Err("give `key` or `digest`, not both".into()),
            (None, None) => return Err("`key` or `digest` is missing".into()),
        };
        if self.created_at.is_some_and(|created_at| created_at > terms.now) {
            return Err("`created_at` is in the future".into());
        }
        let mut digests = named.digests.into_iter().map(StoredDigest::to_hex);
        let digest = digests.next().unwrap_or_default();
        let is_named = self.id.is_some();
        let id = match self.id {
            Some(id) => id,
            None => new_id().map_err(|error| error.to_string())?,
        };
        let record = KeyRecord {
            format: FORMAT,
            id,
            tenant: self
                .tenant
                .or_else(|| terms.tenant.map(ToOwned::to_owned))
                .ok_or("`tenant` is missing (--tenant names one for all such lines)")?,
            name: self.name.unwrap_or_else(|| "imported".into()),
            prefix: named.prefix.text.to_string(),
            last4: named.last4,
            kind: named.prefix.kind.to_string(),
            environment: named.prefix.environment,
            scopes: self.scopes,
            ip_allowlist: self.ip_allowlist,
            referrers: self.referrers,
            endpoints: self.endpoints,
            rate_limit: self.rate_limit,
            status: self.status.unwrap_or(KeyStatus::Active),
            expires_at: self.expires_at,
            created_at: self.created_at.unwrap_or(terms.now),
            created_by: self.created_by.unwrap_or_else(|| terms.actor.to_owned()),
            rotated_at: self.rotated_at,
            digest,
            previous: None,
            last_used: self.last_used,
            last_used_from: self.last_used_from,
            exposed: self.exposed,
            metadata: self.metadata,
            version: 1,
            unknown: BTreeMap::new(),
        };
        Ok(Candidate { line: 0, record, named: is_named, elsewhere: digests.collect() })
    }

    fn by_key(&self, key: &SecretString, terms: &Terms<'_>) -> Result<Named, String> {
        let bytes = key.expose_secret().as_bytes();
        if bytes.is_empty() || bytes.len() > 512 || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err("`key` must be 1 to 512 bytes of visible ASCII, as it is sent in a header".into());
        }
        let prefix = terms.rules.kinds.classify(bytes).ok_or(NO_PREFIX)?;
        self.agrees(prefix)?;
        if !prefix.admits(bytes) {
            return Err(lacks_checksum("the key lacks the checksum of the native format", prefix));
        }
        Ok(Named { prefix: prefix.clone(), last4: last4(key), digests: terms.peppers.candidates(&Digest::of(bytes)).collect() })
    }

    fn by_digest(&self, digest: &str, terms: &Terms<'_>) -> Result<Named, String> {
        let digests = digest::stored(digest, terms.peppers)?;
        let kinds = &terms.rules.kinds;
        let prefix = match (&self.prefix, &self.start) {
            (Some(text), _) => kinds.prefixes().iter().find(|prefix| *prefix.text == **text).ok_or("`prefix` is none of [[key_kinds]]")?,
            (None, Some(start)) => kinds.classify(start.as_bytes()).ok_or(NO_PREFIX)?,
            (None, None) => {
                terms.rules.issue(self.kind.as_deref().unwrap_or("secret"), self.environment.unwrap_or(EnvironmentName::Live))?
            }
        };
        self.agrees(prefix)?;
        if prefix.checksum == Checksum::Required && !self.native {
            return Err(lacks_checksum("a digest does not tell whether the key has the checksum of the native format", prefix));
        }
        Ok(Named { prefix: prefix.clone(), last4: self.last4.clone().unwrap_or_default(), digests })
    }

    /// What the line says of itself must be what its prefix says.
    fn agrees(&self, prefix: &Prefix) -> Result<(), String> {
        if self.prefix.as_deref().is_some_and(|text| text != &*prefix.text) {
            return Err(format!("`prefix` is not the key's, which is `{}`", prefix.text));
        }
        if self.kind.as_deref().is_some_and(|kind| kind != &*prefix.kind) {
            return Err(format!("prefix `{}` is of kind {}", prefix.text, prefix.kind));
        }
        if self.environment.is_some_and(|environment| environment != prefix.environment) {
            return Err(format!("prefix `{}` is of {} keys", prefix.text, prefix.environment.name()));
        }
        if self.last4.as_ref().is_some_and(|text| text.len() > 4 || !text.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err("`last4` has at most four visible characters".into());
        }
        Ok(())
    }
}

fn lacks_checksum(why: &str, prefix: &Prefix) -> String {
    format!(
        "{why}, and keys without it are refused before any look-up; \
         write checksum = \"optional\" under [[key_kinds]] name = \"{}\" in proxy.toml and import again",
        prefix.kind
    )
}
