//! What is given again is what was given, byte for byte but for what belongs to one moment; and keeping it delays nobody.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::support::client::{Answer, Client, Request, once};
use crate::support::http2::{Http2, head};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Exchange, Upstream};

struct Scene {
    sidecar: Sidecar,
    secret: String,
    // Last: it judges what it was sent.
    upstream: Upstream,
}

impl Scene {
    fn new(handler: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        let upstream = Upstream::start(handler);
        let text = format!("upstream = \"{}\"\n[idempotency]\nmode = \"required\"\n[runtime]\nworkers = 1", upstream.url());
        let sidecar = Sidecar::start(&text);
        let secret = sidecar.home.issue().secret;
        Self { sidecar, secret, upstream }
    }

    fn request(&self, target: &str) -> Request {
        Request::new("POST", target).bearer(&self.secret).header("Idempotency-Key", target).body("{}")
    }

    fn ask(&self, target: &str) -> Answer {
        once(self.sidecar.address(), &self.request(target))
    }

    /// How often this came to the upstream.
    fn executions(&self, target: &str) -> usize {
        self.upstream.recorded().iter().filter(|seen| seen.target == target).count()
    }
}

/// What is documented to differ.
const OF_THE_MOMENT: [&str; 4] = ["x-request-id", "date", "set-cookie", "idempotent-replayed"];

fn lasting(answer: &Answer) -> Vec<(String, String)> {
    let fields = answer.head.fields.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
    fields.filter(|(name, _)| !OF_THE_MOMENT.contains(&name.as_str())).collect()
}

/// A MiB that no compression and no mistake in its order would leave alone.
fn mebibyte() -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(1 << 20).collect()
}

fn answer_in_many_ways(exchange: &mut Exchange<'_>) {
    exchange.read_body();
    let head = "X-B: 1\r\nX-A: two  words\r\nX-B: 0\r\nSet-Cookie: a=1\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
                Connection: X-Hop\r\nX-Hop: 1\r\nContent-Type: application/octet-stream\r\nX-Request-Id: theirs";
    match exchange.request.target.as_str() {
        "/fixed" => {
            exchange.send(format!("HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: {}\r\n\r\n", 1 << 20).as_bytes());
            exchange.send(&mebibyte());
        }
        "/chunked" => {
            exchange.send(format!("HTTP/1.1 201 Made\r\n{head}\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes());
            for piece in mebibyte().chunks(10_000) {
                exchange.send(format!("{:x}\r\n", piece.len()).as_bytes());
                exchange.send(piece);
                exchange.send(b"\r\n");
            }
            exchange.send(b"0\r\n\r\n");
        }
        "/empty" => exchange.send(format!("HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: 0\r\n\r\n").as_bytes()),
        "/nothing" => exchange.send(format!("HTTP/1.1 204 No Content\r\n{head}\r\n\r\n").as_bytes()),
        "/error" => exchange.send(format!("HTTP/1.1 500 Oops\r\n{head}\r\nContent-Length: 4\r\n\r\noops").as_bytes()),
        "/until-close" => {
            exchange.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nto the end").as_bytes());
            exchange.close();
        }
        other => panic!("{other}"),
    }
}

#[test]
fn an_answer_that_is_given_again_is_the_answer_that_was_given() {
    let scene = Scene::new(answer_in_many_ways);
    for target in ["/fixed", "/chunked", "/empty", "/nothing", "/error", "/until-close"] {
        let (first, again) = (scene.ask(target), scene.ask(target));
        assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), (None, Some("true")), "{target}");
        assert_eq!(first.head.first_line, again.head.first_line, "{target}");
        assert_eq!(lasting(&first), lasting(&again), "{target}");
        assert!(first.body == again.body, "{target}: the bodies differ");
        assert_eq!((first.head.all("set-cookie").count(), again.head.all("set-cookie").count()), (1, 0), "{target}");
        assert_ne!(first.header("x-request-id"), again.header("x-request-id"), "{target}");
        assert_eq!(first.header("date"), Some("Thu, 01 Jan 2026 00:00:00 GMT"), "{target}");
        assert_ne!(again.header("date"), first.header("date"), "{target}");
        assert_eq!(scene.executions(target), 1, "{target}");
    }
    assert!(scene.ask("/fixed").body == mebibyte());
}

#[test]
fn either_protocol_gets_the_answer_of_the_other() {
    let scene = Scene::new(answer_in_many_ways);
    let mut http2 = Http2::connect(scene.sidecar.address());
    let http1 = scene.ask("/fixed");
    let again = http2.send(&scene.request("/fixed"));
    assert!(again.body == http1.body && again.status == 200);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let first = http2.send(&scene.request("/chunked"));
    let again = scene.ask("/chunked");
    assert!(first.body == again.body && again.header("idempotent-replayed") == Some("true"));
}

