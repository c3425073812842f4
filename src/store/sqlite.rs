//! The key table in one file of this machine, by `SQLite`, crash-safe (WAL, synchronous=FULL). Other processes (the command line)
//! write to it while the server runs. Connections belong to threads of this file; callers only send them work.

mod audit;
mod bulk;
mod changes;
mod digests;
mod fleet;
mod limits;
mod reservations;
mod schema;
mod sessions;
#[cfg(test)]
mod tests;
mod threads;
mod usage;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use super::change::{Changed, Position};
use super::codec::{RECORD_MAX, Record, corrupt, parse, render, version_before};
use super::draw::{Draw, Drawn};
use super::instance::{Instance, Seen};
use super::{Audited, Named, Outcome, Page, Store, StoreError};
use crate::audit::{Event, Query};
use crate::clock::{Clock, Timestamp};
use crate::key::digest::StoredDigest;
use crate::key::record::KeyRecord;
use crate::tenant::TenantRecord;
use changes::SqliteChanges;
use schema::Table;
use threads::Threads;

/// The store.
pub(super) struct SqliteStore {
    path: PathBuf,
    threads: Threads,
    /// Of reservations.
    clock: Clock,
}

impl SqliteStore {
    /// Opens the file, making it if it is not there.
    pub(super) fn open(path: &Path, clock: Clock) -> Result<(Self, SqliteChanges), String> {
        let words = |error: rusqlite::Error| format!("{}: {error}", path.display());
        schema::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut writer = schema::connect(path).map_err(words)?;
        schema::prepare(&mut writer).map_err(|why| format!("{}: {why}", path.display()))?;
        let readers = [schema::reader(path).map_err(words)?, schema::reader(path).map_err(words)?];
        let changes = SqliteChanges::new(schema::connect(path).map_err(words)?);
        let threads = Threads::start(writer, readers).map_err(|error| error.to_string())?;
        Ok((Self { path: path.to_owned(), threads, clock }, changes))
    }

    async fn find<R: Record + Send + 'static>(&self, table: Table, id: &str) -> Result<Option<R>, StoreError> {
        let id = id.to_owned();
        self.threads
            .read(move |connection| {
                let row = connection.prepare_cached(table.select_one()).map_err(unavailable)?.query_row([&id], record_bytes).optional();
                row.map_err(unavailable)?.map(|bytes| parse(&id, &bytes?)).transpose()
            })
            .await
    }

    async fn list<R: Record + Send + 'static>(
        &self,
        table: Table,
        tenant: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<R>, StoreError> {
        let (tenant, cursor) = (tenant.map(ToOwned::to_owned), cursor.unwrap_or_default().to_owned());
        self.threads.read(move |connection| list(connection, table, tenant.as_deref(), &cursor, limit)).await
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// The bytes of a record in columns `id, record`, or why they cannot be one. Total: the file may hold anything.
fn record_bytes(row: &Row<'_>) -> rusqlite::Result<Result<Vec<u8>, StoreError>> {
    let id: String = row.get(0)?;
    Ok(match row.get_ref(1)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) if bytes.len() <= RECORD_MAX => Ok(bytes.to_vec()),
        ValueRef::Text(_) | ValueRef::Blob(_) => Err(corrupt(&id, format!("larger than {RECORD_MAX} bytes"))),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => Err(corrupt(&id, "not text")),
    })
}

fn list<R: Record>(connection: &Connection, table: Table, tenant: Option<&str>, cursor: &str, limit: usize) -> Result<Page<R>, StoreError> {
    let mut query = connection.prepare_cached(table.select_page(tenant.is_some())).map_err(unavailable)?;
    let count = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = match tenant {
        Some(tenant) => query.query(params![cursor, count, tenant]),
        None => query.query(params![cursor, count]),
    }
    .map_err(unavailable)?;
    let (mut items, mut unreadable, mut seen, mut last) = (Vec::new(), Vec::new(), 0, None);
    while let Some(row) = rows.next().map_err(unavailable)? {
        seen += 1;
        last = Some(row.get(2).map_err(unavailable)?);
        let id: String = row.get(0).map_err(unavailable)?;
        match record_bytes(row).map_err(unavailable)?.and_then(|bytes| parse::<R>(&id, &bytes)) {
            Ok(record) => items.push(record),
            Err(error) => {
                tracing::warn!(%error, "left out of the list");
                unreadable.push(error);
            }
        }
    }
    Ok(Page { items, next: last.filter(|_| seen == limit), unreadable })
}

