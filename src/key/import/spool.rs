//! What the first pass leaves to the second: the records that are to be written, in a file without a name that only this process
//! can read and that is gone with it. Records hold digests; no secret ever reaches the disk.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek as _, Write as _};

use serde::{Deserialize, Serialize};

use crate::key::record::KeyRecord;

/// A record that is to be written, and the row it is from.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Candidate {
    pub(super) line: u64,
    pub(super) record: KeyRecord,
    /// Whether the file names its id; else ours may be dropped for the one that is there.
    pub(super) named: bool,
    /// The digests that a key with its secret may have from the time of another pepper.
    pub(super) elsewhere: Vec<String>,
}

/// What is to be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum Plan {
    /// No key is in its way.
    New,
    /// One is, and is to become what the file says.
    Update,
}

/// The file, being written.
pub(super) struct Spool {
    file: BufWriter<File>,
    pub(super) entries: u64,
}

/// The file, being read.
pub(super) struct Planned(io::Lines<BufReader<File>>);

impl Spool {
    pub(super) fn new() -> Result<Self, String> {
        let file = tempfile::tempfile().map_err(|error| format!("no temporary file in {}: {error}", std::env::temp_dir().display()))?;
        Ok(Self { file: BufWriter::new(file), entries: 0 })
    }

    pub(super) fn push(&mut self, plan: Plan, candidate: &Candidate) -> Result<(), String> {
        let line = serde_json::to_string(&(plan, candidate)).map_err(|error| error.to_string())?;
        self.entries += 1;
        writeln!(self.file, "{line}").map_err(full)
    }

    pub(super) fn read(self) -> Result<Planned, String> {
        let mut file = self.file.into_inner().map_err(|error| full(error.into_error()))?;
        file.rewind().map_err(full)?;
        Ok(Planned(BufReader::new(file).lines()))
    }
}

impl Planned {
    /// At most `n` more.
    pub(super) fn next(&mut self, n: usize) -> Result<Vec<(Plan, Candidate)>, String> {
        let parse = |line: io::Result<String>| serde_json::from_str(&line.map_err(full)?).map_err(|error| error.to_string());
        self.0.by_ref().take(n).map(parse).collect()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn full(error: io::Error) -> String {
    format!("the temporary file in {} (about 600 bytes a key): {error}", std::env::temp_dir().display())
}
