//! One key, two sidecars' APIs, fifty at once: one winner each version, and the audit knows them all and nobody else.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use super::{make, text};
use crate::support::admin::{Caller, Tokens, problem};
use crate::support::client::{Answer, Request, once};
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind};
use crate::support::upstream::Upstream;

const AT_ONCE: usize = 50;

/// What one of them asked for, and what it was answered.
type Asked = (&'static str, Answer);

struct Two {
    _tokens: Tokens,
    _home: Home,
    serves: Vec<Serve>,
    callers: Vec<Caller>,
}

impl Two {
    fn start(upstream: &Upstream) -> Self {
        let tokens = Tokens::console();
        let text = format!("upstream = \"{}\"\n{}", upstream.url(), tokens.config("127.0.0.1:0"));
        let home = Home::new(Kind::Redis, &text);
        let serves: Vec<Serve> = (0..2).map(|_| Serve::start(&home.config_file())).collect();
        let callers = serves.iter().map(|serve| Caller::console(admin_of(serve))).collect();
        Self { _tokens: tokens, _home: home, serves, callers }
    }

    /// Asks all of them at once, in turns of both sidecars.
    fn race(&self, each: impl Fn(usize, &Caller) -> Asked + Sync) -> Vec<Asked> {
        let start = Barrier::new(AT_ONCE);
        thread::scope(|scope| {
            let all: Vec<_> = (0..AT_ONCE)
                .map(|number| {
                    let (caller, start, each) = (&self.callers[number % 2], &start, &each);
                    scope.spawn(move || {
                        start.wait();
                        each(number, caller)
                    })
                })
                .collect();
            all.into_iter().map(|each| each.join().unwrap()).collect()
        })
    }
}

/// The second listener that is told of.
fn admin_of(serve: &Serve) -> std::net::SocketAddr {
    let told = serve.stderr.wait(2, |line| line.strip_prefix("listening on ").and_then(|address| address.parse().ok()));
    told[1]
}

/// The winners of a race by the version that they made; everybody else was told why not.
fn winners(race: &[Asked], losers: &[&str]) -> BTreeMap<u64, &'static str> {
    let mut winners = BTreeMap::new();
    for (action, answer) in race {
        if answer.status == 200 {
            let version = answer.json()["version"].as_u64().unwrap();
            if let Some(other) = winners.insert(version, *action) {
                // Who revokes what is revoked already has won nothing, and is answered the version that is there.
                assert_eq!((*action, other), ("key.revoke", "key.revoke"), "two of version {version}");
            }
        } else {
            let (status, code) = problem(answer);
            assert!(status == 409 && losers.contains(&code.as_str()), "{action}: {}", answer.text());
        }
    }
    winners
}

#[test]
fn of_fifty_at_once_each_version_has_one_winner_and_the_audit_has_all_of_them() {
    let upstream = Upstream::echo();
    let two = Two::start(&upstream);
    let [console, other] = two.callers.as_slice() else { unreachable!() };
    console.post("/tenants", &json!({ "id": "acme" }));
    let made = make(console, "key");
    let (id, key) = (text(&made, "id"), text(&made, "key"));
    let path = |action: &str| format!("/keys/{id}{action}");
    let mut won = BTreeMap::from([(1, "key.create")]);

    // Of one version: one.
    let race = two
        .race(|number, caller| ("key.update", caller.ask("PATCH", &path(""), Some(&json!({ "name": format!("{number}"), "version": 1 })))));
    let round = winners(&race, &["version_conflict"]);
    assert_eq!(round.keys().collect::<Vec<_>>(), [&2]);
    let lost: Vec<Value> =
        race.iter().filter(|(_, answer)| answer.status == 409).map(|(_, answer)| answer.json()["version"].clone()).collect();
    assert!(lost.len() == AT_ONCE - 1 && lost.iter().all(|version| version == 2), "{lost:?}");
    won.extend(round);

    // Whatever the version: as many as get through, each its own.
    let race = two.race(|number, caller| match number % 5 {
        0 | 1 => ("key.rotate", caller.ask("POST", &path("/rotate"), None)),
        _ => ("key.update", caller.ask("PATCH", &path(""), Some(&json!({ "name": format!("n{number}") })))),
    });
    let round = winners(&race, &["busy"]);
    assert!(round.len() >= 10, "{round:?}");
    assert_eq!(round.keys().copied().collect::<Vec<_>>(), (3..3 + round.len() as u64).collect::<Vec<_>>());
    // Of the secrets that were told, the last one works and no other.
    let secrets: BTreeMap<u64, String> = race
        .iter()
        .filter(|(action, answer)| *action == "key.rotate" && answer.status == 200)
        .map(|(_, answer)| (answer.json()["version"].as_u64().unwrap(), text(&answer.json(), "key")))
        .collect();
    console.post(&path("/activate?wait=5s"), &json!({}));
    let latest = secrets.last_key_value().unwrap().1;
    for secret in secrets.values().chain([&key]) {
        for serve in &two.serves {
            let status = once(serve.address, &Request::get("/").bearer(secret)).status;
            assert_eq!(status == 200, secret == latest, "{status}");
        }
    }
    won.extend(round);

    // Until one revokes it.
    let race = two.race(|number, caller| match number % 5 {
        0 => ("key.revoke", caller.ask("POST", &path("/revoke"), None)),
        1 | 2 => ("key.rotate", caller.ask("POST", &path("/rotate"), None)),
        _ => ("key.update", caller.ask("PATCH", &path(""), Some(&json!({ "name": format!("m{number}") })))),
    });
    let round = winners(&race, &["busy", "state_conflict"]);
    let before = won.len() as u64;
    assert_eq!(round.keys().copied().collect::<Vec<_>>(), (before + 1..=before + round.len() as u64).collect::<Vec<_>>());
    assert_eq!(round.values().filter(|action| **action == "key.revoke").count(), 1);
    assert_eq!(round.last_key_value().unwrap().1, &"key.revoke", "nothing changes it any more");
    won.extend(round);

    let events = other.get(&format!("/audit?key={id}&order=asc&limit=1000"));
    let events: Vec<(u64, String)> =
        events["data"].as_array().unwrap().iter().map(|event| (event["version"].as_u64().unwrap(), text(event, "action"))).collect();
    let mut sorted = events.clone();
    sorted.sort();
    assert_eq!(sorted, won.into_iter().map(|(version, action)| (version, action.to_owned())).collect::<Vec<_>>());
}
