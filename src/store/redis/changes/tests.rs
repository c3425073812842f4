//! What a reader of the stream is told, whatever becomes of the stream meanwhile.

use redis::Commands as _;

use super::*;
use crate::clock::Clock;
use crate::store::contract::{bare, key, tenant};
use crate::store::redis_server::RedisServer;
use crate::store::target::{self, Target};
use crate::store::{Opened, Store, open};

const LOG: &str = "sidegate:{changes}:log";

struct Bench {
    server: RedisServer,
    store: std::sync::Arc<dyn Store>,
    log: Box<dyn ChangeLog>,
}

impl Bench {
    async fn new() -> Self {
        let server = RedisServer::start();
        let Opened { store, changes, .. } = open(&server.config(), &Clock::System).await.unwrap();
        let mut bench = Self { server, store, log: changes.unwrap() };
        assert_eq!(bench.next().await, [Changed::Everything]);
        bench
    }

    /// What is told next.
    async fn next(&mut self) -> Vec<Changed> {
        loop {
            let batch = self.log.next().await.unwrap();
            if !batch.changes.is_empty() {
                return batch.changes;
            }
        }
    }

    /// Where the reader is after that, and whether it is the end.
    async fn quiet(&mut self) -> (Position, bool) {
        let batch = self.log.next().await.unwrap();
        assert_eq!(batch.changes, []);
        (batch.position, batch.current)
    }

    /// Another reader, as it is before it has read.
    async fn reader(&self) -> RedisChanges {
        let Ok(Target::Redis(target)) = target::parse(&self.server.config()) else { panic!("no redis") };
        RedisStore::connect(*target, Clock::System).await.1
    }

    async fn announce(&self, ids: &[&str]) -> Position {
        let changes: Vec<_> = ids.iter().map(|id| changed(id)).collect();
        self.store.announce(&changes).await.unwrap()
    }
}

fn changed(id: &str) -> Changed {
    Changed::Key { id: id.into(), version: 7 }
}

#[tokio::test]
async fn changes_are_told_in_order_with_their_versions() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.store.put_tenant(bare(&tenant("acme"))).await.unwrap(), Position(1));
    assert_eq!(bench.next().await, [Changed::Tenant { id: "acme".into(), version: 1 }]);
    assert_eq!(bench.store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap(), Position(2));
    assert_eq!(bench.next().await, [Changed::NewKeys]);
    let record = crate::key::record::KeyRecord { version: 2, ..key("key_1", "acme", "s1") };
    assert_eq!(bench.store.put_key(bare(&record)).await.unwrap(), Position(3));
    assert_eq!(bench.next().await, [Changed::Key { id: "key_1".into(), version: 2 }]);
    assert!(bench.store.put_key(bare(&record)).await.is_err());
    assert_eq!(bench.announce(&["key_1", "key_2"]).await, Position(5));
    assert_eq!(bench.next().await, [changed("key_1"), changed("key_2")]);
    assert_eq!(bench.quiet().await, (Position(5), true));
}

