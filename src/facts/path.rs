//! One canonical path. Split on raw `/` only, each segment decoded once; what two parsers could read differently is refused.
//! What is forwarded is the raw path, byte for byte; only the judging sees decoded segments.

use std::fmt;

use http::uri::PathAndQuery;
use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

use crate::rejection::{Refusal, Rejection};

/// Percent-encodings that are refused unless the matched route allows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Encoded(u8);

const DELIMITERS: [(u8, &str); 6] = [(b'/', "%2F"), (b'\\', "%5C"), (b'%', "%25"), (b';', "%3B"), (b'?', "%3F"), (b'#', "%23")];

impl Encoded {
    /// From the words of `allow_encoded`; the first that is none is the error.
    ///
    /// # Errors
    /// That word.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, &str> {
        words.iter().try_fold(Self::default(), |set, word| {
            let position = DELIMITERS.iter().position(|(_, name)| name.eq_ignore_ascii_case(word.as_ref()));
            position.map(|index| Self(set.0 | (1 << index))).ok_or(word.as_ref())
        })
    }

    /// The first encoding in `self` that `allowed` lacks.
    #[must_use]
    pub fn beyond(self, allowed: Self) -> Option<&'static str> {
        let rest = self.0 & !allowed.0;
        DELIMITERS.iter().enumerate().find(|(index, _)| rest & (1 << index) != 0).map(|(_, (_, name))| *name)
    }

    fn add(&mut self, byte: u8) {
        if let Some(index) = DELIMITERS.iter().position(|(delimiter, _)| *delimiter == byte) {
            self.0 |= 1 << index;
        }
    }
}

/// The segments of a path, decoded. Empty for `*`; a trailing slash is a last, empty segment.
pub type Segments<'a> = SmallVec<[&'a str; 16]>;

/// The path as it was judged, with its query.
#[derive(Clone)]
pub struct CanonicalPath {
    raw: PathAndQuery,
    /// Only where a segment is encoded; else the raw segments are the decoded ones.
    decoded: Option<Box<[Box<str>]>>,
    encoded: Encoded,
}

impl CanonicalPath {
    /// Judges a request target in origin form (or `*`).
    ///
    /// # Errors
    /// `request_invalid`, with the rule.
    pub fn parse(raw: PathAndQuery) -> Result<Self, Refusal> {
        let path = raw.path();
        if path == "*" {
            return Ok(Self { raw, decoded: None, encoded: Encoded::default() });
        }
        let refuse = |rule: &'static str| Err(Rejection::RequestInvalid.because(rule));
        let Some(body) = path.strip_prefix('/') else { return refuse("path does not begin with /") };
        let Shape { percent, dotted } = Shape::of(path).map_err(|rule| Rejection::RequestInvalid.because(rule))?;
        let mut encoded = Encoded::default();
        let decoded = if percent {
            let segments = body.split('/').map(|segment| decode(segment, &mut encoded)).collect::<Result<_, _>>();
            Some(segments.map_err(|rule| Rejection::RequestInvalid.because(rule))?)
        } else {
            None
        };
        let canonical = Self { raw, decoded, encoded };
        if (percent || dotted) && canonical.segments().iter().any(|segment| has_dot_segment(segment)) {
            return refuse("dot segment in the path");
        }
        Ok(canonical)
    }

    /// The path as it was sent.
    #[must_use]
    pub fn raw(&self) -> &str {
        self.raw.path()
    }

    /// The query as it was sent.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.raw.query()
    }

    /// Path and query, as they are forwarded.
    #[must_use]
    pub fn target(&self) -> &PathAndQuery {
        &self.raw
    }

    /// Decoded segments.
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        match &self.decoded {
            Some(segments) => segments.iter().map(|segment| &**segment).collect(),
            None => self.raw().strip_prefix('/').map(split).unwrap_or_default(),
        }
    }

    /// Which delimiters are encoded in it.
    #[must_use]
    pub const fn encoded(&self) -> Encoded {
        self.encoded
    }
}

/// At each `/`, of which there are many for so few bytes: a searcher would be set up for every one.
fn split(body: &str) -> Segments<'_> {
    let mut rest = body;
    let mut segments = Segments::new();
    while let Some((segment, behind)) = rest.bytes().position(|byte| byte == b'/').and_then(|at| rest.split_at_checked(at)) {
        segments.push(segment);
        rest = behind.get(1..).unwrap_or_default();
    }
    segments.push(rest);
    segments
}

impl fmt::Debug for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.raw())
    }
}

/// What one look at the bytes of a path tells.
struct Shape {
    /// Something is encoded.
    percent: bool,
    /// A segment begins with a dot.
    dotted: bool,
}

