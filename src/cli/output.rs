//! What commands print: lines, tables on a terminal, tab-separated columns into a pipe, JSON on request.
//! A reader that went away (`sidegate keys list | head -1`) ends the output, not the process with a panic.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::Path;

use serde::Serialize;
use tempfile::NamedTempFile;

/// One line on stdout.
pub fn line(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// One line on stderr: narration, not result.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
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
    if !io::stdout().is_terminal() {
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

/// A file that only its owner can read. It appears when it is whole; one that was there stays until then.
///
/// # Errors
/// The file's, and whatever `write` answers.
pub fn file<T, E: From<io::Error>>(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<T, E>) -> Result<T, E> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut out = BufWriter::new(NamedTempFile::new_in(dir)?);
    let written = write(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(written)
}
