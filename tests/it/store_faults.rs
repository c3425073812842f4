//! A store that is sick rather than gone: no request waits longer than `command_timeout`, none waits once the loss is seen,
//! and no answer is a wrong one: known keys are served, and what cannot be known is 503, never 401.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::json;
use sidegate::clock::{Clock, instant};
use sidegate::key::format::generate;

use crate::support::PATIENCE;
use crate::support::chaos::{Chaos, Mode};
use crate::support::client::{Request, once};
use crate::support::fleet::{self, Figures};
use crate::support::node::agreed;
use crate::support::process;
use crate::support::redis::Redis;
use crate::support::seed;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const COMMAND_TIMEOUT: Duration = Duration::from_millis(250);
/// What the machine may take on top: it is busy with other tests.
const MARGIN: Duration = Duration::from_secs(1);

struct Scene {
    redis: Redis,
    chaos: Chaos,
    sidecar: Sidecar,
    /// In the cache.
    known: String,
    /// Good, and never asked for before.
    cold: Vec<String>,
    // Last: it judges what it was sent.
    _upstream: Upstream,
}

impl Scene {
    fn new() -> Self {
        let (upstream, redis) = (Upstream::echo(), Redis::start());
        let chaos = Chaos::before(&redis);
        let direct = fleet::home(&redis.url(), &upstream, "");
        let (table, config) = (direct.table(), &direct.config);
        let known = table.issue(config, &json!({}), &json!({})).secret;
        let cold = (0..4).map(|index| {
            let issued = seed::key(config, "acme", &json!({ "id": format!("key_cold{index}") }));
            table.put_key(&issued.record);
            issued.secret
        });
        let cold = cold.collect();
        let text = format!("[ops]\nlisten = \"127.0.0.1:0\"\n[store]\ncommand_timeout = \"{}ms\"", COMMAND_TIMEOUT.as_millis());
        let sidecar = Sidecar::in_home(fleet::home(&chaos.url(), &upstream, &text), Clock::System).in_touch();
        let scene = Self { redis, chaos, sidecar, known, cold, _upstream: upstream };
        assert_eq!(scene.ask(&scene.known).0, 200);
        scene
    }

    /// The status, and how long it took.
    fn ask(&self, key: &str) -> (u16, Duration) {
        let began = instant();
        let answer = once(self.sidecar.address(), &Request::get("/").bearer(key));
        assert_eq!(answer.status == 503, answer.header("Retry-After").is_some(), "{}", answer.text());
        (answer.status, began.elapsed())
    }

    fn ask_unknown(&self) -> (u16, Duration) {
        self.ask(generate("sk_live_").unwrap().expose_secret())
    }

    fn store_is_reachable(&self) -> bool {
        once(self.sidecar.ops(), &Request::get("/readyz?verbose")).text().contains("[+]store ok")
    }

    fn wait_until_reachable(&self, reachable: bool) {
        let began = instant();
        while self.store_is_reachable() != reachable {
            assert!(began.elapsed() < PATIENCE, "the store is still reachable: {}", !reachable);
        }
    }

    /// The store is of no use: everything that contract promises of that.
    fn assert_lost(&self, what: &str) {
        let before_it_is_seen = [self.ask(&self.known), self.ask(&self.cold[0]), self.ask_unknown()];
        assert_eq!(before_it_is_seen.map(|(status, _)| status), [200, 503, 503], "{what}");
        let longest = before_it_is_seen.iter().map(|(_, took)| *took).max().unwrap();
        assert!(longest < COMMAND_TIMEOUT + MARGIN, "{what}: {longest:?}");
        self.wait_until_reachable(false);
        let mut afterwards = Vec::new();
        for _ in 0..20 {
            let answers = [self.ask(&self.known), self.ask(&self.cold[1]), self.ask_unknown()];
            assert_eq!(answers.map(|(status, _)| status), [200, 503, 503], "{what}");
            afterwards.extend(answers.map(|(_, took)| took));
        }
        let afterwards = Figures::new(afterwards);
        assert!(afterwards.percentile(50) < COMMAND_TIMEOUT, "{what}: they wait: {afterwards}");
        println!("{what}: longest wait before the loss was seen {longest:.1?}; afterwards {afterwards}");
    }

    /// It is well again.
    fn assert_back(&self) {
        self.wait_until_reachable(true);
        assert_eq!(self.ask(&self.known).0, 200);
        assert_eq!(self.ask(&self.cold[2]).0, 200);
        assert_eq!(self.ask_unknown().0, 401);
    }

    /// It can be read and not written to: sidecars have all they need, changes are refused.
    fn assert_read_only(&self) {
        for _ in 0..3 {
            assert_eq!(self.ask(&self.known).0, 200);
            assert_eq!(self.ask_unknown().0, 401);
        }
        assert_eq!(self.ask(&self.cold[0]).0, 200);
        let ended = process::run(&["keys", "revoke", "key_main"], &self.sidecar.home.config_file());
        assert_eq!(ended.code, 6, "{ended:?}");
        assert_eq!(self.ask(&self.known).0, 200);
    }

    fn config_set(&self, name: &str, value: &str) {
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query::<()>(&mut self.redis.connection()).unwrap();
    }
}

