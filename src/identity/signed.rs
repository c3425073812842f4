//! `[identity] signed`: who is calling, in one header that an upstream can verify, for upstreams that others can reach too. A caller's
//! is made once and sent until half of its life is over; what a client sends under that name never passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use http::HeaderName;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::{Map, Value};

use super::template::is_plain_name;
use crate::authn::jwt::sign::SigningKey;
use crate::clock::Timestamp;
use crate::config::problem::Problems;
use crate::config::sections::Config;
use crate::facts::RequestId;

/// `iss` of what is signed.
const ISSUER: &str = "sidegate";
/// Explicit types (RFC 8725 §3.11) are refused by what many upstreams verify with.
const TYP: &str = "JWT";
/// Least life: whoever gets it has half of that at least.
const TTL_MIN_MS: i64 = 2_000;
/// Longest life.
const TTL_MAX_MS: i64 = 3_600_000;

/// Who signs, under which name it is sent, and for how long it is good.
#[derive(Debug)]
pub struct Signature {
    /// Of all that this process ever has: what another has signed is not sent.
    id: u64,
    name: HeaderName,
    /// Never empty: the first signs, all are published.
    keys: Box<[SigningKey]>,
    ttl_ms: i64,
}

/// What is said of a caller, and what was signed last.
#[derive(Debug)]
pub struct Statement {
    claims: Map<String, Value>,
    made: ArcSwapOption<Made>,
}

#[derive(Debug)]
struct Made {
    by: u64,
    token: Box<str>,
    /// A clock that was set back makes it no older.
    from: Timestamp,
    until: Timestamp,
}

impl Statement {
    /// Of these claims; what is empty is left out.
    #[must_use]
    pub(super) fn new(claims: &[(&str, &str)]) -> Self {
        let said = claims.iter().filter(|(_, value)| !value.is_empty());
        let claims = said.map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        Self { claims, made: ArcSwapOption::empty() }
    }
}

impl Signature {
    /// Compiles it, and nothing where no header is named.
    ///
    /// # Errors
    /// Told where all mistakes are.
    pub(crate) fn compile(config: &Config, problems: &mut Problems) -> Result<Option<Self>, ()> {
        static SIGNATURES: AtomicU64 = AtomicU64::new(1);
        let section = &config.identity.signed;
        if section.header.is_empty() {
            if !section.key_file.as_os_str().is_empty() {
                problems.warn("identity.signed.key_file", "without a header nothing is signed with it");
            }
            return Ok(None);
        }
        let name = problems.parse::<HeaderName>("identity.signed.header", &section.header);
        let name = name.filter(|name| is_free(config, name, problems));
        let ttl_ms = section.ttl.as_millis();
        let is_time = (TTL_MIN_MS..=TTL_MAX_MS).contains(&ttl_ms);
        if !is_time {
            problems.error("identity.signed.ttl", format!("`{}`: from 2s to 1h, of which half may be over when it is sent", section.ttl));
        }
        let keys = keys(config, problems);
        let (Some(name), Some(keys), true) = (name, keys, is_time) else { return Err(()) };
        Ok(Some(Self { id: SIGNATURES.fetch_add(1, Ordering::Relaxed), name, keys, ttl_ms }))
    }

    /// Under which name it is sent.
    #[must_use]
    pub const fn name(&self) -> &HeaderName {
        &self.name
    }

    /// What verifies it, as JSON Web Keys; of a secret nothing.
    pub fn jwks(&self) -> impl Iterator<Item = Value> {
        self.keys.iter().filter_map(SigningKey::jwk)
    }

    /// Hands out what is said of a caller, signed; `None` = it cannot be.
    pub fn tell<T>(&self, statement: &Statement, now: Timestamp, out: impl FnOnce(&[u8]) -> T) -> Option<T> {
        if let Some(made) = statement.made.load().as_ref()
            && made.by == self.id
            && (made.from..made.until).contains(&now)
        {
            return Some(out(made.token.as_bytes()));
        }
        let made = self.sign(statement, now)?;
        let told = out(made.token.as_bytes());
        statement.made.store(Some(Arc::new(made)));
        Some(told)
    }

