//! Makes a client's text fit for the log: what looks like a key or a token masked, control and invalid bytes escaped, at most 1 kB.

use std::borrow::Cow;
use std::fmt::Write as _;

use memchr::memmem::Finder;

use crate::config::sections::KeyKind;
use crate::key::encoded::layers;

/// Longest value, bytes.
const LONGEST: usize = 1024;
/// What stands for a secret.
pub(crate) const HIDDEN: &str = "[masked]";
/// How the header of every JSON Web Token begins: `{"` in base64url.
const TOKEN: &[u8] = b"eyJ";

/// The prefixes of all keys.
#[derive(Debug)]
pub(crate) struct Mask {
    prefixes: Vec<Finder<'static>>,
    /// Made once: that costs more than a short text takes to be searched.
    token: Finder<'static>,
    /// Bytes of which a text that is to be looked at closely has one: most have none, and one look at each byte shows that.
    marks: [bool; 256],
}

impl Mask {
    pub(crate) fn new(kinds: &[KeyKind]) -> Self {
        let prefixes = kinds.iter().flat_map(|kind| {
            let current = [&kind.prefixes.live, &kind.prefixes.test].into_iter().flatten();
            current.chain(&kind.legacy_prefixes.live).chain(&kind.legacy_prefixes.test)
        });
        let prefixes: Vec<_> =
            prefixes.filter(|prefix| !prefix.is_empty()).map(|prefix| Finder::new(prefix.as_bytes()).into_owned()).collect();
        let token = Finder::new(TOKEN);
        // Of each secret the byte that is the rarest in texts; what may be encoded; what is no character of a line.
        let rarest = prefixes.iter().chain([&token]).filter_map(|secret| secret.needle().iter().min_by_key(|byte| frequency(**byte)));
        let rarest: Vec<u8> = rarest.copied().collect();
        let marks = std::array::from_fn(|byte| {
            u8::try_from(byte).is_ok_and(|byte| byte == b'%' || !(b' '..0x7f).contains(&byte) || rarest.contains(&byte))
        });
        Self { prefixes, token, marks }
    }

    /// Whether there is nothing in it to be cleaned.
    fn is_clean(&self, text: &str) -> bool {
        text.len() <= LONGEST && !text.bytes().any(|byte| self.marks.get(usize::from(byte)).is_none_or(|mark| *mark))
    }

    /// Cleans one value.
    pub(crate) fn apply(&self, text: &mut Cow<'_, str>) {
        if self.is_clean(text) {
            return;
        }
        shorten(text);
        self.hide(text);
        if text.chars().any(char::is_control) {
            *text = Cow::Owned(escaped(text));
            shorten(text);
        }
    }

    /// One pass from left to right: what was put in is never looked at again, whatever the prefixes are.
    fn hide(&self, text: &mut Cow<'_, str>) {
        let mut clean = String::new();
        let mut rest: &str = text;
        while let Some((start, end)) = self.find(rest.as_bytes()) {
            clean.push_str(rest.get(..start).unwrap_or_default());
            clean.push_str(HIDDEN);
            rest = rest.get(end..).unwrap_or_default();
        }
        if rest.len() < text.len() {
            clean.push_str(rest);
            *text = Cow::Owned(clean);
        }
        // A key whose characters are percent-encoded, once or more often, cannot be cut out of the raw text.
        if layers(text.as_bytes()).any(|decoded| self.find_beside_mask(&decoded)) {
            *text = Cow::Borrowed(HIDDEN);
        }
    }

    /// The left-most prefix with key characters behind it, or token.
    fn find(&self, text: &[u8]) -> Option<(usize, usize)> {
        let first = |prefix: &Finder<'static>| {
            prefix.find_iter(text).find_map(|start| {
                let secret = start + prefix.needle().len();
                let rest = text.get(secret..).unwrap_or_default();
                let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count();
                (length > 0).then_some((start, secret + length))
            })
        };
        self.prefixes.iter().filter_map(first).chain(self.find_token(text)).min_by_key(|(start, _)| *start)
    }

    /// The left-most JSON Web Token, which may have been cut off: its payload is told in it.
    fn find_token(&self, text: &[u8]) -> Option<(usize, usize)> {
        self.token.find_iter(text).find_map(|start| {
            let rest = text.get(start..).unwrap_or_default();
            let is_token = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'-' | b'.');
            let length = rest.iter().take_while(is_token).count();
            rest.get(..length)?.contains(&b'.').then_some((start, start + length))
        })
    }

    /// The word that stands for a key may hold a prefix itself; it is no finding.
    fn find_beside_mask(&self, text: &[u8]) -> bool {
        let text = String::from_utf8_lossy(text);
        text.split(HIDDEN).any(|part| self.find(part.as_bytes()).is_some())
    }
}

