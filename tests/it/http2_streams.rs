//! Streams of HTTP/2 live and end alone: deadlines, resets, drains and slow readers, each of one exchange.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use h2::Reason;
use h2::client::Builder;

use crate::support::client::Request;
use crate::support::http2::{
    ACK, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Http2, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, head,
};
use crate::support::process::{Serve, signal};
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::{Exchange, Upstream};

const OPEN: &str = "[[routes]]\nname = \"everything\"\nmatch = \"* /**\"\nauth = \"none\"\n";

fn config(upstream: &Upstream, listener: &str) -> String {
    format!("upstream = \"{}\"\n{OPEN}[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n{listener}\n", upstream.url())
}

fn home(upstream: &Upstream, listener: &str) -> Home {
    Home::new(Kind::Embedded, &config(upstream, listener))
}

/// An upstream whose answers to `/slow` wait until the sender says so or is gone.
fn slow_upstream() -> (Upstream, Sender<()>) {
    let (release, released) = channel();
    let released = Arc::new(Mutex::new(released));
    let upstream = Upstream::start(move |exchange| {
        exchange.read_body();
        if exchange.request.target == "/slow" {
            let _ = released.lock().unwrap().recv();
        }
        exchange.answer(200, &[], b"ok");
    });
    (upstream, release)
}

fn answer_large(exchange: &mut Exchange<'_>, bytes: usize) {
    exchange.read_body();
    exchange.answer(200, &[], &vec![b'x'; bytes]);
}

#[test]
fn a_refusal_while_the_upload_runs_is_read_and_the_rest_is_not_wanted() {
    let upstream = Upstream::echo();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"", upstream.url()));
    let serve = Serve::start(&home.config_file());
    let mut client = Http2::connect(serve.address);
    let mut opened = client.open(head(&Request::new("POST", "/v1/users").header("content-length", "1000000")), false);
    opened.body.send_data("begun".into(), false).unwrap();
    let answer = client.try_answer(opened.response).unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(client.reset(&mut opened.body), Reason::NO_ERROR);
    assert_eq!(client.send(&Request::get("/")).status, 401, "the connection is kept");
}

/// Clients that look at an answer only when they have sent everything wait for leave to do so.
#[test]
fn who_sends_on_after_a_refusal_may_come_to_the_end() {
    let upstream = Upstream::echo();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"", upstream.url()));
    let serve = Serve::start(&home.config_file());
    let mut client = Frames::connect(serve.address);
    let post = [(":method", "POST"), (":scheme", "http"), (":path", "/v1/users"), (":authority", "api.example")];
    client.send(SETTINGS, ACK, 0, &[]);
    client.send(HEADERS, END_HEADERS, 1, &block(&post));
    assert!(client.find(|frame| frame.stream == 1 && frame.kind == DATA).unwrap().flags & END_STREAM != 0);
    // All that a stream may have under way.
    for _ in 0..16 {
        client.send(DATA, 0, 1, &[0; 16 << 10]);
    }
    let leave = client.find(|frame| frame.stream == 1).unwrap();
    assert_eq!(leave.kind, WINDOW_UPDATE, "{leave:?}");
    client.send(DATA, END_STREAM, 1, b"the rest");
    client.send(PING, 0, 0, &[0; 8]);
    let next = client.find(|frame| matches!(frame.kind, PING | RST_STREAM)).unwrap();
    assert_eq!(next.kind, PING, "what has ended need not be reset");
}

#[test]
fn an_early_answer_of_the_upstream_arrives_while_the_upload_runs() {
    let upstream = Upstream::start(|exchange| {
        exchange.answer(413, &[("Connection", "close")], b"too much");
        exchange.close();
    });
    let sidecar = Sidecar::start(&config(&upstream, ""));
    let mut client = Http2::connect(sidecar.address());
    let mut opened = client.open(head(&Request::new("POST", "/")), false);
    opened.body.send_data("begun".into(), false).unwrap();
    let answer = client.try_answer(opened.response).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (413, "too much"));
    assert_eq!(client.reset(&mut opened.body), Reason::NO_ERROR);
}

