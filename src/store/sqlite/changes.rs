//! What changed in the file, whichever process did it: a table that every write appends to, and a thread that looks
//! whether anybody committed (`PRAGMA data_version`, microseconds) and then reads on from where it was.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use tokio::sync::mpsc;

use super::schema::Table;
use crate::store::{Changed, Changes};

/// How often it looks. A change is seen in less than 50 ms.
const EVERY: Duration = Duration::from_millis(25);

/// Changes kept; a reader that was away for more is told `Everything`.
const KEPT: i64 = 10_000;

/// Writes down a change, in the transaction that makes it.
pub(super) fn append(transaction: &Transaction<'_>, table: Table, id: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("INSERT INTO changes (what, id) VALUES (?1, ?2)")?.execute(params![table.word(), id])?;
    let oldest = transaction.last_insert_rowid() - KEPT;
    transaction.prepare_cached("DELETE FROM changes WHERE seq <= ?1")?.execute([oldest])?;
    Ok(())
}

/// The watching thread. It ends when this is dropped.
pub(super) struct Watcher {
    _running: Sender<()>,
}

impl Watcher {
    pub(super) fn start(connection: Connection) -> Result<(Self, Changes), String> {
        let words = |error: rusqlite::Error| error.to_string();
        // The order matters: a commit between these two is read twice, never missed.
        let mut version = data_version(&connection).map_err(words)?;
        let mut position = newest(&connection).map_err(words)?;
        let (running, stop) = channel::<()>();
        let (send, changes) = mpsc::unbounded_channel();
        let watch = move || {
            while matches!(stop.recv_timeout(EVERY), Err(RecvTimeoutError::Timeout)) {
                let now = match data_version(&connection) {
                    Ok(now) if now == version => continue,
                    Ok(now) => now,
                    Err(error) => {
                        tracing::warn!(%error, "changes of the store could not be read; trying again");
                        continue;
                    }
                };
                match read_on(&connection, position) {
                    Ok((told, seq)) => {
                        (version, position) = (now, seq);
                        if told.into_iter().any(|change| send.send(change).is_err()) {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(%error, "changes of the store could not be read; trying again"),
                }
            }
        };
        thread::Builder::new().name("store-watch".into()).spawn(watch).map_err(|error| error.to_string())?;
        Ok((Self { _running: running }, changes))
    }
}

/// Differs from the last time if another connection committed in between.
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    let last = connection.query_row("SELECT max(seq) FROM changes", [], |row| row.get::<_, Option<i64>>(0)).optional()?;
    Ok(last.flatten().unwrap_or(0))
}

/// The changes behind `position`, and the new position. A gap, or a table that was set back, means that everything may have changed.
fn read_on(connection: &Connection, position: i64) -> rusqlite::Result<(Vec<Changed>, i64)> {
    let mut query = connection.prepare_cached("SELECT seq, what, id FROM changes WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = query.query([position])?;
    let (mut told, mut last) = (Vec::new(), position);
    while let Some(row) = rows.next()? {
        let (seq, what, id): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if seq != last + 1 {
            told.push(Changed::Everything);
        }
        last = seq;
        told.push(match what.as_str() {
            "key" => Changed::Key(id),
            "tenant" => Changed::Tenant(id),
            _ => Changed::Everything,
        });
    }
    if told.is_empty() && newest(connection)? < position {
        return Ok((vec![Changed::Everything], newest(connection)?));
    }
    Ok((told, last))
}
