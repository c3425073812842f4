//! `[[issuers]]`, compiled: one source of keys each, algorithms that fit it, and no two that a token could be of.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretSlice};

use super::algorithm::{Algorithm, Key};
use super::jwk::KeySet;
use super::keyring::Keyring;
use super::{Issuer, Issuers, own};
use crate::authn::fetch::Endpoint;
use crate::authn::introspection::Introspection;
use crate::config::problem::{Problems, Severity};
use crate::config::sections::{self, Config, UnknownTenant};
use crate::config::suggest;
use crate::key::digest::Digest;

/// Shortest secret, bytes: less can be guessed from one token.
const SECRET_MIN: usize = 16;
/// Least time between two readings of a document.
const REFRESH_MIN_MS: i64 = 10_000;
/// Versions of each set of issuers: so many changes have room before the next set's.
const VERSIONS: u64 = 1 << 32;

/// Where the keys of an issuer are.
#[derive(Debug, Clone, Copy)]
enum Source<'c> {
    Secret(&'c Path),
    Pem(&'c Path),
    Document(&'c Path),
    Url(&'c str),
}

impl Issuers {
    /// Compiles `[[issuers]]` and the one that `[sessions]` is.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        static SETS: AtomicU64 = AtomicU64::new(1);
        let version = Arc::new(AtomicU64::new(SETS.fetch_add(1, Ordering::Relaxed).saturating_mul(VERSIONS)));
        let errors = error_count(problems);
        let mut list = Vec::new();
        let mut made_of = Vec::new();
        for (index, entry) in config.issuers.iter().enumerate() {
            let path = format!("issuers[{index}]");
            if config.issuers.iter().take(index).any(|other| other.issuer == entry.issuer && !entry.issuer.is_empty()) {
                problems.error(format!("{path}.issuer"), format!("another issuer has `{}` already: whose would a token be?", entry.issuer));
            }
            let mut print = Digest([0; 32]);
            if let Some(issuer) = compile(config, entry, &path, &version, &mut print, problems) {
                list.push(Arc::new(issuer));
                made_of.push((entry.clone(), print));
            }
        }
        let signing = own::compile(config, &version, problems).map(|own| {
            list.push(Arc::new(own.issuer));
            made_of.push(own.made_of);
            Arc::new(own.signing)
        });
        let (introspection, asks) = Introspection::compile(config, &version, problems).unzip();
        // Whoever yields no issuer has said why, or it was told where all files are looked at.
        let wanted = config.issuers.len() + usize::from(!config.sessions.signing_key_files.is_empty());
        let is_whole = list.len() == wanted && (introspection.is_some() || config.introspection.url.is_empty());
        let sound = is_whole && error_count(problems) == errors;
        sound.then(|| Self { list: list.into(), version, introspection: introspection.map(Arc::new), made_of: (made_of, asks), signing })
    }
}

fn error_count(problems: &Problems) -> usize {
    problems.list().iter().filter(|problem| problem.severity == Severity::Error).count()
}

fn compile(
    config: &Config,
    entry: &sections::Issuer,
    path: &str,
    version: &Arc<AtomicU64>,
    print: &mut Digest,
    problems: &mut Problems,
) -> Option<Issuer> {
    let source = source(entry, path, problems)?;
    let algorithms = algorithms(entry, source, path, problems)?;
    expectations(config, entry, source, path, problems);
    if entry.tenant.is_empty() && entry.claims.tenant.is_empty() {
        problems
            .error(format!("{path}.claims.tenant"), "no tenant: tokens of this issuer would act for nobody")
            .help("claims = { tenant = \"org_id\" } names the claim, tenant = \"acme\" is one for all");
    }
    let name: Arc<str> = entry.name.as_str().into();
    let keys = match source {
        Source::Url(url) => {
            let refresh_ms = entry.jwks_refresh.as_millis();
            if refresh_ms < REFRESH_MIN_MS {
                problems.error(format!("{path}.jwks_refresh"), format!("`{}` is too often: at least 10s", entry.jwks_refresh));
            }
            let endpoint = problems.keep(format!("{path}.jwks_url"), Endpoint::parse(url))?;
            Keyring::remote(&name, endpoint, algorithms.clone(), refresh_ms, version)
        }
        Source::Secret(file) | Source::Pem(file) | Source::Document(file) => {
            let key = format!("{path}.{}", source.key());
            // A file that is not there was told where all files are looked at.
            let held = SecretSlice::from(std::fs::read(file).ok()?);
            *print = Digest::of(held.expose_secret());
            let read = match source {
                Source::Secret(_) => secrets(held.expose_secret(), &algorithms, &key, problems),
                Source::Pem(_) => public_keys(held.expose_secret(), &algorithms),
                Source::Document(_) | Source::Url(_) => KeySet::parse(held.expose_secret(), &algorithms),
            };
            Keyring::fixed(problems.keep(key, read.map_err(|why| format!("{}: {why}", file.display())))?, version)
        }
    };
    Some(Issuer {
        name,
        path: path.to_owned(),
        keys: Arc::new(keys),
        takes_unknown_tenants: entry.unknown_tenant == UnknownTenant::Allow,
        iss: (!entry.issuer.is_empty()).then(|| entry.issuer.as_str().into()),
        audiences: entry.audiences.clone().into(),
        algorithms,
        leeway_ms: entry.leeway.as_millis(),
        max_age_ms: entry.max_age.nonzero().map(|_| entry.max_age.as_millis()),
        claims: entry.claims.clone(),
        tenant: (!entry.tenant.is_empty()).then(|| entry.tenant.clone()),
        environment: entry.environment,
        takes_unscoped: false,
        is_own: false,
    })
}

impl Issuer {
    /// Whoever answers for tokens that say nothing themselves: what it says is read as an issuer's claims are by default.
    pub(in crate::authn) fn asked(name: &str, expected: &sections::Introspection, version: &Arc<AtomicU64>) -> Self {
        let section = sections::Issuer::default();
        Self {
            name: name.into(),
            path: name.to_owned(),
            keys: Arc::new(Keyring::fixed(KeySet::unnamed([]), version)),
            takes_unknown_tenants: false,
            iss: (!expected.issuer.is_empty()).then(|| expected.issuer.as_str().into()),
            audiences: expected.audiences.clone().into(),
            algorithms: [].into(),
            leeway_ms: section.leeway.as_millis(),
            max_age_ms: None,
            claims: section.claims,
            tenant: None,
            environment: section.environment,
            takes_unscoped: false,
            is_own: false,
        }
    }
}

impl Source<'_> {
    const fn key(self) -> &'static str {
        match self {
            Self::Secret(_) => "secret_file",
            Self::Pem(_) => "public_key_file",
            Self::Document(_) => "jwks_file",
            Self::Url(_) => "jwks_url",
        }
    }
}