impl Shape {
    fn of(path: &str) -> Result<Self, &'static str> {
        let mut shape = Self { percent: false, dotted: false };
        let mut before = b' ';
        for byte in path.bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' => {}
                b'\\' => return Err("backslash in the path"),
                // The last segment may be empty (a trailing slash); no other may.
                b'/' if before == b'/' => return Err("empty segment in the path (//)"),
                b'.' if before == b'/' => shape.dotted = true,
                b'%' => shape.percent = true,
                byte if !byte.is_ascii_graphic() => return Err("control or non-ASCII byte in the path"),
                _ => {}
            }
            before = byte;
        }
        Ok(shape)
    }
}

fn decode(segment: &str, encoded: &mut Encoded) -> Result<Box<str>, &'static str> {
    let mut rest = segment.as_bytes();
    while let Some(start) = memchr::memchr(b'%', rest) {
        let Some(byte) = rest.get(start + 1..start + 3).and_then(hex_pair) else { return Err("invalid percent-encoding in the path") };
        if byte < 0x20 || byte == 0x7f {
            return Err("encoded control character in the path");
        }
        let behind = rest.get(start + 3..).unwrap_or_default();
        if byte == b'%' && behind.get(..2).is_some_and(|pair| hex_pair(pair).is_some()) {
            return Err("double percent-encoding in the path");
        }
        encoded.add(byte);
        rest = behind;
    }
    percent_decode_str(segment).decode_utf8().map(|text| text.as_ref().into()).map_err(|_| "encoded bytes in the path are not UTF-8")
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    match pair {
        [high, low] => {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
        }
        _ => None,
    }
}

/// Also inside a segment whose encoded slashes an upstream may decode, and before `;`, where path parameters are cut off.
fn has_dot_segment(segment: &str) -> bool {
    segment.split(['/', '\\']).any(|part| matches!(part.split(';').next(), Some("." | "..")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(target: &'static str) -> Result<CanonicalPath, Refusal> {
        CanonicalPath::parse(PathAndQuery::from_static(target))
    }

    #[test]
    fn what_two_parsers_read_differently_is_refused() {
        for target in [
            "/..",
            "/.",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/%2e%2e/a",
            "/%2E%2e",
            "/.%2e",
            "/%2e",
            "/a/..;x/b",
            "/a/%2e%2e;x",
            "/..;",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/a\\b",
            "/%00",
            "/a%0d",
            "/%1f",
            "/%7f",
            "/%",
            "/%2",
            "/%zz",
            "/a%",
            "/%ff",
            "/%c0%af",
            "/%e0%80%af",
            "/%252e",
            "/%252f",
            "/a%2525",
            "/a%2f..%2fb",
            "/a%5c..%5cb",
            "/%c3",
            "/%ed%a0%80",
        ] {
            assert!(parse(target).is_err(), "{target}");
        }
    }

    #[test]
    fn what_is_unambiguous_is_judged_decoded_and_kept_raw() {
        for (target, segments) in [
            ("/", vec![""]),
            ("/a", vec!["a"]),
            ("/a/", vec!["a", ""]),
            ("/a/b?x=//..%", vec!["a", "b"]),
            ("/%41", vec!["A"]),
            ("/a%20b", vec!["a b"]),
            ("/%C3%A9", vec!["é"]),
            ("/a;v=1", vec!["a;v=1"]),
            ("/...", vec!["..."]),
            ("/a..b", vec!["a..b"]),
            ("/..a", vec!["..a"]),
            ("/a%2Fb", vec!["a/b"]),
            ("*", vec![]),
        ] {
            let path = parse(target).unwrap();
            assert_eq!(path.segments().to_vec(), segments, "{target}");
            assert_eq!(path.target().as_str(), target);
        }
    }

    #[test]
    fn encoded_delimiters_are_named() {
        for (target, name) in
            [("/a%2fb", "%2F"), ("/a%5Cb", "%5C"), ("/a%25", "%25"), ("/a%3bb", "%3B"), ("/a%3F", "%3F"), ("/a%23", "%23")]
        {
            let path = parse(target).unwrap();
            assert_eq!(path.encoded().beyond(Encoded::default()), Some(name));
            assert_eq!(path.encoded().beyond(Encoded::parse(&[name.to_lowercase()]).unwrap()), None);
        }
        assert_eq!(Encoded::parse(&["%2F", "%41"]), Err("%41"));
    }

    proptest! {
        #[test]
        fn any_target_is_judged_without_panic_and_decoded_at_most_once(text in "/[ -\"$-~]{0,40}") {
            if let Ok(raw) = PathAndQuery::try_from(text.as_str()) && let Ok(path) = CanonicalPath::parse(raw) {
                for segment in path.segments() {
                    prop_assert!(segment != "." && segment != "..");
                }
                prop_assert_eq!(path.target().as_str(), text.as_str());
            }
        }
    }
}
