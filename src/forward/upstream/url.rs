//! The url of an upstream: where it listens and what is spoken there. A path has no place in it: requests keep their own.

use http::{HeaderValue, Uri};

use super::{Address, Protocol};

/// What a url says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: Address,
    pub(super) protocol: Protocol,
    pub(super) encrypted: bool,
    /// Host and port as written.
    pub(super) authority: HeaderValue,
}

/// Reads one of the forms `http://`, `https://`, `h2c://`, `h2://` (HTTP/2 over TLS) and `unix:/path`.
pub(super) fn parse(url: &str) -> Result<Place, String> {
    if url.is_empty() {
        return Err("the upstream has no url".to_owned());
    }
    if let Some(path) = url.strip_prefix("unix:") {
        if !path.starts_with('/') {
            return Err(format!("`{url}`: the path of a Unix socket must be absolute"));
        }
        let authority = HeaderValue::from_static("localhost");
        return Ok(Place { address: Address::Unix(path.into()), protocol: Protocol::Http1, encrypted: false, authority });
    }
    let uri: Uri = url.parse().map_err(|error| format!("`{url}` is not a URL: {error}"))?;
    let (protocol, encrypted) = match uri.scheme_str() {
        Some("http") => (Protocol::Http1, false),
        Some("https") => (Protocol::Http1, true),
        Some("h2c") => (Protocol::Http2, false),
        Some("h2") => (Protocol::Http2, true),
        _ => return Err(format!("`{url}` is not an http://, https://, h2c:// or h2:// URL")),
    };
    let Some(authority) = uri.authority() else { return Err(format!("`{url}` names no host")) };
    if uri.path() != "/" && !uri.path().is_empty() || uri.query().is_some() || url.ends_with('?') {
        return Err(format!("`{url}` has a path; requests keep their own"));
    }
    if authority.as_str().contains('@') {
        return Err("the url holds a user name".to_owned());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = match authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':')) {
        None if encrypted => 443,
        None => 80,
        Some(port) => port.parse().map_err(|_| format!("`{url}` has no valid port"))?,
    };
    let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| format!("`{url}` is not a URL"))?;
    Ok(Place { address: Address::Tcp(host, port), protocol, encrypted, authority })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_where_and_what_is_spoken() {
        let tcp = |host: &str, port| Address::Tcp(host.into(), port);
        for (url, address, protocol, encrypted, authority) in [
            ("http://127.0.0.1:3000", tcp("127.0.0.1", 3000), Protocol::Http1, false, "127.0.0.1:3000"),
            ("http://app.internal/", tcp("app.internal", 80), Protocol::Http1, false, "app.internal"),
            ("http://[::1]:8080", tcp("::1", 8080), Protocol::Http1, false, "[::1]:8080"),
            ("https://app.internal", tcp("app.internal", 443), Protocol::Http1, true, "app.internal"),
            ("HTTPS://app.internal:8443/", tcp("app.internal", 8443), Protocol::Http1, true, "app.internal:8443"),
            ("h2c://127.0.0.1:50051", tcp("127.0.0.1", 50051), Protocol::Http2, false, "127.0.0.1:50051"),
            ("h2://app.internal", tcp("app.internal", 443), Protocol::Http2, true, "app.internal"),
            ("unix:/run/app.sock", Address::Unix("/run/app.sock".into()), Protocol::Http1, false, "localhost"),
        ] {
            assert_eq!(parse(url), Ok(Place { address, protocol, encrypted, authority: HeaderValue::from_static(authority) }), "{url}");
        }
        for url in [
            "",
            "127.0.0.1:3000",
            "ftp://a",
            "http://",
            "h2c://",
            "http://a/b",
            "https://a/b",
            "h2c://a/b",
            "http://a?b",
            "http://u@a",
            "unix:app.sock",
            "http://a:99999",
            "https://a:",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}
