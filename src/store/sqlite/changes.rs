//! What changed in the file, whichever process did it: a table that every write appends to. The reader looks whether anybody
//! committed (`PRAGMA data_version`, microseconds) and then reads on from where it was.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use tokio::time::sleep;

use crate::store::StoreError;
use crate::store::change::{Batch, ChangeLog, Changed, Position, TURN};

/// How often it looks. A change is seen in less than 50 ms.
const EVERY: Duration = Duration::from_millis(25);

/// Looks of one call.
const LOOKS: u128 = TURN.as_millis() / EVERY.as_millis();

/// Changes kept; a reader that was away for more is told `Everything`.
const KEPT: i64 = 10_000;

/// Writes down a change, in the transaction that makes it. Answers its position.
pub(super) fn append(transaction: &Transaction<'_>, change: &Changed) -> rusqlite::Result<Position> {
    let (what, id, _) = change.fields();
    transaction.prepare_cached("INSERT INTO changes (what, id) VALUES (?1, ?2)")?.execute(params![what, id])?;
    let position = transaction.last_insert_rowid();
    transaction.prepare_cached("DELETE FROM changes WHERE seq <= ?1")?.execute([position - KEPT])?;
    Ok(Position(u64::try_from(position).unwrap_or(0)))
}

/// The reader, with a connection of its own.
pub(in crate::store) struct SqliteChanges {
    connection: Connection,
    /// The file's version and the last position read; unset until it was looked at once.
    at: Option<(i64, i64)>,
}

impl SqliteChanges {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, at: None }
    }

    /// What is new since the last look; `None` = nobody committed.
    fn look(&mut self) -> rusqlite::Result<Option<(Vec<Changed>, i64)>> {
        // The order matters: a commit between these two is read twice, never missed.
        let version = data_version(&self.connection)?;
        let (told, position) = match self.at {
            Some((before, _)) if before == version => return Ok(None),
            Some((_, position)) => read_on(&self.connection, position)?,
            None => (vec![Changed::Everything], newest(&self.connection)?),
        };
        self.at = Some((version, position));
        Ok(Some((told, position)))
    }
}

#[async_trait]
impl ChangeLog for SqliteChanges {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        for _ in 0..LOOKS {
            if let Some((changes, position)) = self.look().map_err(super::unavailable)? {
                return Ok(Batch { changes, position: at(position), current: true });
            }
            sleep(EVERY).await;
        }
        Ok(Batch { changes: Vec::new(), position: at(self.at.map_or(0, |(_, position)| position)), current: true })
    }
}

fn at(position: i64) -> Position {
    Position(u64::try_from(position).unwrap_or(0))
}

/// Differs from the last time if another connection committed in between.
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

/// Where the log ends.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<Position> {
    newest(connection).map(at)
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
        told.push(Changed::from_fields(&what, &id, 0));
    }
    if told.is_empty() && newest(connection)? < position {
        return Ok((vec![Changed::Everything], newest(connection)?));
    }
    Ok((told, last))
}
