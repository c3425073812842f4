//! Records as people are shown them, with the same field names everywhere: command line, management API, self-service.
//! No digest of a secret is among them; a secret only where it was just made.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};

use super::lifecycle::standing;
use super::record::{KeyRecord, PreviousSecret};
use crate::clock::Timestamp;

/// A key as JSON: `id` first, then the secret where it was just made.
#[must_use]
pub fn key(record: &KeyRecord, secret: Option<&SecretString>, now: Timestamp) -> Map<String, Value> {
    let mut shown = Map::new();
    for (name, value) in fields(record) {
        match name.as_str() {
            "format" | "digest" => {}
            "previous" if record.previous.as_ref().is_some_and(PreviousSecret::is_dead) => {}
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
#[must_use]
pub fn fields(record: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(record) {
        Ok(Value::Object(mut fields)) => {
            fields.shift_remove("format");
            fields
        }
        Ok(_) | Err(_) => Map::new(),
    }
}
