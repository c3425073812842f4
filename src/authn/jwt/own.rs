//! The issuer that Sidegate is itself, `[sessions]`: its tokens are verified as any issuer's are, by the keys of `signing_key_files`
//! and no others, and rest on what the store says of what they were given for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use aws_lc_rs::digest::{Context, SHA256};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::Value;

use super::Issuer;
use super::algorithm::Algorithm;
use super::jwk::KeySet;
use super::keyring::Keyring;
use super::sign::SigningKey;
use crate::config::problem::Problems;
use crate::config::sections::{self, Config, Unscoped};
use crate::key::digest::Digest;

/// Its name in routes and logs.
pub const NAME: &str = "sessions";
/// What its tokens are, in their header (RFC 9068 §2.1).
pub const TYP: &str = "at+jwt";
/// Where its tokens name their tenant.
const TENANT: &str = "tenant";
/// Where its tokens name their environment.
const ENVIRONMENT: &str = "environment";

/// What its tokens are signed with.
#[derive(Debug)]
pub struct Signing {
    /// `iss`, and `aud`: the API behind this sidecar is who they are for.
    pub issuer: Box<str>,
    /// Never empty: the first signs, all verify.
    keys: Box<[SigningKey]>,
}

impl Signing {
    /// Signs claims.
    #[must_use]
    pub fn sign(&self, claims: &impl serde::Serialize) -> Option<String> {
        self.keys.first()?.sign(TYP, claims)
    }

    /// The keys that others may verify with (RFC 7517 §4).
    pub fn jwks(&self) -> impl Iterator<Item = Value> {
        self.keys.iter().filter_map(SigningKey::jwk)
    }
}

/// What was compiled of `[sessions]`.
pub(super) struct Own {
    pub(super) issuer: Issuer,
    pub(super) signing: Signing,
    /// What it was made of.
    pub(super) made_of: (sections::Issuer, Digest),
}

/// Compiles it; `None` where no key is configured, or after an error.
pub(super) fn compile(config: &Config, version: &Arc<AtomicU64>, problems: &mut Problems) -> Option<Own> {
    let section = &config.sessions;
    if section.signing_key_files.is_empty() {
        return None;
    }
    if section.issuer.is_empty() {
        problems.error("sessions.issuer", "an empty `issuer`: whose would a token be?");
    }
    for (index, entry) in config.issuers.iter().enumerate() {
        if entry.name == NAME {
            problems.error(format!("issuers[{index}].name"), format!("`{NAME}` is the name of [sessions]"));
        }
        if entry.issuer == section.issuer {
            let same = format!("[sessions] has `{}` already: whose would a token be?", entry.issuer);
            problems.error(format!("issuers[{index}].issuer"), same);
        }
    }
    let (mut keys, mut print) = (Vec::new(), Context::new(&SHA256));
    print.update(&[section.unscoped as u8]);
    for (index, file) in section.signing_key_files.iter().enumerate() {
        // A file that is not there was told where all files are looked at.
        let held = SecretSlice::from(std::fs::read(file).ok()?);
        print.update(Digest::of(held.expose_secret()).0.as_ref());
        let read = SigningKey::read(held.expose_secret()).map_err(|why| format!("{}: {why}", file.display()));
        keys.extend(problems.keep(format!("sessions.signing_key_files[{index}]"), read)?);
    }
    let named = keys.iter().map(|key| Some((key.kid().to_owned(), key.verifier().ok()?))).collect::<Option<Vec<_>>>()?;
    let set = problems.keep("sessions.signing_key_files", KeySet::named(named))?;
    let mut made_of = Digest([0; 32]);
    made_of.0.copy_from_slice(print.finish().as_ref());
    let entry = entry(section);
    let issuer = Issuer {
        name: NAME.into(),
        path: NAME.into(),
        keys: Arc::new(Keyring::fixed(set, version)),
        takes_unknown_tenants: false,
        iss: Some(entry.issuer.as_str().into()),
        audiences: entry.audiences.clone().into(),
        algorithms: [Algorithm::EdDsa, Algorithm::Hs256].into(),
        leeway_ms: entry.leeway.as_millis(),
        max_age_ms: None,
        claims: entry.claims.clone(),
        tenant: None,
        environment: entry.environment,
        takes_unscoped: section.unscoped == Unscoped::Pass,
        is_own: true,
    };
    let signing = Signing { issuer: section.issuer.as_str().into(), keys: keys.into() };
    Some(Own { issuer, signing, made_of: (entry, made_of) })
}

/// The section, as one of `[[issuers]]` would say it.
fn entry(section: &sections::Sessions) -> sections::Issuer {
    sections::Issuer {
        name: NAME.into(),
        issuer: section.issuer.clone(),
        audiences: vec![section.issuer.clone()],
        claims: sections::Claims { tenant: TENANT.into(), environment: ENVIRONMENT.into(), ..sections::Claims::default() },
        ..sections::Issuer::default()
    }
}
