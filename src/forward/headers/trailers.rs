//! Trailers of a request: what comes behind the content must not say what a header would not have been believed to say
//! (RFC 9110 §6.5.1). What is left out here is left out of their announcement too.

use http::{HeaderMap, HeaderValue, header};
use smallvec::SmallVec;

use super::{HeaderRules, is_odd, tokens};

/// Beyond the names that the rules know: framing, routing, conditions, and how content is read.
const NEVER: [&str; 16] = [
    "host",
    "cookie",
    "set-cookie",
    "content-encoding",
    "content-type",
    "content-range",
    "cache-control",
    "pragma",
    "max-forwards",
    "range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "trailers",
];

impl HeaderRules {
    /// Removes what a trailer must not be, whoever sent it.
    pub fn clean_trailers(&self, trailers: &mut HeaderMap) {
        let doomed: SmallVec<[_; 8]> = trailers.keys().filter(|name| !self.may_trail(name.as_str())).cloned().collect();
        for name in doomed {
            trailers.remove(name);
        }
    }

    /// What is left of `Trailer`.
    pub(super) fn announced(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut lines = headers.get_all(header::TRAILER).iter().peekable();
        lines.peek()?;
        let names: Vec<_> = lines.flat_map(tokens).filter(|name| self.may_trail(&name.to_ascii_lowercase())).collect();
        HeaderValue::try_from(names.join(", ")).ok().filter(|names| !names.is_empty())
    }

    fn may_trail(&self, name: &str) -> bool {
        self.fate_of_spelling(name).is_none() && !is_odd(name) && !NEVER.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::rules;
    use super::*;

    #[test]
    fn trailers_never_say_who_calls_or_where_a_message_ends() {
        let lines = [
            ("x-checksum", "1"),
            ("grpc-status", "0"),
            ("x-tenant-id", "evil"),
            ("x_tenant_id", "evil"),
            ("authorization", "Bearer evil"),
            ("x-api-key", "evil"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("host", "evil"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-request-id", "forged-id"),
            ("x-http-method-override", "DELETE"),
            ("cookie", "a=1"),
            ("x.odd", "1"),
        ];
        let mut trailers = HeaderMap::new();
        for (name, value) in lines {
            trailers.append(name, HeaderValue::from_static(value));
        }
        rules("").clean_trailers(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(http::HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-status", "x-checksum"]);
    }

    #[test]
    fn only_trailers_that_may_be_sent_are_announced() {
        let announced = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::TRAILER, HeaderValue::from_static(line));
            }
            rules("").announced(&headers)
        };
        assert_eq!(announced(&["X-Checksum, X-Tenant-Id", "Content-Length,x-more"]).unwrap(), "X-Checksum, x-more");
        assert_eq!(announced(&["x_tenant_id"]), None);
        assert_eq!(announced(&[]), None);
    }
}
