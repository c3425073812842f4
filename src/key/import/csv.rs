//! The rows of a CSV file as the objects that NDJSON has. Lists: `scopes`, `ip_allowlist`, `referrers` separated by spaces,
//! `endpoints` by `;`, the word `none` for an allowlist without entries; `metadata` and `rate_limit` hold JSON, `meta.NAME` one word of metadata;
//! an empty cell is an absent field.

use std::io;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::lines::{LINE_MAX, Line, Lines};
use crate::key::export::COLUMNS;

/// The cell of an allowlist without entries: nothing is allowed. An empty cell would read as absent, which allows anything.
pub(crate) const NONE: &str = "none";

/// A CSV file that is being read.
pub(super) struct Csv {
    parser: Reader,
    header: Vec<String>,
}

impl Default for Csv {
    fn default() -> Self {
        // Lines are told apart before; a carriage return that is left is text.
        Self { parser: ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build(), header: Vec::new() }
    }
}

impl Csv {
    pub(super) const fn has_header(&self) -> bool {
        !self.header.is_empty()
    }

    /// The object that a row says; `None` = it was the header.
    pub(super) fn row(&mut self, row: &[u8]) -> Result<Option<Value>, String> {
        let cells = self.cells(row)?;
        if !self.has_header() {
            if !cells.iter().any(|name| name == "key" || name == "digest") {
                return Err("the first row must name the columns, `key` or `digest` among them".into());
            }
            if let Some(name) = cells.iter().find(|name| *name != "key" && !name.starts_with("meta.") && !COLUMNS.contains(&name.as_str()))
            {
                return Err(format!("no field is called `{}`", name.escape_debug()));
            }
            self.header = cells;
            return Ok(None);
        }
        if cells.len() != self.header.len() {
            let (len, expected) = (cells.len(), self.header.len());
            return Err(format!("{len} {}, the header has {expected}", if len == 1 { "field" } else { "fields" }));
        }
        object(self.header.iter().zip(&cells).filter(|(_, cell)| !cell.is_empty())).map(Some)
    }

    fn cells(&mut self, row: &[u8]) -> Result<Vec<String>, String> {
        let mut text = Zeroizing::new(vec![0; row.len() + 1]);
        let mut ends = vec![0; memchr::memchr_iter(b',', row).count() + 1];
        self.parser.reset();
        let (mut result, _, mut written, mut ended) = self.parser.read_record(row, &mut text, &mut ends);
        if result == ReadRecordResult::InputEmpty {
            let (text, ends) = (text.get_mut(written..).unwrap_or_default(), ends.get_mut(ended..).unwrap_or_default());
            let (rest, _, more, further) = self.parser.read_record(&[], text, ends);
            (result, written, ended) = (rest, written + more, ended + further);
        }
        if result != ReadRecordResult::Record {
            return Err("not a row of CSV".into());
        }
        let text = text.get(..written).and_then(|text| str::from_utf8(text).ok()).ok_or("not UTF-8")?;
        let starts = std::iter::once(&0).chain(&ends);
        let cells = starts.zip(&ends).take(ended).map(|(start, end)| text.get(*start..*end).map(|cell| cell.trim().to_owned()));
        cells.collect::<Option<_>>().ok_or_else(|| "not UTF-8".into())
    }
}

/// Reads on to the line that ends the row, which quotes may hold together; `false` = it would be too long.
pub(super) fn complete(lines: &mut Lines, row: &mut Zeroizing<Vec<u8>>) -> io::Result<bool> {
    let mut at = At::Start;
    let mut seen = 0;
    loop {
        at = row.get(seen..).unwrap_or_default().iter().fold(at, |at, byte| at.behind(*byte));
        if at != At::Quoted {
            row.push(b'\n');
            return Ok(true);
        }
        seen = row.len();
        row.push(b'\n');
        match lines.next(row)? {
            Some(Line::Whole) if row.len() <= LINE_MAX => {}
            Some(Line::Whole | Line::TooLong) => return Ok(false),
            // An open quote at the end of the file: the parser takes what is there.
            None => return Ok(true),
        }
    }
}

/// Where in a row a byte is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Bare,
    Quoted,
    /// Behind a quote that ends the quoted part, or begins a quote in it.
    Closed,
}

impl At {
    const fn behind(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::Closed,
            (Self::Quoted, _) | (Self::Start | Self::Closed, b'"') => Self::Quoted,
            (_, b',') => Self::Start,
            (Self::Start | Self::Bare | Self::Closed, _) => Self::Bare,
        }
    }
}

fn object<'a>(fields: impl Iterator<Item = (&'a String, &'a String)>) -> Result<Value, String> {
    let (mut object, mut metadata) = (Map::new(), Map::new());
    for (name, cell) in fields {
        let (into, name, value) = match name.strip_prefix("meta.") {
            Some(name) => (&mut metadata, name, Value::from(cell.as_str())),
            None => (&mut object, name.as_str(), value(name, cell)?),
        };
        if into.insert(name.to_owned(), value).is_some() {
            return Err(format!("column `{}` is there twice", name.escape_debug()));
        }
    }
    if !metadata.is_empty() && object.insert("metadata".into(), metadata.into()).is_some() {
        return Err("give metadata in one column or in those of its names, not both".into());
    }
    Ok(object.into())
}

fn value(name: &str, cell: &str) -> Result<Value, String> {
    let list =
        |parts: &mut dyn Iterator<Item = &str>| Value::from(parts.map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>());
    Ok(match name {
        "ip_allowlist" | "referrers" | "endpoints" if cell == NONE => Value::Array(Vec::new()),
        // No entry of these has a comma in it, so that one can only be meant to separate.
        "scopes" | "ip_allowlist" | "referrers" if cell.contains(',') => {
            return Err(format!("column `{name}`: separate the entries of a list by spaces"));
        }
        "scopes" | "ip_allowlist" | "referrers" => list(&mut cell.split_whitespace()),
        "endpoints" => list(&mut cell.split(';')),
        "exposed" | "native" => Value::Bool(cell.parse().map_err(|_| format!("column `{name}`: true or false"))?),
        "metadata" | "rate_limit" => serde_json::from_str(cell).map_err(|_| format!("column `{name}`: not JSON"))?,
        _ => Value::from(cell),
    })
}
