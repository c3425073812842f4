//! What an event says that was changed, in a line for people. Events are input: fields of other releases are said like any other.

use serde_json::{Map, Value};

use super::Event;

/// What of a new record is said; the rest is with the record.
const TELLING: [&str; 6] = ["name", "environment", "kind", "scopes", "expires_at", "last4"];

/// What differs, in words.
#[must_use]
pub fn changed(event: &Event) -> String {
    let words: Vec<String> = match (&event.before, &event.after) {
        (Some(before), Some(after)) => {
            let gone = before.iter().filter(|(name, _)| !after.contains_key(*name));
            let changed = after.iter().map(|(name, value)| differs(name, before.get(name), Some(value)));
            changed.chain(gone.map(|(name, value)| differs(name, Some(value), None))).collect()
        }
        (None, Some(record)) | (Some(record), None) => telling(record),
        (None, None) => Vec::new(),
    };
    words.join(", ")
}

fn telling(record: &Map<String, Value>) -> Vec<String> {
    let said = TELLING.iter().filter_map(|name| Some(format!("{name} {}", word(record.get(*name)?))));
    said.collect()
}

fn differs(name: &str, before: Option<&Value>, after: Option<&Value>) -> String {
    if let (Some(Value::Array(before)), Some(Value::Array(after))) = (before, after) {
        let added = after.iter().filter(|entry| !before.contains(entry)).map(|entry| format!("+{}", word(entry)));
        let gone = before.iter().filter(|entry| !after.contains(entry)).map(|entry| format!("-{}", word(entry)));
        return std::iter::once(name.to_owned()).chain(added).chain(gone).collect::<Vec<_>>().join(" ");
    }
    let words = |value: Option<&Value>| value.map_or_else(|| "not set".to_owned(), word);
    format!("{name} {} -> {}", words(before), words(after))
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "none".into(),
        Value::Array(list) => list.iter().map(word).collect::<Vec<_>>().join(" "),
        Value::Object(map) => map.iter().map(|(name, value)| format!("{name}={}", word(value))).collect::<Vec<_>>().join(" "),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Action, Actor};
    use crate::clock::Timestamp;
    use crate::key::record::{KeyRecord, KeyStatus};
    use crate::store::contract::key;

    fn said(before: Option<&KeyRecord>, after: &KeyRecord) -> String {
        changed(&Event::of(&Actor::local("cli"), Action::Update, Timestamp(0), before, after))
    }

    #[test]
    fn what_differs_is_said_and_lists_by_what_came_and_went() {
        let before = KeyRecord { scopes: vec!["read:a".into(), "read:b".into()], ..key("key_1", "acme", "s1") };
        let after = KeyRecord {
            scopes: vec!["read:b".into(), "write:c".into()],
            status: KeyStatus::Revoked,
            expires_at: Some(Timestamp(0)),
            ..before.clone()
        };
        assert_eq!(
            said(Some(&before), &after),
            "scopes +write:c -read:a, status active -> revoked, expires_at not set -> 1970-01-01T00:00:00Z"
        );
        assert_eq!(said(Some(&before), &before), "");
        assert_eq!(said(None, &before), "name ci, environment live, kind secret, scopes read:a read:b, last4 abcd");
    }
}
