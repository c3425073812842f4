//! Guesses: keys that nobody was given cost the store nothing where their checksum says so, and push nobody out of the cache where not.

use std::fmt::Write as _;

use secrecy::ExposeSecret as _;
use sidegate::key::format::generate;

use crate::support::client::{Client, Request};
use crate::support::fleet::{Fleet, full};
use crate::support::redis::Redis;
use sidegate::clock::{Clock, instant};

/// Requests sent before their answers are read.
const BATCH: usize = 50;

/// Reads of data since the server started.
fn reads(redis: &Redis) -> u64 {
    let text: String = redis::cmd("INFO").arg("commandstats").query(&mut redis.connection()).unwrap();
    let calls =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":calls=")?.split(',').next()?.parse::<u64>().ok());
    calls("cmdstat_getrange").unwrap_or(0) + calls("cmdstat_get").unwrap_or(0)
}

struct Scene {
    redis: Redis,
    fleet: Fleet,
    good: String,
}

impl Scene {
    fn new() -> Self {
        let redis = Redis::start();
        // Time stands still: what is cached now stays fresh unless it is pushed out.
        let clock = Clock::manual(crate::support::sidecar::NOW.parse().unwrap());
        let fleet = Fleet::with_clock(&[redis.url()], "[cache]\nmax_entries = 10\nnegative_ttl = \"30s\"", clock);
        let good = fleet.home().issue().secret;
        Self { redis, fleet, good }
    }

    fn ask(&self, key: &str) -> u16 {
        let mut client = Client::connect(self.fleet.addresses()[0]);
        client.send(Request::get("/").bearer(key).bytes());
        client.answer("GET").status
    }

    /// Asks with so many keys, each once; every one is refused.
    fn flood(&self, count: usize, mut key: impl FnMut() -> String) {
        let began = instant();
        let mut client = Client::connect(self.fleet.addresses()[0]);
        for _ in 0..count / BATCH {
            let requests: Vec<u8> = (0..BATCH).flat_map(|_| Request::get("/").bearer(&key()).bytes()).collect();
            client.send(requests);
            (0..BATCH).for_each(|_| assert_eq!(client.answer("GET").status, 401));
        }
        let mut line = format!("{count} unknown keys in {:.1?}", began.elapsed());
        write!(line, ", {} reads of the store in all", reads(&self.redis)).unwrap();
        println!("{line}");
    }
}

/// A key of the native format that nobody was given.
fn unknown() -> String {
    generate("sk_live_").unwrap().expose_secret().to_owned()
}

#[test]
fn unknown_keys_whose_checksum_is_wrong_never_reach_the_store() {
    let scene = Scene::new();
    let before = reads(&scene.redis);
    scene.flood(if full() { 100_000 } else { 5_000 }, || {
        let mut key = unknown();
        let last = key.pop().unwrap();
        key.push(if last == '0' { '1' } else { '0' });
        key
    });
    assert_eq!(reads(&scene.redis), before);
    // The measure measures.
    assert_eq!(scene.ask(&scene.good), 200);
    assert!(reads(&scene.redis) > before);
}

#[test]
fn unknown_keys_whose_checksum_is_right_push_no_good_key_out() {
    let scene = Scene::new();
    assert_eq!(scene.ask(&scene.good), 200);
    let before = reads(&scene.redis);
    let count = if full() { 100_000 } else { 2_000 };
    scene.flood(count, unknown);
    let after = reads(&scene.redis);
    assert_eq!(after - before, count as u64, "one look-up each");
    assert_eq!(scene.ask(&scene.good), 200);
    assert_eq!(reads(&scene.redis), after);
}
