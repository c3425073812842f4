//! Reservations in the file: a row each, with its answer, and what each tenant has kept, by when that ends. The machine's clock is
//! the store's: all who use the file are of this machine. A claim is on the disk before it is answered.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::{SqliteStore, in_transaction, unavailable};
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::reservation::{
    Change, Claim, Claimed, End, Entry, Fate, Id, Kept, Owner, Place, Released, Reservations, Reserved, SEALED_MAX, Settled, Standing,
    State, millis,
};

/// Reservations that are over and are removed with each claim.
const SWEPT: i64 = 16;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS reservations (id BLOB PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, state TEXT NOT NULL, owner BLOB NOT NULL,
  lease_until INTEGER NOT NULL, claimed_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, counted INTEGER, answer BLOB) STRICT;
CREATE INDEX IF NOT EXISTS reservations_by_end ON reservations (expires_at);
CREATE TABLE IF NOT EXISTS reserved_bytes (tenant TEXT NOT NULL, ends INTEGER NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY (tenant, ends)) STRICT, WITHOUT ROWID;
";

impl SqliteStore {
    async fn step<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let clock = self.clock.clone();
        // The time is read inside the transaction: of two steps the later one has the later time.
        let step = move |connection: &mut Connection| {
            in_transaction(connection, |transaction| work(transaction, clock.now().0).map_err(unavailable))
        };
        self.threads.write(step).await
    }
}

fn word(state: State) -> (&'static str, i64) {
    match state {
        State::Running { lease_until } => ("running", lease_until),
        State::Done => ("done", 0),
        State::Unknown => ("unknown", 0),
    }
}

/// Columns `state, owner, lease_until, claimed_at, expires_at`. Total: what is no reservation is an unknown one.
fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let state = match row.get_ref(0)?.as_str().unwrap_or_default() {
        "running" => State::Running { lease_until: row.get(2)? },
        "done" => State::Done,
        _ => State::Unknown,
    };
    let owner = row.get_ref(1)?.as_blob().ok().and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    Ok(Entry { state, owner: Owner(owner), claimed_at: row.get(3)?, expires_at: row.get(4)? })
}

/// The reservation under this name, unless it is over.
fn find(connection: &Connection, id: Id, now: i64) -> rusqlite::Result<Option<Entry>> {
    let text = "SELECT state, owner, lease_until, claimed_at, expires_at FROM reservations WHERE id = ?1";
    let found = connection.prepare_cached(text)?.query_row([id.0], entry).optional()?;
    Ok(found.filter(|entry| !entry.is_over(now)))
}

/// The first of these names that has one.
fn find_any(connection: &Connection, place: &Place, now: i64) -> rusqlite::Result<Option<(Id, Entry)>> {
    for id in &place.ids {
        if let Some(entry) = find(connection, *id, now)? {
            return Ok(Some((*id, entry)));
        }
    }
    Ok(None)
}

fn answer(connection: &Connection, id: Id) -> rusqlite::Result<Option<Vec<u8>>> {
    let text = "SELECT answer FROM reservations WHERE id = ?1 AND length(answer) <= ?2";
    let max = i64::try_from(SEALED_MAX).unwrap_or(i64::MAX);
    connection.prepare_cached(text)?.query_row(params![id.0, max], |row| row.get(0)).optional()
}

fn claim(transaction: &Transaction<'_>, place: &Place, claim: &Claim, now: i64) -> rusqlite::Result<Claimed> {
    if let Some((id, entry)) = find_any(transaction, place, now)? {
        return entry.claimed(now, || answer(transaction, id));
    }
    let sweep = "DELETE FROM reservations WHERE id IN (SELECT id FROM reservations WHERE expires_at <= ?1 LIMIT ?2)";
    transaction.prepare_cached(sweep)?.execute([now, SWEPT])?;
    let Some(id) = place.ids.first() else { return Ok(Claimed::Unknown) };
    let entry = Entry::first(claim, now);
    let (state, lease_until) = word(entry.state);
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO reservations (id, tenant, state, owner, lease_until, claimed_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![id.0, place.tenant, state, entry.owner.0, lease_until, entry.claimed_at, entry.expires_at])?;
    Ok(Claimed::First)
}

/// What its owner holds.
fn own(transaction: &Transaction<'_>, place: &Place, now: i64) -> rusqlite::Result<Option<(Id, Entry)>> {
    let Some(id) = place.ids.first() else { return Ok(None) };
    Ok(find(transaction, *id, now)?.map(|entry| (*id, entry)))
}

fn write(transaction: &Transaction<'_>, id: Id, state: State) -> rusqlite::Result<()> {
    let (state, lease_until) = word(state);
    let text = "UPDATE reservations SET state = ?2, lease_until = ?3 WHERE id = ?1";
    transaction.prepare_cached(text)?.execute(params![id.0, state, lease_until]).map(drop)
}

fn renew(transaction: &Transaction<'_>, place: &Place, owner: Owner, lease: Duration, now: i64) -> rusqlite::Result<bool> {
    let Some((id, entry)) = own(transaction, place, now)? else { return Ok(false) };
    let Some(state) = entry.renewed(owner, now, lease) else { return Ok(false) };
    write(transaction, id, state).map(|()| true)
}

