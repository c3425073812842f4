//! Limits of one sidecar: who is counted together, what a refusal costs, and what a reload leaves as it was.

use serde_json::json;
use sidegate::clock::Clock;

use crate::support::client::{Answer, Client, Request, once};
use crate::support::process::{self, Serve, signal};
use crate::support::seed;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;

fn start(kind: Kind, text: &str) -> (Upstream, Sidecar) {
    let upstream = Upstream::echo();
    let home = Home::new(kind, &format!("upstream = \"{}\"\n{text}", upstream.url()));
    (upstream, Sidecar::in_home(home, Clock::System))
}

fn ask(sidecar: &Sidecar, target: &str, key: &str) -> Answer {
    once(sidecar.address(), &Request::get(target).bearer(key))
}

/// The number behind `;r=` of `RateLimit`.
fn left(answer: &Answer) -> u64 {
    let item = answer.header("RateLimit").unwrap_or_else(|| panic!("{:?}", answer.head));
    item.split(";r=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap()
}

#[test]
fn live_and_test_keys_of_one_tenant_are_counted_apart() {
    for (kind, counted) in [(Kind::Embedded, "local"), (Kind::Redis, "fleet")] {
        let limit = format!("[rate_limits.all]\nby = [\"tenant\"]\nrequests = 1\nper = \"1h\"\ncounted = \"{counted}\"\ndefault = true\n");
        let (_upstream, sidecar) = start(kind, &format!("deployment = \"development\"\n{limit}"));
        let (table, config) = (sidecar.home.table(), &sidecar.home.config);
        let live = table.issue(config, &json!({}), &json!({})).secret;
        let issue = |overrides| {
            let issued = seed::key(config, "acme", &overrides);
            table.put_key(&issued.record);
            issued.secret
        };
        let test = issue(json!({ "id": "key_test", "environment": "test" }));
        let other = issue(json!({ "id": "key_other" }));
        assert_eq!([&live, &test, &other].map(|key| ask(&sidecar, "/", key).status), [200, 200, 429]);
    }
}

#[test]
fn a_refusal_takes_from_no_limit() {
    let limits = "[rate_limits.wide]\nby = [\"key\"]\nrequests = 5\nper = \"1h\"\n\
                  [rate_limits.narrow]\nby = [\"key\", \"route\"]\nrequests = 1\nper = \"1h\"\ncounted = \"fleet\"\n\
                  [[routes]]\nname = \"both\"\nmatch = \"GET /both\"\nrate_limits = [\"wide\", \"narrow\"]\n\
                  [[routes]]\nname = \"wide\"\nmatch = \"GET /wide\"\nrate_limits = [\"wide\"]\n";
    let (upstream, sidecar) = start(Kind::Embedded, limits);
    let key = sidecar.home.issue().secret;
    let first = ask(&sidecar, "/both", &key);
    assert_eq!((first.status, first.header("RateLimit-Policy")), (200, Some("\"wide\";q=5;w=3600, \"narrow\";q=1;w=3600")));
    assert!(first.header("RateLimit").is_some_and(|item| item.starts_with("\"narrow\";r=0;")), "{:?}", first.header("RateLimit"));
    for _ in 0..10 {
        let refused = ask(&sidecar, "/both", &key);
        assert_eq!(refused.status, 429);
        assert!(refused.header("Retry-After").is_some_and(|secs| (1..=3600).contains(&secs.parse::<u64>().unwrap())));
    }
    let statuses: Vec<u16> = (0..5).map(|_| ask(&sidecar, "/wide", &key).status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 429]);
    assert_eq!(upstream.recorded().len(), 5);
}

#[test]
fn many_who_come_at_once_to_a_cold_bucket_get_what_it_holds() {
    for (kind, counted) in [(Kind::Embedded, "local"), (Kind::Embedded, "fleet"), (Kind::Redis, "fleet")] {
        let limit = format!("[rate_limits.all]\nby = [\"key\"]\nrequests = 60\nper = \"10h\"\ncounted = \"{counted}\"\ndefault = true\n");
        let (_upstream, sidecar) = start(kind, &format!("{limit}[runtime]\nworkers = 3\n"));
        let key = sidecar.home.issue().secret;
        let address = sidecar.address();
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..16)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = Client::connect(address);
                        let ask = |_| {
                            client.send(Request::get("/").bearer(&key).bytes());
                            client.answer("GET").status
                        };
                        (0..8).map(ask).collect::<Vec<u16>>()
                    })
                })
                .collect();
            asking.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let admitted = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(admitted, 60, "{counted} over {}: {statuses:?}", kind.name());
        assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    }
}

