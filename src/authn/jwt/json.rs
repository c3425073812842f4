//! JSON as security needs it: a name that stands twice in an object, at any depth, is refused, and so is what is nested deeper than
//! anything honest. Numbers that are no whole ones of 64 bits keep no value: nobody here may use them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Deepest nesting.
const DEPTH_MAX: usize = 16;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::authn) enum Json {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number that is not negative.
    Whole(u64),
    /// Any other number.
    Number,
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object.
    Object(Members),
}

/// The members of an object.
pub(in crate::authn) type Members = BTreeMap<String, Json>;

impl Json {
    /// Reads one object and nothing behind it.
    ///
    /// # Errors
    /// Why it is none; never what stands in it.
    pub(in crate::authn) fn object(bytes: &[u8]) -> Result<Members, String> {
        let mut source = serde_json::Deserializer::from_slice(bytes);
        let read = Depth(DEPTH_MAX).deserialize(&mut source).and_then(|value| source.end().map(|()| value));
        let read = read.map_err(|error| format!("not the JSON that is allowed here, at character {}: {}", error.column(), why(&error)))?;
        if let Self::Object(members) = read { Ok(members) } else { Err(format!("{}, not an object", read.kind())) }
    }

    /// The text that it is.
    #[must_use]
    pub(in crate::authn) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// What it is, for messages.
    #[must_use]
    pub(in crate::authn) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Whole(_) => "a number",
            Self::Number => "a negative, fractional or huge number",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Our own words, or the parser's class; its message may quote what stands there.
fn why(error: &serde_json::Error) -> &'static str {
    let text = error.to_string();
    [TWICE, DEEP].into_iter().find(|own| text.starts_with(own)).unwrap_or("syntax")
}

const TWICE: &str = "a member stands twice";
const DEEP: &str = "nested too deeply";

/// So many levels may still come.
struct Depth(usize);

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Depth {
    fn below<E: Error>(&self) -> Result<usize, E> {
        self.0.checked_sub(1).ok_or_else(|| E::custom(DEEP))
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Whole(number))
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Number)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Number)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Depth(below))? {
            list.push(item);
        }
        Ok(Json::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut members = Members::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Depth(below))?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_stands_twice_is_refused_at_any_depth_and_in_any_spelling() {
        assert_eq!(Json::object(br#"{"a":1,"b":[{"c":"x"}]}"#).unwrap().len(), 2);
        for bad in [r#"{"alg":1,"alg":2}"#, r#"{"alg":1,"\u0061lg":2}"#, r#"{"a":[{"b":{"c":1,"c":1}}]}"#] {
            assert!(Json::object(bad.as_bytes()).unwrap_err().contains(TWICE), "{bad}");
        }
    }

    #[test]
    fn sixteen_levels_are_read_and_no_more() {
        let nested = |levels: usize| format!("{}{}", "{\"a\":".repeat(levels) + "1", "}".repeat(levels));
        assert!(Json::object(nested(16).as_bytes()).is_ok());
        assert!(Json::object(nested(17).as_bytes()).unwrap_err().contains(DEEP));
        assert!(Json::object(nested(5000).as_bytes()).is_err());
    }

    #[test]
    fn only_whole_numbers_of_64_bits_have_a_value() {
        let number = |text: &str| Json::object(format!("{{\"n\":{text}}}").as_bytes()).unwrap().remove("n").unwrap();
        assert_eq!(number("18446744073709551615"), Json::Whole(u64::MAX));
        for other in ["-1", "1.0", "1e3", "18446744073709551616", "-0"] {
            assert_eq!(number(other), Json::Number, "{other}");
        }
    }

    #[test]
    fn what_is_not_one_object_is_refused_without_quoting_it() {
        for bad in
            ["", "[]", "\"secret\"", "{}{}", "{} x", "{\"a\":secret}", "{\"a\":1,}", "\u{feff}{}", "{\"a\":\"\\ud800\"}", "{\"a\":NaN}"]
        {
            let why = Json::object(bad.as_bytes()).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
        assert!(Json::object(b"{\"a\":\"\xff\"}").is_err());
    }
}
