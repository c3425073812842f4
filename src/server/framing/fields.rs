//! The head of an HTTP/2 request, judged by the rules that heads of HTTP/1 are judged by, and made one of them: one Host,
//! an origin-form target, one Cookie. What its parser hides or forgives (h2: duplicates, `host` beside `:authority`,
//! white space around values) is refused; what it refuses itself is a stream error and never arrives here. It cuts a
//! fragment off the path: what is judged and forwarded is what is left.

use http::header::{self, HeaderName};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::{Limits, authority};
use crate::facts::check_target;
use crate::http1::syntax::content_length;
use crate::rejection::{Refusal, Rejection};

/// Fields that speak of a connection of HTTP/1 (RFC 9113 §8.2.2).
const OF_A_CONNECTION: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// What a request line and a field line have beside method, target, name and value.
const REQUEST_LINE_EXTRA: usize = "  HTTP/1.1\r\n".len();
const FIELD_LINE_EXTRA: usize = ": \r\n".len();

fn invalid(why: &'static str) -> Refusal {
    Rejection::RequestInvalid.because(why)
}

/// Judges a head, and makes it the head of the same request over HTTP/1.
///
/// # Errors
/// `request_invalid`, `target_too_long`, `headers_too_large` or `method_denied`.
pub fn canonical(parts: &mut Parts, limits: Limits) -> Result<(), Refusal> {
    if parts.method == Method::CONNECT {
        return Err(Rejection::MethodDenied.because("CONNECT"));
    }
    let target = parts.uri.path_and_query().cloned().ok_or_else(|| invalid("no path in the target"))?;
    check_target(target.as_str().as_bytes())?;
    if !target.as_str().starts_with('/') && (target.as_str() != "*" || parts.method != Method::OPTIONS) {
        return Err(invalid("the target is no path"));
    }
    // h2 forgets the scheme of a request without `:authority`.
    if !matches!(parts.uri.scheme_str(), Some("http" | "https") | None) {
        return Err(invalid("the scheme is neither http nor https"));
    }
    let request_line = parts.method.as_str().len() + target.as_str().len() + REQUEST_LINE_EXTRA;
    check_fields(&parts.headers, request_line, limits)?;
    check_length(&parts.headers)?;
    set_host(&mut parts.headers, parts.uri.authority())?;
    join_cookies(&mut parts.headers);
    parts.uri = Uri::from(target);
    Ok(())
}

fn check_fields(headers: &HeaderMap, request_line: usize, limits: Limits) -> Result<(), Refusal> {
    if headers.len() > limits.headers {
        return Err(Rejection::HeadersTooLarge.because("more lines than headers"));
    }
    let mut bytes = request_line;
    for (name, value) in headers {
        bytes += name.as_str().len() + value.len() + FIELD_LINE_EXTRA;
        if bytes > limits.head_bytes {
            return Err(Rejection::HeadersTooLarge.because("more bytes than header_bytes"));
        }
        let value = value.as_bytes();
        if value.trim_ascii().len() != value.len() {
            return Err(invalid("white space around a header value"));
        }
        if OF_A_CONNECTION.contains(name) || (name == header::TE && !value.eq_ignore_ascii_case(b"trailers")) {
            return Err(invalid("a header field of HTTP/1's connections"));
        }
    }
    Ok(())
}

/// That the content is as long, hyper's parser sees to.
fn check_length(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(line) = lines.next() else { return Ok(()) };
    if lines.next().is_some() {
        return Err(invalid("more than one Content-Length"));
    }
    content_length(line.as_bytes()).map(|_| ()).ok_or_else(|| invalid("Content-Length is not 1 to 18 digits"))
}

/// `:authority` is the host that is meant; a `host` beside it must say the same, and may stand for it (RFC 9113 §8.3.1).
fn set_host(headers: &mut HeaderMap, authority: Option<&Authority>) -> Result<(), Refusal> {
    let mut lines = headers.get_all(header::HOST).iter();
    let (host, more) = (lines.next(), lines.next());
    if more.is_some() {
        return Err(invalid("more than one Host"));
    }
    let Some(meant) = authority.map(|authority| authority.as_str().as_bytes()).or(host.map(HeaderValue::as_bytes)) else {
        return Err(invalid("no Host"));
    };
    if !authority::is_valid(meant) {
        return Err(invalid("Host is not a host and port"));
    }
    match host {
        Some(host) if host.as_bytes().eq_ignore_ascii_case(meant) => {}
        Some(_) => return Err(invalid("the target's authority is not Host")),
        None => {
            let value = HeaderValue::from_bytes(meant).map_err(|_| invalid("Host is not a host and port"))?;
            headers.insert(header::HOST, value);
        }
    }
    Ok(())
}

