//! A change is everywhere at once: every kind of it, on twenty sidecars under load; and who could not hear of it asks before serving.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use serde_json::json;
use sidegate::clock::instant;
use sidegate::key::record::KeyStatus;
use sidegate::tenant::TenantStatus;

use crate::support::chaos::{Chaos, Mode};
use crate::support::client::{Client, Request};
use crate::support::desk::Desk;
use crate::support::fleet::{self, Figures, Fleet, Load, full};
use crate::support::process::{self, Serve, signal};
use crate::support::redis::Redis;
use crate::support::seed::{self, Issued};
use crate::support::upstream::Upstream;

const SIDECARS: usize = 20;
/// Only the change log can be what ends an entry in the time of a test.
const CONFIG: &str = "[cache]\nttl = \"1h\"\nstale_for = \"2h\"\n\
    [[routes]]\nname = \"scoped\"\nmatch = \"GET /scoped\"\nscopes = [\"read:things\"]\n[[routes]]\nname = \"all\"\nmatch = \"* /**\"";

/// What is done to a key; and to which answer that leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Revoke,
    Deactivate,
    Suspend,
    TakeScope,
    Rotate,
}

impl Change {
    const ALL: [Self; 5] = [Self::Revoke, Self::Deactivate, Self::Suspend, Self::TakeScope, Self::Rotate];

    fn status(self) -> u16 {
        if self == Self::TakeScope { 403 } else { 401 }
    }

    /// Does it. When that was answered, and the secret that works from then on.
    fn make(self, desk: &Desk, key: &Issued) -> (Instant, Option<String>) {
        let lifecycle = &desk.lifecycle;
        let id = &key.record.id;
        let mut secret = None;
        match self {
            Self::Revoke => drop(desk.run(lifecycle.set_status(id, KeyStatus::Revoked))),
            Self::Deactivate => drop(desk.run(lifecycle.set_status(id, KeyStatus::Inactive))),
            Self::Suspend => drop(desk.run(lifecycle.set_tenant_status(&key.record.tenant, TenantStatus::Suspended))),
            Self::TakeScope => {
                let mut record = key.record.clone();
                record.scopes.clear();
                record.version += 1;
                desk.run(desk.store.put_key(seed::bare(&record)));
            }
            Self::Rotate => secret = Some(desk.run(lifecycle.rotate(id, Some(Duration::ZERO))).key.expose_secret().to_owned()),
        }
        (instant(), secret)
    }
}

fn issue(desk: &Desk, fleet: &Fleet, name: &str) -> Issued {
    let tenant = seed::tenant(&json!({ "id": format!("tenant-{name}") }));
    let issued = seed::key(&fleet.home().config, &tenant.id, &json!({ "id": format!("key_{name}"), "scopes": ["read:things"] }));
    desk.run(desk.store.put_tenant(seed::bare(&tenant)));
    desk.run(desk.store.put_key(seed::bare(&issued.record)));
    issued
}

fn scoped(secret: &str) -> Request {
    Request::get("/scoped").bearer(secret)
}

#[test]
fn every_change_reaches_twenty_sidecars_under_load() {
    let redis = Redis::start();
    let fleet = Fleet::start(&vec![redis.url(); SIDECARS], CONFIG);
    let desk = Desk::open(&fleet.home().config);
    let steady: Vec<String> = (0..10).map(|index| issue(&desk, &fleet, &format!("steady{index}")).secret).collect();
    let load = Load::start(fleet.addresses(), steady, 2, Duration::from_millis(5));
    let mut poll = fleet.poll();
    let mut times: BTreeMap<Change, Vec<Duration>> = BTreeMap::new();
    let rounds = if full() { 200 } else { 20 };
    for round in 0..rounds {
        for change in Change::ALL {
            let key = issue(&desk, &fleet, &format!("{change:?}{round}"));
            assert!(poll.ask(&scoped(&key.secret)).iter().all(|answer| answer.status == 200));
            let (since, secret) = change.make(&desk, &key);
            let reached = poll.until(&scoped(&key.secret), change.status(), since);
            times.entry(change).or_default().extend(reached);
            if let Some(secret) = secret {
                assert!(poll.ask(&scoped(&secret)).iter().all(|answer| answer.status == 200));
            }
        }
    }
    let samples = load.stop();
    for (change, times) in &times {
        assert_eq!(times.len(), SIDECARS * rounds);
        println!("{change:?}: {}", Figures::new(times.iter().copied()));
    }
    let all = Figures::new(times.into_values().flatten());
    println!("all changes: {all}; requests under load: {}, {}", samples.len(), Figures::new(samples.iter().map(|sample| sample.took)));
    let wrong: Vec<_> = samples.iter().filter(|sample| sample.status != 200).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(all.percentile(99) < Duration::from_secs(1), "{all}");
}

