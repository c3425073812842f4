//! The one switch of protocols that is passed on: the opening handshake of a WebSocket (RFC 6455 §4), read strictly.
//! What does not look exactly like one is an ordinary request, and what does not answer it exactly opens nothing.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::head::Fields;

/// What the answer's key is made of, besides the question's (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// A handshake that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The only `Sec-WebSocket-Accept` that answers it.
    accept: HeaderValue,
}

impl Handshake {
    /// Reads it off a head whose hop-by-hop headers are still there; `None` = an ordinary request.
    pub(super) fn of(head: &Parts) -> Option<Self> {
        let headers = &head.headers;
        if !is_websocket(headers) || head.method != Method::GET || head.version != Version::HTTP_11 {
            return None;
        }
        if headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING) {
            return None;
        }
        if only(headers, &header::SEC_WEBSOCKET_VERSION)?.as_bytes() != b"13" {
            return None;
        }
        let key = only(headers, &header::SEC_WEBSOCKET_KEY)?;
        if STANDARD.decode(key.as_bytes()).ok()?.len() != KEY_BYTES {
            return None;
        }
        let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        digest.update(key.as_bytes());
        digest.update(GUID);
        Some(Self { accept: HeaderValue::try_from(STANDARD.encode(digest.finish())).ok()? })
    }

    /// Says that this hop wants to switch too.
    pub(super) fn ask(out: &mut impl Fields) {
        out.field(&header::CONNECTION, &const { HeaderValue::from_static("upgrade") });
        out.field(&header::UPGRADE, &WEBSOCKET);
    }

    /// Whether the head of a 101 answers it.
    #[must_use]
    pub fn is_answered_by(&self, headers: &HeaderMap) -> bool {
        is_websocket(headers) && only(headers, &header::SEC_WEBSOCKET_ACCEPT) == Some(&self.accept)
    }

    /// Says so to the client, in a head that is rid of the upstream's hop-by-hop headers.
    pub fn accept(headers: &mut HeaderMap) {
        headers.remove(header::CONTENT_LENGTH);
        Self::ask(headers);
    }
}

/// `Connection: upgrade` among others, and `Upgrade: websocket` alone.
fn is_websocket(headers: &HeaderMap) -> bool {
    only(headers, &header::UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// The value of a header that is there exactly once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The example of RFC 6455 §1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn head(method: &str, version: Version, lines: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).version(version).uri("/chat");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    const GOOD: [(&str, &str); 4] =
        [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"), ("sec-websocket-version", "13"), ("sec-websocket-key", KEY)];

    #[test]
    fn the_example_of_the_standard_is_read_and_only_its_answer_is_taken() {
        let handshake = Handshake::of(&head("GET", Version::HTTP_11, &GOOD)).unwrap();
        let answer = |lines: &[(&str, &str)]| handshake.is_answered_by(&head("GET", Version::HTTP_11, lines).headers);
        let good = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", ACCEPT)];
        assert!(answer(&good));
        assert!(!answer(&good[1..]));
        assert!(!answer(&good[..2]));
        assert!(!answer(&[good[0], good[1], good[2], good[2]]));
        assert!(!answer(&[good[0], good[1], ("sec-websocket-accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=")]));
        assert!(!answer(&[good[0], ("upgrade", "h2c"), good[2]]));
    }

    #[test]
    fn whatever_is_not_exactly_a_handshake_is_an_ordinary_request() {
        let with = |index: usize, line: (&'static str, &'static str)| {
            let mut lines = GOOD.to_vec();
            lines[index] = line;
            lines
        };
        let and = |line: (&'static str, &'static str)| [GOOD.to_vec(), vec![line]].concat();
        for (method, version, lines) in [
            ("POST", Version::HTTP_11, GOOD.to_vec()),
            ("get", Version::HTTP_11, GOOD.to_vec()),
            ("GET", Version::HTTP_10, GOOD.to_vec()),
            ("GET", Version::HTTP_2, GOOD.to_vec()),
            ("GET", Version::HTTP_11, GOOD[1..].to_vec()),
            ("GET", Version::HTTP_11, GOOD[..3].to_vec()),
            ("GET", Version::HTTP_11, with(0, ("connection", "keep-alive"))),
            ("GET", Version::HTTP_11, with(0, ("connection", "upgrade-insecure"))),
            ("GET", Version::HTTP_11, with(1, ("upgrade", "h2c"))),
            ("GET", Version::HTTP_11, with(1, ("upgrade", "websocket, h2c"))),
            ("GET", Version::HTTP_11, with(1, ("upgrade", "websocket/13"))),
            ("GET", Version::HTTP_11, and(("upgrade", "h2c"))),
            ("GET", Version::HTTP_11, and(("upgrade", "websocket"))),
            ("GET", Version::HTTP_11, with(2, ("sec-websocket-version", "8"))),
            ("GET", Version::HTTP_11, with(2, ("sec-websocket-version", "13, 8"))),
            ("GET", Version::HTTP_11, and(("sec-websocket-version", "13"))),
            ("GET", Version::HTTP_11, with(3, ("sec-websocket-key", "c2hvcnQ="))),
            ("GET", Version::HTTP_11, with(3, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"))),
            ("GET", Version::HTTP_11, with(3, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZR=="))),
            ("GET", Version::HTTP_11, and(("sec-websocket-key", KEY))),
            ("GET", Version::HTTP_11, and(("content-length", "0"))),
            ("GET", Version::HTTP_11, and(("transfer-encoding", "chunked"))),
        ] {
            assert_eq!(Handshake::of(&head(method, version, &lines)), None, "{method} {version:?} {lines:?}");
        }
    }
}
