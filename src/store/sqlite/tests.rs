//! What only a file can do to us: another process that writes to it, rows that are no records, files of other releases.

use std::collections::VecDeque;

use super::*;
use crate::store::change::{ChangeLog as _, Changed};
use crate::store::contract::{bare, digest_of, key, tenant};

/// What a reader tells, one by one.
struct Told {
    changes: SqliteChanges,
    told: VecDeque<Changed>,
}

impl Told {
    async fn recv(&mut self) -> Option<Changed> {
        while self.told.is_empty() {
            self.told.extend(self.changes.next().await.unwrap().changes);
        }
        self.told.pop_front()
    }

    /// Finds out where the log ends.
    async fn begin(&mut self) {
        assert_eq!(self.recv().await, Some(Changed::Everything));
    }
}

fn changed(id: &str) -> Changed {
    Changed::Key { id: id.into(), version: 0 }
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("keys")
    }
    fn open(&self) -> (SqliteStore, Told) {
        let (store, changes) = SqliteStore::open(&self.file(), Clock::System).unwrap();
        (store, Told { changes, told: VecDeque::new() })
    }
    fn raw(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }
}

#[tokio::test]
async fn what_another_process_writes_is_told_in_order() {
    let dir = Dir::new();
    let (serving, mut changes) = dir.open();
    changes.begin().await;
    // Its own connections, as the command line has them.
    let (writing, _) = dir.open();
    writing.put_tenant(bare(&tenant("acme"))).await.unwrap();
    writing.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    assert_eq!(changes.recv().await, Some(Changed::Tenant { id: "acme".into(), version: 0 }));
    assert_eq!(changes.recv().await, Some(Changed::NewKeys));
    assert!(serving.find_key_by_digest(&digest_of("s1")).await.unwrap().is_some());
    // Its own writes are told too: whoever makes them need not know who caches.
    serving.put_key(bare(&KeyRecord { version: 2, ..key("key_1", "acme", "s2") })).await.unwrap();
    assert_eq!(changes.recv().await, Some(changed("key_1")));
}

#[tokio::test]
async fn a_write_that_was_refused_is_no_change() {
    let dir = Dir::new();
    let (store, mut changes) = dir.open();
    changes.begin().await;
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    assert!(store.put_key(bare(&key("key_1", "acme", "s1"))).await.is_err());
    assert!(store.put_key(bare(&key("key_2", "acme", "s1"))).await.is_err());
    store.put_key(bare(&KeyRecord { version: 2, ..key("key_1", "acme", "s3") })).await.unwrap();
    assert_eq!(changes.recv().await, Some(Changed::NewKeys));
    assert_eq!(changes.recv().await, Some(changed("key_1")));
    assert_eq!(store.find_key("key_2").await.unwrap(), None);
}

#[tokio::test]
async fn changes_that_were_missed_mean_everything() {
    let dir = Dir::new();
    let (_serving, mut changes) = dir.open();
    changes.begin().await;
    let mut raw = dir.raw();
    let transaction = raw.transaction().unwrap();
    for seq in [5, 6] {
        transaction.execute("INSERT INTO changes (seq, what, id) VALUES (?1, 'key', 'key_1')", [seq]).unwrap();
    }
    transaction.commit().unwrap();
    assert_eq!(changes.recv().await, Some(Changed::Everything));
    assert_eq!(changes.recv().await, Some(changed("key_1")));
    assert_eq!(changes.recv().await, Some(changed("key_1")));
    raw.execute("DELETE FROM changes", []).unwrap();
    assert_eq!(changes.recv().await, Some(Changed::Everything));
}

