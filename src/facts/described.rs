//! The request that a gateway asks about, as its headers describe it: NGINX (`X-Original-*`), Traefik and Caddy (`X-Forwarded-*`), or
//! the check request's own method and path (Envoy). Whether whoever says so is believed is decided before. What is said twice, in
//! two ways or by halves is refused: the gateway would forward another request than the one that is judged.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::check_target;
use crate::rejection::{Refusal, Rejection};
use crate::server::framing::is_authority;

const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_ORIGINAL_REFUSED: HeaderName = HeaderName::from_static("x-original-refused");

fn invalid(why: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Rejection::RequestInvalid.because(why)
}

/// Makes the head of a check request the head of the request that is asked about.
///
/// # Errors
/// `request_invalid`, `target_too_long`.
pub fn describe(head: &mut Parts) -> Result<(), Refusal> {
    let headers = &head.headers;
    let says = |names: &[HeaderName]| names.iter().any(|name| headers.contains_key(name));
    let original = says(&[X_ORIGINAL_METHOD, X_ORIGINAL_URI, X_ORIGINAL_URL]);
    let forwarded = says(&[X_FORWARDED_METHOD, X_FORWARDED_URI]);
    let (method, target, host) = match (original, forwarded) {
        (false, false) => return Ok(()),
        (true, true) => return Err(invalid("both X-Original-* and X-Forwarded-Method or -Uri describe a request")),
        (true, false) => {
            let method = needed(headers, &X_ORIGINAL_METHOD)?;
            match (one(headers, &X_ORIGINAL_URI)?, one(headers, &X_ORIGINAL_URL)?) {
                (Some(target), None) => (method, target.as_bytes(), None),
                (None, Some(url)) => {
                    let (host, target) = split(url.as_bytes()).ok_or_else(|| invalid("X-Original-URL is no http(s) URL"))?;
                    (method, target, Some(host))
                }
                (Some(_), Some(_)) => return Err(invalid("both X-Original-URI and X-Original-URL describe a request")),
                (None, None) => return Err(invalid("X-Original-Method without X-Original-URI")),
            }
        }
        (false, true) => {
            let (method, target) = (needed(headers, &X_FORWARDED_METHOD)?, needed(headers, &X_FORWARDED_URI)?);
            (method, target.as_bytes(), one(headers, &X_FORWARDED_HOST)?.map(HeaderValue::as_bytes))
        }
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| invalid("the described method is not a token"))?;
    let target = parse(target, &method)?;
    let host = host.map(parse_host).transpose()?;
    head.method = method;
    head.uri = Uri::from(target);
    if let Some(host) = host {
        head.headers.insert(header::HOST, host);
    }
    Ok(())
}

/// Whether it was asked about before, and refused: the gateway wants the refusal told, and lets nothing through any more.
#[must_use]
pub fn was_refused(headers: &HeaderMap) -> bool {
    headers.contains_key(X_ORIGINAL_REFUSED)
}

/// The only line of this name.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Refusal> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (line, None) => Ok(line),
        (_, Some(_)) => Err(invalid(format!("more than one {name}"))),
    }
}

fn needed<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h HeaderValue, Refusal> {
    one(headers, name)?.ok_or_else(|| invalid(format!("the request is described without {name}")))
}

/// Authority and target of an absolute URL.
fn split(url: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = [b"http://".as_slice(), b"https://"].into_iter().find_map(|scheme| {
        let (front, rest) = url.split_at_checked(scheme.len())?;
        front.eq_ignore_ascii_case(scheme).then_some(rest)
    })?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (host, target) = rest.split_at_checked(end)?;
    Some((host, if target.is_empty() { b"/" } else { target }))
}

/// By the rules of a request line.
fn parse(target: &[u8], method: &Method) -> Result<PathAndQuery, Refusal> {
    check_target(target)?;
    if !target.starts_with(b"/") && (target != b"*" || *method != Method::OPTIONS) {
        return Err(invalid("the described target is no path"));
    }
    PathAndQuery::try_from(target).map_err(|_| invalid("the described target is no path"))
}

