//! Events in the file: a table that the transaction of each change adds to, sorted by their places.

use rusqlite::{Connection, ToSql, Transaction, params};

use super::unavailable;
use crate::audit::{Event, Query};
use crate::clock::Timestamp;
use crate::store::codec::{parse_event, render_event};
use crate::store::{Page, StoreError};

/// Came later, as the tables of [`super::schema`] that did.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS audit (place TEXT PRIMARY KEY NOT NULL, object TEXT NOT NULL, id TEXT NOT NULL, tenant TEXT NOT NULL, event TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS audit_by_tenant ON audit (tenant, place);
CREATE INDEX IF NOT EXISTS audit_by_object ON audit (object, id, place);
";

/// Writes an event down, in the transaction of what it tells.
pub(super) fn append(transaction: &Transaction<'_>, event: &Event) -> Result<(), StoreError> {
    let text = render_event(event)?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO audit (place, object, id, tenant, event) VALUES (?1, ?2, ?3, ?4, ?5)")
        .and_then(|mut write| write.execute(params![event.place(), event.object.word(), event.id, event.tenant, text]))
        .map_err(unavailable)
        .map(drop)
}

/// What a query asks for, so that it can be sent to another thread.
pub(super) struct Asked {
    tenant: Option<String>,
    of: Option<(&'static str, String)>,
    bounds: (String, String),
    limit: usize,
    oldest_first: bool,
}

impl From<&Query<'_>> for Asked {
    fn from(query: &Query<'_>) -> Self {
        Self {
            tenant: query.tenant.map(ToOwned::to_owned),
            of: query.of.map(|(object, id)| (object.word(), id.to_owned())),
            bounds: query.bounds(),
            limit: query.limit,
            oldest_first: query.oldest_first,
        }
    }
}

pub(super) fn list(connection: &Connection, asked: &Asked) -> Result<Page<Event>, StoreError> {
    let limit = i64::try_from(asked.limit).unwrap_or(i64::MAX);
    let (mut text, mut values): (_, Vec<&dyn ToSql>) =
        (String::from("SELECT id, event, place FROM audit WHERE place >= ? AND place < ?"), Vec::new());
    values.push(&asked.bounds.0);
    values.push(&asked.bounds.1);
    if let Some(tenant) = &asked.tenant {
        text.push_str(" AND tenant = ?");
        values.push(tenant);
    }
    if let Some((object, id)) = &asked.of {
        text.push_str(" AND object = ? AND id = ?");
        values.push(object);
        values.push(id);
    }
    text.push_str(if asked.oldest_first { " ORDER BY place LIMIT ?" } else { " ORDER BY place DESC LIMIT ?" });
    values.push(&limit);
    let mut query = connection.prepare_cached(&text).map_err(unavailable)?;
    let mut rows = query.query(&*values).map_err(unavailable)?;
    let (mut page, mut seen, mut last) = (Page { items: Vec::new(), next: None, unreadable: Vec::new() }, 0, None);
    while let Some(row) = rows.next().map_err(unavailable)? {
        let id: String = row.get(0).map_err(unavailable)?;
        let text: String = row.get(1).map_err(unavailable)?;
        seen += 1;
        last = Some(row.get(2).map_err(unavailable)?);
        match parse_event(&id, text.as_bytes()) {
            Ok(event) => page.items.push(event),
            Err(error) => page.unreadable.push(error),
        }
    }
    page.next = last.filter(|_| seen == asked.limit);
    Ok(page)
}

pub(super) fn forget(connection: &Connection, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
    let (from, to) = Query { until: Some(before), ..Query::default() }.bounds();
    connection
        .execute(
            "DELETE FROM audit WHERE place IN (SELECT place FROM audit WHERE place >= ?1 AND place < ?2 ORDER BY place LIMIT ?3)",
            params![from, to, i64::try_from(limit).unwrap_or(i64::MAX)],
        )
        .map_err(unavailable)
}