    #[cold]
    fn sign(&self, statement: &Statement, now: Timestamp) -> Option<Made> {
        let issued = now.0.div_euclid(1000);
        let mut claims = Map::new();
        claims.insert("iss".into(), ISSUER.into());
        claims.extend(statement.claims.iter().map(|(name, value)| (name.clone(), value.clone())));
        claims.insert("iat".into(), issued.into());
        claims.insert("exp".into(), (issued + (self.ttl_ms + 999) / 1000).into());
        claims.insert("jti".into(), RequestId::new(now).as_str().into());
        let token = self.keys.first()?.sign(TYP, &claims)?;
        Some(Made { by: self.id, token: token.into(), from: now, until: now.plus_millis(self.ttl_ms / 2) })
    }
}

/// Whether nothing else is said under that name.
fn is_free(config: &Config, name: &HeaderName, problems: &mut Problems) -> bool {
    let path = "identity.signed.header";
    let tells = |other: &String| other.eq_ignore_ascii_case(name.as_str());
    if config.identity.headers.keys().any(tells) {
        problems.error(path, format!("[identity.headers] has `{name}` already"));
        return false;
    }
    let added = [&config.environments.live, &config.environments.test].map(|environment| environment.add_headers.keys());
    let is_carrier = config.credentials.sources.iter().any(|source| tells(&source.header));
    if !is_plain_name(name) || is_carrier || added.into_iter().flatten().any(tells) {
        problems.error(path, format!("`{name}` cannot carry identity: letters, digits and -, and no header of anything else"));
        return false;
    }
    true
}

fn keys(config: &Config, problems: &mut Problems) -> Option<Box<[SigningKey]>> {
    let (path, file) = ("identity.signed.key_file", config.identity.signed.key_file.as_path());
    if file.as_os_str().is_empty() {
        problems.error(path, "no key to sign with").help(
            "openssl genpkey -algorithm ed25519 -out identity.pem, or a file with a secret of 32 bytes and more that the API has too",
        );
        return None;
    }
    // A file that is not there was told where all files are looked at.
    let held = SecretSlice::from(std::fs::read(file).ok()?);
    let keys = SigningKey::read(held.expose_secret()).map_err(|why| format!("{}: {why}", file.display()));
    let keys = problems.keep(path, keys)?;
    if opens_this_api(config, &keys) {
        problems.error(path, "tokens for this API are verified by the same key: what the upstream is told could be sent back as one");
        return None;
    }
    Some(keys.into())
}

