//! `[admin]`, compiled: who may ask, by which names, over which certificate. Secrets are kept as digests only, and compared in
//! constant time, each request with each of them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use http::HeaderName;
use subtle::{Choice, ConstantTimeEq as _};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::permission::Permissions;
use crate::config::problem::Problems;
use crate::config::sections::{AdminTls, AdminToken, Config, Keys, ListenerLimits, ListenerTls, Protocol, TlsVersion};
use crate::idempotency;
use crate::key::digest::Digest;
use crate::key::rules::check_id;
use crate::server::framing::Limits;
use crate::server::tls;
use crate::telemetry::mask::Mask;

/// Characters that a secret has at least, and how many different ones: what a person would type is guessed.
const SECRET_MIN: usize = 32;
const DIFFERENT_MIN: usize = 8;

/// `[admin]`, compiled.
pub struct Settings {
    tokens: Vec<Token>,
    /// Folded, as Host may say them.
    hosts: Vec<String>,
    /// Where `[admin.tls]` is set.
    pub(crate) tls: Option<TlsAcceptor>,
    /// When the first certificate of its chain ends.
    pub(crate) expires: Option<i64>,
    /// What of a caller's text may be told.
    pub(crate) mask: Mask,
    /// How heads are read where requests are described.
    pub(crate) limits: Limits,
    /// When a key is worth a look.
    pub(crate) keys: Keys,
    /// Of requests that are to be done once.
    pub(crate) once: Arc<idempotency::Rules>,
}

/// `[[admin.tokens]]`, compiled.
struct Token {
    name: Arc<str>,
    digests: Vec<Digest>,
    allow: Permissions,
}

/// Who asks, and what that may do.
#[derive(Debug, Clone)]
pub(crate) struct Bearer {
    pub(crate) name: Arc<str>,
    pub(crate) allow: Permissions,
    /// Of the secret it presented.
    pub(crate) digest: Digest,
}

impl Settings {
    /// Compiles the section; `None` after an error.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let section = &config.admin;
        let (mut names, mut digests) = (HashMap::new(), HashMap::new());
        let tokens: Vec<_> =
            (0..).zip(&section.tokens).map(|(index, token)| read(index, token, &mut names, &mut digests, problems)).collect();
        let tls = if section.tls == AdminTls::default() { Some(None) } else { acceptor(&section.tls, problems).map(Some) };
        Some(Self {
            tokens: tokens.into_iter().collect::<Option<_>>()?,
            hosts: section.allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            tls: tls?,
            expires: tls::expiry::of(&section.tls.cert_file),
            mask: Mask::new(&config.key_kinds),
            limits: config.listeners.first().map_or_else(|| Limits::from(&ListenerLimits::default()), |first| Limits::from(&first.limits)),
            keys: config.keys.clone(),
            once: idempotency::Rules::of_management(&config.idempotency, HeaderName::from_static("idempotency-key")),
        })
    }

    /// Whose secret this is. Every secret is looked at, whichever it is.
    pub(crate) fn find(&self, secret: &[u8]) -> Option<Bearer> {
        let digest = Digest::of(secret);
        let mut found = None;
        for token in &self.tokens {
            let is_its = token.digests.iter().fold(Choice::from(0), |any, known| any | known.0.ct_eq(&digest.0));
            if is_its.into() {
                found = Some(Bearer { name: Arc::clone(&token.name), allow: token.allow, digest });
            }
        }
        found
    }

    /// Whether the listener may be called by this value of Host. An entry with a port is that port alone.
    pub(crate) fn answers_to(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) | None => &host,
        };
        self.hosts.iter().any(|known| *known == host || known == name)
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.tokens.iter().map(|token| &*token.name).collect();
        f.debug_struct("Settings").field("tokens", &names).field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

fn read(
    index: usize,
    token: &AdminToken,
    names: &mut HashMap<String, usize>,
    digests: &mut HashMap<Digest, usize>,
    problems: &mut Problems,
) -> Option<Token> {
    let at = |key: &str| format!("admin.tokens[{index}].{key}");
    let mut name = check_id("name of a token", &token.name);
    if let Some(other) = names.insert(token.name.clone(), index) {
        name = Err(format!("admin.tokens[{other}] has this name already, and the audit could not tell them apart"));
    }
    let name = problems.keep(at("name"), name);
    let allow = match Permissions::parse(&token.allow) {
        Ok(_) if token.allow.is_empty() => problems.keep(at("allow"), Err("a token that may do nothing")),
        Ok(allow) => Some(allow),
        Err((word, why)) => problems.keep(format!("{}[{word}]", at("allow")), Err(why)),
    };
    let own = problems.keep(at("file"), secrets(&token.file));
    for digest in own.iter().flatten() {
        if let Some(other) = digests.insert(*digest, index).filter(|other| *other != index) {
            problems.error(
                at("file"),
                format!("admin.tokens[{other}] has a secret of this file already: whose it is would be a matter of chance"),
            );
            return None;
        }
    }
    name?;
    Some(Token { name: token.name.as_str().into(), digests: own?, allow: allow? })
}