/// Sends the first byte of its answer, and the rest when it is told that the client has it.
fn waits_for_its_reader(told: Receiver<()>) -> impl Fn(&mut Exchange<'_>) + Send + Sync {
    let told = Mutex::new(told);
    move |exchange| {
        exchange.read_body();
        let (head, first, rest) = match exchange.request.target.as_str() {
            "/fixed" => ("Content-Length: 4", "b", "ody"),
            _ => ("Transfer-Encoding: chunked", "1\r\nb\r\n", "3\r\nody\r\n0\r\n\r\n"),
        };
        exchange.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{first}").as_bytes());
        told.lock().unwrap().recv().unwrap();
        exchange.send(rest.as_bytes());
    }
}

#[test]
fn the_first_client_reads_while_the_answer_is_being_made() {
    let (tell, told): (Sender<()>, _) = channel();
    let scene = Scene::new(waits_for_its_reader(told));
    for (target, begun, rest) in [("/fixed", "b", "ody"), ("/chunked", "1\r\nb\r\n", "3\r\nody\r\n0\r\n\r\n")] {
        let mut client = Client::connect(scene.sidecar.address());
        client.send(scene.request(target).bytes());
        assert!(client.head().first_line.starts_with("HTTP/1.1 200"));
        assert_eq!(client.bytes(begun.len()), begun.as_bytes());
        // Only now does the upstream go on.
        tell.send(()).unwrap();
        assert_eq!(client.bytes(rest.len()), rest.as_bytes());
        let again = scene.ask(target);
        assert_eq!((again.text().as_str(), again.header("idempotent-replayed")), ("body", Some("true")));
    }
}

#[test]
fn the_first_client_of_http2_reads_while_the_answer_is_being_made() {
    let (tell, told): (Sender<()>, _) = channel();
    let scene = Scene::new(waits_for_its_reader(told));
    let mut http2 = Http2::connect(scene.sidecar.address());
    let request = Request::new("POST", "/chunked").bearer(&scene.secret).header("Idempotency-Key", "k");
    let opened = http2.open(head(&request), true);
    let mut begun = http2.begin(opened.response).unwrap();
    assert_eq!(http2.data(&mut begun.body).unwrap().unwrap(), "b");
    tell.send(()).unwrap();
    assert_eq!(http2.finish(begun).unwrap().text(), "ody");
}

#[test]
fn who_has_read_an_answer_to_its_end_gets_it_again_at_once() {
    let scene = Scene::new(|exchange| {
        exchange.read_body();
        let body = exchange.request.target.clone();
        exchange.answer(200, &[], body.as_bytes());
    });
    let mut client = Client::connect(scene.sidecar.address());
    for number in 0..100 {
        let target = format!("/{number}");
        for replayed in [None, Some("true")] {
            client.send(scene.request(&target).bytes());
            let answer = client.answer("POST");
            assert_eq!((answer.status, answer.header("idempotent-replayed")), (200, replayed), "{target}: {}", answer.text());
        }
    }
}

#[test]
fn what_is_too_large_or_has_no_end_is_passed_on_and_never_run_again() {
    let scene = Scene::new(|exchange| {
        exchange.read_body();
        match exchange.request.target.as_str() {
            "/large" => exchange.answer(200, &[], &vec![b'x'; (1 << 20) + 1]),
            "/large-chunked" => {
                exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                for _ in 0..64 {
                    exchange.send(b"10000\r\n");
                    exchange.send(&vec![b'x'; 0x10000]);
                    exchange.send(b"\r\n");
                }
                exchange.send(b"0\r\n\r\n");
            }
            "/events" => exchange.answer(200, &[("Content-Type", "text/event-stream; charset=utf-8")], b"data: 1\n\n"),
            _ => exchange.answer(200, &[("Content-Type", "application/grpc")], b"12345"),
        }
    });
    for (target, length) in [("/large", (1 << 20) + 1), ("/large-chunked", 64 << 16), ("/events", 9), ("/call", 5)] {
        let first = scene.ask(target);
        assert_eq!((first.status, first.body.len()), (200, length), "{target}");
        let again = scene.ask(target);
        assert_eq!((again.status, again.json()["code"].as_str()), (409, Some("IDEMPOTENCY_UNKNOWN")), "{target}");
        assert_eq!(scene.executions(target), 1, "{target}");
    }
}
