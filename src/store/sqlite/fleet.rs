//! The sidecars that serve from this file, in a table: each writes itself down once a second.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::unavailable;
use crate::store::StoreError;
use crate::store::instance::{Instance, Seen};

/// Milliseconds since the epoch, by the library: all who ask are of one machine.
const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

pub(super) fn write_down(connection: &Connection, instance: &Instance, first: bool) -> Result<u64, StoreError> {
    let text = serde_json::to_string(instance).map_err(|error| super::corrupt(&instance.id, error.to_string()))?;
    if first {
        let gone = format!("DELETE FROM instances WHERE {NOW} - at > coalesce(said ->> 'gone_after_ms', 0)");
        connection.execute(&gone, []).map_err(unavailable)?;
    }
    let beat = format!("INSERT INTO instances (id, at, said) VALUES (?1, {NOW}, ?2) ON CONFLICT (id) DO UPDATE SET at = {NOW}, said = ?2");
    connection.prepare_cached(&beat).and_then(|mut write| write.execute(params![instance.id, text])).map_err(unavailable)?;
    let count: i64 = connection.query_row("SELECT count(*) FROM instances", [], |row| row.get(0)).map_err(unavailable)?;
    Ok(count.unsigned_abs())
}

pub(super) fn strike_out(connection: &Connection, id: &str) -> Result<(), StoreError> {
    connection.execute("DELETE FROM instances WHERE id = ?1", [id]).map(drop).map_err(unavailable)
}

pub(super) fn written_down(connection: &Connection) -> Result<Vec<Seen>, StoreError> {
    let read = || -> rusqlite::Result<Vec<(i64, String)>> {
        let mut query = connection.prepare_cached(&format!("SELECT max(0, {NOW} - at), said FROM instances"))?;
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let seen = read().map_err(unavailable)?.into_iter().filter_map(|(silent, said)| {
        Some(Seen { instance: serde_json::from_str(&said).ok()?, silent: Duration::from_millis(silent.unsigned_abs()) })
    });
    Ok(seen.collect())
}
