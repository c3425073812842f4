//! A command dies between any two of its writes: nothing half done works, nothing good is lost, and saying it again does it.

use crate::support::chaos::{Chaos, LastAnswer};
use crate::support::client::{Client, Request, once};
use crate::support::fleet;
use crate::support::node::agreed;
use crate::support::process::{self, Ended};
use crate::support::redis::Redis;
use crate::support::seed::Issued;
use crate::support::sidecar::{Home, Sidecar};
use crate::support::upstream::Upstream;
use serde_json::json;
use sidegate::clock::Clock;
use sidegate::key::record::{KeyRecord, KeyStatus};

/// More commands on data than any change makes.
const POINTS_MAX: u64 = 60;

/// A store that commands reach through a proxy that cuts, and sidecars directly.
struct Scene {
    redis: Redis,
    chaos: Chaos,
    /// Where commands run.
    desk: Home,
    bystander: Issued,
    /// Runs all the time; only the change log can end what it has cached.
    witness: Sidecar,
    points: u64,
    // Last: it judges what it was sent.
    upstream: Upstream,
}

impl Scene {
    fn new() -> Self {
        let (upstream, redis) = (Upstream::echo(), Redis::start());
        let chaos = Chaos::before(&redis);
        let desk = fleet::home(&chaos.url(), &upstream, "");
        let home = fleet::home(&redis.url(), &upstream, "");
        let bystander = home.table().issue(&home.config, &json!({}), &json!({ "id": "key_bystander" }));
        let witness = Sidecar::in_home(fleet::home(&redis.url(), &upstream, "[cache]\nttl = \"1h\""), Clock::System);
        Self { redis, chaos, desk, bystander, witness, points: 0, upstream }
    }

    /// A key that a change is made to, of a tenant of its own: how many keys a tenant has decides how many commands a creation is.
    fn subject(&self, name: &str) -> Issued {
        let home = fleet::home(&self.redis.url(), &self.upstream, "");
        home.table().issue(&home.config, &json!({ "id": name }), &json!({ "id": format!("key_{name}") }))
    }

    fn run(&self, words: &[&str]) -> Ended {
        process::run(words, &self.desk.config_file())
    }

    fn record(&self, id: &str) -> KeyRecord {
        fleet::home(&self.redis.url(), &self.upstream, "").table().find_key(id).expect("a key is never lost")
    }

    /// What a sidecar that has just started says to these secrets. The bystander's is always good.
    fn ask(&self, secrets: &[&str]) -> Vec<u16> {
        let sidecar = Sidecar::in_home(fleet::home(&self.redis.url(), &self.upstream, ""), Clock::System);
        let mut client = Client::connect(sidecar.address());
        let mut ask = |secret: &str| {
            client.send(Request::get("/").bearer(secret).bytes());
            client.answer("GET").status
        };
        assert_eq!(ask(&self.bystander.secret), 200);
        secrets.iter().map(|secret| ask(secret)).collect()
    }

    /// Waits until the witness has heard of what was done.
    fn witness_says(&self, secret: &str, status: u16) {
        let ask = || once(self.witness.address(), &Request::get("/").bearer(secret)).status;
        agreed("the witness knows", || ask() == status);
    }

    /// Runs the change once for every point at which it can die, each time on a key of its own and told whether it was done.
    fn at_every_point(&mut self, words: &[&'static str], mut check: impl FnMut(&Self, &Issued, Died)) {
        for last_answer in [LastAnswer::Delivered, LastAnswer::Lost] {
            for point in 0.. {
                assert!(point < POINTS_MAX, "it never comes through");
                let subject = self.subject(&format!("{point}{last_answer:?}"));
                let named = |word: &&'static str| match *word {
                    "ID" => subject.record.id.clone(),
                    "TENANT" => subject.record.tenant.clone(),
                    word => word.to_owned(),
                };
                let said: Vec<String> = words.iter().map(named).collect();
                let words: Vec<&str> = said.iter().map(String::as_str).collect();
                self.witness_says(&subject.secret, 200);
                self.chaos.cut_after(point, last_answer);
                let first = self.run(&words);
                let was_cut = self.chaos.heal();
                assert!(was_cut || first.code == 0, "{first:?}");
                check(self, &subject, Died { first, words: said });
                self.points += 1;
                if !was_cut {
                    break;
                }
            }
        }
        println!("{}: died at {} points", words.join(" "), self.points);
        assert!(self.points > 6, "the proxy saw too few commands");
    }
}