#[tokio::test]
async fn more_than_is_read_at_once_is_read_on() {
    let mut bench = Bench::new().await;
    let ids: Vec<String> = (0..=COUNT).map(|number| number.to_string()).collect();
    bench.announce(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let first = bench.log.next().await.unwrap();
    assert_eq!((first.changes.len(), first.current), (COUNT, false));
    let second = bench.log.next().await.unwrap();
    assert_eq!((second.changes, second.current), (vec![changed(&COUNT.to_string())], true));
}

#[tokio::test]
async fn what_was_trimmed_away_means_everything() {
    let mut bench = Bench::new().await;
    bench.announce(&["a", "b", "c"]).await;
    let _: u64 = redis::cmd("XTRIM").arg(LOG).arg("MAXLEN").arg(1).query(&mut bench.server.raw()).unwrap();
    assert_eq!(bench.next().await, [Changed::Everything, changed("c")]);
    // Emptied, it goes on counting where it was.
    let _: u64 = redis::cmd("XTRIM").arg(LOG).arg("MAXLEN").arg(0).query(&mut bench.server.raw()).unwrap();
    assert_eq!(bench.next().await, [Changed::Everything]);
    assert_eq!(bench.announce(&["d"]).await, Position(4));
    assert_eq!(bench.next().await, [Changed::Everything, changed("d")]);
}

#[tokio::test]
async fn a_log_that_was_deleted_means_everything_however_far_the_new_one_has_come() {
    let mut bench = Bench::new().await;
    bench.announce(&["a", "b"]).await;
    assert_eq!(bench.next().await.len(), 2);
    let _: () = bench.server.raw().del(LOG).unwrap();
    assert_eq!(bench.next().await, [Changed::Everything]);
    for _ in 0..3 {
        bench.announce(&["x"]).await;
    }
    let mut told = Vec::new();
    while told.iter().filter(|change| **change == changed("x")).count() < 3 {
        told.extend(bench.next().await);
    }
    assert_eq!(bench.quiet().await, (Position(3), true));
}

#[test]
fn an_end_that_was_lost_and_grew_again_means_everything() {
    let entry = |position: u64, prev: &str, link: &str| StreamId {
        id: format!("{position}-0"),
        map: [("what", "key"), ("id", "k"), ("version", "7"), ("prev", prev), ("link", link)]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Value::BulkString(value.into())))
            .collect(),
        ..StreamId::default()
    };
    let seen = |position: u64, link: &str| Seen { id: format!("{position}-0"), position, link: link.into() };
    // 5 was read, the new master had only 4, and wrote another 5, then 6.
    let (batch, after) = follow(seen(5, "old"), &[entry(6, "new", "newer")], &seen(6, "newer"));
    assert_eq!(batch, Batch { changes: vec![Changed::Everything, changed("k")], position: Position(6), current: true });
    assert_eq!(after, seen(6, "newer"));
    // It has written another 5 and nothing since.
    let (batch, after) = follow(seen(5, "old"), &[], &seen(5, "new"));
    assert_eq!((batch.changes, after), (vec![Changed::Everything], seen(5, "new")));
    // It has written nothing yet.
    let (batch, after) = follow(seen(5, "old"), &[], &seen(4, "older"));
    assert_eq!((batch.changes, after, batch.current), (vec![Changed::Everything], seen(4, "older"), true));
}

#[tokio::test]
async fn entries_with_ids_that_no_writer_gives_mean_everything_once() {
    let mut bench = Bench::new().await;
    bench.announce(&["a"]).await;
    assert_eq!(bench.next().await, [changed("a")]);
    let last = bench.server.tell::<StreamRangeReply>(&format!("XREVRANGE {LOG} + - COUNT 1"));
    let link = field(&last.ids[0], "link");
    for id in ["1-5", "2-5"] {
        let forged = format!("XADD {LOG} {id} what key id k version 7 prev {link} link {link}");
        let _: String = bench.server.tell(&forged);
        assert_eq!(bench.next().await, [Changed::Everything, changed("k")], "{id}");
        bench.quiet().await;
    }
    assert_eq!(bench.announce(&["b"]).await, Position(3));
    assert_eq!(bench.next().await, [changed("b")]);
    let _: String = bench.server.tell(&format!("XADD {LOG} {}-0 what key id k version 7", u64::MAX));
    assert_eq!(bench.next().await, [Changed::Everything, changed("k")]);
    let _: String = bench.server.tell(&format!("XADD {LOG} {}-1 what key id k version 7", u64::MAX));
    assert_eq!(bench.next().await, [Changed::Everything, changed("k")]);
    assert_eq!(bench.quiet().await, (Position(u64::MAX), true));
}

#[tokio::test]
async fn a_reader_that_was_cut_off_goes_on_where_it_was() {
    let mut bench = Bench::new().await;
    bench.announce(&["a"]).await;
    assert_eq!(bench.next().await, [changed("a")]);
    let _: () = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").query(&mut bench.server.raw()).unwrap();
    assert!(bench.log.next().await.is_err());
    while bench.store.ping().await.is_err() {
        tokio::task::yield_now().await;
    }
    bench.announce(&["b", "c"]).await;
    assert_eq!(bench.next().await, [changed("b"), changed("c")]);
}

#[tokio::test]
async fn a_server_that_lets_nobody_wait_is_polled() {
    let error = |code: &str, words: &str| redis::make_extension_error(code.into(), Some(words.into()));
    assert!(may_not_wait(&error("ERR", "Blocking commands are not allowed")));
    assert!(!may_not_wait(&error("ERR", "no such key")));
    assert!(!may_not_wait(&error("LOADING", "not allowed yet")));
    let mut bench = Bench::new().await;
    let changes = RedisChanges { waits: false, ..bench.reader().await };
    bench.log = Box::new(changes);
    assert_eq!(bench.next().await, [Changed::Everything]);
    bench.announce(&["a"]).await;
    assert_eq!(bench.next().await, [changed("a")]);
    assert_eq!(bench.quiet().await, (Position(1), true));
}
