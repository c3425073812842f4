//! Buckets of limits that all sidecars over this file count together.

use rusqlite::{Connection, TransactionBehavior, params};

use super::unavailable;
use crate::store::StoreError;
use crate::store::draw::{Draw, Drawn, Kept};

const READ: &str =
    "SELECT coalesce(at, 0), coalesce(used, 0), CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM (SELECT 1) LEFT JOIN limits ON name = ?1";
const WRITE: &str =
    "INSERT INTO limits (name, at, used, until) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO UPDATE SET at = ?2, used = ?3, until = ?4";
/// What says nothing any more goes a little at a time, with every write.
const SWEEP: &str = "DELETE FROM limits WHERE name IN (SELECT name FROM limits WHERE until < ?1 LIMIT 4)";

pub(super) fn draw(connection: &mut Connection, draw: &Draw<'_>) -> Result<Drawn, StoreError> {
    let mut work = || -> rusqlite::Result<Drawn> {
        let behavior = if draw.only_looks() { TransactionBehavior::Deferred } else { TransactionBehavior::Immediate };
        let transaction = connection.transaction_with_behavior(behavior)?;
        let (kept, now) = {
            let mut read = transaction.prepare_cached(READ)?;
            read.query_row([draw.name], |row| Ok((Kept { at: row.get(0)?, used: row.get(1)? }, row.get(2)?)))?
        };
        let (kept, drawn, until) = draw.on(kept, now);
        if !draw.only_looks() {
            transaction.prepare_cached(WRITE)?.execute(params![draw.name, kept.at, kept.used, until])?;
            transaction.prepare_cached(SWEEP)?.execute([now])?;
        }
        transaction.commit()?;
        Ok(drawn)
    };
    work().map_err(unavailable)
}
