//! A request that is to be run once, and its client leaves, its upstream fails, its sidecar is killed or stopped, its store goes away:
//! each ends as documented, and none runs twice.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use sidegate::clock::{Clock, instant};

use crate::support::PATIENCE;
use crate::support::client::{Answer, Client, Request, once};
use crate::support::fleet;
use crate::support::process::{self, Serve, signal};
use crate::support::redis::Redis;
use crate::support::seed::Issued;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::stream::Address;
use crate::support::upstream::Upstream;

const REQUIRED: &str = "[idempotency]\nmode = \"required\"\n";

/// Answers when it is told to.
fn held() -> (Upstream, Sender<()>) {
    let (release, released) = channel();
    let released = Mutex::new(released);
    let upstream = Upstream::start(move |exchange| {
        exchange.read_body();
        let _ = released.lock().unwrap().recv();
        exchange.answer(200, &[], b"done");
    });
    (upstream, release)
}

fn pay(secret: &str) -> Request {
    Request::new("POST", "/pay").bearer(secret).header("Idempotency-Key", "order-1").body("amount=1")
}

fn code(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.json()["code"].as_str().unwrap_or_default())
}

/// Asks until the answer is no longer this.
fn after(before: &str, ask: impl Fn() -> Answer) -> Answer {
    let began = instant();
    loop {
        let answer = ask();
        if answer.header("content-type") != Some("application/json") || code(&answer) != before {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "it stays {before}");
    }
}

/// A client that sends its request and leaves as soon as the upstream has it.
fn leave_in_the_middle(address: impl Into<Address>, upstream: &Upstream, secret: &str) {
    let mut client = Client::connect(address);
    client.send(pay(secret).bytes());
    upstream.wait(|seen| seen.iter().any(|request| request.complete));
    drop(client);
}

#[test]
fn a_client_that_times_out_and_asks_again_gets_the_answer() {
    for kind in Kind::BOTH {
        let (upstream, release) = held();
        let text = format!("upstream = \"{}\"\n{REQUIRED}", upstream.url());
        let sidecar = Sidecar::in_home(Home::new(kind, &text), Clock::System);
        let secret = sidecar.home.issue().secret;
        let ask = || once(sidecar.address(), &pay(&secret));
        leave_in_the_middle(sidecar.address(), &upstream, &secret);
        let meanwhile = ask();
        assert_eq!((code(&meanwhile).as_str(), meanwhile.header("Retry-After")), ("409 IDEMPOTENCY_CONFLICT", Some("1")));
        release.send(()).unwrap();
        let answer = after("409 IDEMPOTENCY_CONFLICT", ask);
        assert_eq!((answer.text().as_str(), answer.header("Idempotent-Replayed")), ("done", Some("true")));
        assert_eq!(upstream.recorded().len(), 1);
    }
}

#[test]
fn what_a_client_left_in_the_middle_of_its_answer_is_kept_to_its_end() {
    let (release, released) = channel();
    let released = Mutex::new(released);
    let upstream = Upstream::start(move |exchange| {
        exchange.read_body();
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndo");
        released.lock().unwrap().recv().unwrap();
        exchange.send(b"ne");
    });
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n{REQUIRED}", upstream.url()));
    let secret = sidecar.home.issue().secret;
    let mut client = Client::connect(sidecar.address());
    client.send(pay(&secret).bytes());
    client.head();
    assert_eq!(client.bytes(2), b"do");
    drop(client);
    release.send(()).unwrap();
    let answer = after("409 IDEMPOTENCY_CONFLICT", || once(sidecar.address(), &pay(&secret)));
    assert_eq!((answer.text().as_str(), answer.header("Idempotent-Replayed")), ("done", Some("true")));
}

