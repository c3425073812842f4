//! One line of an import: what it says, and the record it becomes. Pure. A field nobody knows is an error: a misspelt
//! restriction that is silently dropped would open a key.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};

use crate::clock::Timestamp;
use crate::config::sections::{Checksum, EnvironmentName};
use crate::key::digest::{Digest, Peppers, StoredDigest};
use crate::key::format::last4;
use crate::key::kind::Prefix;
use crate::key::lifecycle::new_id;
use crate::key::record::{FORMAT, KeyRecord, KeyStatus};
use crate::key::rules::Rules;

/// The fields of a line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) id: Option<String>,
    pub(super) tenant: String,
    name: Option<String>,
    environment: Option<EnvironmentName>,
    kind: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    ip_allowlist: Option<Vec<String>>,
    referrers: Option<Vec<String>>,
    endpoints: Option<Vec<String>>,
    status: Option<KeyStatus>,
    expires_at: Option<Timestamp>,
    created_at: Option<Timestamp>,
    created_by: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    prefix: Option<String>,
    last4: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    key: Option<SecretString>,
    digest: Option<String>,
}

/// serde's own words would repeat the value.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let key = Option::<String>::deserialize(deserializer).map_err(|_| serde::de::Error::custom("`key` must be a string"))?;
    Ok(key.map(SecretString::from))
}

/// What the secret of an entry is known by.
struct Named {
    prefix: Prefix,
    last4: String,
    digest: Digest,
}

impl Entry {
    /// The record, its restrictions not checked yet.
    pub(super) fn into_record(self, rules: &Rules, peppers: &Peppers, actor: &str, now: Timestamp) -> Result<KeyRecord, String> {
        let named = match (&self.key, &self.digest) {
            (Some(key), None) => self.by_key(key, rules)?,
            (None, Some(digest)) => self.by_digest(digest, rules)?,
            (Some(_), Some(_)) => return Err("give `key` or `digest`, not both".into()),
            (None, None) => return Err("`key` or `digest` is missing".into()),
        };
        if self.created_at.is_some_and(|created_at| created_at > now) {
            return Err("`created_at` is in the future".into());
        }
        let id = match self.id {
            Some(id) => id,
            None => new_id().map_err(|error| error.to_string())?,
        };
        Ok(KeyRecord {
            format: FORMAT,
            id,
            tenant: self.tenant,
            name: self.name.unwrap_or_else(|| "imported".into()),
            prefix: named.prefix.text.to_string(),
            last4: named.last4,
            kind: named.prefix.kind.to_string(),
            environment: named.prefix.environment,
            scopes: self.scopes,
            ip_allowlist: self.ip_allowlist,
            referrers: self.referrers,
            endpoints: self.endpoints,
            rate_limit: None,
            status: self.status.unwrap_or(KeyStatus::Active),
            expires_at: self.expires_at,
            created_at: self.created_at.unwrap_or(now),
            created_by: self.created_by.unwrap_or_else(|| actor.to_owned()),
            rotated_at: None,
            digest: peppers.store(&named.digest).to_hex(),
            previous: None,
            last_used: None,
            last_used_from: None,
            exposed: false,
            metadata: self.metadata,
            version: 1,
            unknown: BTreeMap::new(),
        })
    }

    fn by_key(&self, key: &SecretString, rules: &Rules) -> Result<Named, String> {
        let bytes = key.expose_secret().as_bytes();
        if bytes.is_empty() || bytes.len() > 512 || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err("`key` must be 1 to 512 bytes of visible ASCII, as it is sent in a header".into());
        }
        let prefix = rules.kinds.classify(bytes).ok_or("the key begins with no prefix of [[key_kinds]]")?;
        self.agrees(prefix)?;
        if !prefix.admits(bytes) {
            return Err(lacks_checksum("the key lacks the checksum of the native format", prefix));
        }
        Ok(Named { prefix: prefix.clone(), last4: last4(key), digest: Digest::of(bytes) })
    }

    fn by_digest(&self, digest: &str, rules: &Rules) -> Result<Named, String> {
        let digest = digest.strip_prefix("sha256:").and_then(StoredDigest::from_hex).ok_or("`digest` must be sha256: and 64 hex digits")?;
        let prefix = match &self.prefix {
            Some(text) => rules.kinds.prefixes().iter().find(|prefix| *prefix.text == **text).ok_or("`prefix` is none of [[key_kinds]]")?,
            None => rules.issue(self.kind.as_deref().unwrap_or("secret"), self.environment.unwrap_or(EnvironmentName::Live))?,
        };
        self.agrees(prefix)?;
        if prefix.checksum == Checksum::Required {
            return Err(lacks_checksum("a digest does not tell whether the key has the checksum of the native format", prefix));
        }
        Ok(Named { prefix: prefix.clone(), last4: self.last4.clone().unwrap_or_default(), digest: Digest(digest.0) })
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
