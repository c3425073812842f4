//! Many keys at once, from another system: checked line by line, written side by side. What is wrong with a line is told
//! with its number and keeps no other line out; the same file can be imported again.

mod entry;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use tokio::task::JoinSet;

pub use read::Form;

use super::lifecycle::{Lifecycle, LifecycleError};
use super::record::{KeyRecord, KeyStatus};
use crate::store::StoreError;
use crate::tenant::TenantRecord;
use crate::tenant::lifecycle::NewTenant;

/// Writes under way at once: enough to hide the store's round trips.
const SIDE_BY_SIDE: usize = 64;

/// What becomes of a key that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnConflict {
    /// It stays as it is.
    Skip,
    /// It becomes what the file says.
    Update,
    /// It stays, and the line is an error.
    Fail,
}

/// How to import.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Make tenants that are not there.
    pub create_tenants: bool,
    /// Keys that are there.
    pub on_conflict: OnConflict,
    /// Write nothing.
    pub dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// New keys.
    pub imported: usize,
    /// Keys that became what the file says.
    pub updated: usize,
    /// Keys that were there.
    pub skipped: usize,
    /// New tenants.
    pub tenants_created: usize,
    /// Lines that were refused.
    pub errors: Vec<LineError>,
}

/// What is wrong with a line.
#[derive(Debug, Serialize)]
pub struct LineError {
    /// Its number, from 1.
    pub line: u64,
    /// Why it was refused.
    pub message: String,
}

/// A record and the line it is from.
#[derive(Clone)]
struct Candidate {
    line: u64,
    record: KeyRecord,
    /// Whether the file names its id; else ours may be dropped for the one that is there.
    named: bool,
}

enum Outcome {
    Imported,
    Updated,
    Skipped,
}

/// How a line went.
type Written = (u64, Result<Outcome, LifecycleError>);

impl Report {
    fn refuse(&mut self, line: u64, message: impl Into<String>) {
        self.errors.push(LineError { line, message: message.into() });
    }
}

impl Lifecycle {
    /// Imports a file.
    ///
    /// # Errors
    /// The store's; what is wrong with lines is in the report.
    pub async fn import(&self, form: Form, text: &[u8], options: Options) -> Result<Report, LifecycleError> {
        let mut report = Report::default();
        let candidates = self.candidates(form, text, &mut report);
        let tenants = self.tenants_for(&candidates, options, &mut report).await?;
        let candidates = self.admissible(candidates, &tenants, &mut report).await?;
        let mut writes = JoinSet::new();
        for candidate in candidates {
            if writes.len() >= SIDE_BY_SIDE {
                note(writes.join_next().await, &mut report)?;
            }
            let this = self.clone();
            writes.spawn(async move { (candidate.line, this.import_one(candidate, options).await) });
        }
        while let Some(done) = writes.join_next().await {
            note(Some(done), &mut report)?;
        }
        report.errors.sort_by_key(|error| error.line);
        Ok(report)
    }

    /// The records of the good lines; no two of them the same key.
    fn candidates(&self, form: Form, text: &[u8], report: &mut Report) -> Vec<Candidate> {
        let now = self.clock.now();
        let (mut ids, mut digests) = (HashMap::new(), HashMap::new());
        let mut candidates = Vec::new();
        for (line, entry) in read::read(form, text) {
            let named = entry.as_ref().is_ok_and(|entry| entry.id.is_some());
            let record = match entry.and_then(|entry| entry.into_record(&self.rules, &self.peppers, &self.actor, now)) {
                Ok(record) => record,
                Err(why) => {
                    report.refuse(line, why);
                    continue;
                }
            };
            if let Some(first) = ids.insert(record.id.clone(), line) {
                report.refuse(line, format!("the same id as line {first}"));
            } else if let Some(first) = digests.insert(record.digest.clone(), line) {
                report.refuse(line, format!("the same key as line {first}"));
            } else {
                candidates.push(Candidate { line, record, named });
            }
        }
        candidates
    }

    /// The tenants that the records name, those included that are made for them.
    async fn tenants_for(
        &self,
        candidates: &[Candidate],
        options: Options,
        report: &mut Report,
    ) -> Result<HashMap<String, TenantRecord>, LifecycleError> {
        let mut by_tenant: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
        for candidate in candidates {
            by_tenant.entry(&candidate.record.tenant).or_default().push(candidate);
        }
        let mut known = HashMap::new();
        for (id, keys) in by_tenant {
            let made = match self.find_tenant(id).await {
                Err(LifecycleError::NoTenant(_)) if options.create_tenants => self.make_tenant(id, &keys, options, report).await,
                found => found,
            };
            match made {
                Ok(tenant) => drop(known.insert(id.to_owned(), tenant)),
                Err(LifecycleError::NoTenant(_)) => {}
                Err(LifecycleError::Invalid(why)) => report.refuse(keys.first().map_or(0, |key| key.line), why.join("; ")),
                Err(error) => return Err(error),
            }
        }
        Ok(known)
    }

    /// Makes a tenant for its keys, unless none of them will be written: then its record is only what they are checked against.
    async fn make_tenant(
        &self,
        id: &str,
        keys: &[&Candidate],
        options: Options,
        report: &mut Report,
    ) -> Result<TenantRecord, LifecycleError> {
        let new = NewTenant { id: id.to_owned(), ..NewTenant::default() };
        let tenant = self.new_tenant(new.clone(), true).await?;
        for candidate in keys.iter().filter(|candidate| self.rules.check_key(&candidate.record, &tenant).is_empty()) {
            match self.import_one((*candidate).clone(), Options { dry_run: true, ..options }).await {
                Ok(Outcome::Imported | Outcome::Updated) => {
                    report.tenants_created += 1;
                    return self.new_tenant(new, options.dry_run).await;
                }
                Err(LifecycleError::Store(error @ StoreError::Unavailable(_))) => return Err(error.into()),
                Ok(Outcome::Skipped) | Err(_) => {}
            }
        }
        Ok(tenant)
    }

