//! Usage of keys and recent denials: counted exactly, whatever becomes of the sidecar and its store, and told by the command line.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value, json};
use sidegate::clock::{Clock, instant};
use sidegate::config::sections::Config;
use sidegate::store::usage::KeyUsage;
use sidegate::usage::{Day, Totals};

use crate::support::PATIENCE;
use crate::support::chaos::{Chaos, Mode};
use crate::support::client::{Client, Request, once};
use crate::support::fleet::{self, Fleet};
use crate::support::process::{self, Serve, signal};
use crate::support::redis::Redis;
use crate::support::seed::{self, Issued};
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;

const ROUTES: &str = "[[routes]]\nname = \"items\"\nmatch = \"* /v1/{resource}/**\"\nscopes = [\"use:{resource}\"]\n\
                      [[routes]]\nname = \"admin\"\nmatch = \"* /admin/**\"\nscopes = [\"admin\"]\n";

fn usage(config: &Config, key: &str) -> KeyUsage {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let usages = sidegate::store::open(&config.store, &Clock::System).await.unwrap().usages;
        let (from, to) = (Day::of(Clock::System.now()).plus(-2), Day::of(Clock::System.now()));
        usages.usage(&[key], from, to).await.unwrap().remove(0)
    })
}

fn total(config: &Config, key: &str) -> Totals {
    Totals::of(&usage(config, key).days)
}

/// Waits until so many requests of the key are in the store.
fn until_counted(config: &Config, key: &str, requests: u64) {
    let began = instant();
    while total(config, key).requests < requests {
        assert!(began.elapsed() < PATIENCE, "{:?}", total(config, key));
        thread::park_timeout(std::time::Duration::from_millis(50));
    }
}

fn issue(home: &Home) -> Issued {
    home.issue_with(&json!({ "scopes": ["use:*"] }))
}

/// What one key's requests came to, as its clients saw it.
#[derive(Debug, Default, Clone, PartialEq)]
struct Seen {
    requests: u64,
    denied: u64,
    received_bytes: u64,
    sent_bytes: u64,
}