#[test]
fn an_upstream_that_does_not_answer_in_time_leaves_an_unknown_outcome_until_it_is_released() {
    for kind in Kind::BOTH {
        let upstream = Upstream::start(|exchange| {
            exchange.read_body();
            exchange.wait_for_the_end();
        });
        let text = format!("[upstreams.main]\nurl = \"{}\"\nresponse_timeout = \"100ms\"\n{REQUIRED}", upstream.url());
        let sidecar = Sidecar::in_home(Home::new(kind, &text), Clock::System);
        let secret = sidecar.home.issue().secret;
        let ask = || once(sidecar.address(), &pay(&secret));
        assert_eq!(code(&ask()), "504 UPSTREAM_TIMEOUT");
        for _ in 0..3 {
            assert_eq!(code(&ask()), "409 IDEMPOTENCY_UNKNOWN");
        }
        assert_eq!(upstream.wait(|seen| !seen.is_empty()).len(), 1);
        let run = |command| process::run(&["idempotency", command, "--tenant", "acme", "order-1", "--json"], &sidecar.home.config_file());
        assert_eq!(run("show").json()["state"], "unknown");
        run("release").ok();
        assert_eq!(code(&ask()), "504 UPSTREAM_TIMEOUT");
        assert_eq!(upstream.wait(|seen| seen.len() > 1).len(), 2);
    }
}

#[test]
fn what_the_upstream_breaks_off_is_unknown() {
    for (head, status) in [("", 502), ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 0)] {
        let upstream = Upstream::start(move |exchange| {
            exchange.read_body();
            exchange.send(head.as_bytes());
            exchange.close();
        });
        let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n{REQUIRED}", upstream.url()));
        let secret = sidecar.home.issue().secret;
        let mut client = Client::connect(sidecar.address());
        client.send(pay(&secret).bytes());
        assert_eq!(client.try_answer("POST").map_or(0, |answer| answer.status), status);
        let again = after("409 IDEMPOTENCY_CONFLICT", || once(sidecar.address(), &pay(&secret)));
        assert_eq!(code(&again), "409 IDEMPOTENCY_UNKNOWN");
        assert_eq!(upstream.recorded().len(), 1);
    }
}

#[test]
fn what_the_upstream_never_got_or_put_off_may_be_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let text = format!("[upstreams.main]\nurl = \"unix:{}\"\nconnect_timeout = \"100ms\"\n{REQUIRED}", path.display());
    let sidecar = Sidecar::start(&text);
    let secret = sidecar.home.issue().secret;
    let ask = || once(sidecar.address(), &pay(&secret));
    assert_eq!(code(&ask()), "502 UPSTREAM_UNAVAILABLE");
    let statuses = Mutex::new(vec![201, 503, 429]);
    let _upstream = Upstream::start_at(&Address::Unix(path), move |exchange| {
        exchange.read_body();
        let status = statuses.lock().unwrap().pop().unwrap();
        exchange.answer(status, &[("Retry-After", "7")], b"x");
    });
    for status in [429, 503, 201] {
        let answer = ask();
        assert_eq!((answer.status, answer.header("Idempotent-Replayed")), (status, None));
        assert_eq!(answer.header("Retry-After"), Some("7"));
    }
    let again = ask();
    assert_eq!((again.status, again.header("Idempotent-Replayed")), (201, Some("true")));
}

/// Two sidecars over one Redis, as processes.
struct Pair {
    homes: [Home; 2],
    key: Issued,
    upstream: Upstream,
    release: Sender<()>,
    _redis: Redis,
}

impl Pair {
    fn new(text: &str) -> Self {
        let (redis, (upstream, release)) = (Redis::start(), held());
        let homes = [(); 2].map(|()| fleet::home(&redis.url(), &upstream, text));
        let key = homes[0].issue();
        Self { homes, key, upstream, release, _redis: redis }
    }

    fn serve(&self, index: usize) -> Serve {
        Serve::start(&self.homes[index].config_file())
    }
}

#[test]
fn a_sidecar_that_is_killed_leaves_its_request_running_until_its_lease_is_over_and_then_unknown() {
    let pair = Pair::new("[idempotency]\nmode = \"required\"\nlock_timeout = \"2s\"");
    let (first, second) = (pair.serve(0), pair.serve(1));
    let mut client = Client::connect(first.address);
    client.send(pay(&pair.key.secret).bytes());
    pair.upstream.wait(|seen| seen.iter().any(|request| request.complete));
    let ask = || once(second.address, &pay(&pair.key.secret));
    assert_eq!(code(&ask()), "409 IDEMPOTENCY_CONFLICT");
    signal(first.id(), "KILL");
    assert!(client.try_answer("POST").is_none());
    assert_eq!(code(&after("409 IDEMPOTENCY_CONFLICT", ask)), "409 IDEMPOTENCY_UNKNOWN");
    let shown = process::run(&["idempotency", "show", "--tenant", "acme", "order-1", "--quiet"], &pair.homes[1].config_file()).ok();
    assert_eq!(shown.trim(), "unknown");
    assert_eq!(code(&ask()), "409 IDEMPOTENCY_UNKNOWN");
    assert_eq!(pair.upstream.recorded().len(), 1);
    drop(pair.release);
}

