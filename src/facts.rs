//! What a request is, parsed once: method, host, one canonical path, whose it is, its id.
//! Nothing behind this file looks at the raw target or at forwarding headers again.

pub mod described;
pub mod path;
mod request_id;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

use crate::rejection::{Refusal, Rejection};
use path::CanonicalPath;
pub use request_id::RequestId;
pub(crate) use request_id::{X_REQUEST_ID, out_of_table};

/// Longest request target, bytes.
pub const TARGET_MAX: usize = 8 << 10;

/// What a request is.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its method.
    pub method: Method,
    /// Host it is meant for; none for HTTP/1.0 without Host.
    pub host: Option<Host>,
    /// Its path and query.
    pub path: CanonicalPath,
}

impl Facts {
    /// Reads the head that the framing guard let through.
    ///
    /// # Errors
    /// `method_denied`, `request_invalid`, `target_too_long`.
    pub fn parse(head: &Parts) -> Result<Self, Refusal> {
        // Methods are case-sensitive, but not every upstream knows.
        if ["CONNECT", "TRACE", "TRACK"].iter().any(|denied| head.method.as_str().eq_ignore_ascii_case(denied)) {
            return Err(Rejection::MethodDenied.into());
        }
        let target = head.uri.path_and_query().cloned().ok_or_else(|| Rejection::RequestInvalid.because("no path in the target"))?;
        if target.as_str().len() > TARGET_MAX {
            return Err(Rejection::TargetTooLong.because("more than 8 KiB"));
        }
        Ok(Self { host: host(head)?, path: CanonicalPath::parse(target)?, method: head.method.clone() })
    }
}

/// The Host line, as it was sent; compared folded: without regard to case, port and one final dot.
#[derive(Debug, Clone)]
pub struct Host(HeaderValue);

impl Host {
    /// Name or address, without port and final dot; brackets of an IPv6 literal stay.
    #[must_use]
    pub fn name(&self) -> &str {
        let text = self.0.to_str().unwrap_or_default();
        let name = match text.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => name,
            _ => text,
        };
        name.strip_suffix('.').unwrap_or(name)
    }

    /// Whether it is this host.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }
}

/// The guard checked its grammar; here only what would be ambiguous is refused again.
fn host(head: &Parts) -> Result<Option<Host>, Refusal> {
    let mut lines = head.headers.get_all(header::HOST).iter();
    match (lines.next(), lines.next()) {
        (Some(_), Some(_)) => Err(Rejection::RequestInvalid.because("more than one Host")),
        (Some(line), None) if line.to_str().is_ok() => Ok(Some(Host(line.clone()))),
        (Some(_), None) => Err(Rejection::RequestInvalid.because("invalid Host")),
        (None, _) if head.version == Version::HTTP_11 => Err(Rejection::RequestInvalid.because("no Host")),
        (None, _) => Ok(None),
    }
}

/// Checks the raw bytes of a request target for what a parser might hide or change: fragment, control and non-ASCII bytes, length.
/// Called by the framing guard before anything else looks at it.
///
/// # Errors
/// `request_invalid` or `target_too_long`.
pub fn check_target(raw: &[u8]) -> Result<(), Refusal> {
    if raw.len() > TARGET_MAX {
        return Err(Rejection::TargetTooLong.because("more than 8 KiB"));
    }
    // Nearly all are; looked at without an early end, so many bytes at once.
    let usual = raw.iter().fold(1, |all, byte| all & u8::from(is_usual(*byte)));
    if usual == 1 && raw.starts_with(b"/") {
        return Ok(());
    }
    let rule = |byte: &u8| match byte {
        b'#' => Some("fragment in the target"),
        0..=0x20 | 0x7f => Some("control byte in the target"),
        0x80.. => Some("byte beyond ASCII in the target"),
        _ => None,
    };
    match raw.iter().find_map(rule) {
        Some(rule) => Err(Rejection::RequestInvalid.because(rule)),
        None if raw.is_empty() => Err(Rejection::RequestInvalid.because("empty target")),
        None if raw.starts_with(b"/") && Uri::try_from(raw).is_err() => {
            Err(Rejection::RequestInvalid.because("a byte that no target may hold"))
        }
        None => Ok(()),
    }
}

const fn is_usual(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'?' | b'&' | b'=' | b'-' | b'_' | b'.' | b'%' | b',' | b'+' | b'*')
}

/// Whether a CORS preflight (Fetch §4.8): OPTIONS with Origin and Access-Control-Request-Method, and no body.
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && !headers.contains_key(header::TRANSFER_ENCODING)
        && headers.get(header::CONTENT_LENGTH).is_none_or(|length| length.as_bytes() == b"0")
}

/// Whether the client speaks gRPC and wants its refusals in that shape.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let kind = value.as_bytes();
        kind.get(..16).is_some_and(|front| front.eq_ignore_ascii_case(b"application/grpc"))
            && matches!(kind.get(16), None | Some(b'+' | b';' | b' '))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, uri: &str, hosts: &[&str]) -> Result<Facts, Refusal> {
        let mut request = http::Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        Facts::parse(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn host_is_judged_folded() {
        assert!(parse("GET", "/", &["API.Example.:443"]).unwrap().host.unwrap().is("api.example"));
        assert!(parse("GET", "/", &["[2001:DB8::1]:80"]).unwrap().host.unwrap().is("[2001:db8::1]"));
        assert!(!parse("GET", "/", &["api.example.evil"]).unwrap().host.unwrap().is("api.example"));
    }

    #[test]
    fn what_is_never_forwarded_is_refused() {
        for method in ["TRACE", "TRACK", "trace", "Connect"] {
            assert_eq!(parse(method, "/", &["a"]).unwrap_err().rejection, Rejection::MethodDenied);
        }
        assert_eq!(parse("GET", "/", &[]).unwrap_err().rejection, Rejection::RequestInvalid);
        assert_eq!(parse("GET", "/", &["a", "a"]).unwrap_err().rejection, Rejection::RequestInvalid);
        assert_eq!(parse("GET", &format!("/{}", "x".repeat(TARGET_MAX)), &["a"]).unwrap_err().rejection, Rejection::TargetTooLong);
    }

    #[test]
    fn raw_target_bytes_that_a_parser_would_hide_are_refused() {
        for bad in [&b""[..], b"/<", b"/a`b", b"/a#b", b"/\xff", b"/a b", b"/\x00", b"/\x7f"] {
            assert!(check_target(bad).is_err());
        }
        assert!(check_target(b"/a?b=%20").is_ok());
    }

    #[test]
    fn grpc_is_told_by_its_media_type() {
        for (kind, expected) in
            [("application/grpc", true), ("Application/GRPC+proto", true), ("application/grpc-web", false), ("application/json", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        }
    }
}
