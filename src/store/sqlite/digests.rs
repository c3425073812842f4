//! Whose a secret is, in the file: a row for every digest that a record names, written and removed with the record; and, for a while,
//! one for every digest that none names any more.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{record_bytes, unavailable};
use crate::clock::Timestamp;
use crate::config::units::Span;
use crate::key::digest::StoredDigest;
use crate::key::record::KeyRecord;
use crate::store::codec::{digests, parse};
use crate::store::{FORMER_FOR, Named, StoreError};

/// Came later, as the tables of [`super::schema`] that did.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS former (digest BLOB PRIMARY KEY NOT NULL, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS former_by_end ON former (until);
";

/// Rows past their end that are removed with each new one.
const SWEPT: i64 = 16;

pub(super) fn find(connection: &Connection, digest: StoredDigest) -> Result<Named, StoreError> {
    let statement = |text| connection.prepare_cached(text).map_err(unavailable);
    let mut query = statement("SELECT keys.id, keys.record FROM digests JOIN keys ON keys.id = digests.key_id WHERE digests.digest = ?1")?;
    let found = query.query_row([digest.0], |row| Ok((row.get::<_, String>(0)?, record_bytes(row)?))).optional().map_err(unavailable)?;
    if let Some((id, bytes)) = found {
        return Ok(Named::of(parse(&id, &bytes?)?, digest));
    }
    let was_named = statement("SELECT 1 FROM former WHERE digest = ?1")?.exists([digest.0]).map_err(unavailable)?;
    Ok(if was_named { Named::Former } else { Named::Nobody })
}

/// Points the record's digests at it, unless one is the secret of another key, and frees those it no longer names.
pub(super) fn index(transaction: &Transaction<'_>, record: &KeyRecord, now: Timestamp) -> Result<(), StoreError> {
    let statement = |text| transaction.prepare_cached(text).map_err(unavailable);
    release(transaction, &record.id, now)?;
    for digest in digests(record) {
        let written = statement("INSERT INTO digests (digest, key_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute(params![digest.0, record.id])
            .map_err(unavailable)?;
        if written == 0 {
            let id = transaction.query_row("SELECT key_id FROM digests WHERE digest = ?1", [digest.0], |row| row.get(0));
            return Err(StoreError::DigestTaken { id: id.map_err(unavailable)? });
        }
        statement("DELETE FROM former WHERE digest = ?1")?.execute([digest.0]).map_err(unavailable)?;
    }
    Ok(())
}

/// Frees the digests of a key.
pub(super) fn release(transaction: &Transaction<'_>, id: &str, now: Timestamp) -> Result<(), StoreError> {
    let statement = |text| transaction.prepare_cached(text).map_err(unavailable);
    let until = now.plus_millis(Span(FORMER_FOR).as_millis());
    let remember = "INSERT OR REPLACE INTO former (digest, until) SELECT digest, ?2 FROM digests WHERE key_id = ?1";
    if statement(remember)?.execute(params![id, until.0]).map_err(unavailable)? > 0 {
        statement("DELETE FROM digests WHERE key_id = ?1")?.execute([id]).map_err(unavailable)?;
        let sweep = "DELETE FROM former WHERE digest IN (SELECT digest FROM former WHERE until < ?1 ORDER BY until LIMIT ?2)";
        statement(sweep)?.execute(params![now.0, SWEPT]).map_err(unavailable)?;
    }
    Ok(())
}