fn source<'c>(entry: &'c sections::Issuer, path: &str, problems: &mut Problems) -> Option<Source<'c>> {
    let file = |file: &'c std::path::PathBuf| Some(file.as_path()).filter(|file| !file.as_os_str().is_empty());
    let url = Some(entry.jwks_url.as_str()).filter(|url| !url.is_empty());
    let set: Vec<Source<'c>> = [
        url.map(Source::Url),
        file(&entry.jwks_file).map(Source::Document),
        file(&entry.public_key_file).map(Source::Pem),
        file(&entry.secret_file).map(Source::Secret),
    ]
    .into_iter()
    .flatten()
    .collect();
    match set.as_slice() {
        [only] => Some(*only),
        [] => {
            problems
                .error(path, format!("the issuer `{}` has no keys", entry.name))
                .help("name one of jwks_url, jwks_file, public_key_file, secret_file");
            None
        }
        [_, second, ..] => {
            problems
                .error(format!("{path}.{}", second.key()), format!("the issuer `{}` has keys from two places", entry.name))
                .help("one of jwks_url, jwks_file, public_key_file, secret_file; a second entry in [[issuers]] for another set of keys");
            None
        }
    }
}

fn algorithms(entry: &sections::Issuer, source: Source<'_>, path: &str, problems: &mut Problems) -> Option<Box<[Algorithm]>> {
    let is_secret = matches!(source, Source::Secret(_));
    let mut all = Vec::new();
    let mut sound = true;
    for (index, name) in entry.algorithms.iter().enumerate() {
        let at = format!("{path}.algorithms[{index}]");
        let known = Algorithm::ALL.iter().filter(|(_, algorithm)| algorithm.is_secret() == is_secret).map(|(name, _)| *name);
        match Algorithm::named(name) {
            Some(algorithm) if algorithm.is_secret() == is_secret => all.push(algorithm),
            Some(_) => {
                sound = false;
                problems
                    .error(at, format!("{name} and {} do not go together", source.key()))
                    .help("secrets are for HS256, HS384 and HS512, and those are for secrets: a public key is no secret");
            }
            None => {
                sound = false;
                problems.error(at, format!("there is no algorithm `{}`", name.escape_debug())).help(suggest::among(name, known));
            }
        }
    }
    if entry.algorithms.is_empty() {
        let example = if is_secret { "algorithms = [\"HS256\"]" } else { "algorithms = [\"RS256\"], say" };
        problems.error(format!("{path}.algorithms"), "no algorithm: it is never taken from the token").help(example);
        sound = false;
    }
    sound.then(|| all.into())
}

