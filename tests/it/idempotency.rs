//! A request with an Idempotency-Key is run once (product.md §8): whoever asks again, wherever, gets its answer, for 72 hours,
//! and nobody else does.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::thread;

use serde_json::json;
use sidegate::clock::Clock;

use crate::support::client::{Answer, Client, Request, once};
use crate::support::fleet::Fleet;
use crate::support::process::{self, Serve};
use crate::support::redis::Redis;
use crate::support::seed;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;

const REQUIRED: &str = "[idempotency]\nmode = \"required\"\n";
const HOURS_72: i64 = 72 * 3_600_000;

/// An upstream that counts: each execution has another answer.
fn counter() -> Upstream {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    Upstream::start(move |exchange| {
        exchange.read_body();
        let number = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        exchange.answer(200, &[], format!("execution {number}").as_bytes());
    })
}

fn pay(api_key: &str, key: &str) -> Request {
    Request::new("POST", "/pay").bearer(api_key).header("Idempotency-Key", key).body("amount=1")
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("Idempotent-Replayed") == Some("true")
}

#[test]
fn two_hundred_at_once_over_five_sidecars_run_once() {
    let redis = Redis::start();
    let fleet = Fleet::start(&vec![redis.url(); 5], REQUIRED);
    let secret = fleet.table().issue(&fleet.home().config, &json!({}), &json!({})).secret;
    let (addresses, barrier) = (fleet.addresses(), Arc::new(Barrier::new(200)));
    let clients: Vec<_> = (0..200)
        .map(|index| {
            let (address, barrier, request) = (addresses[index % addresses.len()], Arc::clone(&barrier), pay(&secret, "order-1"));
            thread::spawn(move || {
                let mut client = Client::connect(address);
                barrier.wait();
                client.send(request.bytes());
                client.answer("POST")
            })
        })
        .collect();
    let mut counts = BTreeMap::new();
    for answer in clients.into_iter().map(|client| client.join().unwrap()) {
        let what = match answer.status {
            200 if is_replay(&answer) => "replayed",
            200 => "executed",
            409 => "refused",
            other => panic!("{other} {}", answer.text()),
        };
        if what != "refused" {
            assert_eq!(answer.text(), "amount=1");
        }
        *counts.entry(what).or_insert(0) += 1;
    }
    println!("200 equal requests over 5 sidecars: {counts:?}");
    assert_eq!((counts["executed"], fleet.upstream.recorded().len()), (1, 1));
    for address in addresses {
        assert!(is_replay(&once(address, &pay(&secret, "order-1"))), "every sidecar has the answer");
    }
}

#[test]
fn an_answer_is_given_for_72_hours_from_the_claim_on() {
    let upstream = counter();
    let sidecar = Sidecar::with_manual_clock(Kind::Embedded, &format!("upstream = \"{}\"\n{REQUIRED}", upstream.url()));
    let secret = sidecar.home.issue().secret;
    let ask = || once(sidecar.address(), &pay(&secret, "order-1"));
    assert_eq!(ask().text(), "execution 1");
    sidecar.clock.advance(HOURS_72 - 1);
    let last = ask();
    assert!(is_replay(&last) && last.text() == "execution 1");
    sidecar.clock.advance(1);
    let again = ask();
    assert!(!is_replay(&again) && again.text() == "execution 2");
    assert!(is_replay(&ask()));
}

#[test]
fn redis_ends_an_entry_72_hours_after_its_claim_whatever_became_of_it() {
    let upstream = counter();
    let home = Home::new(Kind::Redis, &format!("upstream = \"{}\"\n{REQUIRED}", upstream.url()));
    let secret = home.issue().secret;
    let sidecar = Sidecar::in_home(home, Clock::System);
    assert_eq!(once(sidecar.address(), &pay(&secret, "order-1")).status, 200);
    let mut connection = sidecar.home.redis.as_ref().unwrap().connection();
    let names: Vec<String> = redis::cmd("KEYS").arg("sidegate:idempotency:{acme}:*").query(&mut connection).unwrap();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let left: i64 = redis::cmd("PTTL").arg(&name).query(&mut connection).unwrap();
        // Bytes are counted in steps of a sixty-fourth.
        assert!(left > 0 && left <= HOURS_72 + HOURS_72 / 64, "{name}: {left}");
    }
}

