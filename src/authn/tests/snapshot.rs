//! What a sidecar knew, served by the one that comes after it while the store is away.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use secrecy::SecretSlice;

use super::*;
use crate::authn::snapshot::{Place, Snapshot, Turn};

const STALE_FOR_MS: i64 = 600_000;

fn peppers(lines: &str) -> Peppers {
    Peppers::from_lines(&SecretSlice::from(lines.as_bytes().to_vec()))
}

/// Where the file is, and what it is sealed with.
struct Home {
    dir: tempfile::TempDir,
    peppers: Peppers,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), peppers: peppers("pepper") }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("snapshot")
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        config.store.command_timeout.0 = Duration::from_mins(1);
        config.cache.snapshot_file = self.file();
        config
    }

    /// A sidecar, and its key `s1`, as stored under the pepper.
    fn sidecar(&self) -> (Bench, Arc<Snapshot>) {
        let bench = Bench::configured(Fake::default(), &self.config(), self.peppers.clone());
        bench.store.put(self.key("key_1", "acme", "s1"));
        let file = Snapshot::configured(&self.config(), &self.peppers, "first", &Turn::first()).unwrap().unwrap();
        (bench, file)
    }

    fn key(&self, id: &str, tenant: &str, secret: &str) -> KeyRecord {
        KeyRecord { digest: self.peppers.store(&Digest::of(secret.as_bytes())).to_hex(), ..key(id, tenant, secret) }
    }

    /// The next one, while the store is away; some time later.
    fn successor(&self, ms: i64) -> (Bench, Option<String>) {
        let bench = Bench::configured(Fake::default(), &self.config(), self.peppers.clone());
        bench.clock.advance(ms);
        bench.store.go_away();
        let file = Snapshot::configured(&self.config(), &self.peppers, "second", &Turn::first()).unwrap().unwrap();
        let predecessor = file.restore(&bench.authn.shared, true);
        (bench, predecessor)
    }
}

#[tokio::test]
async fn what_was_known_is_served_and_its_age_counts_into_stale_for() {
    let home = Home::new();
    let (bench, file) = home.sidecar();
    bench.ask("s1").await.unwrap();
    bench.advance(5_000);
    file.save(&bench.authn.shared).await;
    let (successor, predecessor) = home.successor(5_000 + STALE_FOR_MS - 1);
    assert_eq!(predecessor.as_deref(), Some("first"));
    assert!(successor.authn.has_warm_start());
    assert_eq!(successor.cached("s1").unwrap().unwrap().key_id().map(|id| &**id), Some("key_1"));
    assert_eq!(reason(successor.ask("s2").await), "store_unavailable");
    successor.clock.advance(1);
    assert_eq!(reason(successor.ask("s1").await), "store_unavailable");
    assert!(!successor.authn.has_warm_start());
}

#[tokio::test]
async fn who_never_met_the_store_leaves_the_file_as_it_is() {
    let home = Home::new();
    let (bench, file) = home.sidecar();
    bench.ask("s1").await.unwrap();
    file.save(&bench.authn.shared).await;
    let before = std::fs::read(home.file()).unwrap();
    let (successor, _) = home.successor(0);
    file.save(&successor.authn.shared).await;
    assert_eq!(std::fs::read(home.file()).unwrap(), before);
}

#[tokio::test]
async fn refusals_and_deadlines_hold_over_a_restart() {
    let home = Home::new();
    let (bench, file) = home.sidecar();
    let revoked = KeyRecord { status: KeyStatus::Revoked, version: 2, ..home.key("key_2", "acme", "s2") };
    let expiring = KeyRecord { expires_at: Some(START.plus_millis(60_000)), ..home.key("key_3", "acme", "s3") };
    for record in [revoked, expiring, home.key("key_4", "globex", "s4"), home.key("key_5", "nobody", "s5")] {
        bench.store.put(record);
    }
    bench.store.put_tenant(TenantRecord { status: TenantStatus::Suspended, ..tenant("globex") });
    for secret in ["s2", "s3", "s4", "s5"] {
        let _ = bench.ask(secret).await;
    }
    file.save(&bench.authn.shared).await;
    let (successor, _) = home.successor(59_999);
    for (secret, expected) in [("s2", "key_revoked"), ("s3", "admitted"), ("s4", "tenant_suspended"), ("s5", "key_unknown")] {
        assert_eq!(reason(successor.cached(secret).unwrap()), expected);
    }
    successor.clock.advance(1);
    assert_eq!(reason(successor.cached("s3").unwrap()), "key_expired");
    // A store that shows an older record than the snapshot is not believed.
    successor.store.come_back();
    successor.store.put(home.key("key_2", "acme", "s2"));
    assert_eq!(reason(successor.ask("s2").await), "key_revoked");
}

#[tokio::test]
async fn what_was_changed_is_not_in_the_next_file() {
    let home = Home::new();
    let (bench, file) = home.sidecar();
    bench.store.put(home.key("key_2", "acme", "s2"));
    bench.ask("s1").await.unwrap();
    bench.ask("s2").await.unwrap();
    bench.authn.invalidate_key("key_1", 2);
    file.save(&bench.authn.shared).await;
    let (successor, _) = home.successor(0);
    assert_eq!(reason(successor.ask("s1").await), "store_unavailable");
    assert_eq!(reason(successor.ask("s2").await), "admitted");
}

