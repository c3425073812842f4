//! A secret key that a browser sends is a leaked key. Sec-Fetch-Mode alone proves nothing: Node's fetch sends it.

use http::{HeaderMap, HeaderName, header};

use super::Case;
use crate::config::sections::BrowserRule;
use crate::gate::trace::Note;
use crate::rejection::{Refusal, Rejection};

// Fetch Metadata Request Headers, W3C.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The kind of keys that browsers are meant to hold.
const PUBLISHABLE: &str = "publishable";

/// What the check looks at.
pub(super) fn look(case: &Case<'_>) -> Note {
    let signs = if is_browser(case.headers) { "a browser" } else { "no sign of a browser" };
    let flagged = if case.browser == BrowserRule::Flag && is_exposed(case) { "; served, and the record is marked exposed" } else { "" };
    let what = case.identity.kind().map_or_else(|| "a token".to_owned(), |kind| format!("{kind} key"));
    Note::new(format!("{what}, {signs}{flagged}")).at("restrictions.secret_key_in_browser")
}

/// `secret_key_in_browser = "reject"`.
pub(super) fn check(case: &Case<'_>) -> Result<(), Refusal> {
    if case.browser == BrowserRule::Reject && is_exposed(case) { Err(Rejection::BrowserDenied.into()) } else { Ok(()) }
}

/// Whether this request shows a secret key in a browser. A key with referrers is meant to be there, and so are tokens.
#[must_use]
pub fn is_exposed(case: &Case<'_>) -> bool {
    let is_secret = case.identity.key_id().is_some() && case.identity.kind().is_some_and(|kind| kind != PUBLISHABLE);
    is_secret && case.identity.particulars().referrers.is_none() && is_browser(case.headers)
}

fn is_browser(headers: &HeaderMap) -> bool {
    let mozilla = || headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    let mut names = headers.keys();
    names.any(|name| *name == SEC_FETCH_SITE || *name == SEC_FETCH_DEST || (*name == header::ORIGIN && mozilla()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_from_servers() {
        let is = |lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.insert(*name, value.parse().unwrap());
            }
            is_browser(&headers)
        };
        assert!(is(&[("sec-fetch-site", "cross-site")]) && is(&[("sec-fetch-dest", "empty")]));
        assert!(is(&[("origin", "https://a.example"), ("user-agent", "Mozilla/5.0")]));
        assert!(!is(&[("sec-fetch-mode", "cors")]) && !is(&[("origin", "https://a.example")]) && !is(&[("user-agent", "Mozilla/5.0")]));
    }
}
