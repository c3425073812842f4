//! The collector over a store that does as it is told, in a time that the test moves.

use std::collections::HashMap;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Timestamp;
use crate::rejection::Rejection;
use crate::store::usage::{DenialFilter, Flushed, KeyUsage, LastUse};
use crate::store::{Page, StoreError};
use crate::usage::{Day, Exchange};

/// What becomes of a flush.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Taken,
    Left,
    Unknown,
}

/// Counts what it takes.
struct Fake {
    fate: Mutex<Fate>,
    flushes: AtomicU64,
    requests: Mutex<HashMap<String, u64>>,
    denials: AtomicU64,
    /// A flush takes one, once it has begun.
    permits: Semaphore,
}

#[async_trait]
impl Usages for Fake {
    async fn flush(&self, flush: Flush) -> Flushed {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.permits.acquire().await.unwrap().forget();
        let error = Some(StoreError::Unavailable("told to".into()));
        let fate = *self.fate.lock().unwrap();
        match fate {
            Fate::Taken => {
                for of_key in &flush.keys {
                    *self.requests.lock().unwrap().entry(of_key.key.to_string()).or_default() += of_key.requests();
                }
                self.denials.fetch_add(flush.denials.len() as u64, Ordering::Relaxed);
                Flushed::default()
            }
            Fate::Left => Flushed { left: flush, error, ..Flushed::default() },
            Fate::Unknown => Flushed {
                unknown_requests: flush.keys.iter().map(KeyUse::requests).sum(),
                unknown_denials: flush.denials.len() as u64,
                error,
                ..Flushed::default()
            },
        }
    }

    async fn usage(&self, _: &[&str], _: Day, _: Day) -> Result<Vec<KeyUsage>, StoreError> {
        Ok(Vec::new())
    }

    async fn last_uses(&self, _: &[&str]) -> Result<Vec<Option<LastUse>>, StoreError> {
        Ok(Vec::new())
    }

    async fn denials(&self, _: &DenialFilter, _: Option<&str>, _: usize) -> Result<Page<Denial>, StoreError> {
        Ok(Page { items: Vec::new(), next: None, unreadable: Vec::new() })
    }
}

