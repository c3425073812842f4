//! Restarts under load: sidecars are replaced one after another behind clients that use whichever is ready, listeners go, and
//! the upstream begins anew. Who was promised an answer gets one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sidegate::clock::instant;

use crate::support::PATIENCE;
use crate::support::callers::{Load, Service};
use crate::support::client::{Answer, Client, Request, once};
use crate::support::fleet::full;
use crate::support::process::{Serve, signal};
use crate::support::sidecar::{Home, Kind};
use crate::support::stream::Address;
use crate::support::upstream::Upstream;

/// Answers `/slow` after a while, everything else at once.
fn api() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        if exchange.request.target == "/slow" {
            thread::park_timeout(Duration::from_millis(300));
        }
        exchange.answer(200, &[], b"ok");
    })
}

fn requests(secret: &str) -> Vec<Request> {
    ["/v1/a", "/v1/b", "/v1/c", "/v1/d", "/slow", "/slow"].iter().map(|target| Request::get(target).bearer(secret)).collect()
}

/// A sidecar and its ops listener, ready.
fn ready(home: &Home) -> (Serve, SocketAddr) {
    let serve = Serve::start(&home.config_file());
    let find = |line: &str| line.split_once("listening on ").and_then(|(_, address)| address.trim().parse().ok());
    let ops = serve.stderr.wait(2, find)[1];
    await_readiness(ops, 200);
    (serve, ops)
}

fn await_readiness(ops: SocketAddr, status: u16) {
    let began = instant();
    while once(ops, &Request::get("/readyz")).status != status {
        assert!(began.elapsed() < PATIENCE, "/readyz never says {status}");
    }
}

#[test]
fn sidecars_that_are_replaced_one_after_another_fail_no_request() {
    let rounds = if full() { 10 } else { 1 };
    let upstream = api();
    let home = Home::new(
        Kind::Redis,
        &format!(
            "upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[shutdown]\ndrain_delay = \"1s\"\n[log]\naccess = \"off\"",
            upstream.url()
        ),
    );
    let requests = requests(&home.issue().secret);
    let mut sidecars: Vec<_> = (0..3).map(|_| ready(&home)).collect();
    let service = Service::new(sidecars.iter().map(|(serve, _)| serve.address));
    let load = Load::during(&service, &requests, |load| {
        for _ in 0..rounds * sidecars.len() {
            let successor = ready(&home);
            service.add(successor.0.address);
            sidecars.push(successor);
            let (leaving, ops) = sidecars.remove(0);
            signal(leaving.id(), "TERM");
            await_readiness(ops, 503);
            service.remove(leaving.address);
            let (status, _, stderr) = leaving.wait();
            assert!(status.success() && stderr.text().contains("no request was cut off"), "{status}: {}", stderr.text());
            load.goes_on(20);
        }
    });
    println!("{} sidecars replaced: {} requests, none failed", rounds * 3, load.assert_nothing_failed());
}

#[test]
fn a_listener_that_goes_while_it_is_in_use_fails_no_request() {
    let rounds = if full() { 20 } else { 3 };
    let upstream = api();
    let home = Home::new(
        Kind::Embedded,
        &format!(
            "upstream = \"{}\"\n[log]\naccess = \"off\"\n[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n",
            upstream.url()
        ),
    );
    let requests = requests(&home.issue().secret);
    let text = std::fs::read_to_string(home.config_file()).unwrap();
    let serve = Serve::start(&home.config_file());
    let mut reloads = 0;
    let mut reload = |more: &[SocketAddr]| {
        let more = more.iter().map(|address| format!("[[listeners]]\nname = \"{address}\"\naddress = \"{address}\"\n"));
        std::fs::write(home.config_file(), more.fold(text.clone(), |text, listener| format!("{text}\n{listener}"))).unwrap();
        signal(serve.id(), "HUP");
        reloads += 1;
        let outcomes = serve.stderr.wait(reloads, |line| line.contains("the configuration was").then(|| line.contains("was reloaded")));
        assert!(outcomes.iter().all(|applied| *applied), "{}", serve.stderr.text());
    };
    // A port that is ours, at addresses of this machine that nobody else uses.
    let address = |n: u8| SocketAddr::from(([127, 0, 77, n], serve.address.port()));
    reload(&[address(0)]);
    let service = Service::new([address(0)]);
    let load = Load::during(&service, &requests, |load| {
        for n in 0..rounds {
            load.goes_on(50);
            reload(&[address(n), address(n + 1)]);
            service.add(address(n + 1));
            service.remove(address(n));
            reload(&[address(n + 1)]);
        }
        load.goes_on(50);
    });
    println!("{rounds} listeners gone: {} requests, none failed", load.assert_nothing_failed());
}