fn settle(transaction: &Transaction<'_>, place: &Place, owner: Owner, fate: &Fate, now: i64) -> rusqlite::Result<Settled> {
    let Some((id, entry)) = own(transaction, place, now)? else { return Ok(Settled::Lost) };
    let end = match fate {
        Fate::Done(_) => End::Done,
        Fate::Unknown => End::Unknown,
        Fate::Released => End::Released,
    };
    match (entry.settled(owner, end), fate) {
        (Change::None(settled), _) => return Ok(settled),
        (Change::Removed, _) => remove(transaction, id)?,
        (Change::To(State::Done), Fate::Done(kept)) => {
            if !keep(transaction, place, id, &entry, kept, now)? {
                write(transaction, id, State::Unknown)?;
                return Ok(Settled::Full);
            }
        }
        (Change::To(state), _) => write(transaction, id, state)?,
    }
    Ok(Settled::Settled)
}

/// Keeps the answer, if the tenant has room for it.
fn keep(transaction: &Transaction<'_>, place: &Place, id: Id, entry: &Entry, kept: &Kept, now: i64) -> rusqlite::Result<bool> {
    transaction.prepare_cached("DELETE FROM reserved_bytes WHERE tenant = ?1 AND ends <= ?2")?.execute(params![place.tenant, now])?;
    let sum = "SELECT coalesce(sum(bytes), 0) FROM reserved_bytes WHERE tenant = ?1";
    let so_far: i64 = transaction.prepare_cached(sum)?.query_row([&place.tenant], |row| row.get(0))?;
    let size = i64::try_from(kept.sealed.len()).unwrap_or(i64::MAX);
    if so_far.saturating_add(size) > i64::try_from(kept.bound).unwrap_or(i64::MAX) {
        return Ok(false);
    }
    let grain = millis(kept.grain).max(1);
    let ends = entry.expires_at.saturating_add(grain - 1) / grain * grain;
    let text = "UPDATE reservations SET state = 'done', answer = ?2, counted = ?3 WHERE id = ?1";
    transaction.prepare_cached(text)?.execute(params![id.0, &kept.sealed[..], ends])?;
    count(transaction, &place.tenant, ends, size)?;
    Ok(true)
}

fn count(transaction: &Transaction<'_>, tenant: &str, ends: i64, bytes: i64) -> rusqlite::Result<()> {
    let text = "INSERT INTO reserved_bytes (tenant, ends, bytes) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET bytes = bytes + ?3";
    transaction.prepare_cached(text)?.execute(params![tenant, ends, bytes]).map(drop)
}

fn remove(transaction: &Transaction<'_>, id: Id) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM reservations WHERE id = ?1")?.execute([id.0]).map(drop)
}

fn look(connection: &Connection, place: &Place, now: i64) -> rusqlite::Result<Option<Reserved>> {
    let Some((id, entry)) = find_any(connection, place, now)? else { return Ok(None) };
    let standing = entry.standing(now);
    let sealed = if standing == Standing::Done { answer(connection, id)?.unwrap_or_default() } else { Vec::new() };
    Ok(Some(Reserved { standing, claimed_at: Timestamp(entry.claimed_at), expires_at: Timestamp(entry.expires_at), sealed }))
}

fn release(transaction: &Transaction<'_>, place: &Place, now: i64) -> rusqlite::Result<Released> {
    let Some((id, entry)) = find_any(transaction, place, now)? else { return Ok(Released::Absent) };
    let released = entry.released(now);
    if released == Released::Released {
        let text = "SELECT counted, length(answer) FROM reservations WHERE id = ?1 AND counted IS NOT NULL AND answer IS NOT NULL";
        let counted = transaction.prepare_cached(text)?.query_row([id.0], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).optional()?;
        if let Some((ends, bytes)) = counted {
            count(transaction, &place.tenant, ends, -bytes)?;
        }
        remove(transaction, id)?;
    }
    Ok(released)
}

#[async_trait]
impl Reservations for SqliteStore {
    async fn claim(&self, place: &Place, terms: &Claim) -> Result<Claimed, StoreError> {
        let (place, terms) = (place.clone(), *terms);
        self.step(move |transaction, now| claim(transaction, &place, &terms, now)).await
    }

    async fn renew(&self, place: &Place, owner: Owner, lease: Duration) -> Result<bool, StoreError> {
        let place = place.clone();
        self.step(move |transaction, now| renew(transaction, &place, owner, lease, now)).await
    }

    async fn settle(&self, place: &Place, owner: Owner, fate: &Fate) -> Result<Settled, StoreError> {
        let (place, fate) = (place.clone(), fate.clone());
        self.step(move |transaction, now| settle(transaction, &place, owner, &fate, now)).await
    }

    async fn look(&self, place: &Place) -> Result<Option<Reserved>, StoreError> {
        let (place, now) = (place.clone(), self.clock.now().0);
        self.threads.read(move |connection| look(connection, &place, now).map_err(unavailable)).await
    }

    async fn release(&self, place: &Place) -> Result<Released, StoreError> {
        let place = place.clone();
        self.step(move |transaction, now| release(transaction, &place, now)).await
    }
}