/// Whether one of these keys stands, by whatever path and in whatever form, where tokens are verified.
fn opens_this_api(config: &Config, keys: &[SigningKey]) -> bool {
    let of_issuers = config.issuers.iter().flat_map(|issuer| [&issuer.secret_file, &issuer.public_key_file, &issuer.jwks_file]);
    let mut files = config.sessions.signing_key_files.iter().chain(of_issuers).filter(|file| !file.as_os_str().is_empty());
    files.any(|file| {
        let held = SecretSlice::from(std::fs::read(file).unwrap_or_default());
        SigningKey::names(held.expose_secret()).iter().any(|name| keys.iter().any(|key| key.kid() == &**name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_500);

    fn signature(ttl: &str) -> Signature {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef0123456789abcdef\n").unwrap();
        let signed =
            format!("[identity]\nsigned = {{ header = \"X-Identity\", key_file = \"{}\", ttl = \"{ttl}\" }}", file.path().display());
        Signature::compile(&toml::from_str(&signed).unwrap(), &mut Problems::default()).unwrap().unwrap()
    }

    fn told(signature: &Signature, statement: &Statement, now: Timestamp) -> Vec<u8> {
        signature.tell(statement, now, <[u8]>::to_vec).unwrap()
    }

    #[test]
    fn one_is_sent_until_half_of_its_life_is_over_and_never_what_another_has_signed() {
        let (signature, other) = (signature("60s"), signature("60s"));
        let statement = Statement::new(&[("sub", "ada"), ("scope", "")]);
        let first = told(&signature, &statement, NOW);
        assert_eq!(told(&signature, &statement, NOW.plus_millis(29_999)), first);
        let second = told(&signature, &statement, NOW.plus_millis(30_000));
        assert_ne!(second, first);
        // Nor is one from the future.
        assert_ne!(told(&signature, &statement, NOW), second);
        let others = told(&other, &statement, NOW);
        assert_ne!(told(&signature, &statement, NOW), others);
    }

    #[test]
    fn names_keys_and_lives_that_cannot_be_used_are_mistakes() {
        let files = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(files.path().join(name), text).unwrap();
            files.path().join(name).display().to_string()
        };
        let (good, short) = (file("good", &"k".repeat(32)), file("short", "hunter2"));
        let compiled = |header: &str, key: &str, ttl: &str, more: &str| {
            let text = format!("{more}[identity]\nsigned = {{ header = \"{header}\", key_file = \"{key}\", ttl = \"{ttl}\" }}\n");
            let mut problems = Problems::default();
            let compiled = Signature::compile(&toml::from_str(&text).unwrap(), &mut problems);
            assert_eq!(compiled.is_err(), problems.has_errors(), "{text}");
            assert!(problems.list().iter().all(|problem| !problem.message.contains("hunter2")));
            compiled.is_ok()
        };
        assert!(compiled("X-Identity", &good, "60s", "") && compiled("", "", "60s", ""));
        for header in ["X-Tenant-Id", "Authorization", "X-API-Key", "X_Identity", "Host", "a b", "X-Request-Id"] {
            assert!(!compiled(header, &good, "60s", ""), "{header}");
        }
        for (key, ttl) in [("", "60s"), (short.as_str(), "60s"), (&good, "1s"), (&good, "2h")] {
            assert!(!compiled("X-Identity", key, ttl, ""), "{key} {ttl}");
        }
        assert!(!compiled("X-Identity", &good, "60s", &format!("[sessions]\nsigning_key_files = [\"{good}\"]\n")));
        assert!(!compiled("X-Identity", &good, "60s", &format!("[[issuers]]\nname = \"a\"\nsecret_file = \"{good}\"\n")));
    }

    #[test]
    fn a_key_that_verifies_tokens_is_known_under_every_name_and_in_every_form() {
        let files = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(files.path().join(name), text).unwrap();
            files.path().join(name).display().to_string()
        };
        let (secret, pair) = ("k".repeat(32), rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap());
        let jwk = SigningKey::read(pair.serialize_pem().as_bytes()).unwrap()[0].jwk().unwrap();
        let (secret, private) = (file("secret", &secret), file("private.pem", &pair.serialize_pem()));
        let copies = [
            (&secret, "sessions", "signing_key_files", file("copy", &format!("{}\n{}\n", "n".repeat(32), "k".repeat(32)))),
            (&secret, "issuers", "secret_file", file("among-short", &format!("short\n{}", "k".repeat(32)))),
            (&private, "sessions", "signing_key_files", file("copy.pem", &format!("\n{}", pair.serialize_pem()))),
            (&private, "issuers", "public_key_file", file("public.pem", &pair.public_key_pem())),
            (&private, "issuers", "jwks_file", file("jwks.json", &serde_json::json!({ "keys": [jwk] }).to_string())),
        ];
        std::os::unix::fs::symlink(&secret, files.path().join("link")).unwrap();
        let link = (&secret, "issuers", "secret_file", files.path().join("link").display().to_string());
        let other = file("other", &"o".repeat(32));
        for (key, section, name, copy) in copies.into_iter().chain([link]) {
            let is_shared = |copy: &str| {
                let value = if section == "sessions" {
                    format!("[sessions]\n{name} = [\"{copy}\"]")
                } else {
                    format!("[[issuers]]\nname = \"a\"\n{name} = \"{copy}\"")
                };
                let text = format!("{value}\n[identity]\nsigned = {{ header = \"X-Identity\", key_file = \"{key}\" }}\n");
                Signature::compile(&toml::from_str(&text).unwrap(), &mut Problems::default()).is_err()
            };
            assert!(is_shared(&copy) && !is_shared(&other), "{section}.{name}: {copy}");
        }
    }
}