/// HTTP/2 may send each cookie as a field of its own; HTTP/1 knows one line (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (cookies.next(), cookies.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const LIMITS: Limits = Limits { head_bytes: 1000, headers: 10 };

    fn judge(method: &str, uri: &str, lines: &[(&str, &str)]) -> Result<Parts, Rejection> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in lines {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        canonical(&mut parts, LIMITS).map_err(|refusal| refusal.rejection)?;
        Ok(parts)
    }

    #[test]
    fn an_ordinary_head_becomes_one_of_http_1() {
        let parts = judge("GET", "https://API.example:8080/v1/a?b=c", &[("te", "trailers"), ("content-length", "0")]).unwrap();
        assert_eq!(parts.uri, "/v1/a?b=c");
        assert_eq!(parts.headers[header::HOST], "API.example:8080");
        assert_eq!(judge("GET", "/", &[("host", "a")]).unwrap().headers[header::HOST], "a");
        assert_eq!(judge("OPTIONS", "http://a/", &[("host", "A")]).unwrap().headers[header::HOST], "A");
    }

    #[test]
    fn cookies_are_one_line() {
        let cookies = [("cookie", "a=1"), ("cookie", "b=2; c=3"), ("cookie", "d=4")];
        let parts = judge("GET", "https://a/", &cookies).unwrap();
        assert_eq!(parts.headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3; d=4"]);
    }

    #[test]
    fn what_http_1_refuses_is_refused() {
        for (method, uri, lines) in [
            ("GET", "https://a/", &[("host", "b")][..]),
            ("GET", "https://a/", &[("host", "a"), ("host", "a")]),
            ("GET", "https://user@a/", &[]),
            ("GET", "https://a:/", &[]),
            ("GET", "https://a;b/", &[]),
            ("GET", "ftp://a/", &[]),
            ("GET", "/", &[]),
            ("GET", "/", &[("host", "a b")]),
            ("GET", "https://a/", &[("connection", "close")]),
            ("GET", "https://a/", &[("keep-alive", "1")]),
            ("GET", "https://a/", &[("proxy-connection", "close")]),
            ("GET", "https://a/", &[("transfer-encoding", "chunked")]),
            ("GET", "https://a/", &[("upgrade", "websocket")]),
            ("GET", "https://a/", &[("te", "gzip")]),
            ("GET", "https://a/", &[("te", "trailers, gzip")]),
            ("GET", "https://a/", &[("x-a", " b")]),
            ("GET", "https://a/", &[("x-a", "b\t")]),
            ("POST", "https://a/", &[("content-length", "1"), ("content-length", "1")]),
            ("POST", "https://a/", &[("content-length", "+1")]),
            ("POST", "https://a/", &[("content-length", "1234567890123456789")]),
            ("GET", "https://a/\u{e9}", &[]),
        ] {
            assert_eq!(judge(method, uri, lines).unwrap_err(), Rejection::RequestInvalid, "{method} {uri} {lines:?}");
        }
        assert_eq!(judge("CONNECT", "a:443", &[]).unwrap_err(), Rejection::MethodDenied);
        let target = format!("https://a/{}", "x".repeat(crate::facts::TARGET_MAX));
        assert_eq!(judge("GET", &target, &[]).unwrap_err(), Rejection::TargetTooLong);
        let many = vec![("x-a", "1"); LIMITS.headers + 1];
        assert_eq!(judge("GET", "https://a/", &many).unwrap_err(), Rejection::HeadersTooLarge);
        let long = "x".repeat(LIMITS.head_bytes);
        assert_eq!(judge("GET", "https://a/", &[("x-a", &long)]).unwrap_err(), Rejection::HeadersTooLarge);
    }
}