#[test]
fn a_sidecar_that_stops_hands_back_what_it_has_not_used() {
    let upstream = Upstream::echo();
    let text = format!(
        "upstream = \"{}\"\n[rate_limits.all]\nby = [\"key\"]\nrequests = 100\nper = \"100h\"\ncounted = \"fleet\"\ndefault = true\n",
        upstream.url()
    );
    let home = Home::new(Kind::Redis, &text);
    let key = home.issue().secret;
    for used in 1..4 {
        let serve = Serve::start(&home.config_file());
        let answer = once(serve.address, &Request::get("/").bearer(&key));
        assert_eq!((answer.status, left(&answer)), (200, 100 - used));
        assert!(serve.stop().0.success());
    }
    // Nor does looking take any.
    let explained = process::run(&["explain", "--json", "--key", "key_main", "/"], &home.config_file());
    assert!(explained.stdout.contains("all: 100 per 100h, 100 at once, by all sidecars together; 97 left"), "{}", explained.stdout);
}

#[test]
fn a_reload_keeps_the_buckets_of_limits_that_did_not_change() {
    let upstream = Upstream::echo();
    let limits = "[rate_limits.fleet]\nby = [\"key\"]\nrequests = 8\nper = \"1h\"\ncounted = \"fleet\"\ndefault = true\n\
                  [rate_limits.local]\nby = [\"key\"]\nrequests = 4\nper = \"1h\"\ndefault = true\n";
    let home = Home::new(Kind::Redis, &format!("upstream = \"{}\"\n{limits}", upstream.url()));
    let key = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    let text = std::fs::read_to_string(home.config_file()).unwrap();
    let reload = |n: usize, text: &str| {
        std::fs::write(home.dir.path().join("new"), text).unwrap();
        std::fs::rename(home.dir.path().join("new"), home.config_file()).unwrap();
        signal(serve.id(), "HUP");
        serve.stderr.wait(n, |line| line.contains("the configuration was reloaded").then_some(()));
    };
    let ask = || once(serve.address, &Request::get("/").bearer(&key));
    assert_eq!((left(&ask()), left(&ask())), (3, 2));
    // Another route, and another key table.
    reload(1, &format!("{text}\n[[routes]]\nname = \"all\"\nmatch = \"* /**\"\n"));
    assert_eq!(left(&ask()), 1);
    reload(2, &format!("{text}\n[cache]\nttl = \"7s\"\n"));
    assert_eq!(left(&ask()), 0);
    assert_eq!(ask().status, 429);
    // Another limit begins anew; the fleet's goes on.
    reload(3, &text.replace("requests = 4", "requests = 100"));
    let statuses: Vec<u16> = (0..6).map(|_| ask().status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
}

#[test]
fn keys_and_tenants_are_made_with_limits_of_their_own() {
    let upstream = Upstream::echo();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"", upstream.url()));
    let run = |arguments: &[&str]| {
        let ended = process::run(arguments, &home.config_file());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stdout
    };
    run(&["tenants", "create", "--id", "acme", "--rate-limit", "100/1h"]);
    let key = run(&["keys", "create", "--tenant", "acme", "--name", "ci", "--rate-limit", "60/1h/2", "--quiet"]);
    let sidecar = Sidecar::in_home(home, Clock::System);
    let answers: Vec<Answer> = (0..3).map(|_| ask(&sidecar, "/", key.trim())).collect();
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200, 429]);
    assert_eq!(answers[2].header("RateLimit-Policy"), Some("\"tenant-record\";q=100;w=3600, \"key-record\";q=60;w=3600"));
    let refused = process::run(&["keys", "create", "--tenant", "acme", "--name", "x", "--rate-limit", "fast"], &sidecar.home.config_file());
    assert_eq!(refused.code, 2, "{}", refused.stderr);
}