#[tokio::test]
async fn what_is_no_record_is_corrupt_for_its_key_only() {
    let dir = Dir::new();
    let (store, _) = dir.open();
    for id in ["key_a", "key_b", "key_c", "key_d"] {
        store.put_key(bare(&key(id, "acme", id))).await.unwrap();
    }
    let raw = dir.raw();
    let spoil = |id: &str, text: &str| raw.execute("UPDATE keys SET record = ?2 WHERE id = ?1", [id, text]).unwrap();
    spoil("key_a", "{\"format\":1,");
    spoil("key_b", &"x".repeat(RECORD_MAX + 1));
    spoil("key_c", "{\"format\":7}");
    for id in ["key_a", "key_b", "key_c"] {
        assert!(matches!(store.find_key(id).await, Err(StoreError::Corrupt { .. })), "{id}");
        assert!(matches!(store.find_key_by_digest(&digest_of(id)).await, Err(StoreError::Corrupt { .. })), "{id}");
    }
    assert!(store.find_key_by_digest(&digest_of("key_d")).await.unwrap().is_some());
    assert_eq!(store.list_keys(None, None, 10).await.unwrap().items.len(), 1);
    // An index row opens nothing by itself.
    raw.execute("INSERT INTO digests (digest, key_id) VALUES (?1, 'key_d')", [digest_of("guess").0]).unwrap();
    assert_eq!(store.find_key_by_digest(&digest_of("guess")).await.unwrap(), None);
}

#[test]
fn a_file_of_a_newer_release_and_what_is_no_database_are_refused() {
    let dir = Dir::new();
    drop(dir.open());
    dir.raw().pragma_update(None, "user_version", 9).unwrap();
    assert!(SqliteStore::open(&dir.file(), Clock::System).err().unwrap().contains("newer release"));
    let text = dir.0.path().join("text");
    std::fs::write(&text, "this is no database, only a text that is long enough to be looked at").unwrap();
    assert!(SqliteStore::open(&text, Clock::System).is_err());
    assert!(SqliteStore::open(&dir.0.path().join("no/such/directory"), Clock::System).is_err());
}

#[test]
fn only_its_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = Dir::new();
    let _open = dir.open();
    for name in ["keys", "keys-wal", "keys-shm"] {
        let mode = std::fs::metadata(dir.0.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let dir = Dir::new();
    dir.open().0.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    assert!(dir.open().0.find_key("key_1").await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_seen_of_a_key_goes_with_the_key_and_with_its_last_day() {
    use crate::store::usage::{Counts, Flush, KeyUse, RETENTION_DAYS, Usages as _};
    use crate::usage::Day;
    let dir = Dir::new();
    let (store, _) = dir.open();
    let at = crate::clock::Timestamp(1_700_000_000_000);
    let day = |after: u16| Day::of(at).plus(i32::from(after));
    let used = |key: &str, after: u16| KeyUse {
        key: key.into(),
        days: smallvec::SmallVec::from_iter([(day(after), Counts { requests: 1, ..Counts::default() })]),
        last: Some((at.plus_millis(i64::from(after) * 86_400_000), None)),
        networks: smallvec::SmallVec::from_iter([("192.0.2.0/24".parse().unwrap(), at, at)]),
        networks_missed: None,
        scopes: smallvec::SmallVec::new(),
        scopes_missed: None,
    };
    let flush = async |keys: Vec<KeyUse>| assert!(store.flush(Flush { keys, ..Flush::default() }).await.error.is_none());
    let rows = || {
        let count = |table: &str| dir.raw().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap();
        (count("usage_last"), count("usage_seen"))
    };
    flush(vec![used("key_1", 0), used("key_2", 0), used("key_3", 1)]).await;
    assert_eq!(rows(), (3, 3));
    let record = key("key_3", "acme", "s3");
    store.put_key(bare(&record)).await.unwrap();
    store.remove_key(bare(&record)).await.unwrap();
    assert_eq!(rows(), (2, 2));
    flush(vec![used("key_2", RETENTION_DAYS)]).await;
    assert_eq!(rows(), (2, 2), "the first day is not over yet");
    flush(vec![used("key_2", RETENTION_DAYS + 1)]).await;
    assert_eq!(rows(), (1, 1), "key_1 was last seen that day, key_2 later too");
}
