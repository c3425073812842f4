//! Bodies of JSON, as callers send them: no list where an object is meant, no name twice at any depth, nothing behind it. Serde would
//! read a list as a struct by the places of its members, and of a doubled name in a map keep the last.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Why a body cannot be read.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// Path of the field; empty = the whole.
    pub(crate) field: String,
    /// What is wrong with it; may quote what stands there.
    pub(crate) error: serde_json::Error,
}

/// Reads a body that is an object.
///
/// # Errors
/// What is wrong first.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Wrong> {
    parse::<Sound>(body)?;
    // Only one would be read as something that it is not.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Wrong { field: String::new(), error: serde_json::Error::custom("a list, where an object is needed") });
    }
    parse(body)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Wrong> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| Wrong::at(&error.path().to_string(), error.into_inner()))?;
    reader.end().map_err(|error| Wrong::at("", error))?;
    Ok(read)
}

impl Wrong {
    /// By the path as it is tracked.
    pub(crate) fn at(path: &str, error: serde_json::Error) -> Self {
        Self { field: if matches!(path, "." | "?") { String::new() } else { path.to_owned() }, error }
    }
}

/// Any value in which no name stands twice.
struct Sound;

/// The value of a name that stood there before: none is right.
struct Twice;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self)
    }
}

impl<'de> Deserialize<'de> for Twice {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("it is there twice"))
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = entries.next_key::<String>()? {
            if names.insert(name) {
                entries.next_value::<Self>()?;
            } else {
                entries.next_value::<Twice>()?;
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Body {
        name: String,
        words: BTreeMap<String, String>,
        any: serde_json::Value,
    }

    fn wrong(body: &str) -> (String, String) {
        let wrong = read::<Body>(body.as_bytes()).unwrap_err();
        (wrong.field, wrong.error.to_string())
    }

    #[test]
    fn a_list_is_no_object_whatever_stands_in_it() {
        for list in ["[]", " [\"x\"]", "[\"x\",{},null]", "[\"x\",[],{}]"] {
            let (field, why) = wrong(list);
            assert!(field.is_empty() && why.contains("a list"), "{list}: {why}");
        }
        assert_eq!(read::<Body>(b" {} ").unwrap(), Body::default());
        assert_eq!(read::<Option<Body>>(b"null").unwrap(), None);
        for other in ["\"x\"", "1", "true", "null", "", "{", "{} x"] {
            assert!(read::<Body>(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_told_by_its_place_at_any_depth_and_in_any_spelling() {
        for (body, place) in [
            (r#"{"name":"a","name":"a"}"#, "name"),
            (r#"{"words":{"a":"1","a":"2"}}"#, "words.a"),
            (r#"{"words":{"a":"1","\u0061":"2"}}"#, "words.a"),
            (r#"{"any":[{"b":{"c":1,"c":1}}]}"#, "any[0].b.c"),
        ] {
            let (field, why) = wrong(body);
            assert!(field == place && why.starts_with("it is there twice"), "{body}: {field}: {why}");
        }
        assert!(read::<Body>(br#"{"words":{"a":"1","A":"1"},"any":[{"b":1},{"b":1.5},-1,null,true]}"#).is_ok());
    }
}
