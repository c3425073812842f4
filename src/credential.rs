//! The credential of a request: found in `[credentials] sources`, told apart by its prefix, taken off the request.
//! The text of a key lives only in here; what leaves is a digest, a claim, and a fingerprint for the log. A token's is
//! handed to who verifies it.

mod source;
#[cfg(test)]
mod tests;
mod untouched;

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use memchr::memmem::Finder;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::authn::{introspection, jwt};
use crate::config::problem::Problems;
use crate::config::sections::{Config, CredentialType, ForwardJwt, Scheme};
use crate::idempotency::Holder;
use crate::key::digest::Digest;
use crate::key::encoded::layers;
use crate::key::kind::{KeyKinds, Prefix};
use crate::key::record::KeyRecord;
use crate::rejection::{Refusal, Rejection};
use crate::session;
use source::{Secret, Source};
pub use untouched::Untouched;

/// Characters behind a prefix from which a word in a query is a key rather than talk of keys.
const SHORT_KEY: usize = 5;
/// The same where nothing shows that a word begins there.
const LONG_KEY: usize = 16;

/// Where credentials are looked for, and what they may be.
#[derive(Debug)]
pub struct Credentials {
    sources: Box<[Source]>,
    /// Headers that carry credentials, whoever's.
    carriers: Box<[HeaderName]>,
    kinds: KeyKinds,
    /// Whether anybody can verify tokens.
    takes_tokens: bool,
    /// Whether anybody can be asked about what has no form.
    takes_opaque: bool,
    /// Whether refresh tokens are given here.
    gives_tokens: bool,
    /// Whether they stay on the request.
    keeps_tokens: bool,
    /// Of every prefix that is not empty.
    finders: Box<[Finder<'static>]>,
    /// Bytes of the shortest of them.
    shortest_prefix: usize,
}

/// What was presented.
#[derive(Debug)]
pub enum Credential<'k> {
    /// An API key, taken off the request.
    Key(ApiKey<'k>),
    /// What has the form of a JSON Web Token, or of none, and is no key.
    Token(BearerToken),
}

/// A presented token.
pub struct BearerToken {
    /// Whether it says something itself.
    pub kind: CredentialType,
    /// Its name in the cache.
    pub digest: Digest,
    /// Where it stood.
    pub header: HeaderName,
    secret: Secret<HeaderValue>,
}

impl BearerToken {
    /// Its text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.secret.bytes()
    }
}

impl std::fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BearerToken").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Credential<'_> {
    /// Where it stood; nowhere if a record stands in for it.
    #[must_use]
    pub const fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Key(key) => key.header.as_ref(),
            Self::Token(token) => Some(&token.header),
        }
    }
}

/// A presented API key.
#[derive(Debug)]
pub struct ApiKey<'k> {
    /// What it claims by its prefix.
    pub prefix: &'k Prefix,
    /// Its name in the cache.
    pub digest: Digest,
    /// Whether its length and checksum are right, or need not be.
    pub plausible: bool,
    /// Where it stood; nowhere if a record stands in for it.
    pub header: Option<HeaderName>,
}

