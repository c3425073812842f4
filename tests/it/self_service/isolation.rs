//! Three tenants, two environments, every operation: what is another's is never seen, never changed, and never told of.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::json;

use super::{PATH, bytes, create, list, revoke, rotate, text};
use crate::support::client::{Answer, Request, once};
use crate::support::seed;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

/// A key as the test knows it to be.
#[derive(Clone)]
struct Known {
    tenant: &'static str,
    environment: &'static str,
    kind: &'static str,
    /// How much of [`SCOPES`] it has: each level holds the ones before.
    level: usize,
    secret: String,
    is_revoked: bool,
}

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
const ENVIRONMENTS: [&str; 2] = ["live", "test"];
const SCOPES: [&[&str]; 3] = [&["read:a"], &["read:*"], &["*"]];

/// Every operation by everybody on everything, and what must come of it.
struct World {
    sidecar: Sidecar,
    table: seed::Table,
    whole_tenant: bool,
    keys: BTreeMap<String, Known>,
    versions: BTreeMap<String, u64>,
    random: Rng,
    outcomes: BTreeMap<String, usize>,
}

impl World {
    fn new(whole_tenant: bool, upstream: &Upstream, seed: u64) -> Self {
        let list = if whole_tenant { "tenant" } else { "environment" };
        let sidecar =
            Sidecar::start(&format!("upstream = \"{}\"\ndeployment = \"development\"\n{PATH}list = \"{list}\"\n", upstream.url()));
        let table = sidecar.home.table();
        let mut keys = BTreeMap::new();
        for tenant in TENANTS {
            table.put_tenant(&seed::tenant(&json!({ "id": tenant })));
            for environment in ENVIRONMENTS {
                for (level, scopes) in SCOPES.iter().enumerate() {
                    let id = format!("key_{tenant}_{environment}_{level}");
                    let fields = json!({ "id": id, "environment": environment, "scopes": scopes });
                    let issued = seed::key(&sidecar.home.config, tenant, &fields);
                    table.put_key(&issued.record);
                    keys.insert(id, Known { tenant, environment, kind: "secret", level, secret: issued.secret, is_revoked: false });
                }
            }
        }
        let versions = keys.keys().map(|id| (id.clone(), 1)).collect();
        Self { sidecar, table, whole_tenant, keys, versions, random: Rng::with_seed(seed), outcomes: BTreeMap::new() }
    }

    fn ask(&self, request: &Request) -> Answer {
        once(self.sidecar.address(), request)
    }

    fn some_key(&mut self, of: impl Fn(&Known) -> bool) -> (String, Known) {
        let keys: Vec<_> = self.keys.iter().filter(|(_, key)| of(key)).collect();
        let (id, key) = keys[self.random.usize(..keys.len())];
        (id.clone(), key.clone())
    }

    fn step(&mut self) {
        let (caller_id, caller) = self.some_key(|key| !key.is_revoked && key.kind == "secret");
        let is_theirs = |key: &Known| key.tenant == caller.tenant && key.environment == caller.environment;
        // Ids are random, and with them who comes when: every second target is theirs, so that nothing is left to luck.
        let wants_theirs = self.random.bool();
        let (target_id, target) = self.some_key(|key| !wants_theirs || is_theirs(key));
        let is_theirs = is_theirs(&target);
        let what = match self.random.usize(..8) {
            0 => self.list(&caller),
            1 | 2 => self.create(&caller),
            // Not all of them: the others go on.
            3 if self.random.bool() => self.revoke(&caller, &target_id, is_theirs),
            3 => "spared".to_owned(),
            _ => self.rotate(&caller, &caller_id, &target_id, is_theirs),
        };
        *self.outcomes.entry(what).or_default() += 1;
        self.check_versions();
    }

    fn list(&self, caller: &Known) -> String {
        let answer = self.ask(&list(&caller.secret));
        assert_eq!(answer.status, 200);
        let mut shown: Vec<String> = answer.json()["data"].as_array().unwrap().iter().map(|key| text(key, "id")).collect();
        shown.sort();
        let is_seen =
            |key: &Known| key.tenant == caller.tenant && (self.whole_tenant || key.environment == caller.environment) && !key.is_revoked;
        let expected: Vec<&String> = self.keys.iter().filter(|(_, key)| is_seen(key)).map(|(id, _)| id).collect();
        assert_eq!(shown.iter().collect::<Vec<_>>(), expected);
        assert!(self.keys.values().all(|key| !answer.text().contains(&key.secret)), "a list shows a secret");
        "list 200".to_owned()
    }

