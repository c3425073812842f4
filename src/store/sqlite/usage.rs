//! Usage in the file: rows of days, of reasons, of networks and scopes, and the recent denials. A flush is one transaction, written
//! beside the key table's own writes; it need not survive a loss of power.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::{SqliteStore, corrupt, in_transaction, schema, unavailable};
use crate::clock::Timestamp;
use crate::store::usage::{
    Counts, DENIALS_KEPT, DayUsage, Denial, DenialFilter, Flush, Flushed, KeyUsage, KeyUse, LastUse, NETWORKS_MAX, NetworkSeen,
    RETENTION_DAYS, SCOPES_MAX, ScopeUsed, Usages,
};
use crate::store::{Page, StoreError};
use crate::usage::Day;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS usage_days (key TEXT NOT NULL, day TEXT NOT NULL, requests INTEGER NOT NULL, received INTEGER NOT NULL, sent INTEGER NOT NULL,
  PRIMARY KEY (key, day)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS usage_days_by_day ON usage_days (day);
CREATE TABLE IF NOT EXISTS usage_denied (key TEXT NOT NULL, day TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL,
  PRIMARY KEY (key, day, reason)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS usage_denied_by_day ON usage_denied (day);
CREATE TABLE IF NOT EXISTS usage_last (key TEXT PRIMARY KEY NOT NULL, at INTEGER, origin TEXT, networks_missed INTEGER, scopes_missed INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS usage_seen (key TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  PRIMARY KEY (key, kind, name)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS denials (seq INTEGER PRIMARY KEY AUTOINCREMENT, said TEXT NOT NULL) STRICT;
";

/// Rows of days past that are removed with each flush.
const SWEPT: i64 = 64;
/// Denials that are looked through at once.
const PAGE: i64 = 500;

/// What is remembered of a key by name.
#[derive(Clone, Copy)]
enum Kind {
    Networks,
    Scopes,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Networks => "network",
            Self::Scopes => "scope",
        }
    }

    const fn max(self) -> usize {
        match self {
            Self::Networks => NETWORKS_MAX,
            Self::Scopes => SCOPES_MAX,
        }
    }

    const fn missed(self) -> &'static str {
        match self {
            Self::Networks => "UPDATE usage_last SET networks_missed = max(coalesce(networks_missed, ?2), ?2) WHERE key = ?1",
            Self::Scopes => "UPDATE usage_last SET scopes_missed = max(coalesce(scopes_missed, ?2), ?2) WHERE key = ?1",
        }
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn add(transaction: &Transaction<'_>, flush: &Flush) -> rusqlite::Result<()> {
    for of_key in &flush.keys {
        add_key(transaction, of_key)?;
    }
    for denial in &flush.denials {
        let text = serde_json::to_string(denial).unwrap_or_default();
        transaction.prepare_cached("INSERT INTO denials (said) VALUES (?1)")?.execute([text])?;
    }
    if !flush.denials.is_empty() {
        let kept = i64::try_from(DENIALS_KEPT).unwrap_or(i64::MAX);
        transaction.prepare_cached("DELETE FROM denials WHERE seq <= (SELECT max(seq) FROM denials) - ?1")?.execute([kept])?;
    }
    let newest = flush.keys.iter().flat_map(|of_key| &of_key.days).map(|(day, _)| *day).max();
    newest.map_or(Ok(()), |day| sweep(transaction, day.plus(-i32::from(RETENTION_DAYS))))
}

/// What is past goes a little at a time; of a key that has no day left, all of it.
fn sweep(transaction: &Transaction<'_>, end: Day) -> rusqlite::Result<()> {
    let text = "SELECT DISTINCT key FROM (SELECT key FROM usage_days WHERE day < ?1 LIMIT ?2)";
    let keys = transaction
        .prepare_cached(text)?
        .query_map(params![end.to_string(), SWEPT], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    for text in [
        "DELETE FROM usage_days WHERE (key, day) IN (SELECT key, day FROM usage_days WHERE day < ?1 LIMIT ?2)",
        "DELETE FROM usage_denied WHERE (key, day, reason) IN (SELECT key, day, reason FROM usage_denied WHERE day < ?1 LIMIT ?2)",
    ] {
        transaction.prepare_cached(text)?.execute(params![end.to_string(), SWEPT])?;
    }
    for key in keys {
        if !transaction.prepare_cached("SELECT 1 FROM usage_days WHERE key = ?1 LIMIT 1")?.exists([&key])? {
            forget(transaction, &key)?;
        }
    }
    Ok(())
}

/// What was seen of a key goes with it; what was counted is kept its time.
pub(super) fn forget(transaction: &Transaction<'_>, key: &str) -> rusqlite::Result<()> {
    for text in ["DELETE FROM usage_last WHERE key = ?1", "DELETE FROM usage_seen WHERE key = ?1"] {
        transaction.prepare_cached(text)?.execute([key])?;
    }
    Ok(())
}

fn add_key(transaction: &Transaction<'_>, of_key: &KeyUse) -> rusqlite::Result<()> {
    let key = &*of_key.key;
    for (day, counts) in &of_key.days {
        add_day(transaction, key, *day, counts)?;
    }
    transaction.prepare_cached("INSERT INTO usage_last (key) VALUES (?1) ON CONFLICT DO NOTHING")?.execute([key])?;
    if let Some((at, from)) = of_key.last {
        let text = "UPDATE usage_last SET at = ?2, origin = ?3 WHERE key = ?1 AND coalesce(at, -1) < ?2";
        transaction.prepare_cached(text)?.execute(params![key, at.0.max(0), from.map(|from| from.to_string())])?;
    }
    for (kind, missed) in [(Kind::Networks, of_key.networks_missed), (Kind::Scopes, of_key.scopes_missed)] {
        if let Some(at) = missed {
            transaction.prepare_cached(kind.missed())?.execute(params![key, at.0])?;
        }
    }
    let networks = of_key.networks.iter().map(|(network, first, last)| (network.to_string(), *first, *last));
    remember(transaction, key, Kind::Networks, networks)?;
    remember(transaction, key, Kind::Scopes, of_key.scopes().into_iter().map(|(scope, at)| (scope.to_owned(), at, at)))
}

fn add_day(transaction: &Transaction<'_>, key: &str, day: Day, counts: &Counts) -> rusqlite::Result<()> {
    let day = day.to_string();
    let text = "INSERT INTO usage_days (key, day, requests, received, sent) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (key, day)
       DO UPDATE SET requests = requests + ?3, received = received + ?4, sent = sent + ?5";
    let (requests, received, sent) = (number(counts.requests), number(counts.received_bytes), number(counts.sent_bytes));
    transaction.prepare_cached(text)?.execute(params![key, day, requests, received, sent])?;
    for (rejection, count) in &counts.denied {
        let text = "INSERT INTO usage_denied (key, day, reason, count) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key, day, reason)
           DO UPDATE SET count = count + ?4";
        transaction.prepare_cached(text)?.execute(params![key, day, rejection.row().reason, number(*count)])?;
    }
    Ok(())
}

/// The ones that were seen last stay.
fn remember(
    transaction: &Transaction<'_>,
    key: &str,
    kind: Kind,
    seen: impl Iterator<Item = (String, Timestamp, Timestamp)>,
) -> rusqlite::Result<()> {
    let mut latest = None;
    for (name, first, last) in seen {
        let text = "INSERT INTO usage_seen (key, kind, name, first, last) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (key, kind, name)
           DO UPDATE SET first = min(first, ?4), last = max(last, ?5)";
        transaction.prepare_cached(text)?.execute(params![key, kind.name(), name, first.0.max(0), last.0.max(0)])?;
        latest = latest.max(Some(last));
    }
    let Some(latest) = latest else { return Ok(()) };
    let text = "DELETE FROM usage_seen WHERE key = ?1 AND kind = ?2 AND name IN
       (SELECT name FROM usage_seen WHERE key = ?1 AND kind = ?2 ORDER BY last DESC, name LIMIT -1 OFFSET ?3)";
    let max = i64::try_from(kind.max()).unwrap_or(i64::MAX);
    if transaction.prepare_cached(text)?.execute(params![key, kind.name(), max])? > 0 {
        transaction.prepare_cached(kind.missed())?.execute(params![key, latest.0])?;
    }
    Ok(())
}

/// Columns `at, origin`.
fn last_use(row: &Row<'_>) -> rusqlite::Result<Option<LastUse>> {
    let at: Option<i64> = row.get(0)?;
    let from = row.get(1)?;
    Ok(at.map(|at| LastUse { at: Timestamp(at), from }))
}

fn one_last_use(connection: &Connection, key: &str) -> rusqlite::Result<Option<LastUse>> {
    let mut query = connection.prepare_cached("SELECT at, origin FROM usage_last WHERE key = ?1")?;
    Ok(query.query_row([key], last_use).optional()?.flatten())
}

fn days(connection: &Connection, key: &str, from: &str, to: &str) -> rusqlite::Result<Vec<DayUsage>> {
    let mut query = connection
        .prepare_cached("SELECT day, requests, received, sent FROM usage_days WHERE key = ?1 AND day BETWEEN ?2 AND ?3 ORDER BY day")?;
    let mut reasons = connection.prepare_cached("SELECT reason, count FROM usage_denied WHERE key = ?1 AND day = ?2")?;
    let mut rows = query.query([key, from, to])?;
    let mut days = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        let Ok(day) = text.parse() else { continue };
        let denied = reasons.query_map([key, &text], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
        let count = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
        let denied = denied.collect::<rusqlite::Result<_>>()?;
        days.push(DayUsage { day, requests: count(1)?, denied, received_bytes: count(2)?, sent_bytes: count(3)? });
    }
    Ok(days)
}

fn seen<T>(connection: &Connection, key: &str, kind: Kind, of: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<Vec<T>> {
    let text = "SELECT name, first, last FROM usage_seen WHERE key = ?1 AND kind = ?2 ORDER BY last DESC, name";
    let mut query = connection.prepare_cached(text)?;
    query.query_map([key, kind.name()], |row| of(row))?.collect()
}

fn key_usage(connection: &Connection, key: &str, from: &str, to: &str) -> rusqlite::Result<KeyUsage> {
    let mut query = connection.prepare_cached("SELECT networks_missed, scopes_missed FROM usage_last WHERE key = ?1")?;
    let missed: Option<(Option<i64>, Option<i64>)> = query.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (networks_missed, scopes_missed) = missed.unwrap_or_default();
    let time = |row: &Row<'_>, index: usize| row.get(index).map(Timestamp);
    Ok(KeyUsage {
        days: days(connection, key, from, to)?,
        last: one_last_use(connection, key)?,
        networks: seen(connection, key, Kind::Networks, |row| {
            Ok(NetworkSeen { network: row.get(0)?, first: time(row, 1)?, last: time(row, 2)? })
        })?,
        networks_missed: networks_missed.map(Timestamp),
        scopes: seen(connection, key, Kind::Scopes, |row| Ok(ScopeUsed { scope: row.get(0)?, last: time(row, 2)? }))?,
        scopes_missed: scopes_missed.map(Timestamp),
    })
}

fn denials(connection: &Connection, filter: &DenialFilter, mut before: i64, limit: usize) -> rusqlite::Result<Page<Denial>> {
    let mut page = Page { items: Vec::new(), next: None, unreadable: Vec::new() };
    let mut query = connection.prepare_cached("SELECT seq, said FROM denials WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2")?;
    loop {
        let rows: Vec<(i64, String)> =
            query.query_map([before, PAGE], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
        let Some((last, _)) = rows.last() else { return Ok(page) };
        before = *last;
        for (seq, said) in rows {
            match serde_json::from_str::<Denial>(&said) {
                Ok(denial) if filter.takes(&denial) => page.items.push(denial),
                Ok(_) => {}
                Err(error) => page.unreadable.push(corrupt(&seq.to_string(), error.to_string())),
            }
            if page.items.len() >= limit {
                page.next = Some(seq.to_string());
                return Ok(page);
            }
        }
    }
}

#[async_trait]
impl Usages for SqliteStore {
    async fn flush(&self, flush: Flush) -> Flushed {
        let flush = std::sync::Arc::new(flush);
        let work = std::sync::Arc::clone(&flush);
        let connect = || schema::reader(&self.path).map_err(unavailable);
        let add = move |connection: &mut Connection| in_transaction(connection, |transaction| add(transaction, &work).map_err(unavailable));
        let added = self.threads.count(connect, add).await;
        match (added, std::sync::Arc::into_inner(flush)) {
            (Ok(()), _) => Flushed::default(),
            // A transaction that was not committed has left nothing.
            (Err(error), left) => Flushed { left: left.unwrap_or_default(), error: Some(error), ..Flushed::default() },
        }
    }

    async fn usage(&self, keys: &[&str], from: Day, to: Day) -> Result<Vec<KeyUsage>, StoreError> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let (from, to) = (from.to_string(), to.to_string());
        let all =
            move |connection: &mut Connection| keys.iter().map(|key| key_usage(connection, key, &from, &to).map_err(unavailable)).collect();
        self.threads.read(all).await
    }

    async fn last_uses(&self, keys: &[&str]) -> Result<Vec<Option<LastUse>>, StoreError> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let all = move |connection: &mut Connection| keys.iter().map(|key| one_last_use(connection, key).map_err(unavailable)).collect();
        self.threads.read(all).await
    }

    async fn denials(&self, filter: &DenialFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Denial>, StoreError> {
        let filter = filter.clone();
        let before = cursor.map_or(i64::MAX, |cursor| cursor.parse().unwrap_or(0));
        self.threads.read(move |connection| denials(connection, &filter, before, limit).map_err(unavailable)).await
    }
}
