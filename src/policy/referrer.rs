//! Origins a key may be used from: `https://shop.example`, `https://*.shop.example`, optional port.

use http::header;

use super::Case;
use crate::gate::trace::Note;
use crate::rejection::{Refusal, Rejection};

/// What the check looks at.
pub(super) fn look(case: &Case<'_>) -> Note {
    let sent = [header::ORIGIN, header::REFERER].iter().find_map(|name| Some(format!("{name} {}", case.headers.get(name)?.to_str().ok()?)));
    let allowed = case.identity.particulars().referrers.as_ref().map_or_else(|| "any".to_owned(), ToString::to_string);
    Note::new(format!("{}; the key allows {allowed}", sent.as_deref().unwrap_or("neither Origin nor Referer"))).record(case, "referrers")
}

/// The key's `referrers`: Origin, else Referer; a request that names neither, or names it twice, is refused.
pub(super) fn check(case: &Case<'_>) -> Result<(), Refusal> {
    let Some(allowed) = &case.identity.particulars().referrers else { return Ok(()) };
    let name = if case.headers.contains_key(header::ORIGIN) { header::ORIGIN } else { header::REFERER };
    let mut lines = case.headers.get_all(name).iter();
    match (lines.next().map(|line| line.to_str()), lines.next()) {
        (Some(Ok(origin)), None) if allowed.allow(origin) => Ok(()),
        (Some(_), _) => Err(Rejection::ReferrerDenied.because("the key is for other origins")),
        (None, _) => Err(Rejection::ReferrerDenied.because("neither Origin nor Referer")),
    }
}

/// Allowed origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrers(Box<[Pattern]>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    scheme: Box<str>,
    host: Box<str>,
    /// Whether `host` is what follows `*.`.
    below: bool,
    port: Option<u16>,
}

/// An origin as a page's request names it (RFC 6454): scheme, host, port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl Referrers {
    /// From the words of a record.
    ///
    /// # Errors
    /// The first entry that is no origin pattern.
    pub fn parse<S: AsRef<str>>(list: &[S]) -> Result<Self, String> {
        list.iter().map(|entry| Pattern::parse(entry.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a page at this Origin (or Referer, whose path does not count) may use the key.
    #[must_use]
    pub fn allow(&self, origin: &str) -> bool {
        Origin::parse(origin).is_some_and(|origin| self.0.iter().any(|pattern| pattern.matches(&origin)))
    }

    /// Whether each of the others is covered by one of these.
    #[must_use]
    pub fn cover(&self, other: &Self) -> bool {
        other.0.iter().all(|theirs| self.0.iter().any(|mine| mine.covers(theirs)))
    }
}

impl std::fmt::Display for Referrers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let patterns: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(if patterns.is_empty() { "none" } else { "" })?;
        f.write_str(&patterns.join(" "))
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme, if self.below { "*." } else { "" }, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an origin, such as https://shop.example, https://*.shop.example or http://localhost:3000");
        let origin = Origin::parse(text).ok_or_else(wrong)?;
        // A pattern is an origin and nothing behind it: a path would promise a restriction that browsers do not send.
        let authority = text.split_once("://").map(|(_, rest)| rest).ok_or_else(wrong)?;
        if authority.contains('/') {
            return Err(format!("`{text}`: an origin has no path"));
        }
        let (below, host) = origin.host.strip_prefix("*.").map_or((false, origin.host), |host| (true, host));
        if host.is_empty() || host.contains('*') || (below && !host.contains('.')) {
            return Err(wrong());
        }
        Ok(Self { scheme: origin.scheme.to_ascii_lowercase().into(), host: host.to_ascii_lowercase().into(), below, port: origin.port })
    }

    fn covers(&self, other: &Self) -> bool {
        let below = |host: &str| self.below && host.strip_suffix(&*self.host).is_some_and(|front| front.ends_with('.'));
        let same = self.host == other.host && self.below == other.below;
        self.scheme == other.scheme && self.port == other.port && (same || below(&other.host))
    }

    fn matches(&self, origin: &Origin<'_>) -> bool {
        let host_matches = if self.below {
            // `*.shop.example` holds its subdomains, not shop.example itself.
            origin.host.len().checked_sub(self.host.len() + 1).and_then(|split| origin.host.split_at_checked(split)).is_some_and(
                |(front, tail)| !front.is_empty() && tail.strip_prefix('.').is_some_and(|tail| tail.eq_ignore_ascii_case(&self.host)),
            )
        } else {
            self.host.eq_ignore_ascii_case(origin.host)
        };
        host_matches && self.scheme.eq_ignore_ascii_case(origin.scheme) && self.port == origin.port
    }
}

impl<'a> Origin<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        if authority.is_empty()
            || authority.contains('@')
            || !authority.is_ascii()
            || authority.contains(|c: char| c.is_ascii_whitespace() || c == '\\')
        {
            return None;
        }
        let default = match () {
            () if scheme.eq_ignore_ascii_case("https") => 443,
            () if scheme.eq_ignore_ascii_case("http") => 80,
            () => return None,
        };
        // The last colon outside brackets begins the port.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
            _ => (authority, None),
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        (!host.is_empty()).then_some(Self { scheme, host, port: port.filter(|port| *port != default) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_matched_whole() {
        let allowed = Referrers::parse(&["https://shop.example", "https://*.shop.example", "http://localhost:3000"]).unwrap();
        for yes in [
            "https://shop.example",
            "https://SHOP.example",
            "https://shop.example:443",
            "https://shop.example/cart?x=1",
            "https://a.shop.example",
            "https://a.b.shop.example",
            "http://localhost:3000",
            "https://shop.example./",
        ] {
            assert!(allowed.allow(yes), "{yes}");
        }
        for no in [
            "http://shop.example",
            "https://shop.example:8443",
            "https://evilshop.example",
            "https://shop.example.evil",
            "https://.shop.example",
            "null",
            "",
            "https://",
            "https://shop.example@evil.example",
            "http://localhost",
            "https://evil.example/https://shop.example",
            "ftp://shop.example",
            "https://evil.example\\.shop.example",
        ] {
            assert!(!allowed.allow(no), "{no}");
        }
    }

    #[test]
    fn a_pattern_covers_itself_and_what_is_below_it() {
        let covers = |mine: &str, theirs: &str| Referrers::parse(&[mine]).unwrap().cover(&Referrers::parse(&[theirs]).unwrap());
        for (mine, theirs) in [
            ("https://shop.example", "https://SHOP.example:443"),
            ("https://*.shop.example", "https://*.shop.example"),
            ("https://*.shop.example", "https://a.shop.example"),
            ("https://*.shop.example", "https://*.a.shop.example"),
        ] {
            assert!(covers(mine, theirs), "{mine} {theirs}");
        }
        for (mine, theirs) in [
            ("https://shop.example", "http://shop.example"),
            ("https://shop.example", "https://*.shop.example"),
            ("https://*.shop.example", "https://shop.example"),
            ("https://*.shop.example", "https://evilshop.example"),
            ("https://*.a.shop.example", "https://*.shop.example"),
            ("https://shop.example", "https://shop.example:8443"),
        ] {
            assert!(!covers(mine, theirs), "{mine} {theirs}");
        }
    }

    #[test]
    fn patterns_are_strict() {
        for bad in [
            "",
            "shop.example",
            "https://",
            "https://shop.example/path",
            "https://*",
            "https://*.example*",
            "https://a.*.example",
            "https://*.com:x",
            "*",
        ] {
            assert!(Referrers::parse(&[bad]).is_err(), "{bad}");
        }
    }
}
