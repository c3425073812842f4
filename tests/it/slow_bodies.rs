//! `body_min_rate`: a request whose content comes too slowly is answered 408 before its answer begins, and nobody else is hit:
//! not who waits for the upstream, not streams of calls, not whose answer has begun.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use crate::support::client::{Client, Request};
use crate::support::http2::{Http2, head};
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind};
use crate::support::upstream::Upstream;

/// What the rate is averaged over is half a minute.
const PATIENCE: Duration = Duration::from_mins(1);
/// More than the kernel keeps for an upstream that does not read.
const LARGE: usize = 64 << 20;

/// An upstream that reads nothing of `/busy` before the sender is gone, and answers `/events` at once.
fn upstream() -> (Upstream, Sender<()>) {
    let (release, released) = channel::<()>();
    let released: Arc<Mutex<Receiver<()>>> = Arc::new(Mutex::new(released));
    let upstream = Upstream::start(move |exchange| {
        let target = exchange.request.target.clone();
        if target == "/busy" || target == "/poll" {
            let _ = released.lock().unwrap().recv();
        }
        if target == "/events" {
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
            exchange.read_body();
            return exchange.send(b"ok");
        }
        exchange.read_body();
        exchange.answer(200, &[], b"ok");
    });
    (upstream, release)
}

fn begin(serve: &Serve, head: &str, content: &[u8]) -> Client {
    let mut client = Client::connect(serve.address);
    client.set_patience(PATIENCE);
    client.send([format!("{head}\r\nHost: api.example\r\n").as_bytes(), content].concat());
    client
}

#[test]
fn content_that_comes_too_slowly_is_a_408_and_nobody_elses() {
    let (upstream, release) = upstream();
    let home = Home::new(
        Kind::Embedded,
        &format!("upstream = \"{}\"\n[[routes]]\nname = \"all\"\nmatch = \"* /**\"\nauth = \"none\"\n", upstream.url()),
    );
    let serve = Serve::start(&home.config_file());
    // None of these is to be ended.
    let mut busy = begin(&serve, "POST /busy HTTP/1.1", format!("Content-Length: {LARGE}\r\n\r\n").as_bytes());
    let busy = thread::spawn(move || {
        busy.send(vec![b'x'; LARGE]);
        busy.answer("POST").status
    });
    let mut poll = begin(&serve, "GET /poll HTTP/1.1", b"\r\n");
    let mut calls = begin(&serve, "POST /pkg.Service/Call HTTP/1.1", b"Content-Type: application/grpc\r\nContent-Length: 2\r\n\r\nx");
    let mut events = begin(&serve, "POST /events HTTP/1.1", b"Content-Length: 2\r\n\r\nx");
    assert_eq!(events.head().first_line, "HTTP/1.1 200 OK");
    // These are: nothing comes, or too little.
    let mut stalled = begin(&serve, "POST /up HTTP/1.1", b"Content-Length: 100000\r\n\r\nbegun");
    let mut trickle = begin(&serve, "POST /up HTTP/1.1", b"Transfer-Encoding: chunked\r\n\r\n");
    let mut stream = Http2::connect(serve.address);
    stream.patience = PATIENCE;
    let mut opened = stream.open(head(&Request::new("POST", "/up")), false);
    assert!(stream.upload(&mut opened.body, Bytes::from_static(b"begun")));
    let polled = stream.open(head(&Request::get("/poll")), true);
    let answers = thread::scope(|scope| {
        let trickling = scope.spawn(|| {
            trickle.set_patience(Duration::from_millis(300));
            while !trickle.has_bytes() {
                trickle.send("1\r\nx\r\n");
            }
            trickle.answer("POST")
        });
        let stalled = scope.spawn(|| stalled.answer("POST"));
        let over_http2 = stream.try_answer(opened.response).unwrap();
        [stalled.join().unwrap(), trickling.join().unwrap(), over_http2]
    });
    for answer in &answers {
        assert_eq!((answer.status, &*answer.json()["code"].to_string()), (408, "\"REQUEST_TIMEOUT\""), "{}", answer.text());
    }
    assert!(answers[..2].iter().all(|answer| answer.header("connection") == Some("close")));
    let lines = serve.access(3);
    let told = |line: &serde_json::Value| line["reason"] == "request_timeout" && line["detail"] == "body_min_rate";
    assert!(lines.len() == 3 && lines.iter().all(told), "{lines:#?}");
    drop(release);
    calls.send("y");
    events.send("y");
    assert_eq!((poll.answer("GET").status, calls.answer("POST").status, busy.join().unwrap()), (200, 200, 200));
    assert_eq!(events.bytes(2), b"ok");
    assert_eq!(stream.try_answer(polled.response).unwrap().status, 200);
}