#[test]
fn twenty_sidecars_count_every_request_exactly() {
    let per_sidecar = 5_000;
    let redis = Redis::start();
    let fleet = Fleet::start(&vec![redis.url(); 20], ROUTES);
    let table = fleet.table();
    table.put_tenant(&seed::tenant(&json!({})));
    let keys: Vec<Issued> = (0..8)
        .map(|index| {
            let key = seed::key(&fleet.home().config, "acme", &json!({ "id": format!("key_{index}"), "scopes": ["use:*"] }));
            table.put_key(&key.record);
            key
        })
        .collect();
    let addresses = fleet.addresses();
    let began = instant();
    let seen: Vec<Vec<Seen>> = thread::scope(|scope| {
        let load = |part: usize| {
            let mut seen = vec![Seen::default(); 8];
            let mut clients: Vec<Client> = addresses.iter().skip(part).step_by(4).map(|address| Client::connect(*address)).collect();
            for batch in (0..per_sidecar).collect::<Vec<usize>>().chunks(50) {
                let request = |index: usize| {
                    let body = if index.is_multiple_of(3) { "four" } else { "" };
                    let target = if index.is_multiple_of(10) { "/admin/x" } else { "/v1/items/x" };
                    Request::new("POST", target).bearer(&keys[index % 8].secret).body(body)
                };
                let bytes: Vec<u8> = batch.iter().flat_map(|index| request(*index).bytes()).collect();
                for client in &mut clients {
                    client.send(&bytes);
                }
                for client in &mut clients {
                    for index in batch {
                        let answer = client.answer("POST");
                        let of_key = &mut seen[index % 8];
                        of_key.requests += 1;
                        of_key.denied += u64::from(answer.status == 403);
                        // What is refused is not read.
                        of_key.received_bytes += if index.is_multiple_of(3) && answer.status == 200 { 4 } else { 0 };
                        of_key.sent_bytes += answer.body.len() as u64;
                        assert_eq!(answer.status, if index.is_multiple_of(10) { 403 } else { 200 });
                    }
                }
            }
            seen
        };
        let threads: Vec<_> = (0..4).map(|part| scope.spawn(move || load(part))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    println!("{} requests over 20 sidecars in {:.1?}", per_sidecar * 20, began.elapsed());
    let config = fleet.home().config.clone();
    drop(fleet);
    let mut all = 0;
    for (index, key) in keys.iter().enumerate() {
        let clients = seen.iter().map(|part| part[index].clone()).reduce(|a, b| Seen {
            requests: a.requests + b.requests,
            denied: a.denied + b.denied,
            received_bytes: a.received_bytes + b.received_bytes,
            sent_bytes: a.sent_bytes + b.sent_bytes,
        });
        let told = total(&config, &key.record.id);
        let only = told.denied.iter().all(|(reason, _)| reason == "scope_missing");
        all += told.requests;
        let told =
            Seen { requests: told.requests, denied: told.denials(), received_bytes: told.received_bytes, sent_bytes: told.sent_bytes };
        assert_eq!((Some(told), only), (clients, true), "{}", key.record.id);
    }
    assert_eq!(all, per_sidecar as u64 * 20);
}

fn serves_counting_exactly(kind: Kind) {
    let upstream = Upstream::echo();
    let home = Home::new(kind, &format!("upstream = \"{}\"\n[runtime]\nworkers = 2\n{ROUTES}", upstream.url()));
    let key = issue(&home);
    let id = &key.record.id;
    let ask = |serve: &Serve, target: &str, times: usize| {
        for _ in 0..times {
            once(serve.address, &Request::get(target).bearer(&key.secret));
        }
    };
    // Told to stop, it tells everything, of the configuration before a reload too.
    let serve = Serve::start(&home.config_file());
    ask(&serve, "/v1/items/x", 20);
    signal(serve.id(), "HUP");
    ask(&serve, "/v1/orders/x", 20);
    ask(&serve, "/admin/x", 5);
    assert!(serve.stop().0.success());
    let told = usage(&home.config, id);
    let sum = Totals::of(&told.days);
    assert_eq!((sum.requests, sum.denied), (45, BTreeMap::from([("scope_missing".to_owned(), 5)])));
    let scopes: Vec<&str> = told.scopes.iter().map(|used| used.scope.as_str()).collect();
    assert!(scopes.len() == 2 && scopes.contains(&"use:items") && scopes.contains(&"use:orders"), "{scopes:?}");
    assert_eq!(told.networks.iter().map(|seen| seen.network.as_str()).collect::<Vec<_>>(), ["127.0.0.0/24"]);
    assert_eq!(told.last.unwrap().from.as_deref(), Some("127.0.0.1"));
    // Killed, it loses what it has not told yet: at most an interval.
    let serve = Serve::start(&home.config_file());
    ask(&serve, "/v1/items/x", 10);
    until_counted(&home.config, id, 55);
    ask(&serve, "/v1/items/x", 7);
    signal(serve.id(), "KILL");
    serve.wait();
    let counted = total(&home.config, id).requests;
    assert!((55..=62).contains(&counted), "{counted}");
    let serve = Serve::start(&home.config_file());
    ask(&serve, "/v1/items/x", 3);
    assert!(serve.stop().0.success());
    assert_eq!(total(&home.config, id).requests, counted + 3);
}

#[test]
fn counts_are_exact_after_sigterm_and_at_most_an_interval_is_lost_by_sigkill_in_redis() {
    serves_counting_exactly(Kind::Redis);
}

#[test]
fn counts_are_exact_after_sigterm_and_at_most_an_interval_is_lost_by_sigkill_in_the_embedded_store() {
    serves_counting_exactly(Kind::Embedded);
}

fn metric(sidecar: &Sidecar, series: &str) -> u64 {
    let text = once(sidecar.ops(), &Request::get("/metrics")).text();
    let line = text.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_store_that_is_away_for_a_while_gets_everything_once_it_is_back() {
    let (upstream, redis) = (Upstream::echo(), Redis::start());
    let chaos = Chaos::before(&redis);
    let home = fleet::home(&chaos.url(), &upstream, &format!("[ops]\nlisten = \"127.0.0.1:0\"\n{ROUTES}"));
    let key = issue(&home);
    let mut sidecar = Sidecar::in_home(home, Clock::System).in_touch();
    let ask = |sidecar: &Sidecar| assert_eq!(once(sidecar.address(), &Request::get("/v1/items/x").bearer(&key.secret)).status, 200);
    let until = |sidecar: &Sidecar, series: &str, more: u64| {
        let began = instant();
        while metric(sidecar, series) < more {
            assert!(began.elapsed() < PATIENCE, "{series}");
            thread::park_timeout(std::time::Duration::from_millis(20));
        }
    };
    ask(&sidecar);
    until(&sidecar, "sidegate_usage_flushes_total{outcome=\"written\"}", 1);
    // Nothing is under way now, and nothing will be before there is something to tell.
    chaos.set(Mode::Cut);
    (0..10).for_each(|_| ask(&sidecar));
    assert_eq!(once(sidecar.address(), &Request::get("/admin/x").bearer(&key.secret)).status, 403);
    until(&sidecar, "sidegate_usage_flushes_total{outcome=\"deferred\"}", 1);
    (0..10).for_each(|_| ask(&sidecar));
    chaos.heal();
    until(&sidecar, "sidegate_usage_flushes_total{outcome=\"written\"}", 2);
    ask(&sidecar);
    assert_eq!(metric(&sidecar, "sidegate_usage_requests_lost_total{cause=\"unknown\"}"), 0);
    sidecar.stop();
    let told = total(&sidecar.home.config, &key.record.id);
    assert_eq!((told.requests, told.denials()), (23, 1));
}

#[test]
fn support_finds_why_a_request_was_refused() {
    let upstream = Upstream::echo();
    let home = Home::new(Kind::Redis, &format!("upstream = \"{}\"\n[runtime]\nworkers = 1\n{ROUTES}", upstream.url()));
    let key = issue(&home);
    let revoked = seed::key(&home.config, "acme", &json!({ "id": "key_old", "status": "revoked" }));
    home.table().put_key(&revoked.record);
    let serve = Serve::start(&home.config_file());
    let refused = once(serve.address, &Request::get("/admin/x?page=secret").bearer(&key.secret));
    let request_id = refused.header("X-Request-Id").unwrap().to_owned();
    once(serve.address, &Request::get("/v1/items/x").bearer(&revoked.secret));
    once(serve.address, &Request::get("/v1/items/x").bearer(&format!("{}x", key.secret)));
    assert_eq!(once(serve.address, &Request::get("/v1/items/x").bearer(&key.secret)).status, 200);
    assert!(serve.stop().0.success());
    let run = |arguments: &[&str]| process::run(arguments, &home.config_file());

    let [one] = run(&["denials", "--request", &request_id, "--json"]).json().as_array().unwrap().clone().try_into().unwrap();
    for (field, value) in [
        ("reason", json!("scope_missing")),
        ("detail", json!("needs admin")),
        ("status", json!(403)),
        ("tenant", json!("acme")),
        ("key", json!("key_main")),
        ("client", json!("127.0.0.1")),
        ("method", json!("GET")),
        ("path", json!("/admin/x")),
    ] {
        assert_eq!(one[field], value, "{field} of {one}");
    }
    let of = |arguments: &[&str]| run(&[&["denials", "--json"], arguments].concat()).json().as_array().unwrap().clone();
    // The latest first; whose key a revoked one was is known, an unknown one has its fingerprint.
    let reasons: Vec<Value> = of(&[]).iter().map(|denial| denial["reason"].clone()).collect();
    assert_eq!(reasons, ["key_unknown", "key_revoked", "scope_missing"]);
    assert_eq!(of(&["--key", "key_old"])[0]["tenant"], "acme");
    assert!(of(&["--reason", "key_unknown"])[0]["credential"].as_str().unwrap().starts_with("sk_live_…/"));
    assert_eq!((of(&["--tenant", "acme"]).len(), of(&["--tenant", "globex"]).len()), (2, 0));
    assert_eq!((of(&["--since", "1h"]).len(), of(&["--since", "2099-01-01T00:00:00Z"]).len(), of(&["--limit", "1"]).len()), (3, 0, 1));
    let line = run(&["denials", "--request", &request_id]).ok();
    let cells: Vec<&str> = line.trim_end_matches('\n').split('\t').collect();
    assert_eq!(&cells[1..], [&request_id, "scope_missing", "needs admin", "acme", "key_main", "127.0.0.1", "GET", "/admin/x"]);
    assert_eq!(run(&["denials", "--request", "another-one"]).code, 4);
    assert_eq!(run(&["denials", "--reason", "no_such"]).code, 2);
    assert_eq!(run(&["denials", "--since", "soon"]).code, 2);
    // Attempts with a revoked key are counted for it, and are no use of it.
    let old = run(&["keys", "usage", "key_old", "--json"]).json();
    assert_eq!((&old["total"]["denied"]["key_revoked"], &old["last_used"]), (&json!(1), &Value::Null));
}

#[test]
fn the_command_line_tells_what_keys_came_to_and_what_they_need_less_of() {
    let upstream = Upstream::echo();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n[keys]\nlast_used_resolution = \"1h\"\n{ROUTES}", upstream.url()));
    let key = home.issue_with(&json!({ "scopes": ["use:*", "admin", "it's"], "created_at": "2020-01-01T00:00:00Z" }));
    let other = seed::key(&home.config, "acme", &json!({ "id": "key_other", "created_at": Clock::System.now() }));
    home.table().put_key(&other.record);
    let serve = Serve::start(&home.config_file());
    let body = once(serve.address, &Request::new("POST", "/v1/items/x").bearer(&key.secret).body("four")).body.len();
    once(serve.address, &Request::get("/v1/orders/x").bearer(&key.secret));
    once(serve.address, &Request::get("/v1/items/x").bearer(&other.secret));
    assert!(serve.stop().0.success());
    let run = |arguments: &[&str]| process::run(arguments, &home.config_file());

    let told = run(&["keys", "usage", "key_main", "--json"]).json();
    assert_eq!((&told["total"]["requests"], &told["total"]["received_bytes"]), (&json!(2), &json!(4)));
    assert!(told["total"]["sent_bytes"].as_u64().unwrap() > body as u64);
    let last = told["last_used"].as_str().unwrap();
    assert!(last.ends_with(":00:00Z"), "{last} is told by the hour");
    let table = run(&["keys", "usage", "--tenant", "acme"]).ok();
    let total: Vec<&str> = table.lines().last().unwrap().split('\t').collect();
    assert_eq!((total[0], total[1], total[2], total[5]), ("total", "3", "1", "scope_missing=1"));
    let by_key = run(&["keys", "usage", "--tenant", "acme", "--days", "1", "--json"]).json();
    assert_eq!(by_key["keys"].as_array().unwrap().len(), 2);
    assert_eq!((run(&["keys", "usage", "key_none"]).code, run(&["keys", "usage", "--tenant", "none"]).code), (4, 4));
    assert_eq!((run(&["keys", "usage"]).code, run(&["keys", "usage", "key_main", "--days", "0"]).code), (2, 2));

    let report = run(&["keys", "usage", "key_main", "--report", "--json"]).json();
    assert_eq!(report["unused_scopes"], json!(["admin", "it's"]));
    let command = "sidegate keys update key_main --remove-scope 'use:*' --add-scope use:items --add-scope use:orders --remove-scope admin \
                   --remove-scope 'it'\\''s' --add-ip 127.0.0.0/24";
    assert_eq!(report["command"], command);
    assert!(run(&["keys", "usage", "key_main", "--report"]).ok().contains(command));

    // The last use is shown wherever the key is; the record is as it was.
    assert_eq!(run(&["keys", "show", "key_main", "--json"]).json()["last_used"], last);
    assert_eq!(home.table().find_key("key_main").unwrap().last_used, None);
    let listed = run(&["keys", "list", "--json"]).json();
    assert_eq!((&listed[0]["last_used"], &listed[1]["last_used"]), (&json!(last), &Value::Null));
    // Its secret is years old; the other one is of today.
    for flag in ["--due", "--attention"] {
        let [due] = run(&["keys", "list", flag, "--json"]).json().as_array().unwrap().clone().try_into().unwrap();
        assert_eq!((&due["id"], &due["attention"][0]["mark"]), (&json!("key_main"), &json!("rotation_due")));
    }
    assert!(run(&["keys", "list", "--attention"]).ok().contains("\trotation_due: its secret is "));
}

#[test]
fn addresses_are_kept_as_far_as_the_log_may_tell_them() {
    let upstream = Upstream::echo();
    for (rule, from, networks, client) in [
        ("full", json!("127.0.0.1"), json!(["127.0.0.0/24"]), json!("127.0.0.1")),
        ("network", json!("127.0.0.0"), json!(["127.0.0.0/24"]), json!("127.0.0.0")),
        ("off", Value::Null, json!([]), Value::Null),
    ] {
        let text = format!("upstream = \"{}\"\n[log]\nclient_address = \"{rule}\"\n{ROUTES}", upstream.url());
        let home = Home::new(Kind::Embedded, &text);
        let key = issue(&home);
        let serve = Serve::start(&home.config_file());
        once(serve.address, &Request::get("/v1/items/x").bearer(&key.secret));
        once(serve.address, &Request::get("/admin/x").bearer(&key.secret));
        assert!(serve.stop().0.success());
        let told = process::run(&["keys", "usage", "key_main", "--json"], &home.config_file()).json();
        let seen: Vec<&Value> = told["networks"].as_array().unwrap().iter().map(|seen| &seen["network"]).collect();
        assert_eq!((&told["last_used_from"], json!(seen)), (&from, networks), "{rule}");
        let denials = process::run(&["denials", "--json"], &home.config_file()).json();
        assert_eq!(denials[0]["client"], client, "{rule}");
    }
}
