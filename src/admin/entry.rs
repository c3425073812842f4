//! Whom the listener lets in, before anything of a request is looked at: the right name of the listener, a known token, and no
//! page of a browser behind a write.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::problem::Refused;
use super::settings::{Bearer, Settings};
use crate::net::Peer;

/// The challenge of every 401.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"sidegate admin\"");

/// Who asks.
pub(super) fn admit(head: &Parts, peer: Peer, settings: &Settings) -> Result<Bearer, Refused> {
    // A browser cannot be led to a Unix socket, and whoever opens it names nobody.
    if matches!(peer, Peer::Ip(_)) {
        check_host(head, settings)?;
    }
    let bearer = check_token(&head.headers, settings)?;
    if !matches!(head.method, Method::GET | Method::HEAD) {
        check_origin(&head.headers)?;
    }
    Ok(bearer)
}

/// A page whose own name was made to lead here (DNS rebinding) names itself.
fn check_host(head: &Parts, settings: &Settings) -> Result<(), Refused> {
    let mut lines = head.headers.get_all(header::HOST).iter();
    let (Some(Ok(host)), None) = (lines.next().map(HeaderValue::to_str), lines.next()) else {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "host_invalid", "exactly one Host is needed"));
    };
    let target = head.uri.authority().map_or(host, http::uri::Authority::as_str);
    if [host, target].iter().all(|name| settings.answers_to(name)) {
        return Ok(());
    }
    let detail = "this listener is not called so; admin.allowed_hosts names what it is called";
    Err(Refused::new(StatusCode::MISDIRECTED_REQUEST, "host_unknown", detail))
}

fn check_token(headers: &HeaderMap, settings: &Settings) -> Result<Bearer, Refused> {
    let refused =
        |code, detail: &str, challenge| Err(Refused::new(StatusCode::UNAUTHORIZED, code, detail).with(header::WWW_AUTHENTICATE, challenge));
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let secret = match (lines.next(), lines.next()) {
        (Some(line), None) => bearer_of(line.as_bytes()),
        (None | Some(_), _) => None,
    };
    let Some(secret) = secret else {
        return refused("token_missing", "a token of [[admin.tokens]] is needed: Authorization: Bearer …", CHALLENGE);
    };
    match settings.find(secret) {
        Some(bearer) => Ok(bearer),
        None => refused(
            "token_unknown",
            "this is no token of [[admin.tokens]]",
            HeaderValue::from_static("Bearer realm=\"sidegate admin\", error=\"invalid_token\""),
        ),
    }
}

fn bearer_of(line: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = line.split_at_checked(7)?;
    let secret = secret.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !secret.is_empty()).then_some(secret)
}

/// Only what is no page of another origin may write.
fn check_origin(headers: &HeaderMap) -> Result<(), Refused> {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let is_own_site = matches!(site, None | Some(b"same-origin" | b"none"));
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let is_own_origin = headers.get_all(header::ORIGIN).iter().all(|origin| {
        let origin = origin.as_bytes();
        let authority = [&b"http://"[..], b"https://"].iter().find_map(|scheme| origin.strip_prefix(*scheme));
        authority.is_some() && authority.map(<[u8]>::to_ascii_lowercase) == host.map(<[u8]>::to_ascii_lowercase)
    });
    if is_own_site && is_own_origin {
        return Ok(());
    }
    Err(Refused::new(StatusCode::FORBIDDEN, "origin_foreign", "a page of another origin may not write here"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn origin(headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().header("host", "localhost:9902");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check_origin(request.body(()).unwrap().headers()).is_ok()
    }

    #[test]
    fn only_own_pages_and_no_pages_may_write() {
        for own in [&[][..], &[("origin", "http://localhost:9902")], &[("sec-fetch-site", "same-origin")], &[("sec-fetch-site", "none")]] {
            assert!(origin(own), "{own:?}");
        }
        for foreign in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "localhost:9902")],
            &[("origin", "http://localhost")],
            &[("origin", "http://localhost:9902"), ("origin", "http://evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site"), ("origin", "http://localhost:9902")],
        ] {
            assert!(!origin(foreign), "{foreign:?}");
        }
    }

    #[test]
    fn a_token_is_behind_its_scheme_in_one_line() {
        assert_eq!(bearer_of(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer_of(b"bEARER  abc "), Some(&b"abc"[..]));
        for none in [&b""[..], b"Bearer", b"Bearer ", b"Basic abc", b"abc", b"Bearerabc"] {
            assert_eq!(bearer_of(none), None);
        }
    }
}
