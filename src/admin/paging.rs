//! Lists: so many at once, and a cursor behind the last. A cursor is opaque to callers, and what they make up of one is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};

use super::input::number;

/// Most records of a page.
const LIMIT_MAX: usize = 1000;
/// Records of a page where nobody says how many.
const LIMIT: usize = 100;

/// How many records a page has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(pub(super) usize);

/// A place in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor(pub(super) String);

impl Default for Limit {
    fn default() -> Self {
        Self(LIMIT)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match number(from)? {
            limit @ 1..=LIMIT_MAX => Ok(Self(limit)),
            limit => Err(serde::de::Error::custom(format_args!("`{limit}`: a page has 1 to {LIMIT_MAX}"))),
        }
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::read(&text).ok_or_else(|| serde::de::Error::custom("this is no cursor: take the one that the page before named as `next`"))
    }
}

impl Cursor {
    /// Reads what [`told`] wrote.
    pub(super) fn read(text: &str) -> Option<Self> {
        let place = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        // No place has control characters.
        (!place.is_empty() && !place.chars().any(char::is_control)).then_some(Self(place))
    }
}

/// A place, as callers are told it.
pub(super) fn told(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_was_told_reads_back_and_another_does_not() {
        let read = |text: &str| serde_json::from_value::<Cursor>(text.into());
        assert_eq!(read(&told("0001:key_1")).unwrap(), Cursor("0001:key_1".into()));
        for none in ["", "0001:key_1", "%", &told("\n"), &URL_SAFE_NO_PAD.encode(b"\xff")] {
            assert!(read(none).is_err(), "{none}");
        }
    }

    #[test]
    fn a_page_has_one_to_a_thousand() {
        let read = |text: &str| serde_json::from_value::<Limit>(text.into()).map(|limit| limit.0).ok();
        assert_eq!((read("1"), read("1000"), read("0"), read("1001"), read("x"), read("")), (Some(1), Some(1000), None, None, None, None));
    }
}
