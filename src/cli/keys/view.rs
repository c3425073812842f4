//! How records are shown: every field but the digests, which open nothing and help nobody.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::{Globals, output};
use crate::clock::Timestamp;
use crate::key::lifecycle::standing;
use crate::key::record::KeyRecord;

/// A key as JSON: `id` first, then the secret where it was just made.
pub(crate) fn key(record: &KeyRecord, secret: Option<&SecretString>, now: Timestamp) -> Map<String, Value> {
    let mut shown = Map::new();
    for (name, value) in fields(record) {
        match name.as_str() {
            "format" | "digest" => {}
            "previous" => drop(shown.insert("previous_until".into(), value.get("until").cloned().unwrap_or_default())),
            "id" => {
                shown.insert(name, value);
                shown.extend(secret.map(|secret| ("key".to_owned(), Value::from(secret.expose_secret()))));
            }
            // What the status comes to now: a key past its end is no active one.
            "status" => drop(shown.insert(name, standing(record, now).into())),
            _ => drop(shown.insert(name, value)),
        }
    }
    shown
}

/// A record's fields in their order.
pub(crate) fn fields(record: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(record) {
        Ok(Value::Object(mut fields)) => {
            fields.shift_remove("format");
            fields
        }
        Ok(_) | Err(_) => Map::new(),
    }
}

/// One record: JSON on request, else `name value` lines.
pub(crate) fn print(shown: &Map<String, Value>, globals: &Globals) {
    if globals.json {
        return output::json(shown);
    }
    let width = shown.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in shown.iter().filter(|(_, value)| !value.is_null()) {
        output::line(format_args!("{name:width$}  {}", word(value)));
    }
}

/// Many records: their ids, JSON, or a table of these columns.
pub(crate) fn print_list(list: &[Map<String, Value>], columns: &[&str], globals: &Globals) {
    let cell = |shown: &Map<String, Value>, column: &str| shown.get(column).map(word).unwrap_or_default();
    if globals.quiet {
        for shown in list {
            output::line(cell(shown, "id"));
        }
    } else if globals.json {
        output::json(&list);
    } else {
        output::table(columns, list.iter().map(|shown| columns.iter().map(|column| cell(shown, column)).collect()));
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "none".into(),
        Value::Array(list) => list.iter().map(word).collect::<Vec<_>>().join(if list.iter().any(has_space) { ", " } else { " " }),
        Value::Object(map) => map.iter().map(|(name, value)| format!("{name}={}", word(value))).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn has_space(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains(' '))
}
