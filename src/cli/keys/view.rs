//! How records are printed: as JSON on request, as `name value` lines, as a table.

use serde_json::{Map, Value};

use crate::cli::desk::{Changed, text};
use crate::cli::edit::Edit;
use crate::cli::{Globals, output};

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

/// A record that was changed, and what its maker should know.
pub(in crate::cli) fn print_changed(edit: &Edit, changed: Changed, globals: &Globals) {
    print_record(&changed.shown, globals);
    for warning in edit.remarks(changed.before, changed.after).iter().chain(&changed.hints) {
        output::note(format_args!("warning: {warning}"));
    }
}

/// One record, or its id alone.
pub(crate) fn print_record(shown: &Map<String, Value>, globals: &Globals) {
    if globals.quiet {
        output::line(text(shown, "id"));
    } else {
        print(shown, globals);
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
