//! The rows of an import file: NDJSON, or CSV with a header. Each is read on its own, so that one bad row hides no other,
//! and what is refused is handed on without its secret.

use std::io;

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::Origin;
use super::csv::{self, Csv};
use super::entry::Entry;
use super::foreign::{Kong, Unkey};
use super::lines::{LINE_MAX, Line, Lines};
use super::refused::{Redact, Refusal};

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// One JSON object a line
    Ndjson,
    /// Columns named as the fields, the first row their names
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

/// A file, row by row.
pub(super) struct Rows {
    lines: Lines,
    origin: Origin,
    /// `None` = NDJSON.
    csv: Option<Csv>,
    redact: Redact,
    /// Why the file is no such file; told instead of its rows.
    unreadable: Option<&'static str>,
    /// Whether no further row would say anything.
    over: bool,
    /// The row read last. It may hold a secret.
    row: Zeroizing<Vec<u8>>,
}

/// A row's number, and what became of it.
pub(super) type Read<T> = (u64, Result<T, Refusal>);

impl Rows {
    pub(super) fn new(mut lines: Lines, name: &str, origin: Origin, redact: Redact) -> io::Result<Self> {
        let start = lines.peek()?;
        let form = Form::of(name, start);
        let unreadable = if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
            Some("the file is in UTF-16; it must be UTF-8")
        } else if form == Form::Ndjson && start.trim_ascii_start().starts_with(b"[") {
            Some("a JSON array: NDJSON is one object a line, as `jq -c '.[]'` makes of it")
        } else if form == Form::Csv && origin != Origin::Sidegate && !start.is_empty() {
            Some("objects of other systems are read from NDJSON, one a line")
        } else {
            None
        };
        let csv = (form == Form::Csv).then(Csv::default);
        Ok(Self { lines, origin, csv, redact, unreadable, over: false, row: Zeroizing::default() })
    }

    /// Bytes of the file read so far.
    pub(super) const fn bytes(&self) -> u64 {
        self.lines.bytes
    }

    /// Whether the file was given up before its end.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// The next row, as what `take` makes of it; `None` = there is none.
    pub(super) fn next<T>(&mut self, take: impl FnOnce(Entry) -> Result<T, String>) -> io::Result<Option<Read<T>>> {
        if let Some(why) = self.unreadable.take() {
            self.over = true;
            return Ok(Some((1, Err(Refusal::unread(why)))));
        }
        while !self.over {
            self.row.clear();
            let Some(line) = self.lines.next(&mut self.row)? else { return Ok(None) };
            let first = self.lines.number;
            let too_long = || Some((first, Err(Refusal::unread(format!("longer than {LINE_MAX} bytes")))));
            if matches!(line, Line::TooLong) {
                return Ok(too_long());
            }
            if self.row.trim_ascii().is_empty() {
                continue;
            }
            let Some(csv) = &mut self.csv else { return Ok(Some((first, self.object(take)))) };
            if !csv::complete(&mut self.lines, &mut self.row)? {
                return Ok(too_long());
            }
            match csv.row(&self.row) {
                Ok(Some(value)) => return Ok(Some((first, self.redact.keep(take_value(&value, take), || Some(value))))),
                Ok(None) => {}
                Err(why) => {
                    self.over = !csv.has_header();
                    return Ok(Some((first, Err(Refusal::unread(why)))));
                }
            }
        }
        Ok(None)
    }

    fn object<T>(&self, take: impl FnOnce(Entry) -> Result<T, String>) -> Result<T, Refusal> {
        let line = self.row.as_slice();
        if !line.trim_ascii_start().starts_with(b"{") {
            return Err(Refusal::unread("not a JSON object"));
        }
        let entry = match self.origin {
            Origin::Sidegate => parse::<Entry>(line),
            Origin::Unkey => parse::<Unkey>(line).and_then(Entry::try_from),
            Origin::Kong => parse::<Kong>(line).and_then(Entry::try_from),
        };
        self.redact.keep(entry.and_then(take), || serde_json::from_slice(line).ok())
    }
}

fn take_value<T>(value: &Value, take: impl FnOnce(Entry) -> Result<T, String>) -> Result<T, String> {
    take(Entry::deserialize(value).map_err(|error| without_value(&error.to_string()))?)
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| match error.classify() {
        Category::Syntax | Category::Eof => format!("not JSON (column {})", error.column()),
        Category::Data | Category::Io => words(&error),
    })
}

/// serde's words without its own line, which is always the first.
fn words(error: &serde_json::Error) -> String {
    let text = without_value(&error.to_string());
    match text.rsplit_once(" at line ") {
        Some((words, _)) => format!("{words} (column {})", error.column()),
        None => text,
    }
}

/// serde's words without the value that they repeat: where columns are shifted, it is the key.
fn without_value(text: &str) -> String {
    let repeated = [
        ("string \"", "\", expected", "text, expected"),
        ("unknown variant `", "`, expected", "another word, expected"),
        ("`", "` is not a time", "not a time"),
    ];
    for (before, after, instead) in repeated {
        if let Some((head, rest)) = text.split_once(before)
            && let Some((_, tail)) = rest.rsplit_once(after)
        {
            return format!("{head}{instead}{tail}");
        }
    }
    text.to_owned()
}
