//! The tree as a serde data format. Stricter than serde's habit in one point: what is a table in the schema is a table in
//! the file, never a list of its values in order (`[[identity]]` would else pass for `[identity]` and mean something else).

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::tree::{Node, Value};

/// A node to be deserialised.
#[derive(Clone, Copy)]
pub(super) struct Typed<'a>(pub(super) &'a Node);

impl IntoDeserializer<'_, Error> for Typed<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl Typed<'_> {
    fn expected(self, what: &str) -> Error {
        let found = match &self.0.value {
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Scalar(value) => format!("{} `{value}`", value.type_str()),
        };
        Error::custom(format_args!("expected {what}, found {found}"))
    }
}

impl<'de> Deserializer<'de> for Typed<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::List(list) => visitor.visit_seq(SeqDeserializer::new(list.iter().map(Typed))),
            Value::Table(table) => {
                visitor.visit_map(MapDeserializer::new(table.entries.iter().map(|(key, node)| (key.as_str(), Typed(node)))))
            }
            Value::Scalar(toml::Value::String(text)) => visitor.visit_str(text),
            Value::Scalar(toml::Value::Integer(number)) => visitor.visit_i64(*number),
            Value::Scalar(toml::Value::Float(number)) => visitor.visit_f64(*number),
            Value::Scalar(toml::Value::Boolean(yes)) => visitor.visit_bool(*yes),
            Value::Scalar(other) => Err(Error::custom(format_args!("unexpected {}", other.type_str()))),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Table(_) => self.deserialize_any(visitor),
            Value::List(_) | Value::Scalar(_) => Err(self.expected("a table")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let word = self.0.as_str().ok_or_else(|| self.expected("a string"))?;
        visitor.visit_enum(word.into_deserializer())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}
