//! What the cache knows, in a sealed file, so that a sidecar that starts while the store is away can serve the keys it knew. What is
//! read from it is as old as it was when it was certain, and ends with `stale_for` as ever. A file that cannot be used is no error:
//! the cache is empty then. It never holds up a look-up: files are written on a thread of their own.

mod place;
mod sealed;
mod turn;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::compile::secret_until;
use super::freshness::Began;
use super::held::{TenantSlot, TenantState};
use super::load::{Shared, Tenant};
use crate::clock::{Timestamp, instant};
use crate::config::sections::Config;
use crate::key::digest::{Digest, Peppers, StoredDigest};
use crate::key::record::{KeyRecord, KeyStatus};
pub(super) use place::Place;
use sealed::{Opener, Sealer};
pub(super) use turn::Turn;

/// How often the file is written while the store answers.
const EVERY: Duration = Duration::from_mins(1);
/// How long after a change of what is in it.
const SOON: Duration = Duration::from_secs(1);
/// A file that took long to write is written that many times its duration apart.
const EASE: u32 = 10;
/// Longest line: a record, and what is before it.
const LINE_MAX: u64 = (256 << 10) + (4 << 10);
const FORMAT: u32 = 1;

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    /// Who wrote it.
    instance: String,
}

/// The file.
pub(super) struct Snapshot {
    path: PathBuf,
    peppers: Peppers,
    /// Who writes it.
    instance: String,
    turn: Turn,
}

impl Snapshot {
    /// As configured; `None` = there is to be none.
    ///
    /// # Errors
    /// Without a pepper nothing can be sealed.
    pub(super) fn configured(config: &Config, peppers: &Peppers, instance: &str, turn: &Turn) -> Result<Option<Arc<Self>>, String> {
        let path = config.cache.snapshot_file.clone();
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        if peppers.is_empty() {
            return Err("cache.snapshot_file needs [store] pepper_file: its key is derived from the pepper".to_owned());
        }
        Ok(Some(Arc::new(Self { path, peppers: peppers.clone(), instance: instance.to_owned(), turn: turn.clone() })))
    }

    /// Reads the file into the cache, if that is needed. Answers who wrote it: as that process has not said goodbye to the store,
    /// this one must, once it can.
    pub(super) fn restore(&self, shared: &Shared, is_needed: bool) -> Option<String> {
        match self.try_restore(shared, is_needed) {
            Ok((instance, keys)) => {
                if is_needed {
                    tracing::warn!(file = %self.path.display(), keys, "the store is away: started with the keys of the snapshot");
                }
                Some(instance)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "the snapshot cannot be used; starting with an empty cache");
                None
            }
        }
    }

    fn try_restore(&self, shared: &Shared, is_needed: bool) -> io::Result<(String, usize)> {
        let mut file = File::open(&self.path)?;
        let (head, mut rest) = self.read_head(&file)?;
        if !is_needed {
            return Ok((head.instance, 0));
        }
        // Half a file is not used: its end is looked at before anything is made of its beginning.
        io::copy(&mut rest, &mut io::sink())?;
        file.rewind()?;
        let (head, rest) = self.read_head(&file)?;
        Ok((head.instance, shared.read_lines(rest)?))
    }

    fn read_head<'f>(&self, file: &'f File) -> io::Result<(Head, Opener<BufReader<&'f File>>)> {
        let mut rest = Opener::new(BufReader::new(file), self.peppers.snapshot_keys())?;
        let head: Head = serde_json::from_str(&next_line(&mut rest)?.unwrap_or_default())?;
        if head.format != FORMAT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("its format is {}, this release reads {FORMAT}", head.format)));
        }
        Ok((head, rest))
    }

    /// Writes the file anew, for ever: every minute, and soon after a change of what is in it.
    pub(super) async fn keep(self: &Arc<Self>, shared: &Arc<Shared>) -> Infallible {
        let (mut written, mut pause) = ((0, 0), SOON);
        loop {
            tokio::select! {
                () = shared.concerned.notified() => sleep(pause).await,
                () = sleep(EVERY) => {}
            }
            // As long as the store says nothing there is nothing new. Counted, not timed: clocks are set back.
            let news = (shared.freshness.contacts(), shared.place.withdrawn());
            if news != written {
                written = news;
                pause = SOON.max(EASE * self.save(shared).await);
            }
        }
    }

    /// Writes the file. Answers how long that took.
    pub(super) async fn save(self: &Arc<Self>, shared: &Arc<Shared>) -> Duration {
        let began = instant();
        // Who never met the store knows no more than the file that is there.
        if shared.freshness.contacts() == 0 {
            return Duration::ZERO;
        }
        let (file, shared) = (Arc::clone(self), Arc::clone(shared));
        let saved = tokio::task::spawn_blocking(move || file.write(&shared)).await;
        if let Err(error) = saved.map_err(io::Error::other).flatten() {
            tracing::warn!(file = %self.path.display(), %error, "the snapshot cannot be written");
        }
        began.elapsed()
    }

    fn write(&self, shared: &Shared) -> io::Result<()> {
        let turn = self.turn.hold();
        if !turn.is_here() {
            return Ok(());
        }
        let mut unfinished = self.path.clone().into_os_string();
        unfinished.push(".new");
        let unfinished = Path::new(&unfinished);
        match fs::remove_file(unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Before anything is looked at that is written.
        let withdrawn = shared.place.withdrawn();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished)?;
        let key = self.peppers.snapshot_keys().next().ok_or_else(|| io::Error::other("there is no pepper"))?;
        let mut out = Sealer::new(BufWriter::new(file), key)?;
        serde_json::to_writer(&mut out, &Head { format: FORMAT, instance: self.instance.clone() })?;
        out.write_all(b"\n")?;
        shared.write_lines(&mut out)?;
        out.finish()?.into_inner()?.sync_all()?;
        shared.place.put(unfinished, withdrawn)
    }
}

