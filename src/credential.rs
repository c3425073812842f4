//! The credential of a request: found in `[credentials] sources`, told apart by its prefix, taken off the request.
//! Its text lives only inside this file; what leaves is a digest, a claim, and a fingerprint for the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use zeroize::Zeroizing;

use crate::config::problem::Problems;
use crate::config::sections::{Config, Scheme};
use crate::key::digest::Digest;
use crate::key::kind::{KeyKinds, Prefix};
use crate::key::record::KeyRecord;
use crate::rejection::{Refusal, Rejection};

/// Where credentials are looked for, and what they may be.
#[derive(Debug)]
pub struct Credentials {
    sources: Box<[Source]>,
    kinds: KeyKinds,
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
        sound.then_some(Self { sources: sources.into(), kinds: kinds? })
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
        let mut more_than_one_header = false;
        for (header, other) in secrets {
            if other.bytes() != first.bytes() {
                return Err(Rejection::CredentialConflict.because("two different credentials"));
            }
            more_than_one_header |= header != first_header;
        }
        let text = first.bytes();
        let prefix = self.kinds.classify(text).ok_or_else(|| Rejection::CredentialMalformed.because("no configured key prefix"))?;
        let key = ApiKey { prefix, digest: Digest::of(text), plausible: prefix.admits(text), header: Some(first_header.clone()) };
        if more_than_one_header {
            self.strip(headers);
        } else {
            headers.remove(first_header);
        }
        Ok(key)
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

    /// Removes every value in a source that is a credential of ours; the upstream never sees a key, not on an open route either.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let ours: Vec<&HeaderName> =
            self.secrets(headers).filter(|(_, secret)| self.kinds.classify(secret.bytes()).is_some()).map(|(header, _)| header).collect();
        for header in ours {
            headers.remove(header);
        }
    }

    /// Removes whatever stands in any source.
    pub fn strip_all(&self, headers: &mut HeaderMap) {
        for header in self.headers() {
            headers.remove(header);
        }
    }

    /// Whether a value of the query is a key of ours: it would be in every log on its way.
    #[must_use]
    pub fn in_query(&self, query: &str) -> bool {
        query.split('&').filter_map(|pair| pair.split_once('=')).any(|(_, value)| {
            let decoded: std::borrow::Cow<'_, [u8]> = percent_encoding::percent_decode_str(value).into();
            self.kinds.classify(&decoded).is_some_and(|prefix| !prefix.text.is_empty() && decoded.len() > prefix.text.len())
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
        if !front.eq_ignore_ascii_case(word) || rest.first() != Some(&b' ') {
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
        let mut lines = headers(&[("authorization", "Bearer eyJ.x.y"), ("x-api-key", "sk_live_x"), ("cookie", "a=b")]);
        credentials("").strip(&mut lines);
        assert_eq!(lines.len(), 2);
        assert!(!lines.contains_key("x-api-key"));
    }

    #[test]
    fn a_key_in_the_query_is_seen_through_its_encoding() {
        let credentials = credentials("");
        assert!(credentials.in_query("a=1&api_key=sk_live_x"));
        assert!(credentials.in_query("k=%73k_live_x"));
        assert!(!credentials.in_query("q=how+do+sk_live_keys+work&prefix=sk_live_"));
    }
}
