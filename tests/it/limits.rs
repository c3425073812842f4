//! `[listeners.limits]`: what is beyond them is answered in the profile's words, and disturbs nobody else.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::client::{Client, Request, once};
use crate::support::http2::{Http2, head};
use crate::support::memory::peak_kib;
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;

const ORIGIN: &str = "https://app.example";

fn config(upstream: &Upstream, limits: &str) -> String {
    format!(
        "upstream = \"{}\"\nprofile = \"gately\"\n[cors]\norigins = [\"{ORIGIN}\"]\n[[routes]]\nname = \"everything\"\nmatch = \"* /**\"\nauth = \"none\"\n\
         [[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nprotocols = [\"http1\"]\n[listeners.limits]\n{limits}\n",
        upstream.url()
    )
}

#[test]
fn connections_beyond_the_limit_are_turned_away_and_the_first_ones_still_work() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream, "connections = 2"));
    let mut first: Vec<Client> = (0..2).map(|_| Client::connect(sidecar.address())).collect();
    for client in &mut first {
        client.send(Request::get("/").bytes());
        assert_eq!(client.answer("GET").status, 200);
    }
    for _ in 0..3 {
        let mut more = Client::connect(sidecar.address());
        let answer = more.answer("GET");
        assert_eq!(answer.status, 503);
        assert!(answer.json()["success"] == false, "{}", answer.text());
        assert!(more.is_closed());
    }
    for client in &mut first {
        client.send(Request::get("/").bytes());
        assert_eq!(client.answer("GET").status, 200);
    }
}

#[test]
fn an_exchange_that_outlasts_request_timeout_is_answered_and_logged_as_one() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.wait_for_the_end();
    });
    let home = Home::new(Kind::Embedded, &config(&upstream, "request_timeout = \"200ms\""));
    let serve = Serve::start(&home.config_file());
    let mut client = Client::connect(serve.address);
    client.send(Request::get("/slow").header("Origin", ORIGIN).bytes());
    let answer = client.answer("GET");
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
    assert!(answer.json()["success"] == false, "{}", answer.text());
    assert!(client.is_closed());
    let line = serve.access(1).remove(0);
    assert_eq!(line["request_id"].as_str(), answer.header("x-request-id"), "{line}");
    assert_eq!((line["http.response.status_code"].as_u64(), line["reason"].as_str()), (Some(408), Some("request_timeout")), "{line}");
    assert_eq!(line["http.route"], "everything");
    assert_eq!(line["http.response.body.size"].as_u64(), Some(answer.body.len() as u64), "{line}");
}

#[test]
fn an_answer_that_falls_silent_is_ended() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n");
        exchange.wait_for_the_end();
    });
    let home =
        Home::new(Kind::Embedded, &config(&upstream, "stream_idle_timeout = \"200ms\"").replace("[\"http1\"]", "[\"http1\", \"http2\"]"));
    let serve = Serve::start(&home.config_file());
    let mut client = Client::connect(serve.address);
    client.send(Request::get("/events").bytes());
    assert!(client.try_answer("GET").is_none(), "it must not look complete");
    let mut client = Http2::connect(serve.address);
    let opened = client.open(head(&Request::get("/events")), true);
    let mut begun = client.begin(opened.response).unwrap();
    assert_eq!(client.data(&mut begun.body).unwrap().unwrap(), "event");
    assert!(client.finish(begun).unwrap_err().is_reset());
    let lines = serve.access(2);
    assert!(lines.iter().all(|line| line["error.type"] == "stream_idle_timeout"), "{lines:#?}");
}

#[test]
fn a_grpc_exchange_that_outlasts_request_timeout_is_answered_as_grpc() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.wait_for_the_end();
    });
    let sidecar = Sidecar::start(&config(&upstream, "request_timeout = \"200ms\""));
    let answer = once(sidecar.address(), &Request::new("POST", "/pkg.Service/Call").header("Content-Type", "application/grpc").body("x"));
    assert_eq!(answer.status, 200);
    assert!(answer.header("grpc-status").is_some_and(|status| status != "0"), "{:?}", answer.head.fields);
}

#[test]
fn a_head_that_does_not_arrive_in_time_is_answered_408() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream, "header_timeout = \"200ms\""));
    let mut client = Client::connect(sidecar.address());
    client.send("GET / HTTP/1.1\r\nHost: api.ex");
    let answer = client.answer("GET");
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    assert!(answer.json()["success"] == false, "{}", answer.text());
    assert!(client.is_closed());
    assert!(upstream.recorded().is_empty());
}

#[test]
fn a_reader_that_waits_makes_the_upstream_wait() {
    const CHUNK: usize = 1 << 20;
    const CHUNKS: u64 = 200;
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let upstream = Upstream::start(move |exchange| {
        exchange.read_body();
        if exchange.request.target != "/large" {
            return exchange.answer(200, &[], b"ok");
        }
        let mut head = String::from("HTTP/1.1 200 OK\r\n");
        write!(head, "Content-Length: {}\r\n\r\n", CHUNKS * CHUNK as u64).unwrap();
        exchange.send(head.as_bytes());
        for _ in 0..CHUNKS {
            exchange.send(&vec![b'x'; CHUNK]);
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let home = Home::new(Kind::Embedded, &format!("{}[runtime]\nworkers = 1\n", config(&upstream, "")));
    let serve = Serve::start(&home.config_file());
    let mut other = Client::connect(serve.address);
    let mut turn = || {
        other.send(Request::get("/small").bytes());
        assert_eq!(other.answer("GET").status, 200);
    };
    turn();
    let before = peak_kib(serve.id());
    let mut slow = Client::connect(serve.address);
    slow.send(Request::get("/large").bytes());
    upstream.wait(|all| all.iter().any(|request| request.target == "/large"));
    // The only worker gets many turns in which it could read on.
    for _ in 0..1000 {
        turn();
    }
    assert!(sent.load(Ordering::SeqCst) < CHUNKS / 2, "the upstream was not made to wait");
    let answer = slow.answer("GET");
    assert_eq!(answer.body.len() as u64, CHUNKS * CHUNK as u64);
    let grown = peak_kib(serve.id()) - before;
    assert!(grown < 32 << 10, "grown by {grown} KiB");
}