/// What came of a request, and how often it arrived.
struct Fate {
    target: String,
    answer: Option<Answer>,
}

#[test]
fn an_upstream_that_restarts_fails_only_what_was_sent_and_gets_nothing_twice() {
    let restarts = if full() { 20 } else { 5 };
    let arrived = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let start = |address: &Address| {
        let arrived = Arc::clone(&arrived);
        Upstream::start_at(address, move |exchange| {
            *arrived.lock().unwrap().entry(exchange.request.target.clone()).or_default() += 1;
            exchange.read_body();
            exchange.answer(200, &[], b"ok");
        })
    };
    let mut upstream = Some(start(&Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))));
    let address = upstream.as_ref().unwrap().address.clone();
    let home = Home::new(
        Kind::Embedded,
        &format!("profile = \"gately\"\n[upstreams.main]\nurl = \"{}\"\nconnect_timeout = \"10s\"", address.url()),
    );
    let secret = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    let (stop, answered, clients) = (AtomicBool::new(false), AtomicUsize::new(0), 8);
    let fates: Vec<Fate> = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|index| {
                let (stop, answered, secret, address) = (&stop, &answered, &secret, serve.address);
                scope.spawn(move || {
                    let (mut client, mut fates) = (Client::connect(address), Vec::new());
                    while !stop.load(Ordering::Relaxed) {
                        let method = if index % 2 == 0 { "GET" } else { "POST" };
                        let target = format!("/{method}/{index}/{}", fates.len());
                        let request = Request::new(method, &target).bearer(secret);
                        client.send(if method == "GET" { request } else { request.body("pay") }.bytes());
                        let answer = client.try_answer(method);
                        if answer.as_ref().is_none_or(|answer| answer.header("connection") == Some("close")) {
                            client = Client::connect(address);
                        }
                        fates.push(Fate { target, answer });
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    fates
                })
            })
            .collect();
        for _ in 0..restarts {
            let (began, before) = (instant(), answered.load(Ordering::Relaxed));
            while answered.load(Ordering::Relaxed) < before + 200 {
                assert!(began.elapsed() < PATIENCE, "the load has stopped");
                thread::yield_now();
            }
            drop(upstream.take());
            upstream = Some(start(&address));
        }
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    drop(upstream);
    let arrived = arrived.lock().unwrap();
    let (mut failed, mut unseen) = (0, 0);
    for Fate { target, answer } in &fates {
        let (times, answer) = (arrived.get(target).copied().unwrap_or_default(), answer.as_ref().expect("an answer"));
        assert!(times <= if target.starts_with("/GET") { 2 } else { 1 }, "{target} arrived {times} times");
        if answer.status != 200 {
            assert_eq!((answer.status, &answer.json()["code"]), (502, &"UPSTREAM_UNAVAILABLE".into()), "{target}: {}", answer.text());
            failed += 1;
            unseen += usize::from(times == 0);
        }
    }
    println!(
        "{restarts} restarts of the upstream: {} requests, {failed} failed, {unseen} of them without its having read them",
        fates.len()
    );
    assert!(failed <= clients * restarts, "{failed} failed");
    for line in serve.access(fates.len()) {
        assert!(!line["detail"].to_string().contains("refused"), "it was not sent: {line}");
    }
}
