//! The key as it is sent: a quoted string (draft-ietf-httpapi-idempotency-key-header, a string of RFC 8941) or bare. Both ways of
//! writing it are the same key.

use std::fmt;

use http::{HeaderMap, HeaderName};
use zeroize::Zeroizing;

use crate::rejection::{Refusal, Rejection};

/// Longest key, without its quotes.
const KEY_MAX: usize = 255;

/// A key. Who has it and the tenant's credential can have the answer, so it is never shown.
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// The key of a request; `None` = it has none.
    ///
    /// # Errors
    /// `idempotency_key_invalid`: two of them, or none that could be meant.
    pub fn find(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Refusal> {
        let mut lines = headers.get_all(name).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(Rejection::IdempotencyKeyInvalid.because("more than one")),
            (Some(line), None) => Self::parse(line.as_bytes()).map(Some).map_err(|why| Rejection::IdempotencyKeyInvalid.because(why)),
        }
    }

    /// Reads one line.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub fn parse(line: &[u8]) -> Result<Self, &'static str> {
        let line = line.trim_ascii();
        let key = match line.strip_prefix(b"\"") {
            Some(quoted) => unquote(quoted)?,
            // What a proxy in between would have made of two lines has a comma.
            None if line.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',')) => line.to_vec(),
            None => return Err("a bare key is visible ASCII without comma and quote"),
        };
        match key.len() {
            0 => Err("empty"),
            1..=KEY_MAX => Ok(Self(key.into())),
            _ => Err("longer than 255 characters"),
        }
    }

    /// Its characters.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What is between the quotes (RFC 8941 §3.3.3). Nothing may follow: parameters would be part of what is meant.
fn unquote(quoted: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut key = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    loop {
        match bytes.next() {
            Some(b'"') if bytes.as_slice().is_empty() => return Ok(key),
            Some(b'"') => return Err("something follows the closing quote"),
            Some(b'\\') => match bytes.next() {
                Some(byte @ (b'"' | b'\\')) => key.push(*byte),
                _ => return Err("a backslash before something else than a quote or a backslash"),
            },
            Some(byte @ 0x20..=0x7e) => key.push(*byte),
            Some(_) => return Err("a byte that is no printable ASCII"),
            None => return Err("no closing quote"),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} characters)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn parsed(line: &str) -> Result<String, &'static str> {
        Key::parse(line.as_bytes()).map(|key| String::from_utf8(key.bytes().to_vec()).unwrap())
    }

    #[test]
    fn bare_and_quoted_are_one_key() {
        for line in ["8e03978e-40d5", "\"8e03978e-40d5\"", "  \"8e03978e-40d5\" "] {
            assert_eq!(parsed(line).unwrap(), "8e03978e-40d5");
        }
        assert_eq!(parsed(r#""a \"b\" \\ c, d""#).unwrap(), r#"a "b" \ c, d"#);
        assert_eq!(parsed(&"x".repeat(255)).unwrap().len(), 255);
        assert_eq!(parsed(&format!("\"{}\"", "x".repeat(255))).unwrap().len(), 255);
    }

    #[test]
    fn what_could_be_meant_in_two_ways_is_none() {
        for line in ["", " ", "\"\"", "\"a", "\"a\"b", "\"a\";p=1", "a,b", "a b", "a\"b", "\"a\\x\"", "\"a\\", "ä", "\"ä\""] {
            assert!(parsed(line).is_err(), "{line}");
        }
        assert!(parsed(&"x".repeat(256)).is_err());
    }

    #[test]
    fn two_lines_are_refused_even_if_they_agree() {
        let name = HeaderName::from_static("idempotency-key");
        let mut headers = HeaderMap::new();
        assert!(Key::find(&headers, &name).unwrap().is_none());
        headers.append(&name, HeaderValue::from_static("a"));
        assert!(Key::find(&headers, &name).unwrap().is_some());
        headers.append(&name, HeaderValue::from_static("a"));
        assert_eq!(Key::find(&headers, &name).unwrap_err().rejection, Rejection::IdempotencyKeyInvalid);
    }

    proptest! {
        #[test]
        fn what_is_quoted_reads_back(key in "[ -~]{1,255}") {
            let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
            prop_assert_eq!(parsed(&quoted).unwrap(), key);
        }

        #[test]
        fn no_bytes_make_it_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Key::parse(&line);
        }
    }

    #[test]
    fn debug_does_not_show_it() {
        assert_eq!(format!("{:?}", Key::parse(b"abc").unwrap()), "Key(3 characters)");
    }
}