/// A line of the file.
enum Line {
    Tenant { id: String, certain_at: Timestamp, state: TenantState },
    Key { digest: Digest, certain_at: Timestamp, record: Box<KeyRecord> },
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        let (certain_at, rest) = rest.split_once(' ')?;
        let certain_at = Timestamp(certain_at.parse().ok()?);
        Some(match kind {
            "absent" => Self::Tenant { id: serde_json::from_str(rest).ok()?, certain_at, state: TenantState::Absent },
            "tenant" => {
                let record: Box<crate::tenant::TenantRecord> = serde_json::from_str(rest).ok()?;
                Self::Tenant { id: record.id.clone(), certain_at, state: TenantState::Found(record) }
            }
            "key" => {
                let (digest, record) = rest.split_once(' ')?;
                let digest = Digest(StoredDigest::from_hex(digest)?.0);
                Self::Key { digest, certain_at, record: serde_json::from_str(record).ok()? }
            }
            _ => return None,
        })
    }
}

fn next_line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    let length = from.by_ref().take(LINE_MAX).read_line(&mut line)?;
    if length > 0 && line.pop() != Some('\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
    }
    Ok((length > 0).then_some(line))
}

impl Shared {
    /// What is known and nothing has ended, tenants before their keys.
    fn write_lines(&self, out: &mut impl Write) -> io::Result<()> {
        let moment = self.freshness.moment(self.clock.now(), self.slots.floor());
        let mut tenants: HashMap<Arc<str>, bool> = HashMap::new();
        for (digest, entry) in self.caches.entries() {
            let Some(record) = entry.record().filter(|_| entry.is_current()) else { continue };
            let tenant = &entry.tenant;
            let is_written = if let Some(is_written) = tenants.get(&tenant.slot.id) {
                *is_written
            } else {
                let is_written = write_tenant(tenant, moment.certain_at(&tenant.reading), out)?;
                tenants.insert(Arc::clone(&tenant.slot.id), is_written);
                is_written
            };
            if is_written {
                let certain_at = moment.certain_at(&entry.reading).0;
                writeln!(out, "key {certain_at} {} {record}", StoredDigest(digest.0).to_hex())?;
            }
        }
        Ok(())
    }

    /// Puts back what was written. Answers how many keys that were.
    fn read_lines(&self, mut from: impl BufRead) -> io::Result<usize> {
        let mut tenants: HashMap<String, Tenant> = HashMap::new();
        let (epoch, mut keys) = (self.slots.epoch(), 0);
        while let Some(line) = next_line(&mut from)? {
            match Line::parse(&line) {
                None => {}
                Some(Line::Tenant { id, certain_at, state }) => {
                    let (tenant, state) = (self.slots.tenant(&id), Arc::new(state));
                    let began = Began { at: certain_at, epoch };
                    let said = (state.version(), false);
                    if let Ok(generation) = self.slots.settle(&tenant, tenant.slot.generation(), &state, said, began) {
                        tenants.insert(id, (tenant, generation, state));
                    }
                }
                Some(Line::Key { digest, certain_at, record }) => {
                    let until = self.peppers.candidates(&digest).find_map(|candidate| secret_until(&record, candidate));
                    let (began, is_revoked) = (Began { at: certain_at, epoch }, record.status == KeyStatus::Revoked);
                    if let (Some(until), Some(tenant)) = (until, tenants.get(&record.tenant))
                        && let Ok(key) = self.slots.settle_key(&record.id, record.version, is_revoked, began)
                    {
                        self.caches.keep(digest, Arc::new(self.assemble(&record, until, key, tenant.clone(), began)));
                        self.freshness.warmed_up(certain_at);
                        keys += 1;
                    }
                }
            }
        }
        Ok(keys)
    }
}

/// Whether there was something to write.
fn write_tenant(tenant: &TenantSlot, certain_at: Timestamp, out: &mut impl Write) -> io::Result<bool> {
    match tenant.state.load().as_deref() {
        Some(TenantState::Found(record)) => {
            write!(out, "tenant {} ", certain_at.0)?;
            serde_json::to_writer(&mut *out, record)?;
        }
        Some(TenantState::Absent) => {
            write!(out, "absent {} ", certain_at.0)?;
            serde_json::to_writer(&mut *out, &*tenant.slot.id)?;
        }
        Some(TenantState::Unusable(_)) | None => return Ok(false),
    }
    writeln!(out)?;
    Ok(true)
}