/// A record and its event, on their way to the thread that writes.
type Change<R> = (R, Event);

fn change<R: Clone>(write: &Audited<'_, R>) -> Change<R> {
    (write.record.clone(), write.event.clone())
}

/// Writes the record, if its version follows, with its event, and says so in the list of changes; all in the caller's transaction.
fn put<R: Record>(
    transaction: &Transaction<'_>,
    table: Table,
    tenant: &str,
    (record, event): &Change<R>,
    change: &Changed,
) -> Result<Position, StoreError> {
    write(transaction, table, tenant, record, event)?;
    changes::append(transaction, change).map_err(unavailable)
}

fn expect_version(transaction: &Transaction<'_>, table: Table, id: &str, expected: u64) -> Result<(), StoreError> {
    let found: Option<i64> = transaction
        .prepare_cached(table.select_version())
        .and_then(|mut query| query.query_row([id], |row| row.get(0)).optional())
        .map_err(unavailable)?;
    let found = found.and_then(|version| u64::try_from(version).ok()).unwrap_or(0);
    if found == expected { Ok(()) } else { Err(StoreError::Conflict { found }) }
}

/// Takes the record away, if it is of this version.
fn remove<R: Record>(
    transaction: &Transaction<'_>,
    table: Table,
    (record, event): &Change<R>,
    change: &Changed,
) -> Result<Position, StoreError> {
    expect_version(transaction, table, record.id(), record.version())?;
    transaction.execute(table.delete(), [record.id()]).map_err(unavailable)?;
    audit::append(transaction, event)?;
    changes::append(transaction, change).map_err(unavailable)
}

/// Writes the record, if its version follows, and its event.
fn write<R: Record>(transaction: &Transaction<'_>, table: Table, tenant: &str, record: &R, event: &Event) -> Result<(), StoreError> {
    let text = render(record)?;
    expect_version(transaction, table, record.id(), version_before(record)?)?;
    audit::append(transaction, event)?;
    let version = i64::try_from(record.version()).map_err(|_| corrupt(record.id(), "version too great"))?;
    transaction
        .prepare_cached(table.upsert())
        .and_then(|mut write| write.execute(params![record.id(), tenant, record.place(), version, text]))
        .map_err(unavailable)
        .map(drop)
}

fn in_transaction<T>(connection: &mut Connection, work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(unavailable)?;
    let done = work(&transaction)?;
    transaction.commit().map_err(unavailable)?;
    Ok(done)
}

#[async_trait]
impl Store for SqliteStore {
    async fn find_named(&self, digest: &StoredDigest) -> Result<Named, StoreError> {
        let digest = *digest;
        self.threads.read(move |connection| digests::find(connection, digest)).await
    }

    async fn find_key(&self, id: &str) -> Result<Option<KeyRecord>, StoreError> {
        self.find(Table::Keys, id).await
    }

    async fn put_key(&self, write: Audited<'_, KeyRecord>) -> Result<Position, StoreError> {
        let change = change(&write);
        self.threads
            .write(move |connection| {
                in_transaction(connection, |transaction| {
                    let record = &change.0;
                    let position = put(transaction, Table::Keys, &record.tenant, &change, &Changed::of_key(record))?;
                    digests::index(transaction, record, change.1.at)?;
                    Ok(position)
                })
            })
            .await
    }