impl Credentials {
    /// Compiles `[credentials]` and `[[key_kinds]]`.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut sound = true;
        let mut sources = Vec::new();
        for (index, source) in config.credentials.sources.iter().enumerate() {
            let path = format!("credentials.sources[{index}]");
            let Some(header) = problems.parse::<HeaderName>(&path, &source.header) else {
                sound = false;
                continue;
            };
            if header == header::AUTHORIZATION && source.scheme.is_none() {
                problems.error(&path, "Authorization carries a scheme (RFC 9110 §11.6.2)").help("add scheme = \"Bearer\" or \"Basic\"");
                sound = false;
            }
            if matches!(header, header::HOST | header::COOKIE | header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION) {
                problems.error(&path, format!("`{}` cannot carry a credential", source.header));
                sound = false;
            }
            sources.push(Source { header, scheme: source.scheme });
        }
        if sources.is_empty() && sound {
            problems.error("credentials.sources", "no source: nobody could authenticate");
            sound = false;
        }
        let kinds = KeyKinds::compile(config, problems);
        let kinds = kinds?;
        let prefixes = kinds.prefixes().iter().filter(|prefix| !prefix.text.is_empty());
        let finders: Box<[_]> = prefixes.map(|prefix| Finder::new(prefix.text.as_bytes()).into_owned()).collect();
        let shortest_prefix = finders.iter().map(|prefix| prefix.needle().len()).min().unwrap_or_default();
        let mut carriers: Vec<_> = sources.iter().map(|source: &Source| source.header.clone()).chain([header::AUTHORIZATION]).collect();
        let mut seen = HashSet::new();
        carriers.retain(|carrier| seen.insert(carrier.clone()));
        let gives_tokens = !config.sessions.signing_key_files.is_empty();
        let takes_tokens = !config.issuers.is_empty() || gives_tokens;
        let takes_opaque = !config.introspection.url.is_empty();
        let keeps_tokens = config.credentials.forward.jwt == ForwardJwt::Keep;
        let (carriers, sources) = (carriers.into(), sources.into());
        sound.then_some(Self { sources, carriers, kinds, takes_tokens, takes_opaque, gives_tokens, keeps_tokens, finders, shortest_prefix })
    }

    /// The headers in which credentials are looked for.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.sources.iter().map(|source| &source.header)
    }

    /// Whether credentials stand in this header, whoever's.
    #[must_use]
    pub fn is_carrier(&self, name: &HeaderName) -> bool {
        self.carriers.contains(name)
    }

    /// Whether any source uses the scheme.
    #[must_use]
    pub fn takes(&self, scheme: Scheme) -> bool {
        self.sources.iter().any(|source| source.scheme == Some(scheme))
    }

    /// Takes the one credential off the request; a token stays, unless it is not to be forwarded. Nothing of the text of a key
    /// remains in the headers.
    ///
    /// # Errors
    /// `credential_missing`, `credential_conflict`, `credential_malformed`.
    pub fn take(&self, headers: &mut HeaderMap) -> Result<Credential<'_>, Refusal> {
        if headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
            return Err(Rejection::CredentialConflict.because("two Authorization lines"));
        }
        let mut secrets = self.secrets(headers);
        let (source, first) = secrets.next().ok_or(Rejection::CredentialMissing)?;
        let mut standing: SmallVec<[&HeaderName; 4]> = SmallVec::from_slice(&[&source.header]);
        for (other, secret) in secrets {
            if secret.bytes() != first.bytes() {
                return Err(Rejection::CredentialConflict.because("two different credentials"));
            }
            standing.push(&other.header);
        }
        let text = first.bytes();
        let prefix = self.kinds.classify(text);
        if let Some(kind) = self.token_kind(prefix, source, text) {
            let token = BearerToken { kind, digest: Digest::of(text), header: source.header.clone(), secret: first.kept() };
            self.settle_token(&standing, headers);
            return Ok(Credential::Token(token));
        }
        // It opens one door only, and is shown to nobody else.
        if self.is_refresh_token(text) {
            return Err(Rejection::CredentialMalformed.because("a refresh token, which is for the refresh endpoint alone"));
        }
        let prefix = prefix.ok_or_else(|| Rejection::CredentialMalformed.because("no configured key prefix").of_nobody())?;
        let key = ApiKey { prefix, digest: Digest::of(text), plausible: prefix.admits(text), header: Some(source.header.clone()) };
        headers.remove(&source.header);
        self.strip_but(&[&source.header], headers);
        Ok(Credential::Key(key))
    }

    /// What kind of token it is, if it is one. Anything begins with a prefix that is empty; what has the form of a token is one for all
    /// that, and what has none is a key. Nobody is asked about what stands where names and passwords do.
    fn token_kind(&self, prefix: Option<&Prefix>, source: &Source, text: &[u8]) -> Option<CredentialType> {
        let is_claimed = |prefix: &Prefix| !prefix.text.is_empty();
        if prefix.is_some_and(is_claimed) {
            return None;
        }
        if self.takes_tokens && jwt::is_candidate(text) {
            return Some(CredentialType::Jwt);
        }
        let is_opaque = self.takes_opaque && prefix.is_none() && source.scheme == Some(Scheme::Bearer) && !self.is_refresh_token(text);
        (is_opaque && introspection::is_candidate(text)).then_some(CredentialType::Opaque)
    }

    fn is_refresh_token(&self, text: &[u8]) -> bool {
        self.gives_tokens && session::token::is_candidate(text)
    }

    /// The headers in which a token stands go, or they alone are left as they are.
    fn settle_token(&self, standing: &[&HeaderName], headers: &mut HeaderMap) {
        if !self.keeps_tokens {
            for header in standing {
                headers.remove(*header);
            }
        }
        self.strip_but(standing, headers);
    }

    /// What only who presents the credential that [`Self::take`] would take can derive.
    #[must_use]
    pub fn holder(&self, headers: &HeaderMap) -> Option<Holder> {
        self.secrets(headers).next().map(|(_, secret)| Holder::of(secret.bytes()))
    }

    /// A key that stands elsewhere than a credential does: a client's secret.
    ///
    /// # Errors
    /// `credential_malformed`.
    pub fn read(&self, text: &[u8]) -> Result<ApiKey<'_>, Refusal> {
        let prefix = self.kinds.classify(text).ok_or_else(|| Rejection::CredentialMalformed.because("no configured key prefix"))?;
        Ok(ApiKey { prefix, digest: Digest::of(text), plausible: prefix.admits(text), header: None })
    }

    /// What [`Self::take`] would yield for the key of this record.
    ///
    /// # Errors
    /// `credential_malformed`, where no kind has the record's prefix.
    pub fn stand_in(&self, record: &KeyRecord) -> Result<ApiKey<'_>, Refusal> {
        let prefix = self.kinds.classify(record.prefix.as_bytes()).filter(|prefix| *prefix.text == *record.prefix);
        let prefix = prefix.ok_or_else(|| Rejection::CredentialMalformed.because("no configured key prefix"))?;
        Ok(ApiKey { prefix, digest: Digest([0; 32]), plausible: true, header: None })
    }

    /// Removes every header that carries credentials and shows a key of ours, in whatever form: the upstream never sees one,
    /// not on an open route and not beside another credential either.
    pub fn strip(&self, headers: &mut HeaderMap) {
        self.strip_but(&[], headers);
    }

    fn strip_but(&self, settled: &[&HeaderName], headers: &mut HeaderMap) {
        for carrier in self.carriers.iter().filter(|carrier| !settled.contains(carrier)) {
            if headers.get_all(carrier).iter().any(|value| self.shows_key(value.as_bytes())) {
                headers.remove(carrier);
            }
        }
    }

    /// Whether a word of this value, plain or in Base64 as Basic has it, is a key.
    fn shows_key(&self, value: &[u8]) -> bool {
        any_word(value, |word| self.is_key(word))
    }

    /// Whether this is, by its prefix, a key. One of a kind without a prefix cannot be told from anything else: such a kind takes all.
    fn is_key(&self, word: &[u8]) -> bool {
        self.kinds.classify(word).is_some_and(|prefix| word.len() > prefix.text.len())
    }

    /// Removes whatever stands where credentials do.
    pub fn strip_all(&self, headers: &mut HeaderMap) {
        for header in self.headers().chain([&header::AUTHORIZATION]) {
            headers.remove(header);
        }
    }

    /// Whether a key of ours stands in the query: it would be in every log on its way. Anywhere, if it is long enough to be one;
    /// at the start of a name or value at any length.
    #[must_use]
    pub fn in_query(&self, query: &str) -> bool {
        if query.len() <= self.shortest_prefix + SHORT_KEY {
            return false;
        }
        self.shows_key_in_query(query.as_bytes()) || layers(query.as_bytes()).any(|decoded| self.shows_key_in_query(&decoded))
    }

    fn shows_key_in_query(&self, query: &[u8]) -> bool {
        let words = query.split(|byte| matches!(byte, b'&' | b';' | b'=' | b' ' | b'+' | b'[' | b']' | b',' | b':'));
        words.into_iter().any(|word| self.is_prefixed(word)) || self.holds_key(query)
    }

    fn is_prefixed(&self, word: &[u8]) -> bool {
        self.kinds.classify(word).is_some_and(|prefix| !prefix.text.is_empty() && word.len() > prefix.text.len() + SHORT_KEY)
    }

    /// Whether a request's id, which is in every log on its way, shows a key or a token.
    #[must_use]
    pub fn in_id(&self, id: &[u8]) -> bool {
        self.holds_key(id) || (id.starts_with(b"eyJ") && jwt::is_candidate(id))
    }

    /// Whether a prefix with as many key characters behind it as a key has stands anywhere in the text.
    fn holds_key(&self, text: &[u8]) -> bool {
        self.finders.iter().any(|prefix| {
            prefix.find_iter(text).any(|start| {
                let rest = text.get(start + prefix.needle().len()..).unwrap_or_default();
                rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count() >= LONG_KEY
            })
        })
    }

    fn secrets<'s, 'h>(&'s self, headers: &'h HeaderMap) -> impl Iterator<Item = (&'s Source, Secret<&'h HeaderValue>)> + use<'s, 'h> {
        self.sources
            .iter()
            .flat_map(|source| headers.get_all(&source.header).iter().filter_map(move |value| Some((source, source.read(value)?))))
            .filter(|(_, secret)| !secret.bytes().is_empty())
    }
}

/// Whether that is so of a word of this value, plain or in Base64 as Basic has it.
fn any_word(value: &[u8], is: impl Fn(&[u8]) -> bool) -> bool {
    let words = value.split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'/' | b'=' | b'.' | b'~')));
    words
        .filter(|word| !word.is_empty())
        .any(|word| is(word) || STANDARD.decode(word).map(Zeroizing::new).is_ok_and(|decoded| decoded.split(|byte| *byte == b':').any(&is)))
}

/// Where credentials are looked for, in words.
impl std::fmt::Display for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, source) in self.sources.iter().enumerate() {
            let scheme = source.scheme.map(|scheme| format!(" {scheme:?}")).unwrap_or_default();
            write!(f, "{}{}{scheme}", if index == 0 { "" } else { ", " }, source.header)?;
        }
        Ok(())
    }
}
