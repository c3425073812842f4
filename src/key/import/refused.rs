//! What is kept of a refused row: why, and what it said, so that it can be mended and imported again. Never its secret:
//! only fields that are known to hold none are shown, without what looks like a key; the key itself is named by prefix and fingerprint.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::digest;
use crate::config::sections::KeyKind;
use crate::key::digest::{Digest, Peppers};
use crate::key::export::{COLUMNS, Row};
use crate::key::record::KeyRecord;
use crate::telemetry::mask::Mask;

/// Fields of other systems' objects that hold no secret; nor does any [column of ours](COLUMNS) but the digest.
const FOREIGN: [&str; 21] = [
    "keyId",
    "externalId",
    "ownerId",
    "identity",
    "enabled",
    "expires",
    "createdAt",
    "updatedAt",
    "lastUsedAt",
    "meta",
    "permissions",
    "roles",
    "credits",
    "ratelimits",
    "ratelimit",
    "remaining",
    "refill",
    "apiId",
    "consumer",
    "tags",
    "ttl",
];
const LEFT_OUT: &str = "(left out)";
/// What stands for stdout in the place of a path.
pub const STDOUT: &str = "-";

/// Why a row was refused, and what may be shown of it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: String,
    entry: Option<Map<String, Value>>,
}

impl Refusal {
    /// Of a row that says nothing.
    pub(super) fn unread(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), entry: None }
    }
}

/// Fields of objects within that hold one.
const NEVER: [&str; 4] = ["key", "plaintext", "digest", "hash"];

/// Takes secrets out of what is shown.
#[derive(Clone)]
pub(super) struct Redact {
    mask: Arc<Mask>,
    /// Keys of this table may look like anything, and may be in any field of a row that is wrong.
    any_text_may_be_a_key: bool,
}

impl Redact {
    pub(super) fn new(kinds: &[KeyKind]) -> Self {
        let prefixes = kinds.iter().flat_map(|kind| {
            let current = [&kind.prefixes.live, &kind.prefixes.test].into_iter().flatten();
            current.chain(&kind.legacy_prefixes.live).chain(&kind.legacy_prefixes.test)
        });
        Self { mask: Arc::new(Mask::new(kinds)), any_text_may_be_a_key: prefixes.into_iter().any(String::is_empty) }
    }

    /// The result, or the refusal with what the row said.
    pub(super) fn keep<T>(&self, result: Result<T, String>, said: impl FnOnce() -> Option<Value>) -> Result<T, Refusal> {
        result.map_err(|reason| self.refusal(&reason, if self.any_text_may_be_a_key { None } else { said() }))
    }

    fn refusal(&self, reason: &str, said: Option<Value>) -> Refusal {
        let entry = match said {
            Some(Value::Object(fields)) => Some(fields.into_iter().map(|(name, value)| self.field(&name, value)).collect()),
            Some(_) | None => None,
        };
        Refusal { reason: self.text(reason), entry }
    }

    /// Of a row that became a record, shown as an export would write it.
    pub(super) fn refused_record(&self, reason: &str, record: &KeyRecord, peppers: &Peppers) -> Refusal {
        self.refusal(reason, serde_json::to_value(Row::of(record, false, peppers)).ok())
    }

    fn field(&self, name: &str, value: Value) -> (String, Value) {
        let shown = match (name, value) {
            ("key" | "plaintext", Value::String(key)) => format!("fingerprint {}", Digest::of(key.as_bytes()).fingerprint()).into(),
            // A key in its place is none; and one that could be read as base64 begins as keys do.
            ("digest", Value::String(text)) if digest::is_one(&text) => self.text(&text).into(),
            ("digest", _) => LEFT_OUT.into(),
            (known, value) if COLUMNS.contains(&known) || FOREIGN.contains(&known) || known.starts_with("meta.") => self.value(value),
            _ => LEFT_OUT.into(),
        };
        (self.text(name), shown)
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => self.text(&text).into(),
            Value::Array(list) => list.into_iter().map(|value| self.value(value)).collect(),
            Value::Object(fields) => {
                let shown = |(name, value): (String, Value)| {
                    let value = if NEVER.contains(&name.as_str()) { LEFT_OUT.into() } else { self.value(value) };
                    (self.text(&name), value)
                };
                fields.into_iter().map(shown).collect::<Map<_, _>>().into()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = Cow::Borrowed(text);
        self.mask.apply(&mut text);
        text.into_owned()
    }
}

/// The file of refused rows. It is made when there is something to say.
pub(super) struct RejectsFile {
    path: Option<PathBuf>,
    file: Option<BufWriter<File>>,
}

#[derive(Serialize)]
struct Rejected<'a> {
    line: u64,
    reason: &'a str,
    entry: &'a Option<Map<String, Value>>,
}

impl RejectsFile {
    /// `None` = none is kept.
    pub(super) const fn new(path: Option<PathBuf>) -> Self {
        Self { path, file: None }
    }

    pub(super) fn write(&mut self, line: u64, refusal: &Refusal) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        let words = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::new(create(path).map_err(words)?)),
        };
        let text =
            serde_json::to_string(&Rejected { line, reason: &refusal.reason, entry: &refusal.entry }).map_err(|error| error.to_string())?;
        writeln!(file, "{text}").map_err(words)
    }

    /// Writes what is still in memory; answers where it all is. Where nothing was refused, the file of a run before is old.
    pub(super) fn finish(mut self) -> Result<Option<PathBuf>, String> {
        let Some(path) = self.path else { return Ok(None) };
        let words = |error: std::io::Error| format!("{}: {error}", path.display());
        match self.file.take() {
            Some(mut file) => file.flush().map_err(words)?,
            None => return clear(&path).map(|()| None).map_err(words),
        }
        Ok(Some(path))
    }
}

/// A file of our own making, that nobody else has open and no link leads to; or a device or pipe that is there; or stdout, where
/// nothing is writable that somebody could read later.
fn create(path: &Path) -> std::io::Result<File> {
    if path.as_os_str() == STDOUT {
        return std::io::stdout().as_fd().try_clone_to_owned().map(File::from);
    }
    clear(path)?;
    match path.symlink_metadata() {
        Ok(there) if there.file_type().is_char_device() || there.file_type().is_fifo() => OpenOptions::new().write(true).open(path),
        _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(path),
    }
}

/// Removes the file of a run before.
fn clear(path: &Path) -> std::io::Result<()> {
    if path.as_os_str() != STDOUT && path.symlink_metadata().is_ok_and(|there| there.is_file()) {
        std::fs::remove_file(path)
    } else {
        Ok(())
    }
}