    fn create(&mut self, caller: &Known) -> String {
        let (level, kind) = (self.random.usize(..SCOPES.len()), if self.random.bool() { "secret" } else { "publishable" });
        let mut body = json!({ "name": "made", "kind": kind });
        let inherits = self.random.u8(..4) == 0;
        if !inherits {
            body["scopes"] = json!(SCOPES[level]);
        }
        let answer = self.ask(&create(&caller.secret, &body));
        let level = if inherits { caller.level } else { level };
        if level > caller.level {
            assert_eq!((answer.status, text(&answer.json(), "code")), (403, "GRANT_EXCEEDED".to_owned()));
        } else {
            assert_eq!(answer.status, 201, "{}", answer.text());
            let made = answer.json();
            assert_eq!((text(&made, "environment"), text(&made, "kind")), (caller.environment.to_owned(), kind.to_owned()));
            assert_eq!(made["scopes"], json!(SCOPES[level]));
            let known = Known { kind, level, secret: text(&made, "key"), is_revoked: false, ..caller.clone() };
            self.versions.insert(text(&made, "id"), 1);
            self.keys.insert(text(&made, "id"), known);
        }
        format!("create {}", answer.status)
    }

    fn rotate(&mut self, caller: &Known, caller_id: &str, id: &str, is_theirs: bool) -> String {
        let answer = self.ask(&rotate(&caller.secret, id));
        let target = self.keys.get_mut(id).unwrap();
        if !is_theirs || target.is_revoked {
            let none = once(self.sidecar.address(), &rotate(&caller.secret, "key_nobodys"));
            assert_eq!((answer.status, bytes(&answer)), (404, bytes(&none)));
        } else if target.level > caller.level {
            assert_eq!((answer.status, text(&answer.json(), "code")), (403, "GRANT_EXCEEDED".to_owned()), "{id} by {caller_id}");
        } else {
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(text(&answer.json(), "id"), id);
            target.secret = text(&answer.json(), "key");
            *self.versions.get_mut(id).unwrap() += 1;
        }
        format!("rotate {}", answer.status)
    }

    fn revoke(&mut self, caller: &Known, id: &str, is_theirs: bool) -> String {
        let answer = self.ask(&revoke(&caller.secret, id));
        let target = self.keys.get_mut(id).unwrap();
        if is_theirs {
            assert_eq!((answer.status, answer.json()), (200, json!({ "id": id, "revoked": true })));
            *self.versions.get_mut(id).unwrap() += u64::from(!target.is_revoked);
            target.is_revoked = true;
        } else {
            let none = once(self.sidecar.address(), &revoke(&caller.secret, "key_nobodys"));
            assert_eq!((answer.status, bytes(&answer)), (404, bytes(&none)));
        }
        format!("revoke {}", answer.status)
    }

    /// Nothing was changed but what was to be.
    fn check_versions(&self) {
        for (id, version) in &self.versions {
            assert_eq!(self.table.find_key(id).unwrap().version, *version, "{id}");
        }
    }

    /// Each secret opens what it is to open, for its own tenant.
    fn check_secrets(&self, upstream: &Upstream) {
        for (id, key) in self.keys.iter().filter(|(_, key)| key.kind == "secret") {
            let before = upstream.recorded().len();
            let answer = self.ask(&Request::get("/whose").bearer(&key.secret));
            assert_eq!(answer.status, if key.is_revoked { 401 } else { 200 }, "{id}");
            if !key.is_revoked {
                let seen = &upstream.recorded()[before];
                assert_eq!((seen.header("x-tenant-id"), seen.header("x-auth-key-id")), (Some(key.tenant), Some(id.as_str())));
            }
        }
    }
}

#[test]
fn three_tenants_and_two_environments_never_see_or_change_what_is_anothers() {
    for (whole_tenant, seed) in [(false, 11), (true, 12)] {
        let upstream = Upstream::echo();
        let mut world = World::new(whole_tenant, &upstream, seed);
        for _ in 0..250 {
            world.step();
        }
        world.check_secrets(&upstream);
        println!("seed {seed}: {:?}", world.outcomes);
        for outcome in ["list 200", "create 201", "create 403", "rotate 200", "rotate 403", "rotate 404", "revoke 200", "revoke 404"] {
            assert!(world.outcomes.contains_key(outcome), "never {outcome}: {:?}", world.outcomes);
        }
    }
}