/// What tokens must say of who made them and for whom. Keys that others share may sign for others.
fn expectations(config: &Config, entry: &sections::Issuer, source: Source<'_>, path: &str, problems: &mut Problems) {
    let is_only = config.issuers.len() == 1 && config.sessions.signing_key_files.is_empty();
    let may_lack = matches!(source, Source::Secret(_)) && is_only;
    let missing = [("issuer", "iss", entry.issuer.is_empty()), ("audiences", "aud", entry.audiences.is_empty())];
    for (key, claim, _) in missing.into_iter().filter(|(_, _, is_missing)| *is_missing) {
        if may_lack {
            problems.warn(
                format!("{path}.{key}"),
                format!("tokens are taken whatever their `{claim}` is: everything that was ever signed with this secret opens this API"),
            );
        } else {
            problems
                .error(format!("{path}.{key}"), format!("the issuer `{}` must say which `{claim}` its tokens have", entry.name))
                .help("only an issuer with a secret_file that is the only one may leave it out");
        }
    }
}

/// One secret a line, newest first: each for every algorithm.
fn secrets(file: &[u8], algorithms: &[Algorithm], path: &str, problems: &mut Problems) -> Result<KeySet, String> {
    let lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return Err("it holds no secret".into());
    }
    if let Some(short) = lines.iter().map(|line| line.len()).min().filter(|length| *length < 32) {
        if short < SECRET_MIN {
            return Err(format!("a secret of {short} bytes can be guessed: at least {SECRET_MIN}, better 32"));
        }
        problems.warn(path, format!("a secret of {short} bytes is short: RFC 7518 asks for 32 and more"));
    }
    let each = |line: &[u8]| algorithms.iter().filter_map(|algorithm| Key::secret(*algorithm, line)).collect::<Vec<_>>();
    Ok(KeySet::unnamed(lines.into_iter().flat_map(each)))
}

/// Public keys in PEM, newest first: each for the one algorithm that fits it.
fn public_keys(file: &[u8], algorithms: &[Algorithm]) -> Result<KeySet, String> {
    let blocks = SubjectPublicKeyInfoDer::pem_slice_iter(file).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    if blocks.is_empty() {
        return Err("it holds no public key in PEM (-----BEGIN PUBLIC KEY-----)".into());
    }
    let mut keys = Vec::new();
    for block in blocks {
        let mut fitting: Vec<_> = Vec::new();
        let mut why = String::new();
        for algorithm in algorithms {
            match Key::from_spki(*algorithm, &block) {
                Ok(key) => fitting.push(key),
                Err(unfit) => why = unfit,
            }
        }
        match (fitting.pop(), fitting.len()) {
            (Some(key), 0) => keys.push(key),
            (Some(_), _) => return Err("a key has one algorithm: `algorithms` names several that fit it".into()),
            (None, _) => return Err(why),
        }
    }
    Ok(KeySet::unnamed(keys))
}