#[test]
fn what_twenty_sidecars_have_confirmed_none_of_them_serves() {
    let redis = Redis::start();
    let fleet = Fleet::start(&vec![redis.url(); SIDECARS], CONFIG);
    let desk = Desk::open(&fleet.home().config);
    let mut poll = fleet.poll();
    let mut took = Vec::new();
    for round in 0..if full() { 1_000 } else { 50 } {
        let key = issue(&desk, &fleet, &format!("{round}"));
        assert!(poll.ask(&scoped(&key.secret)).iter().all(|answer| answer.status == 200));
        desk.run(desk.lifecycle.set_status(&key.record.id, KeyStatus::Revoked));
        took.push(desk.receipt(SIDECARS).took);
        // A receipt is a promise: nobody is asked twice.
        assert!(poll.ask(&scoped(&key.secret)).iter().all(|answer| answer.status == 401));
    }
    println!("receipts of {SIDECARS} sidecars: {}", Figures::new(took));
}

#[test]
fn a_sidecar_that_does_not_hear_of_changes_asks_before_it_serves() {
    let redis = Redis::start();
    let chaos = Chaos::before(&redis);
    let fleet = Fleet::start(&[chaos.url(), redis.url()], CONFIG);
    let desk = Desk::open(&fleet.sidecars[1].home.config);
    let mut poll = fleet.poll();
    let mut times = Vec::new();
    for change in Change::ALL {
        let key = issue(&desk, &fleet, &format!("{change:?}"));
        assert!(poll.ask(&scoped(&key.secret)).iter().all(|answer| answer.status == 200));
        chaos.set(Mode::Deaf);
        let (since, _) = change.make(&desk, &key);
        times.extend(poll.until(&scoped(&key.secret), change.status(), since).last());
        chaos.set(Mode::Pass);
        desk.wait_for_everybody(2);
    }
    let times = Figures::new(times);
    println!("on a sidecar that is cut off from the log: {times}");
    // One second is promised; a busy machine may take its time on top.
    assert!(times.max() < Duration::from_secs(3), "{times}");
}

#[test]
fn a_paused_sidecar_is_named_and_asks_before_it_serves_again() {
    let (redis, upstream) = (Redis::start(), Upstream::echo());
    let home = fleet::home(&redis.url(), &upstream, CONFIG);
    let table = home.table();
    let key = table.issue(&home.config, &json!({}), &json!({ "scopes": ["read:things"] }));
    table.put_key(&seed::key(&home.config, "acme", &json!({ "id": "key_other" })).record);
    let config = home.config_file();
    let (awake, paused) = (Serve::start(&config), Serve::start(&config));
    let mut clients = [&awake, &paused].map(|serve| Client::connect(serve.address));
    let ask = |client: &mut Client| {
        client.send(scoped(&key.secret).bytes());
        client.answer("GET").status
    };
    for client in &mut clients {
        assert_eq!(ask(client), 200);
    }
    let confirmed = process::run(&["keys", "rotate", "key_other", "--wait"], &config);
    assert_eq!(confirmed.code, 0, "{confirmed:?}");
    assert!(confirmed.stderr.contains("2 of 2 sidecars confirmed"), "{confirmed:?}");

    signal(paused.id(), "STOP");
    let ended = process::run(&["keys", "revoke", "key_main", "--wait=2s"], &config);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains(&paused.id().to_string()) && !ended.stderr.contains(&awake.id().to_string()), "{}", ended.stderr);
    println!("{}", ended.stderr.trim());
    let [awake_client, paused_client] = &mut clients;
    assert_eq!(ask(awake_client), 401);
    // It is there before the sidecar wakes: nothing else can be first.
    paused_client.send(scoped(&key.secret).bytes());
    signal(paused.id(), "CONT");
    assert_eq!(paused_client.answer("GET").status, 401);
}