    async fn put_new_keys(&self, writes: &[Audited<'_, KeyRecord>]) -> Result<Vec<Outcome>, StoreError> {
        let changes: Vec<Change<KeyRecord>> = writes.iter().map(change).collect();
        self.threads.write(move |connection| bulk::put_new_keys(connection, &changes)).await
    }

    async fn find_rivals(&self, records: &[&KeyRecord]) -> Result<Vec<Outcome<Option<KeyRecord>>>, StoreError> {
        let records: Vec<KeyRecord> = records.iter().map(|record| (*record).clone()).collect();
        self.threads.read(move |connection| bulk::find_rivals(connection, &records)).await
    }

    async fn list_keys(&self, tenant: Option<&str>, cursor: Option<&str>, limit: usize) -> Result<Page<KeyRecord>, StoreError> {
        self.list(Table::Keys, tenant, cursor, limit).await
    }

    async fn find_tenant(&self, id: &str) -> Result<Option<TenantRecord>, StoreError> {
        self.find(Table::Tenants, id).await
    }

    async fn put_tenant(&self, write: Audited<'_, TenantRecord>) -> Result<Position, StoreError> {
        let change = change(&write);
        self.threads
            .write(move |connection| {
                in_transaction(connection, |transaction| put(transaction, Table::Tenants, "", &change, &Changed::of_tenant(&change.0)))
            })
            .await
    }

    async fn put_new_tenants(&self, writes: &[Audited<'_, TenantRecord>]) -> Result<Vec<Outcome>, StoreError> {
        let changes: Vec<Change<TenantRecord>> = writes.iter().map(change).collect();
        self.threads.write(move |connection| bulk::put_new_tenants(connection, &changes)).await
    }

    async fn list_tenants(&self, cursor: Option<&str>, limit: usize) -> Result<Page<TenantRecord>, StoreError> {
        self.list(Table::Tenants, None, cursor, limit).await
    }

    async fn remove_key(&self, removal: Audited<'_, KeyRecord>) -> Result<Position, StoreError> {
        let change = change(&removal);
        let remove = move |transaction: &Transaction<'_>| {
            let announced = Changed::Key { id: change.0.id.clone(), version: change.0.version + 1 };
            digests::release(transaction, &change.0.id, change.1.at)?;
            usage::forget(transaction, &change.0.id).map_err(unavailable)?;
            remove(transaction, Table::Keys, &change, &announced)
        };
        self.threads.write(move |connection| in_transaction(connection, remove)).await
    }

    async fn remove_tenant(&self, removal: Audited<'_, TenantRecord>) -> Result<Position, StoreError> {
        let change = change(&removal);
        let remove = move |transaction: &Transaction<'_>| {
            let announced = Changed::Tenant { id: change.0.id.clone(), version: change.0.version + 1 };
            remove(transaction, Table::Tenants, &change, &announced)
        };
        self.threads.write(move |connection| in_transaction(connection, remove)).await
    }

    async fn append_event(&self, event: &Event) -> Result<(), StoreError> {
        let event = event.clone();
        self.threads.write(move |connection| in_transaction(connection, |transaction| audit::append(transaction, &event))).await
    }

    async fn list_events(&self, query: &Query<'_>) -> Result<Page<Event>, StoreError> {
        let asked = audit::Asked::from(query);
        self.threads.read(move |connection| audit::list(connection, &asked)).await
    }

    async fn forget_events(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.threads.write(move |connection| audit::forget(connection, before, limit)).await
    }

    async fn announce(&self, changes: &[Changed]) -> Result<Position, StoreError> {
        let changes = changes.to_vec();
        let append = move |transaction: &Transaction<'_>| {
            let mut position = Position::default();
            for change in &changes {
                position = changes::append(transaction, change).map_err(unavailable)?;
            }
            Ok(position)
        };
        self.threads.write(move |connection| in_transaction(connection, append)).await
    }

    async fn position(&self) -> Result<Position, StoreError> {
        self.threads.read(|connection| changes::last(connection).map_err(unavailable)).await
    }

    async fn beat(&self, instance: &Instance, first: bool) -> Result<u64, StoreError> {
        let instance = instance.clone();
        self.threads.read(move |connection| fleet::write_down(connection, &instance, first)).await
    }

    async fn leave(&self, instance: &str) -> Result<(), StoreError> {
        let id = instance.to_owned();
        self.threads.read(move |connection| fleet::strike_out(connection, &id)).await
    }

    async fn instances(&self) -> Result<Vec<Seen>, StoreError> {
        self.threads.read(|connection| fleet::written_down(connection)).await
    }

    async fn draw(&self, draw: &Draw<'_>) -> Result<Drawn, StoreError> {
        let (name, Draw { budget, want, back, of, .. }) = (draw.name.to_owned(), *draw);
        let connect = || schema::reader(&self.path).map_err(unavailable);
        self.threads.count(connect, move |connection| limits::draw(connection, &Draw { name: &name, budget, want, back, of })).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.threads.read(|connection| connection.query_row("SELECT 1", [], |_| Ok(())).map_err(unavailable)).await
    }
}
