//! The change log survives: who was away gets what it missed and forgets nothing else; a log with a hole makes everything be read again.

use serde_json::json;
use sidegate::clock::Clock;
use sidegate::key::record::KeyStatus;

use crate::support::chaos::{Chaos, Mode};
use crate::support::client::{Client, Request};
use crate::support::desk::Desk;
use crate::support::fleet::{self, Fleet};
use crate::support::node::agreed;
use crate::support::redis::Redis;
use crate::support::seed::{self, Issued};
use crate::support::sidecar::NOW;

const CONFIG: &str = "[cache]\nttl = \"1h\"\nstale_for = \"2h\"";
const LOG: &str = "sidegate:{changes}:log";
const KEYS: usize = 50;

/// A sidecar behind a proxy, by a clock that stands; and who makes changes beside it.
struct Scene {
    redis: Redis,
    chaos: Chaos,
    fleet: Fleet,
    desk: Desk,
    keys: Vec<Issued>,
}

impl Scene {
    fn new() -> Self {
        let redis = Redis::start();
        let chaos = Chaos::before(&redis);
        let fleet = Fleet::with_clock(&[chaos.url()], CONFIG, Clock::manual(NOW.parse().unwrap()));
        let desk = Desk::open(&fleet::home(&redis.url(), &fleet.upstream, CONFIG).config);
        desk.run(desk.store.put_tenant(seed::bare(&seed::tenant(&json!({})))));
        let keys = (0..KEYS).map(|index| {
            let issued = seed::key(&fleet.home().config, "acme", &json!({ "id": format!("key_{index}") }));
            desk.run(desk.store.put_key(seed::bare(&issued.record)));
            issued
        });
        let scene = Self { keys: keys.collect(), redis, chaos, fleet, desk };
        scene.desk.wait_for_everybody(1);
        assert_eq!(scene.ask_all(), [200; KEYS]);
        // All of them are cached.
        let look_ups = scene.chaos.look_ups();
        assert_eq!(scene.ask_all(), [200; KEYS]);
        assert_eq!(scene.chaos.look_ups(), look_ups);
        scene
    }

    fn ask_all(&self) -> Vec<u16> {
        let mut client = Client::connect(self.fleet.addresses()[0]);
        let ask = |key: &Issued| {
            client.send(Request::get("/").bearer(&key.secret).bytes());
            client.answer("GET").status
        };
        self.keys.iter().map(ask).collect()
    }

    fn revoke(&self, index: usize) {
        self.desk.run(self.desk.lifecycle.set_status(&self.keys[index].record.id, KeyStatus::Revoked));
    }

    /// A log that begins anew has lower positions than who read the old one.
    fn heard_everything(&self) -> bool {
        let end = self.desk.run(self.desk.store.announce(&[]));
        self.desk.run(self.desk.store.instances()).iter().all(|seen| seen.instance.position == end)
    }

    fn in_redis(&self, words: &[&str]) {
        redis::cmd(words[0]).arg(&words[1..]).query::<redis::Value>(&mut self.redis.connection()).unwrap();
    }

    /// Cut off for half a minute, in which half of the keys are revoked; everything known is served meanwhile.
    fn away(&self) -> Vec<u16> {
        self.chaos.set(Mode::Cut);
        self.fleet.clock.advance(15_000);
        (0..KEYS / 2).for_each(|index| self.revoke(index));
        self.fleet.clock.advance(15_000);
        assert_eq!(self.ask_all(), [200; KEYS], "it cannot know");
        let afterwards = (0..KEYS).map(|index| if index < KEYS / 2 { 401 } else { 200 });
        afterwards.collect()
    }
}

#[test]
fn who_was_cut_off_gets_what_it_missed_and_keeps_the_rest() {
    let scene = Scene::new();
    let afterwards = scene.away();
    scene.chaos.set(Mode::Pass);
    scene.desk.wait_for_everybody(1);
    let before = scene.chaos.look_ups();
    assert_eq!(scene.ask_all(), afterwards);
    let look_ups = scene.chaos.look_ups() - before;
    println!("after 30 s away, {} changes missed: {look_ups} reads of the store for {KEYS} keys", KEYS / 2);
    // Digest and record of each key that was changed, and nothing else.
    assert_eq!(look_ups, KEYS as u64);
}

#[test]
fn who_missed_what_was_trimmed_reads_everything_again() {
    let trims: [&[&str]; 3] = [&["XTRIM", LOG, "MAXLEN", "0"], &["XTRIM", LOG, "MAXLEN", "3"], &["DEL", LOG]];
    for trim in trims {
        let scene = Scene::new();
        let afterwards = scene.away();
        scene.in_redis(trim);
        scene.chaos.set(Mode::Pass);
        // A change after it, so that there is a position to wait for.
        scene.desk.run(scene.desk.store.put_tenant(seed::bare(&seed::tenant(&json!({ "id": "other" })))));
        agreed("the log is read again", || scene.heard_everything());
        let before = scene.chaos.look_ups();
        assert_eq!(scene.ask_all(), afterwards, "{trim:?}");
        let look_ups = scene.chaos.look_ups() - before;
        println!("{trim:?}: {look_ups} reads of the store for {KEYS} keys");
        assert!(look_ups >= 2 * KEYS as u64, "{trim:?}: {look_ups}");
    }
}

#[test]
fn a_log_that_vanishes_under_a_reader_makes_everything_be_read_again() {
    let scene = Scene::new();
    // Changes that nobody will hear of.
    scene.chaos.set(Mode::Deaf);
    scene.revoke(0);
    scene.in_redis(&["DEL", LOG]);
    scene.chaos.set(Mode::Pass);
    agreed("the revoked key is refused", || scene.ask_all()[0] == 401);
    assert_eq!(scene.ask_all()[1..], [200; KEYS - 1]);
}