#[test]
fn a_request_that_outlasts_its_lease_is_running_all_the_same_and_its_answer_is_kept() {
    let pair = Pair::new("[idempotency]\nmode = \"required\"\nlock_timeout = \"1s\"");
    let (first, second) = (pair.serve(0), pair.serve(1));
    leave_in_the_middle(first.address, &pair.upstream, &pair.key.secret);
    let ask = || once(second.address, &pay(&pair.key.secret));
    let began = instant();
    while began.elapsed() < std::time::Duration::from_secs(3) {
        assert_eq!(code(&ask()), "409 IDEMPOTENCY_CONFLICT");
    }
    pair.release.send(()).unwrap();
    assert_eq!(after("409 IDEMPOTENCY_CONFLICT", ask).text(), "done");
}

#[test]
fn a_sidecar_that_drains_waits_for_what_its_client_has_left() {
    let pair = Pair::new("[idempotency]\nmode = \"required\"\n[shutdown]\ndrain_timeout = \"1h\"");
    let first = pair.serve(0);
    leave_in_the_middle(first.address, &pair.upstream, &pair.key.secret);
    signal(first.id(), "TERM");
    assert!(first.stderr.find(|line| line.contains("no longer listening").then_some(())).is_some());
    pair.release.send(()).unwrap();
    let (status, ..) = first.wait();
    assert!(status.success());
    let second = pair.serve(1);
    let answer = once(second.address, &pay(&pair.key.secret));
    assert_eq!((answer.text().as_str(), answer.header("Idempotent-Replayed")), ("done", Some("true")));
}

#[test]
fn what_outlasts_the_drain_is_unknown_at_once() {
    let pair = Pair::new("[idempotency]\nmode = \"required\"\n[shutdown]\ndrain_timeout = \"200ms\"");
    let first = pair.serve(0);
    leave_in_the_middle(first.address, &pair.upstream, &pair.key.secret);
    let (status, _, stderr) = first.stop();
    assert!(status.success());
    assert!(stderr.find(|line| line.contains("its outcome is unknown").then_some(())).is_some(), "{}", stderr.text());
    let second = pair.serve(1);
    let ask = || once(second.address, &pay(&pair.key.secret));
    assert_eq!(code(&after("409 IDEMPOTENCY_CONFLICT", ask)), "409 IDEMPOTENCY_UNKNOWN");
}

#[test]
fn without_its_store_a_request_is_refused_where_a_key_is_required_and_unprotected_where_it_is_optional() {
    for (mode, status) in [("required", 503), ("optional", 200)] {
        let mut redis = Redis::start();
        let upstream = Upstream::echo();
        let text = format!("upstream = \"{}\"\n[idempotency]\nmode = \"{mode}\"\nstore_url = \"{}\"", upstream.url(), redis.url());
        // The key table is another store, and stays.
        let sidecar = Sidecar::start(&text);
        let secret = sidecar.home.issue().secret;
        let ask = |key: &str| {
            let request = Request::new("POST", "/pay").bearer(&secret).header("Idempotency-Key", key).body("x");
            once(sidecar.address(), &request)
        };
        assert_eq!(ask("before").status, 200);
        assert!(memchr::memmem::find(&redis.dump(), b"idempotency:{acme}").is_some());
        redis.stop();
        for _ in 0..3 {
            let answer = ask("during");
            assert_eq!(answer.status, status, "{mode}: {}", answer.text());
            assert_eq!(answer.header("Retry-After").is_some(), status == 503);
        }
        assert_eq!(once(sidecar.address(), &Request::get("/").bearer(&secret)).status, 200);
        redis.run();
        let began = instant();
        loop {
            let answer = ask("after");
            if answer.header("Idempotent-Replayed").is_some() {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "it never came back");
        }
    }
}