#[test]
fn a_stopped_server() {
    let scene = Scene::new();
    scene.redis.signal("STOP");
    scene.assert_lost("SIGSTOP");
    scene.redis.signal("CONT");
    scene.assert_back();
}

#[test]
fn a_connection_that_swallows_everything() {
    let scene = Scene::new();
    scene.chaos.set(Mode::BlackHole);
    scene.assert_lost("black hole");
    scene.chaos.set(Mode::Pass);
    scene.assert_back();
}

#[test]
fn a_connection_that_is_cut() {
    let scene = Scene::new();
    scene.chaos.set(Mode::Cut);
    scene.assert_lost("cut");
    scene.chaos.set(Mode::Pass);
    scene.assert_back();
}

#[test]
fn a_server_slower_than_the_deadline_is_lost() {
    let scene = Scene::new();
    scene.chaos.set(Mode::Delay(COMMAND_TIMEOUT * 2));
    scene.assert_lost("500 ms a command");
    scene.chaos.set(Mode::Pass);
    scene.assert_back();
}

#[test]
fn a_server_that_takes_200_ms_is_waited_for_and_no_longer_than_the_deadline() {
    let scene = Scene::new();
    scene.chaos.set(Mode::Delay(Duration::from_millis(200)));
    let (status, known) = scene.ask(&scene.known);
    assert_eq!(status, 200);
    // It is a race with the deadline, so the answer may be either; it is never a wrong one and never late.
    let (status, unknown) = scene.ask_unknown();
    assert!(matches!(status, 401 | 503), "{status}");
    let (status, cold) = scene.ask(&scene.cold[0]);
    assert!(matches!(status, 200 | 503), "{status}");
    agreed("who asks again is served", || scene.ask(&scene.cold[0]).0 == 200);
    println!("200 ms a command: known {known:.1?}, unknown {unknown:.1?}, cold {cold:.1?} ({status})");
    for took in [known, unknown, cold] {
        assert!(took < COMMAND_TIMEOUT + MARGIN, "{took:?}");
    }
    scene.chaos.set(Mode::Pass);
    scene.assert_back();
}

#[test]
fn a_server_that_talks_nonsense() {
    let noises: [&'static [u8]; 5] = [
        b"\x00\xff\xfe\x80 nonsense\r\n",
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"$18446744073709551616\r\n",
        b"*1000000000\r\n*1000000000\r\n",
        b"$5\r\nab",
    ];
    for noise in noises {
        let scene = Scene::new();
        scene.chaos.set(Mode::Answer(noise));
        scene.assert_lost(&String::from_utf8_lossy(noise).escape_debug().to_string());
        scene.chaos.set(Mode::Pass);
        scene.assert_back();
    }
}

#[test]
fn a_server_that_still_loads() {
    let scene = Scene::new();
    scene.chaos.set(Mode::Answer(b"-LOADING Redis is loading the dataset in memory\r\n"));
    scene.assert_lost("LOADING");
    scene.chaos.set(Mode::Pass);
    scene.assert_back();
}

#[test]
fn a_server_that_demands_a_password_now() {
    let scene = Scene::new();
    let mut inside = scene.redis.connection();
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("now").query::<()>(&mut inside).unwrap();
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").query::<()>(&mut inside).unwrap();
    scene.assert_lost("NOAUTH");
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("").query::<()>(&mut inside).unwrap();
    scene.assert_back();
}

#[test]
fn a_server_that_became_a_replica_is_read_from_and_refuses_changes() {
    let scene = Scene::new();
    let replica_of =
        |host: &str, port: &str| redis::cmd("REPLICAOF").arg(host).arg(port).query::<()>(&mut scene.redis.connection()).unwrap();
    replica_of("127.0.0.1", "1");
    scene.assert_read_only();
    replica_of("NO", "ONE");
    scene.assert_back();
}

#[test]
fn a_server_without_memory_is_read_from_and_refuses_changes() {
    let scene = Scene::new();
    scene.config_set("maxmemory", "1");
    scene.assert_read_only();
    scene.config_set("maxmemory", "0");
    scene.assert_back();
}

#[test]
fn a_connection_that_brings_single_bytes_works() {
    let scene = Scene::new();
    scene.chaos.set(Mode::Slice);
    assert_eq!(scene.ask(&scene.known).0, 200);
    assert_eq!(scene.ask(&scene.cold[0]).0, 200);
    assert_eq!(scene.ask_unknown().0, 401);
    assert!(scene.store_is_reachable());
}

#[test]
fn commands_give_up_in_time_too() {
    for mode in [Mode::BlackHole, Mode::Cut, Mode::Answer(b"-LOADING Redis is loading the dataset in memory\r\n")] {
        let scene = Scene::new();
        scene.chaos.set(mode);
        for words in [&["keys", "revoke", "key_main"][..], &["keys", "list"], &["status"]] {
            let ended = process::run(words, &scene.sidecar.home.config_file());
            assert_eq!(ended.code, 6, "{mode:?} {words:?}: {ended:?}");
        }
        scene.chaos.set(Mode::Pass);
        scene.assert_back();
    }
}
