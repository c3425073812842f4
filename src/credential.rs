//! The credential of a request: found in `[credentials] sources`, told apart by its prefix, taken off the request.
//! The text of a key lives only inside this file; what leaves is a digest, a claim, and a fingerprint for the log. A token's is
//! handed to who verifies it.

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

#[derive(Debug)]
struct Source {
    header: HeaderName,
    scheme: Option<Scheme>,
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

/// The text of a credential, while it is looked at, in a header's value or a copy of that.
enum Secret<V> {
    /// Behind this many bytes of the header's value.
    Header(V, usize),
    Decoded(Zeroizing<Vec<u8>>),
}

impl<V: AsRef<[u8]>> Secret<V> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Header(value, start) => value.as_ref().get(*start..).unwrap_or_default().trim_ascii(),
            Self::Decoded(bytes) => bytes,
        }
    }
}

impl Secret<&HeaderValue> {
    /// To be kept when the header is gone.
    fn kept(self) -> Secret<HeaderValue> {
        match self {
            Self::Header(value, start) => Secret::Header(value.clone(), start),
            Self::Decoded(bytes) => Secret::Decoded(bytes),
        }
    }
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

impl Source {
    /// What stands behind the source's scheme; `None` for another scheme.
    fn read<'h>(&self, value: &'h HeaderValue) -> Option<Secret<&'h HeaderValue>> {
        let Some(scheme) = self.scheme else { return Some(Secret::Header(value, 0)) };
        let word: &[u8] = match scheme {
            Scheme::Bearer => b"bearer",
            Scheme::Basic => b"basic",
        };
        let bytes = value.as_bytes();
        let (front, rest) = bytes.split_at_checked(word.len())?;
        if !front.eq_ignore_ascii_case(word) || !matches!(rest.first(), Some(b' ' | b'\t')) {
            return None;
        }
        match scheme {
            Scheme::Bearer => Some(Secret::Header(value, word.len() + 1)),
            Scheme::Basic => {
                // The key is the user name (curl -u sk_…:); a password is not looked at. What does not decode is no credential of ours.
                let mut decoded = Zeroizing::new(STANDARD.decode(rest.trim_ascii()).unwrap_or_default());
                let user = memchr::memchr(b':', &decoded).unwrap_or(decoded.len());
                decoded.truncate(user);
                Some(Secret::Decoded(decoded))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(toml: &str) -> Credentials {
        Credentials::compile(&toml::from_str(toml).unwrap(), &mut Problems::default()).unwrap()
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn digest(credential: Credential<'_>) -> Digest {
        match credential {
            Credential::Key(key) => key.digest,
            Credential::Token(token) => token.digest,
        }
    }

    fn verdict(lines: &[(&str, &str)]) -> Result<Digest, Rejection> {
        let mut headers = headers(lines);
        let taken = credentials("").take(&mut headers).map(digest).map_err(|refusal| refusal.rejection);
        if taken.is_ok() {
            assert!(headers.values().all(|value| !value.as_bytes().windows(3).any(|window| window == b"sk_")), "{headers:?}");
        }
        taken
    }

    #[test]
    fn an_id_shows_a_key_or_a_token_wherever_a_key_stands_in_it() {
        let credentials = credentials("");
        for (id, shows) in [
            ("sk_live_0123456789abcdef", true),
            ("id.sk_live_0123456789abcdef", true),
            ("eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl", true),
            ("sk_live_short", false),
            ("0198d0a4-6b1e-7c3f-9a52-3f1c2d4e5b6a", false),
            ("service.span.7", false),
        ] {
            assert_eq!(credentials.in_id(id.as_bytes()), shows, "{id}");
        }
    }

    #[test]
    fn one_credential_is_found_wherever_it_stands() {
        let expected = Ok(Digest::of(b"sk_live_x"));
        assert_eq!(verdict(&[("authorization", "Bearer sk_live_x")]), expected);
        assert_eq!(verdict(&[("authorization", "bEARER   sk_live_x")]), expected);
        assert_eq!(verdict(&[("x-api-key", "sk_live_x")]), expected);
        assert_eq!(verdict(&[("x-api-key", "sk_live_x"), ("x-api-key", "sk_live_x")]), expected);
        assert_eq!(verdict(&[("authorization", "Bearer sk_live_x"), ("x-api-key", "sk_live_x")]), expected);
        assert_eq!(verdict(&[("authorization", "Digest x=y"), ("x-api-key", "sk_live_x")]), expected);
    }

    #[test]
    fn nothing_usable_is_missing_and_two_are_a_conflict() {
        for lines in [
            &[][..],
            &[("authorization", "")],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Basic eDp5")],
            &[("authorization", "Bearersk_live_x")],
            &[("x-api-key", " ")],
            &[("authorization", "sk_live_x")],
        ] {
            assert_eq!(verdict(lines), Err(Rejection::CredentialMissing), "{lines:?}");
        }
        for lines in [
            &[("authorization", "Bearer sk_live_x"), ("authorization", "Bearer sk_live_x")][..],
            &[("authorization", "Bearer sk_live_x"), ("x-api-key", "sk_live_y")],
            &[("x-api-key", "sk_live_x"), ("x-api-key", "sk_live_y")],
            &[("authorization", "Bearer sk_live_x"), ("authorization", "Digest x")],
        ] {
            assert_eq!(verdict(lines), Err(Rejection::CredentialConflict), "{lines:?}");
        }
        assert_eq!(verdict(&[("authorization", "Bearer whatever")]), Err(Rejection::CredentialMalformed));
    }

    #[test]
    fn another_scheme_stays_when_another_source_authenticates() {
        let mut headers = headers(&[("authorization", "Digest x=y"), ("x-api-key", "sk_live_x")]);
        credentials("").take(&mut headers).unwrap();
        assert_eq!(headers.get("authorization").unwrap(), "Digest x=y");
        assert!(!headers.contains_key("x-api-key"));
    }

    #[test]
    fn a_key_in_another_form_beside_the_credential_goes_too() {
        for other in ["Token sk_live_x", "sk_live_y", "Basic c2tfbGl2ZV94Og=="] {
            let mut headers = headers(&[("authorization", other), ("x-api-key", "sk_live_x")]);
            credentials("").take(&mut headers).unwrap();
            assert!(headers.is_empty(), "{other}");
        }
    }

    const ISSUER: &str = "[[issuers]]\nname = \"users\"\nsecret_file = \"x\"\n";

    #[test]
    fn a_token_is_told_by_its_form_where_anybody_can_verify_it_and_stays_unless_it_is_not_to() {
        for (more, stays) in [("", true), ("[credentials]\nforward = { jwt = \"remove\" }\n", false)] {
            for (header, value) in [("authorization", "Bearer e30.e30.x-_"), ("x-api-key", "e30.e30.x-_"), ("x-api-key", "e30.e30.")] {
                let credentials = credentials(&format!("{more}{ISSUER}"));
                let mut lines = headers(&[(header, value), ("cookie", "a=b")]);
                assert!(matches!(credentials.take(&mut lines), Ok(Credential::Token(_))), "{value}");
                assert_eq!(lines.contains_key(header), stays, "{value}");
            }
            // The same in two places is one; a key beside it never stays.
            let mut both = headers(&[("authorization", "Bearer e30.e30.x"), ("x-api-key", "e30.e30.x")]);
            assert!(matches!(credentials(&format!("{more}{ISSUER}")).take(&mut both), Ok(Credential::Token(_))));
            assert_eq!(both.len(), if stays { 2 } else { 0 });
            let mut beside = headers(&[("authorization", "Token sk_live_x"), ("x-api-key", "e30.e30.x")]);
            assert!(credentials(&format!("{more}{ISSUER}")).take(&mut beside).is_ok());
            assert!(!beside.contains_key("authorization"));
        }
        let bad = |config: &str, text: &str| credentials(config).take(&mut headers(&[("x-api-key", text)])).unwrap_err().rejection;
        assert_eq!(bad("", "e30.e30.x"), Rejection::CredentialMalformed);
        for text in ["e30.e30", "e30.e30.x.x", ".e30.x", "e30..x", "e30.e30.x=", "e30.e3+.x", "e30.e30.x/"] {
            assert_eq!(bad(ISSUER, text), Rejection::CredentialMalformed, "{text}");
        }
    }

    #[test]
    fn a_prefix_of_keys_goes_before_the_form_of_a_token_and_the_empty_one_behind_it() {
        let kinds =
            "[[key_kinds]]\nname = \"a\"\nprefixes = { live = \"e30_\" }\n[[key_kinds]]\nname = \"b\"\nprefixes = { live = \"\" }\n";
        let credentials = credentials(&format!("{kinds}{ISSUER}"));
        let is_key = |text: &str| matches!(credentials.take(&mut headers(&[("x-api-key", text)])), Ok(Credential::Key(_)));
        assert!(is_key("e30_.e30.x") && is_key("whatever") && !is_key("e3.e30.x"));
        // Its own header is not one that shows a key, although to the empty prefix anything is one.
        let mut lines = headers(&[("authorization", "Bearer e3.e30.x")]);
        assert!(credentials.take(&mut lines).is_ok() && lines.len() == 1);
    }

    #[test]
    fn basic_carries_the_key_as_user_name() {
        let both = credentials(
            "[credentials]\nsources = [{ header = \"Authorization\", scheme = \"Bearer\" }, { header = \"Authorization\", scheme = \"Basic\" }]",
        );
        let mut lines = headers(&[("authorization", "basic c2tfbGl2ZV94Og==")]);
        assert_eq!(digest(both.take(&mut lines).unwrap()), Digest::of(b"sk_live_x"));
        assert!(lines.is_empty());
        assert_eq!(both.take(&mut headers(&[("authorization", "Basic !!!")])).unwrap_err().rejection, Rejection::CredentialMissing);
    }

    #[test]
    fn an_open_route_loses_keys_and_nothing_else() {
        for (name, value) in [
            ("x-api-key", "sk_live_x"),
            ("x-api-key", "Bearer sk_live_x"),
            ("authorization", "Bearer\tsk_live_x"),
            ("authorization", "sk_live_x"),
            ("authorization", "Token sk_live_x"),
            ("authorization", "Token token=\"sk_live_x\""),
            ("authorization", "Basic c2tfbGl2ZV94Og=="),
        ] {
            let mut lines = headers(&[(name, value), ("cookie", "a=b")]);
            credentials("").strip(&mut lines);
            assert!(lines.len() == 1 && lines.contains_key("cookie"), "{name}: {value}");
        }
        let mut lines = headers(&[("authorization", "Bearer eyJ.x.y"), ("x-api-key", "other")]);
        credentials("").strip(&mut lines);
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_key_in_the_query_is_seen_through_its_encoding() {
        let credentials = credentials("");
        let key = "sk_live_abcdef";
        for query in [
            "a=1&api_key=KEY",
            "KEY",
            "a=Bearer%20KEY",
            "a=Bearer+KEY",
            "a=1;k=KEY",
            "a[KEY]=1",
            "a=%5BKEY",
            "k=%73k_live_abcdef",
            "k=%2573k_live_abcdef",
        ] {
            assert!(credentials.in_query(&query.replace("KEY", key)), "{query}");
        }
        assert!(credentials.in_query("x=1.sk_live_0123456789abcdef"));
        assert!(!credentials.in_query("q=how+do+sk_live_keys+work&prefix=sk_live_"));
    }
}