/// The digests of the secrets in a file, one a line.
fn secrets(file: &Path) -> Result<Vec<Digest>, String> {
    let text = std::fs::read(file).map(Zeroizing::new).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let digests: Vec<Digest> =
        lines.map(|line| check_secret(line).map(|()| Digest::of(line))).collect::<Result<_, _>>().map_err(|why| {
            let made = "make one with `openssl rand -hex 32`";
            format!("a token in {} {why}; {made}", file.display())
        })?;
    if digests.is_empty() { Err(format!("{} holds no token", file.display())) } else { Ok(digests) }
}

fn check_secret(secret: &[u8]) -> Result<(), &'static str> {
    if !secret.iter().all(u8::is_ascii_graphic) {
        return Err("has other characters than visible ASCII: no header could carry it");
    }
    let mut different = secret.to_vec();
    different.sort_unstable();
    different.dedup();
    let (length, different) = (secret.len(), Zeroizing::new(different).len());
    if length < SECRET_MIN || different < DIFFERENT_MIN { Err("is too easily guessed: it needs 32 random characters") } else { Ok(()) }
}

fn acceptor(section: &AdminTls, problems: &mut Problems) -> Option<TlsAcceptor> {
    for (key, file) in [("cert_file", &section.cert_file), ("key_file", &section.key_file)] {
        if file.as_os_str().is_empty() {
            problems.error(format!("admin.tls.{key}"), "[admin.tls] needs cert_file and key_file");
            return None;
        }
    }
    let tls = ListenerTls {
        cert_file: section.cert_file.clone(),
        key_file: section.key_file.clone(),
        min_version: TlsVersion::default(),
        client_ca_file: std::path::PathBuf::new(),
    };
    tls::compile(&tls, &[Protocol::Http1], "admin", problems).map(TlsAcceptor::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef";
    const TWO: &str = "fedcba9876543210fedcba9876543210";

    fn compile(tokens: &[(&str, &str, &str)]) -> (Option<Settings>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        for (index, (name, content, allow)) in tokens.iter().enumerate() {
            let file = dir.path().join(index.to_string());
            std::fs::write(&file, content).unwrap();
            config.admin.tokens.push(AdminToken { name: (*name).into(), file, allow: allow.split_whitespace().map(Into::into).collect() });
        }
        let mut problems = Problems::default();
        let settings = Settings::compile(&config, &mut problems);
        (settings, problems.list().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect())
    }

    #[test]
    fn a_secret_is_found_whole_and_every_line_of_a_file_is_one() {
        let both = format!("{ONE}\n\n {TWO} \n");
        let (settings, problems) = compile(&[("console", &both, "keys:read")]);
        let settings = settings.unwrap_or_else(|| panic!("{problems:?}"));
        for secret in [ONE, TWO] {
            assert_eq!(&*settings.find(secret.as_bytes()).unwrap().name, "console");
            assert!(settings.find(&secret.as_bytes()[1..]).is_none());
        }
        assert!(settings.find(b"").is_none());
        assert!(!format!("{settings:?}").contains(ONE));
    }

    #[test]
    fn what_no_token_can_be_is_told_at_its_place() {
        for (tokens, path, words) in [
            (vec![("a", "short", "*")], "admin.tokens[0].file", "32 random characters"),
            (vec![("a", "abababababababababababababababababab", "*")], "admin.tokens[0].file", "32 random characters"),
            (vec![("a", "0123456789abcdef 0123456789abcdef", "*")], "admin.tokens[0].file", "visible ASCII"),
            (vec![("a", "\n", "*")], "admin.tokens[0].file", "holds no token"),
            (vec![("a b", ONE, "*")], "admin.tokens[0].name", "no name of a token"),
            (vec![("a", ONE, "")], "admin.tokens[0].allow", "may do nothing"),
            (vec![("a", ONE, "keys tenant")], "admin.tokens[0].allow[1]", "`tenant` is no permission"),
            (vec![("a", ONE, "*"), ("a", TWO, "*")], "admin.tokens[1].name", "has this name already"),
            (vec![("a", ONE, "*"), ("b", ONE, "*")], "admin.tokens[1].file", "has a secret of this file already"),
        ] {
            let (settings, problems) = compile(&tokens);
            assert!(settings.is_none() && problems.len() == 1, "{problems:?}");
            assert!(problems[0].starts_with(path) && problems[0].contains(words), "{problems:?}");
        }
    }

    #[test]
    fn a_host_is_answered_with_any_port_unless_its_entry_names_one() {
        let (settings, _) = compile(&[]);
        let mut settings = settings.unwrap();
        for host in ["localhost", "LOCALHOST:9902", "127.0.0.1:1", "[::1]", "[::1]:9902"] {
            assert!(settings.answers_to(host), "{host}");
        }
        for host in ["", ":", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::2]:9902", "::1", "localhost:x"] {
            assert!(!settings.answers_to(host), "{host}");
        }
        settings.hosts = vec!["admin.example:8443".into()];
        assert!(settings.answers_to("admin.example:8443") && !settings.answers_to("admin.example"));
    }
}
