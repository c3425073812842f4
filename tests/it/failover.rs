//! Sentinel elects, a cluster fails over and moves its slots, under load: no good key is ever refused as a bad one,
//! no revoked key comes back, and what cannot be known meanwhile is 503.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::json;
use sidegate::clock::instant;
use sidegate::key::format::generate;
use sidegate::key::record::KeyStatus;

use crate::support::client::Request;
use crate::support::desk::Desk;
use crate::support::fleet::{Figures, Fleet, Load, Poll, Sample};
use crate::support::node::agreed;
use crate::support::redis_cluster::RedisCluster;
use crate::support::redis_sentinel::RedisSentinel;
use crate::support::seed::{self, Issued};

const SIDECARS: usize = 3;
/// Short, so that keys are read again while everything moves.
const CONFIG: &str = "[cache]\nttl = \"500ms\"\nnegative_ttl = \"100ms\"\n[store]\ncommand_timeout = \"250ms\"\nwrite_replicas = 1";
const LOG: &str = "sidegate:{changes}:log";

struct Scene {
    fleet: Fleet,
    desk: Desk,
    poll: Poll,
    /// Revoked before anything moves.
    revoked: Issued,
    /// Revoked in the last moment before.
    last: Vec<Issued>,
    /// Revoked while it moves.
    victim: Issued,
    load: Option<Load>,
    issued: usize,
    revocations: Vec<Duration>,
    refused_changes: usize,
}

impl Scene {
    fn new(url: &str) -> Self {
        let fleet = Fleet::start(&vec![url.to_owned(); SIDECARS], CONFIG);
        let desk = Desk::open(&fleet.home().config);
        desk.run(desk.store.put_tenant(seed::bare(&seed::tenant(&json!({})))));
        let put = |id: &str| {
            let issued = seed::key(&fleet.home().config, "acme", &json!({ "id": id }));
            desk.run(desk.store.put_key(seed::bare(&issued.record)));
            issued
        };
        let good: Vec<String> = (0..30).map(|index| put(&format!("key_good{index}")).secret).collect();
        let (revoked, victim) = (put("key_revoked"), put("key_victim"));
        let last: Vec<Issued> = (0..5).map(|index| put(&format!("key_last{index}"))).collect();
        desk.run(desk.lifecycle.set_status("key_revoked", KeyStatus::Revoked));
        desk.wait_for_everybody(SIDECARS);
        let poll = fleet.poll();
        let mut scene =
            Self { fleet, desk, poll, revoked, last, victim, load: None, issued: 0, revocations: Vec::new(), refused_changes: 0 };
        assert_eq!(scene.ask(&scene.revoked.secret.clone()), [401; SIDECARS]);
        for key in scene.last.clone().iter().chain([&scene.victim.clone()]) {
            assert_eq!(scene.ask(&key.secret), [200; SIDECARS]);
        }
        scene.revoke_one();
        let load = Load::start(scene.fleet.addresses(), good, 3, Duration::from_millis(4));
        load.wait_for(200);
        scene.load = Some(load);
        scene
    }

    fn ask(&mut self, key: &str) -> Vec<u16> {
        self.poll.ask(&Request::get("/").bearer(key)).iter().map(|answer| answer.status).collect()
    }

    /// Makes a key, sees it served everywhere, revokes it (insisting until the store takes that) and sees it refused everywhere.
    fn revoke_one(&mut self) {
        self.issued += 1;
        let id = format!("key_{}", self.issued);
        let key = seed::key(&self.fleet.home().config, "acme", &json!({ "id": id }));
        agreed("the store takes a key", || {
            let put = self.desk.try_run(self.desk.store.put_key(seed::bare(&key.record)));
            put.is_ok() || self.desk.try_run(self.desk.store.find_key(&id)).is_ok_and(|found| found.is_some())
        });
        agreed("it is served", || self.poll_all(&key.secret).iter().all(|status| *status == 200));
        let ((), failures) = self.desk.insist(async |lifecycle| lifecycle.set_status(&id, KeyStatus::Revoked).await.map(drop));
        self.refused_changes += failures;
        let since = instant();
        self.revocations.extend(self.poll.until(&Request::get("/").bearer(&key.secret), 401, since));
    }

