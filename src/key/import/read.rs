//! The lines of an import file: NDJSON, or CSV with a header. Each is read on its own, so that one bad line hides no other.

use serde_json::error::Category;
use serde_json::{Map, Value};

use super::entry::Entry;

/// A line: its number, and what it says or what is wrong with it.
pub(super) type Line = (u64, Result<Entry, String>);

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a line.
    Ndjson,
    /// Columns named as the fields. Lists: `scopes`, `ip_allowlist`, `referrers` separated by spaces, `endpoints` by `;`;
    /// `meta.NAME` is metadata; an empty cell is an absent field.
    Csv,
}

impl Form {
    /// By the file's name, else by its first character.
    #[must_use]
    pub fn of(name: &str, text: &[u8]) -> Self {
        let ends = |end: &str| name.len() > end.len() && name.to_ascii_lowercase().ends_with(end);
        let json = matches!(text.trim_ascii_start().first(), Some(b'{' | b'['));
        if ends(".csv") || (!json && !ends(".ndjson") && !ends(".jsonl") && !ends(".json")) { Self::Csv } else { Self::Ndjson }
    }
}

pub(super) fn read(form: Form, text: &[u8]) -> Vec<Line> {
    match form {
        Form::Ndjson => ndjson(text),
        Form::Csv => csv(text),
    }
}

fn ndjson(text: &[u8]) -> Vec<Line> {
    if text.trim_ascii_start().starts_with(b"[") {
        return vec![(1, Err("a JSON array: NDJSON is one object a line, as `jq -c '.[]'` makes of it".into()))];
    }
    (1..)
        .zip(text.split(|byte| *byte == b'\n'))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(number, line)| (number, object_of(line)))
        .collect()
}

fn object_of(line: &[u8]) -> Result<Entry, String> {
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err("not a JSON object".into());
    }
    serde_json::from_slice(line).map_err(|error| match error.classify() {
        Category::Syntax | Category::Eof => format!("not JSON (column {})", error.column()),
        Category::Data | Category::Io => words(&error),
    })
}

/// serde's words without its own line, which is always the first.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((words, _)) => format!("{words} (column {})", error.column()),
        None => text,
    }
}

fn csv(text: &[u8]) -> Vec<Line> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return vec![(1, Err(error.to_string()))],
    };
    let line_of = |position: Option<&csv::Position>| position.map_or(0, csv::Position::line);
    reader
        .records()
        .map(|row| match row {
            Ok(row) => {
                let fields = header.iter().zip(row.iter()).filter(|(_, cell)| !cell.is_empty());
                let value = object(fields);
                (line_of(row.position()), value.and_then(|value| Entry::from_value(value).map_err(|error| error.to_string())))
            }
            Err(error) => (line_of(error.position()), Err(not_a_row(&error))),
        })
        .collect()
}

/// The reader's own words would number rows, and repeat them.
fn not_a_row(error: &csv::Error) -> String {
    if let csv::ErrorKind::UnequalLengths { expected_len, len, .. } = error.kind() {
        return format!("{len} {}, the header has {expected_len}", if *len == 1 { "field" } else { "fields" });
    }
    "not a row of the header's columns in UTF-8".into()
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Value, String> {
    let list =
        |parts: &mut dyn Iterator<Item = &str>| Value::from(parts.map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>());
    let (mut object, mut metadata) = (Map::new(), Map::new());
    for (name, cell) in fields {
        // Neither has a comma in it, so that one can only be meant to separate.
        if matches!(name, "scopes" | "ip_allowlist" | "referrers") && cell.contains(',') {
            return Err(format!("column `{name}`: separate the entries of a list by spaces"));
        }
        let (into, name, value) = match (name, name.strip_prefix("meta.")) {
            (_, Some(name)) => (&mut metadata, name, Value::from(cell)),
            ("scopes" | "ip_allowlist" | "referrers", _) => (&mut object, name, list(&mut cell.split_whitespace())),
            ("endpoints", _) => (&mut object, name, list(&mut cell.split(';'))),
            _ => (&mut object, name, Value::from(cell)),
        };
        if into.insert(name.to_owned(), value).is_some() {
            return Err(format!("column `{name}` is there twice"));
        }
    }
    if !metadata.is_empty() {
        object.insert("metadata".into(), metadata.into());
    }
    Ok(object.into())
}

impl Entry {
    fn from_value(value: Value) -> serde_json::Result<Self> {
        serde_json::from_value(value)
    }
}
