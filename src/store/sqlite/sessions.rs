//! Sessions in the file: a row each, and some of those that are over removed with each new one.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, ToSql, Transaction, params};

use super::{SqliteStore, audit, in_transaction, record_bytes, unavailable};
use crate::audit::Event;
use crate::clock::Timestamp;
use crate::session::record::SessionRecord;
use crate::store::codec::{Record, corrupt, parse, render, version_before};
use crate::store::session::{SWEPT, SessionQuery, SessionWrite, Sessions};
use crate::store::{Page, StoreError};

/// Came later, as the tables of [`super::schema`] that did.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, subject TEXT NOT NULL, place TEXT NOT NULL,
  version INTEGER NOT NULL, until INTEGER NOT NULL, record TEXT NOT NULL) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS sessions_by_place ON sessions (place);
CREATE INDEX IF NOT EXISTS sessions_by_tenant ON sessions (tenant, place);
CREATE INDEX IF NOT EXISTS sessions_by_subject ON sessions (subject, place);
CREATE INDEX IF NOT EXISTS sessions_by_end ON sessions (until);
";

/// A session on its way to the thread that writes.
struct Write {
    record: SessionRecord,
    event: Option<Event>,
    at: Timestamp,
    until: Timestamp,
}

fn put(transaction: &Transaction<'_>, Write { record, event, at, until }: &Write) -> Result<(), StoreError> {
    let (text, expected) = (render(record)?, version_before(record)?);
    let statement = |text| transaction.prepare_cached(text).map_err(unavailable);
    if expected == 0 {
        let sweep = "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE until <= ?1 LIMIT ?2)";
        statement(sweep)?.execute(params![at.0, i64::try_from(SWEPT).unwrap_or(i64::MAX)]).map_err(unavailable)?;
    }
    let found: Option<i64> = statement("SELECT version FROM sessions WHERE id = ?1")?
        .query_row([&record.id], |row| row.get(0))
        .optional()
        .map_err(unavailable)?;
    let found = found.and_then(|version| u64::try_from(version).ok()).unwrap_or(0);
    if found != expected {
        return Err(StoreError::Conflict { found });
    }
    if let Some(event) = event {
        audit::append(transaction, event)?;
    }
    let version = i64::try_from(record.version).map_err(|_| corrupt(&record.id, "version too great"))?;
    let upsert = "INSERT INTO sessions (id, tenant, subject, place, version, until, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                  ON CONFLICT (id) DO UPDATE SET version = ?5, until = ?6, record = ?7";
    let write = params![record.id, record.tenant, record.subject, record.place(), version, until.0, text];
    statement(upsert)?.execute(write).map_err(unavailable).map(drop)
}

fn list(connection: &Connection, query: &SessionQuery<'_>) -> Result<Page<SessionRecord>, StoreError> {
    let (cursor, limit) = (query.cursor.unwrap_or_default(), i64::try_from(query.limit).unwrap_or(i64::MAX));
    let mut text = String::from("SELECT id, record, place FROM sessions WHERE place > ?");
    let mut values: Vec<&dyn ToSql> = vec![&cursor];
    for (condition, value) in [(" AND tenant = ?", &query.tenant), (" AND subject = ?", &query.subject)] {
        if let Some(value) = value {
            text.push_str(condition);
            values.push(value);
        }
    }
    text.push_str(" ORDER BY place LIMIT ?");
    values.push(&limit);
    let mut statement = connection.prepare_cached(&text).map_err(unavailable)?;
    let mut rows = statement.query(&*values).map_err(unavailable)?;
    let (mut page, mut seen, mut last) = (Page { items: Vec::new(), next: None, unreadable: Vec::new() }, 0, None);
    while let Some(row) = rows.next().map_err(unavailable)? {
        seen += 1;
        last = Some(row.get(2).map_err(unavailable)?);
        let id: String = row.get(0).map_err(unavailable)?;
        match record_bytes(row).map_err(unavailable)?.and_then(|bytes| parse(&id, &bytes)) {
            Ok(record) => page.items.push(record),
            Err(error) => page.unreadable.push(error),
        }
    }
    page.items.retain(|record| query.takes(record));
    page.next = last.filter(|_| seen == query.limit);
    Ok(page)
}

#[async_trait]
impl Sessions for SqliteStore {
    async fn find_session(&self, id: &str) -> Result<Option<SessionRecord>, StoreError> {
        let id = id.to_owned();
        let find = move |connection: &mut Connection| {
            let mut query = connection.prepare_cached("SELECT id, record FROM sessions WHERE id = ?1").map_err(unavailable)?;
            let row = query.query_row([&id], record_bytes).optional().map_err(unavailable)?;
            row.map(|bytes| parse(&id, &bytes?)).transpose()
        };
        self.threads.read(find).await
    }

    async fn put_session(&self, write: SessionWrite<'_>) -> Result<(), StoreError> {
        let write = Write { record: write.record.clone(), event: write.event, at: write.at, until: write.until };
        self.threads.write(move |connection| in_transaction(connection, |transaction| put(transaction, &write))).await
    }

    async fn list_sessions(&self, query: &SessionQuery<'_>) -> Result<Page<SessionRecord>, StoreError> {
        let (tenant, subject) = (query.tenant.map(ToOwned::to_owned), query.subject.map(ToOwned::to_owned));
        let (cursor, limit) = (query.cursor.map(ToOwned::to_owned), query.limit);
        let list = move |connection: &mut Connection| {
            list(connection, &SessionQuery { tenant: tenant.as_deref(), subject: subject.as_deref(), cursor: cursor.as_deref(), limit })
        };
        self.threads.read(list).await
    }
}