/// A command that was cut off, and how to say it again.
struct Died {
    first: Ended,
    words: Vec<String>,
}

impl Died {
    fn answered(&self) -> bool {
        self.first.code == 0
    }

    fn again(&self, scene: &Scene) -> String {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        scene.run(&words).ok().trim().to_owned()
    }
}

#[test]
fn a_revocation_that_dies_anywhere_is_done_or_not_done_and_can_be_repeated() {
    Scene::new().at_every_point(&["keys", "revoke", "ID", "--quiet"], |scene, key, died| {
        let revoked = scene.record(&key.record.id).status == KeyStatus::Revoked;
        assert_eq!(scene.ask(&[&key.secret]), [if revoked { 401 } else { 200 }]);
        assert!(revoked || !died.answered());
        if died.answered() {
            scene.witness_says(&key.secret, 401);
        }
        died.again(scene);
        assert_eq!(scene.ask(&[&key.secret]), [401]);
        scene.witness_says(&key.secret, 401);
    });
}

#[test]
fn a_suspension_that_dies_anywhere_is_done_or_not_done_and_can_be_repeated() {
    Scene::new().at_every_point(&["tenants", "suspend", "TENANT", "--quiet"], |scene, key, died| {
        let now = scene.ask(&[&key.secret]);
        assert!(now == [401] || now == [200] && !died.answered(), "{now:?}");
        died.again(scene);
        assert_eq!(scene.ask(&[&key.secret]), [401]);
        scene.witness_says(&key.secret, 401);
    });
}

#[test]
fn a_rotation_that_dies_anywhere_leaves_one_secret_and_can_be_repeated() {
    Scene::new().at_every_point(&["keys", "rotate", "ID", "--overlap", "0s", "--quiet"], |scene, key, died| {
        let rotated = scene.record(&key.record.id).version == 2;
        assert_eq!(scene.ask(&[&key.secret]), [if rotated { 401 } else { 200 }]);
        assert!(rotated || !died.answered());
        let first = died.first.stdout.trim();
        let second = died.again(scene);
        assert_eq!(scene.ask(&[&key.secret, &second]), [401, 200]);
        scene.witness_says(&key.secret, 401);
        scene.witness_says(&second, 200);
        if died.answered() {
            assert_eq!(scene.ask(&[first]), [401], "it was replaced by the second");
        }
    });
}

#[test]
fn a_rotation_with_overlap_that_dies_anywhere_takes_the_old_secret_from_nobody() {
    Scene::new().at_every_point(&["keys", "rotate", "ID", "--overlap", "1h", "--quiet"], |scene, key, died| {
        assert_eq!(scene.ask(&[&key.secret]), [200]);
        if died.answered() {
            assert_eq!(scene.ask(&[died.first.stdout.trim()]), [200]);
        }
        let second = died.again(scene);
        assert_eq!(scene.ask(&[&second]), [200]);
    });
}

#[test]
fn a_creation_that_dies_anywhere_leaves_nothing_that_hurts_and_can_be_repeated() {
    Scene::new().at_every_point(&["keys", "create", "--tenant", "TENANT", "--name", "new", "--quiet"], |scene, key, died| {
        if died.answered() {
            assert_eq!(scene.ask(&[died.first.stdout.trim()]), [200]);
        }
        let second = died.again(scene);
        assert_eq!(scene.ask(&[&key.secret, &second]), [200, 200]);
        scene.witness_says(&second, 200);
        let listed = scene.run(&["keys", "list", "--json"]).json();
        assert!(listed.as_array().unwrap().iter().all(|key| key["status"] == "active"), "{listed:#}");
    });
}