struct Bench {
    store: Arc<Fake>,
    collector: Arc<Collector>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Bench {
    fn start() -> Self {
        let store = Arc::new(Fake {
            fate: Mutex::new(Fate::Taken),
            flushes: AtomicU64::new(0),
            requests: Mutex::default(),
            denials: AtomicU64::new(0),
            permits: Semaphore::new(1_000_000),
        });
        let usages: Arc<dyn Usages> = Arc::<Fake>::clone(&store);
        let collector = Collector::new(usages);
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(Arc::clone(&collector).run(stopped));
        Self { store, collector, stop, running }
    }

    fn count(sheet: &Sheet, key: &str, times: u64) {
        let key: Arc<str> = key.into();
        for _ in 0..times {
            sheet.count(&Exchange {
                key: &key,
                began: Timestamp(1_800_000_000_000),
                refused: None,
                admitted: true,
                client: None,
                network: None,
                scopes: "",
                received_bytes: 0,
                sent_bytes: 0,
            });
        }
    }

    fn sheet(&self) -> Arc<Sheet> {
        self.collector.open(Span::secs(60))
    }

    fn be(&self, fate: Fate) {
        *self.store.fate.lock().unwrap() = fate;
    }

    fn taken(&self, key: &str) -> u64 {
        self.store.requests.lock().unwrap().get(key).copied().unwrap_or(0)
    }

    fn flushes(&self) -> u64 {
        self.store.flushes.load(Ordering::Relaxed)
    }

    async fn interval() {
        sleep(INTERVAL + Duration::from_millis(1)).await;
    }

    async fn stop(self) -> Arc<Fake> {
        drop(self.stop);
        self.running.await.unwrap();
        self.store
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn what_all_workers_gathered_is_one_flush_and_nothing_is_none() {
    let bench = Bench::start();
    let sheets = [bench.sheet(), bench.sheet()];
    for sheet in &sheets {
        Bench::count(sheet, "key_1", 3);
    }
    Bench::count(&sheets[0], "key_2", 1);
    Bench::interval().await;
    assert_eq!((bench.flushes(), bench.taken("key_1"), bench.taken("key_2")), (1, 6, 1));
    Bench::interval().await;
    assert_eq!(bench.flushes(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_left_behind_is_flushed_and_its_sheet_is_forgotten() {
    let bench = Bench::start();
    let (kept, left) = (bench.sheet(), bench.sheet());
    Bench::count(&left, "key_1", 2);
    drop(left);
    Bench::interval().await;
    assert_eq!((bench.taken("key_1"), bench.collector.sheets.lock().unwrap().len()), (2, 1));
    Bench::count(&kept, "key_1", 1);
    let store = bench.stop().await;
    assert_eq!(store.requests.lock().unwrap().get("key_1"), Some(&3));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_leaves_waits_with_what_comes_and_what_it_may_have_is_given_up() {
    let bench = Bench::start();
    let sheet = bench.sheet();
    bench.be(Fate::Left);
    for _ in 0..3 {
        Bench::count(&sheet, "key_1", 2);
        Bench::interval().await;
    }
    assert_eq!((bench.taken("key_1"), read(&bench.collector.counters.deferred)), (0, 3));
    bench.be(Fate::Taken);
    Bench::interval().await;
    assert_eq!((bench.taken("key_1"), bench.flushes()), (6, 4));
    bench.be(Fate::Unknown);
    Bench::count(&sheet, "key_1", 5);
    Bench::interval().await;
    bench.be(Fate::Taken);
    Bench::interval().await;
    assert_eq!((bench.taken("key_1"), bench.flushes(), read(&bench.collector.counters.requests_unknown)), (6, 5, 5));
}

#[tokio::test(start_paused = true)]
async fn more_keys_than_a_flush_takes_follow_at_once() {
    let bench = Bench::start();
    let sheet = bench.sheet();
    (0..=KEYS_AT_ONCE * 2).for_each(|index| Bench::count(&sheet, &format!("key_{index}"), 1));
    Bench::interval().await;
    assert_eq!((bench.flushes(), bench.store.requests.lock().unwrap().len()), (3, KEYS_AT_ONCE * 2 + 1));
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_a_flush_under_way_and_flushes_the_rest() {
    let bench = Bench::start();
    let sheet = bench.sheet();
    bench.store.permits.forget_permits(1_000_000);
    Bench::count(&sheet, "key_1", 2);
    Bench::interval().await;
    assert_eq!((bench.flushes(), bench.taken("key_1")), (1, 0), "it is under way");
    Bench::count(&sheet, "key_1", 3);
    bench.store.permits.add_permits(2);
    let store = bench.stop().await;
    assert_eq!((store.requests.lock().unwrap().get("key_1").copied(), read(&store.flushes)), (Some(5), 2));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_store_is_bounded_and_what_is_over_is_counted() {
    let bench = Bench::start();
    let sheet = bench.sheet();
    bench.be(Fate::Left);
    for from in (0..KEYS_WAITING + 10).step_by(10_000) {
        let to = (from + 10_000).min(KEYS_WAITING + 10);
        (from..to).for_each(|index| Bench::count(&sheet, &format!("key_{index}"), 2));
        for index in 0..250 {
            let rejection = Rejection::ALL[index % 40];
            sheet.deny(rejection, || Denial {
                time: Timestamp(0),
                request_id: index.to_string(),
                reason: rejection.row().reason.into(),
                detail: String::new(),
                observed: false,
                status: None,
                tenant: None,
                key: None,
                credential: None,
                client: None,
                method: String::new(),
                path: String::new(),
            });
        }
        Bench::interval().await;
    }
    let counters = &bench.collector.counters;
    assert_eq!((read(&counters.requests_over), read(&counters.denials_over)), (20, 6 * 250 - DENIALS_WAITING as u64));
    bench.be(Fate::Taken);
    Bench::interval().await;
    assert_eq!((bench.store.requests.lock().unwrap().len(), read(&bench.store.denials)), (KEYS_WAITING, DENIALS_WAITING as u64));
    assert_eq!(read(&bench.collector.counters.denials_written), DENIALS_WAITING as u64);
}
