//! Tables of the embedded store's file, their statements, and how a connection is set up. The file says its own format (`user_version`).

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

/// Format of the file.
const FORMAT: i64 = 1;

/// How long a write waits for another process's.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE keys (id TEXT PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, place TEXT NOT NULL, version INTEGER NOT NULL, record TEXT NOT NULL) STRICT;
CREATE UNIQUE INDEX keys_by_place ON keys (place);
CREATE INDEX keys_by_tenant ON keys (tenant, place);
CREATE TABLE digests (digest BLOB PRIMARY KEY NOT NULL, key_id TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX digests_by_key ON digests (key_id);
CREATE TABLE tenants (id TEXT PRIMARY KEY NOT NULL, tenant TEXT NOT NULL, place TEXT NOT NULL, version INTEGER NOT NULL, record TEXT NOT NULL) STRICT;
CREATE UNIQUE INDEX tenants_by_place ON tenants (place);
CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL, id TEXT NOT NULL) STRICT;
";

/// Came later; a release that does not know them does not mind them.
const LATER: &str = "
CREATE TABLE IF NOT EXISTS instances (id TEXT PRIMARY KEY NOT NULL, at INTEGER NOT NULL, said TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS limits (name TEXT PRIMARY KEY NOT NULL, at INTEGER NOT NULL, used INTEGER NOT NULL, until INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS limits_by_end ON limits (until);
";

/// The two tables of records; they have the same columns.
#[derive(Debug, Clone, Copy)]
pub(super) enum Table {
    Keys,
    Tenants,
}

impl Table {
    pub(super) const fn select_one(self) -> &'static str {
        match self {
            Self::Keys => "SELECT id, record FROM keys WHERE id = ?1",
            Self::Tenants => "SELECT id, record FROM tenants WHERE id = ?1",
        }
    }

    pub(super) const fn delete(self) -> &'static str {
        match self {
            Self::Keys => "DELETE FROM keys WHERE id = ?1",
            Self::Tenants => "DELETE FROM tenants WHERE id = ?1",
        }
    }

    pub(super) const fn select_version(self) -> &'static str {
        match self {
            Self::Keys => "SELECT version FROM keys WHERE id = ?1",
            Self::Tenants => "SELECT version FROM tenants WHERE id = ?1",
        }
    }

    pub(super) const fn select_page(self, of_tenant: bool) -> &'static str {
        match (self, of_tenant) {
            (Self::Keys, false) => "SELECT id, record, place FROM keys WHERE place > ?1 ORDER BY place LIMIT ?2",
            (Self::Keys, true) => "SELECT id, record, place FROM keys WHERE place > ?1 AND tenant = ?3 ORDER BY place LIMIT ?2",
            (Self::Tenants, _) => "SELECT id, record, place FROM tenants WHERE place > ?1 ORDER BY place LIMIT ?2",
        }
    }

    pub(super) const fn upsert(self) -> &'static str {
        match self {
            Self::Keys => {
                "INSERT INTO keys (id, tenant, place, version, record) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET tenant = ?2, place = ?3, version = ?4, record = ?5"
            }
            Self::Tenants => {
                "INSERT INTO tenants (id, tenant, place, version, record) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET tenant = ?2, place = ?3, version = ?4, record = ?5"
            }
        }
    }
}

/// Makes the file if it is not there: readable by its owner only, as the library then makes the files beside it.
pub(super) fn create(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

/// A connection, set up.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // A few small tables: SQLite's default of 2 MiB a connection would be most of an idle sidecar.
    connection.pragma_update(None, "cache_size", -256)?;
    Ok(connection)
}

/// A connection for looking, and for notes that need not survive a loss of power: they do not wait for the disk.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

/// Makes the tables in a new file; refuses one that a newer release made.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), String> {
    let words = |error: rusqlite::Error| error.to_string();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(words)?;
    let format: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(words)?;
    match format {
        0 => {
            transaction.execute_batch(TABLES).map_err(words)?;
            transaction.pragma_update(None, "user_version", FORMAT).map_err(words)?;
        }
        FORMAT => {}
        newer => return Err(format!("written by a newer release: format {newer}, this release reads {FORMAT}")),
    }
    transaction.execute_batch(LATER).map_err(words)?;
    transaction.execute_batch(super::digests::TABLES).map_err(words)?;
    transaction.execute_batch(super::audit::TABLES).map_err(words)?;
    transaction.execute_batch(super::reservations::TABLES).map_err(words)?;
    transaction.execute_batch(super::usage::TABLES).map_err(words)?;
    transaction.execute_batch(super::sessions::TABLES).map_err(words)?;
    transaction.commit().map_err(words)
}
