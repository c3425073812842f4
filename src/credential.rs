//! The credential of a request: found in `[credentials] sources`, told apart by its prefix, taken off the request.
//! Its text lives only inside this file; what leaves is a digest, a claim, and a fingerprint for the log.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use memchr::memmem::Finder;
use zeroize::Zeroizing;

use crate::config::problem::Problems;
use crate::config::sections::{Config, Scheme};
use crate::idempotency::Holder;
use crate::key::digest::Digest;
use crate::key::encoded::layers;
use crate::key::kind::{KeyKinds, Prefix};
use crate::key::record::KeyRecord;
use crate::rejection::{Refusal, Rejection};

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

/// The text of a credential, while it is looked at.
enum Secret {
    /// Behind this many bytes of the header's value.
    Header(HeaderValue, usize),
    Decoded(Zeroizing<Vec<u8>>),
}

impl Secret {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Header(value, start) => value.as_bytes().get(*start..).unwrap_or_default().trim_ascii(),
            Self::Decoded(bytes) => bytes,
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
        sound.then_some(Self { carriers: carriers.into(), sources: sources.into(), kinds, finders, shortest_prefix })
    }

    /// The headers in which credentials are looked for.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.sources.iter().map(|source| &source.header)
    }

    /// Whether any source uses the scheme.
    #[must_use]
    pub fn takes(&self, scheme: Scheme) -> bool {
        self.sources.iter().any(|source| source.scheme == Some(scheme))
    }

    /// Takes the one API key off the request. Nothing of the presented text remains in the headers.
    ///
    /// # Errors
    /// `credential_missing`, `credential_conflict`, `credential_malformed`.
    pub fn take(&self, headers: &mut HeaderMap) -> Result<ApiKey<'_>, Refusal> {
        if headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
            return Err(Rejection::CredentialConflict.because("two Authorization lines"));
        }
        let mut secrets = self.secrets(headers);
        let (first_header, first) = secrets.next().ok_or(Rejection::CredentialMissing)?;
        let conflict = secrets.any(|(_, other)| other.bytes() != first.bytes());
        drop(secrets);
        if conflict {
            return Err(Rejection::CredentialConflict.because("two different credentials"));
        }
        let text = first.bytes();
        let prefix = self.kinds.classify(text).ok_or_else(|| Rejection::CredentialMalformed.because("no configured key prefix"))?;
        let key = ApiKey { prefix, digest: Digest::of(text), plausible: prefix.admits(text), header: Some(first_header.clone()) };
        headers.remove(first_header);
        self.strip_but(Some(first_header), headers);
        Ok(key)
    }

    /// What only who presents the credential that [`Self::take`] would take can derive.
    #[must_use]
    pub fn holder(&self, headers: &HeaderMap) -> Option<Holder> {
        self.secrets(headers).next().map(|(_, secret)| Holder::of(secret.bytes()))
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
        self.strip_but(None, headers);
    }

    fn strip_but(&self, gone: Option<&HeaderName>, headers: &mut HeaderMap) {
        for carrier in self.carriers.iter().filter(|carrier| Some(*carrier) != gone) {
            if headers.get_all(carrier).iter().any(|value| self.shows_key(value.as_bytes())) {
                headers.remove(carrier);
            }
        }
    }

    /// Whether a word of this value, plain or in Base64 as Basic has it, is a key.
    fn shows_key(&self, value: &[u8]) -> bool {
        let words = value.split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'/' | b'=' | b'.' | b'~')));
        words.filter(|word| !word.is_empty()).any(|word| {
            self.is_key(word)
                || STANDARD
                    .decode(word)
                    .map(Zeroizing::new)
                    .is_ok_and(|decoded| decoded.split(|byte| *byte == b':').any(|part| self.is_key(part)))
        })
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

    /// Whether a prefix with as many key characters behind it as a key has stands anywhere in the text.
    #[must_use]
    pub fn holds_key(&self, text: &[u8]) -> bool {
        self.finders.iter().any(|prefix| {
            prefix.find_iter(text).any(|start| {
                let rest = text.get(start + prefix.needle().len()..).unwrap_or_default();
                rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count() >= LONG_KEY
            })
        })
    }

    fn secrets<'s, 'h>(&'s self, headers: &'h HeaderMap) -> impl Iterator<Item = (&'s HeaderName, Secret)> + use<'s, 'h> {
        self.sources
            .iter()
            .flat_map(|source| headers.get_all(&source.header).iter().filter_map(move |value| Some((&source.header, source.read(value)?))))
            .filter(|(_, secret)| !secret.bytes().is_empty())
    }
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
    fn read(&self, value: &HeaderValue) -> Option<Secret> {
        let Some(scheme) = self.scheme else { return Some(Secret::Header(value.clone(), 0)) };
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
            Scheme::Bearer => Some(Secret::Header(value.clone(), word.len() + 1)),
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

    fn verdict(lines: &[(&str, &str)]) -> Result<Digest, Rejection> {
        let mut headers = headers(lines);
        let taken = credentials("").take(&mut headers).map(|key| key.digest).map_err(|refusal| refusal.rejection);
        if taken.is_ok() {
            assert!(headers.values().all(|value| !value.as_bytes().windows(3).any(|window| window == b"sk_")), "{headers:?}");
        }
        taken
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

    #[test]
    fn basic_carries_the_key_as_user_name() {
        let both = credentials(
            "[credentials]\nsources = [{ header = \"Authorization\", scheme = \"Bearer\" }, { header = \"Authorization\", scheme = \"Basic\" }]",
        );
        let mut lines = headers(&[("authorization", "basic c2tfbGl2ZV94Og==")]);
        assert_eq!(both.take(&mut lines).unwrap().digest, Digest::of(b"sk_live_x"));
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
