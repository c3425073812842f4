//! What commands print: lines, tables on a terminal, tab-separated columns into a pipe, JSON on request.
//! A reader that went away (`sidegate keys list | head -1`) ends the output, not the process with a panic.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

/// One line on stdout.
pub fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// One line on stderr: narration, not result.
pub fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A value as indented JSON.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(text),
        Err(error) => note(format_args!("sidegate: {error}")),
    }
}

/// Rows under a header: a table on a terminal, else tab-separated without header.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    if !std::io::stdout().is_terminal() {
        for row in rows {
            line(row.join("\t"));
        }
        return;
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    line(table.trim_fmt());
}