fn parse_host(host: &[u8]) -> Result<HeaderValue, Refusal> {
    let host = Some(host).filter(|host| is_authority(host)).and_then(|host| HeaderValue::from_bytes(host).ok());
    host.ok_or_else(|| invalid("the described host is not a host and port"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn described(lines: &[(&str, &str)]) -> Result<String, Refusal> {
        let mut head = http::Request::builder().method("GET").uri("/check?own").header("host", "gateway").body(()).unwrap().into_parts().0;
        for (name, value) in lines {
            head.headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        describe(&mut head)?;
        Ok(format!("{} {} {}", head.method, head.headers[header::HOST].to_str().unwrap(), head.uri))
    }

    #[test]
    fn each_gateway_is_understood() {
        for (lines, expected) in [
            (&[][..], "GET gateway /check?own"),
            (&[("x-original-method", "POST"), ("x-original-uri", "/v1/a%20b?c=d")], "POST gateway /v1/a%20b?c=d"),
            (&[("x-original-method", "PUT"), ("x-original-url", "https://API.example:8443/v1?c")], "PUT API.example:8443 /v1?c"),
            (&[("x-original-method", "GET"), ("x-original-url", "HTTP://api.example")], "GET api.example /"),
            (
                &[("x-forwarded-method", "DELETE"), ("x-forwarded-uri", "/v1/x"), ("x-forwarded-host", "api.example")],
                "DELETE api.example /v1/x",
            ),
            (&[("x-forwarded-method", "OPTIONS"), ("x-forwarded-uri", "*")], "OPTIONS gateway *"),
            // Of any proxy before the gateway.
            (&[("x-forwarded-host", "other"), ("x-forwarded-proto", "https")], "GET gateway /check?own"),
        ] {
            assert_eq!(described(lines).unwrap(), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_said_twice_or_by_halves_or_in_no_way_that_is_safe_is_refused() {
        for lines in [
            &[("x-original-method", "GET"), ("x-original-uri", "/a"), ("x-forwarded-uri", "/b")][..],
            &[("x-original-method", "GET"), ("x-original-uri", "/a"), ("x-forwarded-method", "GET")],
            &[("x-original-method", "GET"), ("x-original-uri", "/a"), ("x-original-url", "http://h/a")],
            &[("x-original-method", "GET"), ("x-original-uri", "/a"), ("x-original-uri", "/a")],
            &[("x-original-method", "GET"), ("x-original-method", "POST"), ("x-original-uri", "/a")],
            &[("x-original-uri", "/a")],
            &[("x-original-url", "http://h/a")],
            &[("x-original-method", "GET")],
            &[("x-forwarded-uri", "/a")],
            &[("x-forwarded-method", "GET")],
            &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "/a"), ("x-forwarded-host", "a"), ("x-forwarded-host", "b")],
            &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "/a"), ("x-forwarded-host", "a, b")],
            &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "/a"), ("x-forwarded-host", "u@a")],
            &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "http://a/b")],
            &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "")],
            &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "*")],
            &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "/a#b")],
            &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "/a b")],
            &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "/\u{e9}")],
            &[("x-forwarded-method", "GE T"), ("x-forwarded-uri", "/a")],
            &[("x-forwarded-method", ""), ("x-forwarded-uri", "/a")],
            &[("x-original-method", "GET"), ("x-original-url", "/a")],
            &[("x-original-method", "GET"), ("x-original-url", "ftp://a/b")],
            &[("x-original-method", "GET"), ("x-original-url", "http://u:p@a/b")],
            &[("x-original-method", "GET"), ("x-original-url", "http:///b")],
            &[("x-original-method", "GET"), ("x-original-url", "http://a#/b")],
        ] {
            assert_eq!(described(lines).unwrap_err().rejection, Rejection::RequestInvalid, "{lines:?}");
        }
        let long = format!("/{}", "x".repeat(super::super::TARGET_MAX));
        let lines = [("x-forwarded-method", "GET"), ("x-forwarded-uri", &*long)];
        assert_eq!(described(&lines).unwrap_err().rejection, Rejection::TargetTooLong);
    }

    proptest! {
        #[test]
        fn what_is_judged_is_byte_for_byte_what_was_described(target in "/[!-~]{0,40}") {
            if let Ok(said) = described(&[("x-original-method", "GET"), ("x-original-uri", &target)]) {
                prop_assert_eq!(said, format!("GET gateway {target}"));
            }
        }
    }
}