/// Everything that makes two requests different for the one who asks.
#[test]
fn nobody_gets_the_answer_of_another() {
    for kind in Kind::BOTH {
        let upstream = counter();
        let text = format!(
            "upstream = \"{}\"\ndeployment = \"development\"\n[client_ip]\ntrusted_proxies = [\"127.0.0.1\"]\n\
             [[routes]]\nname = \"all\"\nmatch = \"* /**\"\nkinds = [\"secret\", \"publishable\"]\n{REQUIRED}",
            upstream.url()
        );
        let home = Home::new(kind, &text);
        let table = home.table();
        for tenant in ["acme", "globex"] {
            table.put_tenant(&seed::tenant(&json!({ "id": tenant })));
        }
        let secrets = [
            ("acme", json!({ "id": "key_a", "environment": "live" })),
            ("acme", json!({ "id": "key_b", "environment": "test" })),
            ("globex", json!({ "id": "key_c", "environment": "live" })),
            ("acme", json!({ "id": "key_d", "kind": "publishable" })),
        ]
        .map(|(tenant, key)| {
            let issued = seed::key(&home.config, tenant, &key);
            table.put_key(&issued.record);
            issued.secret
        });
        let sidecar = Sidecar::in_home(home, Clock::System);
        let ask = |secret: &str, from: &str| once(sidecar.address(), &pay(secret, "order-1").header("X-Forwarded-For", from));
        let mut executions = Vec::new();
        for (secret, from) in [(0, "192.0.2.1"), (1, "192.0.2.1"), (2, "192.0.2.1"), (3, "192.0.2.1"), (3, "192.0.2.2")] {
            let first = ask(&secrets[secret], from);
            assert!(!is_replay(&first) && first.status == 200, "{kind:?} {secret} {from}: {}", first.text());
            let again = ask(&secrets[secret], from);
            assert!(is_replay(&again) && again.text() == first.text());
            executions.push(first.text());
        }
        executions.sort();
        executions.dedup();
        assert_eq!(executions.len(), 5, "{kind:?}");
        // A server's address does not matter.
        assert!(is_replay(&ask(&secrets[0], "192.0.2.9")));
    }
}

#[test]
fn where_it_is_optional_what_has_no_key_or_is_too_large_runs_as_often_as_it_comes() {
    let upstream = counter();
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n[idempotency]\nmode = \"optional\"\nmax_body = \"16B\"", upstream.url()));
    let secret = sidecar.home.issue().secret;
    let ask = |request: &Request| once(sidecar.address(), request);
    let plain = Request::new("POST", "/pay").bearer(&secret).body("x");
    assert_eq!((ask(&plain).text().as_str(), ask(&plain).text().as_str()), ("execution 1", "execution 2"));
    let large = "a body of more than sixteen bytes";
    let fixed = pay_with(&secret, large);
    assert_eq!((ask(&fixed).text().as_str(), ask(&fixed).text().as_str()), ("execution 3", "execution 4"));
    let chunked = format!(
        "POST /pay HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {secret}\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n\
         8\r\na body o\r\n19\r\nf more than sixteen bytes\r\n0\r\n\r\n"
    );
    for number in [5, 6] {
        let mut client = Client::connect(sidecar.address());
        client.send(&chunked);
        assert_eq!(client.answer("POST").text(), format!("execution {number}"));
    }
    assert!(upstream.recorded()[2..].iter().all(|seen| seen.body == large.as_bytes()), "nothing of a body is lost");
    assert_eq!(ask(&pay(&secret, "order-1")).text(), ask(&pay(&secret, "order-1")).text());
}