/// How often a byte stands in paths and names, roughly.
const fn frequency(byte: u8) -> u8 {
    match byte {
        b'_' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    }
}

fn shorten(text: &mut Cow<'_, str>) {
    if text.len() > LONGEST {
        let end = text.floor_char_boundary(LONGEST);
        *text = Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()));
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if char.is_control() {
            let _ = write!(out, "\\x{:02x}", u32::from(char));
        } else {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str) -> String {
        let mut text = Cow::Borrowed(text);
        Mask::new(&crate::config::sections::Config::default().key_kinds).apply(&mut text);
        text.into_owned()
    }

    #[test]
    fn a_key_is_masked_wherever_it_stands() {
        for (text, expected) in [
            ("/v1/sk_live_abc123/x", "/v1/[masked]/x"),
            ("key=sk_test_A&x=pk_live_B", "key=[masked]&x=[masked]"),
            ("Bearer sk_live_abc", "Bearer [masked]"),
            ("/a/sk%5Flive%5Fabc", "[masked]"),
            ("/a/%73k_live_abc", "[masked]"),
            ("/a/%2573k_live_abc", "[masked]"),
            ("/a/%252573k_live_abc", "[masked]"),
            ("pk_live_B then sk_live_A%20", "[masked] then [masked]%20"),
            ("/docs/sk_live_", "/docs/sk_live_"),
            ("Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer [masked]"),
            ("access_token=eyJh-_.eyJzdWIi.x-_&a=1", "access_token=[masked]&a=1"),
            ("/heyJude", "/heyJude"),
            ("/a%20b", "/a%20b"),
        ] {
            assert_eq!(cleaned(text), expected);
        }
    }

    #[test]
    fn a_prefix_that_the_masking_word_holds_is_masked_once() {
        for prefix in ["s", "sk", "ask", "mask", "m", "masked", "ed"] {
            let kinds: Vec<KeyKind> = toml::from_str::<crate::config::sections::Config>(&format!(
                "[[key_kinds]]\nname = \"a\"\nprefixes = {{ live = \"{prefix}\" }}"
            ))
            .unwrap()
            .key_kinds;
            let mut text = Cow::Owned(format!("/x%20/{prefix}1/y"));
            Mask::new(&kinds).apply(&mut text);
            assert!(!text.contains(&format!("{prefix}1")), "{prefix}: {text}");
        }
    }

    #[test]
    fn what_is_not_looked_at_closely_would_come_out_as_it_is() {
        for prefix in ["sk_live_", "key-", "K", "k", "9z", "eyJ"] {
            let kinds = format!("[[key_kinds]]\nname = \"a\"\nprefixes = {{ live = \"{prefix}\" }}");
            let mask = Mask::new(&toml::from_str::<crate::config::sections::Config>(&kinds).unwrap().key_kinds);
            let texts = ["/v1/users", "/a%20b", "a\u{7f}", "ü", "curl/8.1", "eyJhbGciOiJub25lIn0.e30.", &format!("/x/{prefix}abc")];
            for text in texts.into_iter().filter(|text| mask.is_clean(text)) {
                assert!(mask.find(text.as_bytes()).is_none() && layers(text.as_bytes()).next().is_none(), "{prefix}: {text}");
                assert!(!text.chars().any(char::is_control), "{text}");
            }
            assert!(mask.is_clean("/") && !mask.is_clean(&format!("/x/{prefix}abc")) && !mask.is_clean(&"a".repeat(LONGEST + 1)));
        }
    }

    #[test]
    fn a_value_is_one_line_of_at_most_a_kilobyte() {
        assert_eq!(cleaned("a\r\nb\u{7f}\u{85}"), "a\\x0d\\x0ab\\x7f\\x85");
        let long = cleaned(&"ü".repeat(2000));
        assert!(long.len() <= LONGEST + '…'.len_utf8());
    }
}
