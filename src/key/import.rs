//! Many keys at once, from another system or another Sidegate. Two passes: the first reads the file, once, and settles for every row
//! what will become of it; the second writes, in batches. What is wrong with a row is told with its number and keeps no other out.
//! Doing it again does what is left: that is how an import that was killed is resumed.

mod check;
mod csv;
pub(crate) mod digest;
mod entry;
mod foreign;
mod input;
mod lines;
mod read;
mod refused;
mod scan;
mod spool;
mod tenants;
#[cfg(test)]
mod tests;
mod write;

use std::path::PathBuf;

use serde::Serialize;
use tokio::task::JoinSet;

pub(crate) use csv::NONE;
pub use input::Input;
pub use read::Form;
pub use refused::STDOUT;

use super::lifecycle::{Lifecycle, LifecycleError};
use super::record::{KeyRecord, KeyStatus};
use crate::config::sections::KeyKind;
use check::Pass;
use spool::Spool;

/// Rows that are read, checked, spooled and written together.
const BATCH: usize = 2000;
/// Requests under way at once where there is none for many: enough to hide the store's round trips.
const SIDE_BY_SIDE: usize = 64;
/// Refused rows that the report tells; all are in the file of refused rows.
const TOLD: usize = 20;

/// What becomes of a key that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnConflict {
    /// It stays as it is
    Skip,
    /// It becomes what the file says
    Update,
    /// It stays, and the line is refused
    Fail,
}

/// Whose objects a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Origin {
    /// Fields as they are called here
    Sidegate,
    /// Objects of Unkey's API: `keyId`, `hash`, `externalId`, `permissions`, …
    Unkey,
    /// key-auth credentials of Kong: `key`, `consumer`, `ttl`, …
    Kong,
}

/// How to import.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// Make tenants that are not there.
    pub create_tenants: bool,
    /// Keys that are there.
    pub on_conflict: OnConflict,
    /// A key that is there exactly as the file says was written before: no conflict.
    pub resume: bool,
    /// Write nothing.
    pub dry_run: bool,
    /// Whose objects these are.
    pub origin: Origin,
    /// Tenant of the rows that name none.
    pub tenant: Option<&'a str>,
    /// Where refused rows are kept.
    pub rejects: Option<PathBuf>,
    /// `[[key_kinds]]`: what must not be shown of a refused row.
    pub kinds: &'a [KeyKind],
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// New keys.
    pub imported: u64,
    /// Keys that became what the file says.
    pub updated: u64,
    /// Keys that were there.
    pub skipped: u64,
    /// Rows that were refused.
    pub refused: u64,
    /// New tenants.
    pub tenants_created: u64,
    /// The first of the rows that were refused.
    pub errors: Vec<LineError>,
    /// Where all of them are.
    pub rejects: Option<PathBuf>,
}

/// What is wrong with a line.
#[derive(Debug, Serialize)]
pub struct LineError {
    /// Its number, from 1.
    pub line: u64,
    /// Why it was refused.
    pub message: String,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// In the first pass.
    Checked {
        /// Rows so far.
        rows: u64,
        /// Bytes of the file so far.
        bytes: u64,
        /// Bytes of the file, where that is known.
        of: Option<u64>,
    },
    /// In the second pass.
    Written {
        /// Records so far.
        rows: u64,
        /// Records that are to be written.
        of: u64,
    },
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Nothing was written: the file cannot be read, or another one not be written.
    #[error("{0}")]
    File(String),
    /// Nothing was written: the store.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// What was written stays.
    #[error("{why}")]
    Interrupted {
        /// What came in between.
        why: Box<ImportError>,
        /// What was done so far.
        report: Box<Report>,
    },
}

impl Lifecycle {
    /// Imports a file.
    ///
    /// # Errors
    /// Those of the file and of the store; what is wrong with rows is in the report.
    pub async fn import(
        &self,
        input: Input,
        options: &Options<'_>,
        watch: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Report, ImportError> {
        let mut spool = Spool::new().map_err(ImportError::File)?;
        let mut pass = Pass::new(self, options);
        pass.check(input, &mut spool, watch).await?;
        pass.write(spool, watch).await
    }
}

/// Runs many pieces of work, some at once. Answers come in any order.
async fn side_by_side<I, T, F>(items: impl Iterator<Item = I>, work: impl Fn(I) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (mut running, mut done) = (JoinSet::new(), Vec::new());
    for item in items {
        if running.len() >= SIDE_BY_SIDE {
            done.extend(running.join_next().await);
        }
        running.spawn(work(item));
    }
    while let Some(result) = running.join_next().await {
        done.push(result);
    }
    done.into_iter().map(|result| result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))).collect()
}

/// What the file says, over what is there.
fn merge(new: KeyRecord, there: &KeyRecord) -> Result<KeyRecord, String> {
    if there.tenant != new.tenant {
        return Err(format!("key {} is of tenant {}", there.id, there.tenant));
    }
    if there.status == KeyStatus::Revoked && new.status != KeyStatus::Revoked {
        return Err(format!("key {} is revoked; that is for ever", there.id));
    }
    // A file that says another secret knows of the last rotation, or it would bring back the one that was replaced.
    let same_secret = new.digest == there.digest;
    if let Some(at) = there.rotated_at
        && !same_secret
        && new.rotated_at.is_none_or(|known| known < at)
    {
        return Err(format!(
            "key {} was rotated at {at}, which this line does not know: it would bring the replaced secret back",
            there.id
        ));
    }
    Ok(KeyRecord {
        id: there.id.clone(),
        created_at: there.created_at,
        created_by: there.created_by.clone(),
        rotated_at: if same_secret { there.rotated_at } else { new.rotated_at },
        previous: there.previous.clone().filter(|_| same_secret),
        last_used: there.last_used,
        last_used_from: there.last_used_from.clone(),
        exposed: there.exposed,
        version: there.version + 1,
        unknown: there.unknown.clone(),
        ..new
    })
}