#[test]
fn content_streams_both_ways_before_either_ends() {
    let upstream = Upstream::start(|exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        exchange.read_body();
        exchange.send(b"4\r\nlast\r\n0\r\n\r\n");
    });
    let sidecar = Sidecar::start(&config(&upstream, ""));
    let mut client = Http2::connect(sidecar.address());
    let mut opened = client.open(head(&Request::new("POST", "/")), false);
    let mut begun = client.begin(opened.response).unwrap();
    assert_eq!(client.data(&mut begun.body).unwrap().unwrap(), "first");
    opened.body.send_data("content".into(), true).unwrap();
    assert_eq!(client.finish(begun).unwrap().text(), "last");
    assert_eq!(upstream.complete()[0].body, b"content");
}

#[test]
fn an_answer_that_breaks_off_never_ends_cleanly() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        if exchange.request.target == "/broken" {
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
            return exchange.close();
        }
        exchange.answer(200, &[], b"ok");
    });
    let home = home(&upstream, "");
    let serve = Serve::start(&home.config_file());
    let mut client = Http2::connect(serve.address);
    let opened = client.open(head(&Request::get("/broken")), true);
    let error = client.try_answer(opened.response).unwrap_err();
    assert!(error.is_reset() && error.reason() != Some(Reason::NO_ERROR), "{error}");
    assert_eq!(client.send(&Request::get("/whole")).text(), "ok", "other streams go on");
    let lines = serve.access(2);
    assert!(lines.iter().any(|line| line["url.path"] == "/broken" && line["error.type"] == "upstream_aborted"), "{lines:#?}");
}

#[test]
fn a_stream_that_the_client_resets_is_cancelled_at_the_upstream() {
    let (gone, left) = channel();
    let gone = Mutex::new(gone);
    let upstream = Upstream::start(move |exchange| {
        exchange.read_body();
        if exchange.request.target == "/slow" {
            exchange.wait_for_the_end();
            return gone.lock().unwrap().send(()).unwrap();
        }
        exchange.answer(200, &[], b"ok");
    });
    let home = home(&upstream, "");
    let serve = Serve::start(&home.config_file());
    let mut client = Http2::connect(serve.address);
    let mut opened = client.open(head(&Request::get("/slow")), true);
    upstream.wait(|all| all.len() == 1);
    opened.body.send_reset(Reason::CANCEL);
    left.recv_timeout(crate::support::PATIENCE).unwrap();
    assert_eq!(client.send(&Request::get("/other")).text(), "ok");
    let lines = serve.access(2);
    assert!(lines.iter().any(|line| line["url.path"] == "/slow" && line["error.type"] == "client_aborted"), "{lines:#?}");
}

#[test]
fn each_stream_has_its_own_request_timeout() {
    let (upstream, _release) = slow_upstream();
    let home = home(&upstream, "limits = { request_timeout = \"200ms\" }");
    let serve = Serve::start(&home.config_file());
    let mut client = Http2::connect(serve.address);
    let slow = client.open(head(&Request::get("/slow")), true);
    assert_eq!(client.send(&Request::get("/fast")).status, 200);
    let answer = client.try_answer(slow.response).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (408, None));
    assert!(answer.json()["success"] == false);
    let lines = serve.access(2);
    assert!(lines.iter().any(|line| line["url.path"] == "/slow" && line["reason"] == "request_timeout"), "{lines:#?}");
    assert_eq!(client.send(&Request::get("/fast")).status, 200, "the connection is kept");
}

#[test]
fn who_drains_says_goaway_and_finishes_what_is_in_flight() {
    let (upstream, release) = slow_upstream();
    let text = format!("{}[shutdown]\ndrain_delay = \"1h\"\ndrain_timeout = \"2h\"\n", config(&upstream, ""));
    let home = Home::new(Kind::Embedded, &text);
    let serve = Serve::start(&home.config_file());
    let mut client = Http2::connect(serve.address);
    let slow = client.open(head(&Request::get("/slow")), true);
    upstream.wait(|all| all.len() == 1);
    let idle = Http2::connect(serve.address);
    let mut used = Http2::connect(serve.address);
    assert_eq!(used.send(&Request::get("/")).status, 200);
    signal(serve.id(), "TERM");
    used.end().unwrap();
    // Who never asked for anything may still do so, once.
    let mut idle = idle;
    assert_eq!(idle.send(&Request::get("/once")).status, 200);
    idle.end().unwrap();
    release.send(()).unwrap();
    assert_eq!(client.try_answer(slow.response).unwrap().text(), "ok");
    client.end().unwrap();
    assert_eq!(serve.access(3).iter().filter(|line| line.get("error.type").is_some()).count(), 0);
}