#[tokio::test]
async fn when_the_store_is_there_again_everything_is_read_again() {
    let home = Home::new();
    let (bench, file) = home.sidecar();
    bench.ask("s1").await.unwrap();
    file.save(&bench.authn.shared).await;
    let (successor, _) = home.successor(10_000);
    successor.store.come_back();
    successor.store.put(KeyRecord { status: KeyStatus::Inactive, version: 2, ..home.key("key_1", "acme", "s1") });
    successor.authn.apply(&Changed::Everything);
    successor.authn.heard(successor.clock.now());
    assert_eq!(reason(successor.ask("s1").await), "key_inactive");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_an_empty_cache() {
    let home = Home::new();
    let (bench, file) = home.sidecar();
    bench.ask("s1").await.unwrap();
    assert_eq!(home.successor(0).1, None);
    file.save(&bench.authn.shared).await;
    let whole = std::fs::read(home.file()).unwrap();
    for spoiled in [&b""[..], b"garbage", &whole[..whole.len() - 1], &[&whole[..], b"x"].concat()] {
        std::fs::write(home.file(), spoiled).unwrap();
        let (successor, _) = home.successor(0);
        assert_eq!(reason(successor.ask("s1").await), "store_unavailable");
        assert!(!successor.authn.has_warm_start());
    }
    std::fs::write(home.file(), &whole).unwrap();
    let elsewhere = Home { peppers: peppers("another"), dir: home.dir };
    assert_eq!(elsewhere.successor(0).1, None);
    let rotated = Home { peppers: peppers("newer\npepper"), ..elsewhere };
    assert_eq!(reason(rotated.successor(0).0.ask("s1").await), "admitted");
}

#[tokio::test]
async fn the_file_is_for_its_owner_shows_nothing_and_leaves_nothing_beside_it() {
    let home = Home::new();
    let (bench, file) = home.sidecar();
    bench.ask("s1").await.unwrap();
    std::fs::write(home.dir.path().join("snapshot.new"), "from a process that was killed").unwrap();
    for _ in 0..2 {
        file.save(&bench.authn.shared).await;
    }
    let names: Vec<_> = std::fs::read_dir(home.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["snapshot"]);
    assert_eq!(std::fs::metadata(home.file()).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = std::fs::read(home.file()).unwrap();
    assert!(!bytes.windows(4).any(|window| window == b"acme" || window == b"key_"));
}

#[tokio::test(start_paused = true)]
async fn the_file_is_written_soon_after_a_change_and_every_minute_while_the_store_answers() {
    let home = Home::new();
    let (bench, file) = home.sidecar();
    bench.ask("s1").await.unwrap();
    let shared = Arc::clone(&bench.authn.shared);
    tokio::spawn(async move { file.keep(&shared).await });
    let began = tokio::time::Instant::now();
    let until_written = async || {
        while std::fs::remove_file(home.file()).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        began.elapsed().as_secs()
    };
    assert_eq!(until_written().await, 60);
    // Nothing was heard since: what was written still says all, were it still there. A change of what is cached is another thing.
    bench.clock.advance(1);
    bench.authn.heard(bench.clock.now());
    bench.authn.invalidate_key("nobody's", 2);
    bench.authn.invalidate_key("key_1", 2);
    assert_eq!(until_written().await, 61);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert!(!home.file().exists());
    bench.clock.advance(1);
    bench.authn.heard(bench.clock.now());
    assert!((661..=721).contains(&until_written().await));
}

#[tokio::test(start_paused = true)]
async fn after_the_clock_was_set_back_the_file_is_written_as_before() {
    let home = Home::new();
    let (bench, file) = home.sidecar();
    bench.ask("s1").await.unwrap();
    let shared = Arc::clone(&bench.authn.shared);
    tokio::spawn(async move { file.keep(&shared).await });
    let until_written = async || {
        while std::fs::remove_file(home.file()).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    until_written().await;
    bench.advance(-3_600_000);
    until_written().await;
}

#[tokio::test]
async fn what_was_changed_is_out_of_the_file_before_it_is_rewritten() {
    let home = Home::new();
    let (bench, file) = home.sidecar();
    let save = async || file.save(&bench.authn.shared).await;
    bench.ask("s1").await.unwrap();
    save().await;
    bench.authn.invalidate_key("nobody's", 2);
    bench.authn.invalidate_tenant("nobody", 2);
    assert!(home.file().exists());
    bench.authn.invalidate_key("key_1", 2);
    assert!(!home.file().exists());
    save().await;
    assert!(home.file().exists());
    bench.authn.invalidate_tenant("acme", 2);
    assert!(!home.file().exists());
    save().await;
    // What another process left holds who knows whom.
    let (successor, _) = home.successor(0);
    successor.authn.invalidate_key("nobody's", 3);
    assert!(!home.file().exists());
}

#[test]
fn what_was_being_written_when_something_was_changed_takes_no_place() {
    let dir = tempfile::tempdir().unwrap();
    let (path, unfinished) = (dir.path().join("snapshot"), dir.path().join("snapshot.new"));
    let place = Place::new(&path);
    let write = |withdrawn| {
        std::fs::write(&unfinished, "keys").unwrap();
        place.put(&unfinished, withdrawn).unwrap();
        assert!(!unfinished.exists());
        path.exists()
    };
    let before = place.withdrawn();
    assert!(place.withdraw(true));
    assert!(!write(before));
    assert!(write(place.withdrawn()));
    assert!(!place.withdraw(false));
    assert!(path.exists());
}

#[test]
fn without_a_pepper_there_is_no_snapshot() {
    let home = Home::new();
    assert!(Snapshot::configured(&home.config(), &Peppers::default(), "x", &Turn::first()).is_err());
    assert!(Snapshot::configured(&Config::default(), &Peppers::default(), "x", &Turn::first()).unwrap().is_none());
}