    /// Those whose records may be written: tenant, restrictions, number of keys.
    async fn admissible(
        &self,
        candidates: Vec<Candidate>,
        tenants: &HashMap<String, TenantRecord>,
        report: &mut Report,
    ) -> Result<Vec<Candidate>, LifecycleError> {
        let mut room: HashMap<String, Room> = HashMap::new();
        let mut good = Vec::new();
        for candidate in candidates {
            let record = &candidate.record;
            let Some(tenant) = tenants.get(&record.tenant) else {
                report.refuse(candidate.line, format!("there is no tenant {} (--create-tenants makes it)", record.tenant.escape_debug()));
                continue;
            };
            let wrong = self.rules.check_key(record, tenant);
            if !wrong.is_empty() {
                report.refuse(candidate.line, wrong.join("; "));
                continue;
            }
            if !room.contains_key(&record.tenant) {
                room.insert(record.tenant.clone(), Room::of(&self.list_keys(Some(&record.tenant)).await?));
            }
            if room.get_mut(&record.tenant).is_some_and(|room| room.take(record) > self.rules.max_per_tenant) {
                let limit = self.rules.max_per_tenant;
                report.refuse(candidate.line, format!("tenant {} would have more than {limit} keys (keys.max_per_tenant)", record.tenant));
                continue;
            }
            good.push(candidate);
        }
        Ok(good)
    }

    async fn import_one(&self, candidate: Candidate, options: Options) -> Result<Outcome, LifecycleError> {
        let Candidate { record, named, .. } = candidate;
        let taken = match self.put_or_look(&record, options.dry_run).await {
            Ok(()) => return Ok(Outcome::Imported),
            Err(StoreError::Conflict { .. }) => record.id.clone(),
            Err(StoreError::DigestTaken { id }) if !named || options.on_conflict == OnConflict::Skip => id,
            Err(error) => return Err(error.into()),
        };
        match options.on_conflict {
            OnConflict::Skip => Ok(Outcome::Skipped),
            OnConflict::Fail => Err(LifecycleError::State(format!("key {taken} is there already"))),
            OnConflict::Update => {
                let merged = merge(record, self.find_key(&taken).await?)?;
                if !options.dry_run {
                    self.store.put_key(&merged).await?;
                }
                Ok(Outcome::Updated)
            }
        }
    }

    /// Writes a new record; in a dry run only looks whether that would succeed.
    async fn put_or_look(&self, record: &KeyRecord, dry_run: bool) -> Result<(), StoreError> {
        if !dry_run {
            return self.store.put_key(record).await.map(drop);
        }
        if let Some(there) = self.store.find_key(&record.id).await? {
            return Err(StoreError::Conflict { found: there.version });
        }
        let digest = super::digest::StoredDigest::from_hex(&record.digest);
        match digest {
            Some(digest) => {
                self.store.find_key_by_digest(&digest).await?.map_or(Ok(()), |there| Err(StoreError::DigestTaken { id: there.id }))
            }
            None => Ok(()),
        }
    }
}

/// What the file says, over what is there.
fn merge(new: KeyRecord, there: KeyRecord) -> Result<KeyRecord, LifecycleError> {
    if there.tenant != new.tenant {
        return Err(LifecycleError::State(format!("key {} is of tenant {}", there.id, there.tenant)));
    }
    if there.status == KeyStatus::Revoked && new.status != KeyStatus::Revoked {
        return Err(LifecycleError::State(format!("key {} is revoked; that is for ever", there.id)));
    }
    Ok(KeyRecord {
        id: there.id,
        created_at: there.created_at,
        created_by: there.created_by,
        rotated_at: there.rotated_at,
        last_used: there.last_used,
        last_used_from: there.last_used_from,
        exposed: there.exposed,
        version: there.version + 1,
        unknown: there.unknown,
        ..new
    })
}

/// How many keys a tenant has, and which, so that those of the file are not counted twice.
struct Room {
    count: usize,
    ids: HashSet<String>,
    digests: HashSet<String>,
}

impl Room {
    fn of(keys: &[KeyRecord]) -> Self {
        Self {
            count: keys.iter().filter(|key| key.status != KeyStatus::Revoked).count(),
            ids: keys.iter().map(|key| key.id.clone()).collect(),
            digests: keys.iter().map(|key| key.digest.clone()).collect(),
        }
    }

    /// The tenant's number of keys with this one.
    fn take(&mut self, record: &KeyRecord) -> usize {
        if record.status == KeyStatus::Revoked || self.ids.contains(&record.id) || self.digests.contains(&record.digest) {
            return 0;
        }
        self.count += 1;
        self.count
    }
}

/// Takes down how a line went. An unreachable store ends the import; everything else is the line's.
fn note(done: Option<Result<Written, tokio::task::JoinError>>, report: &mut Report) -> Result<(), LifecycleError> {
    let Some(Ok((line, outcome))) = done else { return Ok(()) };
    match outcome {
        Ok(Outcome::Imported) => report.imported += 1,
        Ok(Outcome::Updated) => report.updated += 1,
        Ok(Outcome::Skipped) => report.skipped += 1,
        Err(LifecycleError::Store(error @ StoreError::Unavailable(_))) => return Err(error.into()),
        Err(error) => report.refuse(line, error.to_string()),
    }
    Ok(())
}
