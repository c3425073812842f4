//! The id of a request: on every response, in the log line, sent to the upstream.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Timestamp;

/// Header that carries it.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request.
#[derive(Debug, Clone)]
pub enum RequestId {
    /// The client's, `[A-Za-z0-9._-]{8,128}`.
    Kept(HeaderValue),
    /// Ours, a `UUIDv7`.
    Made([u8; 36]),
}

impl RequestId {
    /// The client's id where it is one, else a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap, now: Timestamp) -> Self {
        let mut lines = headers.get_all(X_REQUEST_ID).iter();
        match (lines.next(), lines.next()) {
            (Some(value), None) if is_id(value.as_bytes()) => Self::Kept(value.clone()),
            _ => Self::new(now),
        }
    }

    /// A new id.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        // An id is no secret: a fast generator will do.
        let mut random = [0; 10];
        fastrand::fill(&mut random);
        let uuid = uuid::Builder::from_unix_timestamp_millis(u64::try_from(now.0).unwrap_or_default(), &random).into_uuid();
        let mut text = [0; 36];
        uuid.hyphenated().encode_lower(&mut text);
        Self::Made(text)
    }

    /// As bytes of visible ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Kept(value) => value.as_bytes(),
            Self::Made(bytes) => bytes,
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// As a header value.
    #[must_use]
    pub fn to_value(&self) -> HeaderValue {
        let mut value = match self {
            Self::Kept(value) => value.clone(),
            Self::Made(bytes) => HeaderValue::from_bytes(bytes).unwrap_or(HeaderValue::from_static("")),
        };
        out_of_table(&mut value);
        value
    }
}

/// For a value that never comes again. It is no secret, but what is said to be one stays out of HPACK's table (RFC 7541 §7.1.3), which
/// else would be full of such values, each compared with the next.
pub(crate) fn out_of_table(value: &mut HeaderValue) {
    value.set_sensitive(true);
}

fn is_id(bytes: &[u8]) -> bool {
    (8..=128).contains(&bytes.len()) && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_REQUEST_ID, HeaderValue::from_static(line));
        }
        RequestId::of(&headers, Timestamp(1_700_000_000_000)).as_str().to_owned()
    }

    #[test]
    fn a_plain_id_is_kept_and_anything_else_replaced() {
        assert_eq!(id(&["abc.DEF_1-2"]), "abc.DEF_1-2");
        for bad in [&[][..], &["short"], &["with space in it"], &["abcdefgh", "abcdefgh"], &["abcdefgh\"x"]] {
            let made = id(bad);
            assert!(made.len() == 36 && made.get(14..15) == Some("7"), "{bad:?} gave {made}");
        }
        assert_ne!(id(&[]), id(&[]));
    }

    #[test]
    fn no_id_fills_the_table_of_http_2() {
        for lines in [&[][..], &["abcdefgh"]] {
            let headers = lines.iter().map(|line| (X_REQUEST_ID, HeaderValue::from_static(line))).collect();
            assert!(RequestId::of(&headers, Timestamp(0)).to_value().is_sensitive());
        }
    }
}