#[test]
fn streams_that_outlast_the_drain_are_counted_one_by_one() {
    let (upstream, _release) = slow_upstream();
    let text = format!("{}[shutdown]\ndrain_delay = \"0s\"\ndrain_timeout = \"300ms\"\n", config(&upstream, ""));
    let home = Home::new(Kind::Embedded, &text);
    let serve = Serve::start(&home.config_file());
    let mut client = Http2::connect(serve.address);
    let opened: Vec<_> = (0..2).map(|_| client.open(head(&Request::get("/slow")), true)).collect();
    upstream.wait(|all| all.len() == 2);
    let (status, stdout, stderr) = serve.stop();
    assert!(status.success());
    for opened in opened {
        assert!(client.try_answer(opened.response).is_err());
    }
    assert!(stderr.text().contains("requests cut off: 2"), "{}", stderr.text());
    assert_eq!(stdout.text().matches("\"error.type\":\"shutdown\"").count(), 2, "{}", stdout.text());
}

#[test]
fn an_idle_connection_is_told_to_leave() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream, "limits = { idle_timeout = \"200ms\" }"));
    let mut client = Http2::connect(sidecar.address());
    assert_eq!(client.send(&Request::get("/")).status, 200);
    client.end().unwrap();
}

#[test]
fn who_never_reads_an_answer_holds_no_place_for_ever() {
    let upstream = Upstream::start(|exchange| answer_large(exchange, if exchange.request.target == "/small" { 10 } else { 8 << 20 }));
    let home = home(&upstream, "limits = { idle_timeout = \"400ms\" }");
    let serve = Serve::start(&home.config_file());
    // No window: not a byte of content may be sent.
    let mut client = Frames::connect_with(serve.address, &[(4, 0)]);
    for (stream, path) in [(1, "/small"), (3, "/large")] {
        client.request(stream, &[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")]);
    }
    let mut reset: Vec<u32> = (0..2).map(|_| client.find(|frame| frame.kind == RST_STREAM).unwrap().stream).collect();
    reset.sort_unstable();
    assert_eq!(reset, [1, 3]);
    let lines = serve.access(2);
    assert!(lines.iter().all(|line| line["error.type"] == "client_aborted"), "{lines:#?}");
    assert_eq!(client.goaway(), Some(0), "and then the connection is idle");
}

#[test]
fn who_begins_to_read_may_pause() {
    let upstream = Upstream::start(|exchange| answer_large(exchange, 2 << 20));
    let sidecar = Sidecar::start(&config(&upstream, "limits = { idle_timeout = \"200ms\" }"));
    let mut builder = Builder::new();
    builder.initial_window_size(64 << 10).initial_connection_window_size(1 << 20);
    let mut client = Http2::connect_as(sidecar.address(), &builder);
    let paused = client.open(head(&Request::get("/paused")), true);
    let mut begun = client.begin(paused.response).unwrap();
    let first = client.data(&mut begun.body).unwrap().unwrap().len();
    // Meanwhile another connection is idle for longer than is allowed.
    let mut other = Http2::connect(sidecar.address());
    assert_eq!(other.send(&Request::get("/")).status, 200);
    other.end().unwrap();
    assert_eq!(first + client.finish(begun).unwrap().body.len(), 2 << 20);
}

#[test]
fn a_reader_that_waits_makes_the_upstream_wait() {
    const CHUNK: usize = 1 << 20;
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let upstream = Upstream::start(move |exchange| {
        exchange.read_body();
        if exchange.request.target != "/large" {
            return exchange.answer(200, &[], b"ok");
        }
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 100 * CHUNK).as_bytes());
        for _ in 0..100 {
            exchange.send(&vec![b'x'; CHUNK]);
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let sidecar = Sidecar::start(&format!("{}[runtime]\nworkers = 1\n", config(&upstream, "")));
    let mut builder = Builder::new();
    builder.initial_window_size(64 << 10).initial_connection_window_size(1 << 20);
    let mut client = Http2::connect_as(sidecar.address(), &builder);
    let large = client.open(head(&Request::get("/large")), true);
    let begun = client.begin(large.response).unwrap();
    for _ in 0..500 {
        assert_eq!(client.send(&Request::get("/small")).text(), "ok");
    }
    assert!(sent.load(std::sync::atomic::Ordering::SeqCst) < 50, "the upstream was not made to wait");
    assert_eq!(client.finish(begun).unwrap().body.len(), 100 * CHUNK);
}