fn pay_with(secret: &str, body: &str) -> Request {
    Request::new("POST", "/pay").bearer(secret).header("Idempotency-Key", "k").body(body)
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked_and_gets_the_answer_again() {
    let upstream = counter();
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n{REQUIRED}", upstream.url()));
    let secret = sidecar.home.issue().secret;
    for replayed in [false, true] {
        let mut client = Client::connect(sidecar.address());
        client.send(format!(
            "POST /pay HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {secret}\r\nIdempotency-Key: k\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        ));
        assert!(client.head().first_line.starts_with("HTTP/1.1 100"));
        client.send("{}");
        let answer = client.answer("POST");
        assert_eq!((answer.text().as_str(), is_replay(&answer)), ("execution 1", replayed));
    }
}

#[test]
fn the_store_holds_no_key_and_nothing_of_a_request_or_an_answer() {
    for kind in Kind::BOTH {
        let upstream = Upstream::start(|exchange| {
            exchange.read_body();
            exchange.answer(201, &[("X-Told", "header-of-the-answer")], b"body-of-the-answer");
        });
        let sidecar = Sidecar::in_home(Home::new(kind, &format!("upstream = \"{}\"\n{REQUIRED}", upstream.url())), Clock::System);
        let secret = sidecar.home.issue().secret;
        let request = Request::new("POST", "/pay/path-of-the-request?query-of-the-request")
            .bearer(&secret)
            .header("Idempotency-Key", "key-of-the-request")
            .body("body-of-the-request");
        assert!(!is_replay(&once(sidecar.address(), &request)) && is_replay(&once(sidecar.address(), &request)));
        let mut bytes = Vec::new();
        match &sidecar.home.redis {
            Some(redis) => bytes.extend(redis.dump()),
            None => ["data", "data-wal"].iter().for_each(|name| bytes.extend(std::fs::read(sidecar.home.dir.path().join(name)).unwrap())),
        }
        assert!(memchr::memmem::find(&bytes, b"acme").is_some(), "nothing was searched");
        for word in ["of-the-request", "of-the-answer", "x-told", &secret] {
            assert!(memchr::memmem::find(&bytes, word.as_bytes()).is_none(), "{kind:?}: {word} can be read");
        }
    }
}

#[test]
fn operators_see_what_became_of_a_request_and_may_have_it_run_again() {
    let upstream = counter();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n{REQUIRED}", upstream.url()));
    let secret = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    let run = |command: &str, more: &[&str]| {
        let arguments = [&["idempotency", command, "--tenant", "acme"], more].concat();
        process::run(&arguments, &home.config_file())
    };
    assert_eq!(run("show", &["order-1"]).code, 4);
    assert_eq!(run("release", &["order-1"]).code, 4);
    assert_eq!(run("show", &["--kind", "none", "order-1"]).code, 2);
    assert_eq!(once(serve.address, &pay(&secret, "order-1")).text(), "execution 1");
    let shown = run("show", &["--json", "order-1"]).json();
    assert_eq!((&shown["state"], &shown["status"], &shown["body_bytes"]), (&json!("done"), &json!(200), &json!(11)));
    assert!(shown["claimed_at"].is_string() && shown["expires_at"].is_string());
    assert_eq!(run("show", &["--env", "test", "order-1"]).code, 4);
    run("release", &["order-1"]).ok();
    assert_eq!(once(serve.address, &pay(&secret, "order-1")).text(), "execution 2");
    let again = once(serve.address, &pay(&secret, "order-1"));
    let line = serve.access(3).into_iter().find(|line| line["request_id"].as_str() == again.header("X-Request-Id")).unwrap();
    assert_eq!((&line["replayed"], &line["reason"], &line["http.response.status_code"]), (&json!(true), &json!(""), &json!(200)));
    assert!(line.get("upstream_ms").is_none());
}

#[test]
fn what_became_of_requests_with_a_key_is_counted() {
    let statuses = std::sync::Mutex::new(vec![200, 503]);
    let upstream = Upstream::start(move |exchange| {
        exchange.read_body();
        let status = statuses.lock().unwrap().pop().unwrap_or(200);
        exchange.answer(status, &[], b"x");
    });
    let text = format!(
        "upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[idempotency]\nmode = \"optional\"\nmax_body = \"16B\"",
        upstream.url()
    );
    let sidecar = Sidecar::start(&text);
    let secret = sidecar.home.issue().secret;
    for (key, body) in [("a", "1"), ("a", "1"), ("a", "1"), ("a", "2"), ("b", "more than sixteen bytes")] {
        once(sidecar.address(), &Request::new("POST", "/pay").bearer(&secret).header("Idempotency-Key", key).body(body));
    }
    let metrics = once(sidecar.ops(), &Request::get("/metrics")).text();
    for (series, count) in [
        ("sidegate_idempotent_requests_total{outcome=\"released\"}", 1),
        ("sidegate_idempotent_requests_total{outcome=\"kept\"}", 1),
        ("sidegate_idempotent_requests_total{outcome=\"replayed\"}", 1),
        ("sidegate_idempotent_requests_total{outcome=\"unprotected\"}", 1),
        ("sidegate_idempotent_requests_total{outcome=\"unknown\"}", 0),
        ("sidegate_decisions_total{reason=\"idempotency_param_mismatch\"}", 1),
    ] {
        assert!(metrics.contains(&format!("{series} {count}\n")), "{series}: {metrics}");
    }
}