    fn poll_all(&self, key: &str) -> Vec<u16> {
        self.fleet.poll().ask(&Request::get("/").bearer(key)).iter().map(|answer| answer.status).collect()
    }

    /// Revokes keys, each acknowledged by a replica: whoever is master next knows it.
    fn revoke_the_last(&self) {
        for key in &self.last {
            self.desk.run(self.desk.lifecycle.set_status(&key.record.id, KeyStatus::Revoked));
        }
        assert_eq!(self.desk.lifecycle.unreplicated(), None);
    }

    /// Asks, and insists on revoking a key, while something moves, until that is over.
    fn while_it_moves(&mut self, is_over: impl Fn() -> bool) {
        let began = instant();
        let Self { desk, poll, revoked, victim, .. } = &mut *self;
        let mut asked = BTreeMap::<u16, usize>::new();
        let mut ask = |key: &str| {
            let statuses = poll.ask(&Request::get("/").bearer(key)).into_iter().map(|answer| answer.status);
            statuses.for_each(|status| {
                assert!(matches!(status, 401 | 503), "{status}");
                *asked.entry(status).or_default() += 1;
            });
        };
        let revocation = thread::scope(|scope| {
            let revocation = scope.spawn(|| {
                let id = &victim.record.id;
                let (_, refused) = desk.insist(async |lifecycle| lifecycle.set_status(id, KeyStatus::Revoked).await);
                (refused, instant())
            });
            while !is_over() {
                assert!(began.elapsed() < Duration::from_mins(1), "it never ends");
                ask(&revoked.secret);
                ask(generate("sk_live_").unwrap().expose_secret());
                thread::park_timeout(Duration::from_millis(10));
            }
            revocation.join().unwrap()
        });
        let (refused, taken) = revocation;
        println!("  over after {:.2?}; a revoked and unknown keys meanwhile: {asked:?}", began.elapsed());
        println!("  a revocation was refused {refused} times and taken after {:.2?}", taken.duration_since(began));
        self.refused_changes += refused;
        self.revocations.extend(self.poll.until(&Request::get("/").bearer(&self.victim.secret), 401, taken));
        self.revoke_one();
    }

    fn end(mut self, what: &str) {
        for _ in 0..5 {
            self.revoke_one();
        }
        for key in self.last.clone().iter().chain([&self.revoked.clone()]) {
            assert_eq!(self.ask(&key.secret), [401; SIDECARS]);
        }
        self.desk.wait_for_everybody(SIDECARS);
        let samples = self.load.take().unwrap().stop();
        let count = |status: u16| samples.iter().filter(|sample| sample.status == status).count();
        println!(
            "{what}: {} requests of good keys, {} times 200, {} times 503; {}; revocations {}; refused changes {}",
            samples.len(),
            count(200),
            count(503),
            Figures::new(samples.iter().map(|sample| sample.took)),
            Figures::new(self.revocations.iter().copied()),
            self.refused_changes,
        );
        let wrong: Vec<&Sample> = samples.iter().filter(|sample| !matches!(sample.status, 200 | 503)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        // Known keys are served stale while nobody is master.
        assert!(count(503) * 100 <= samples.len(), "{} of {} were 503", count(503), samples.len());
    }
}

#[test]
fn a_sentinel_failover_under_load_answers_nobody_wrongly() {
    let mut set = RedisSentinel::start();
    let mut scene = Scene::new(&set.url());
    scene.revoke_the_last();
    set.kill_master();
    scene.while_it_moves(|| set.master().is_some());
    scene.end("Sentinel failover");
}

#[test]
fn a_cluster_failover_and_a_slot_migration_under_load_answer_nobody_wrongly() {
    let mut cluster = RedisCluster::start();
    let mut scene = Scene::new(&cluster.url());
    let log = cluster.slot_of(LOG);
    let (first, second) = (cluster.slot_of("sidegate:key:{key_good0}"), cluster.slot_of("sidegate:key:{key_good1}"));
    for slot in [log, first, second] {
        cluster.migrate(slot);
        scene.revoke_one();
    }
    println!("  slots moved");
    scene.revoke_the_last();
    cluster.kill_master_of(log);
    scene.while_it_moves(|| cluster.has_a_master_of(log));
    cluster.wait_until_it_stands();
    scene.revoke_one();
    cluster.migrate(log);
    scene.end("Cluster: slots moved, a master lost");
}
