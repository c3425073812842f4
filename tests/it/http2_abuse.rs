//! HTTP/2 clients that mean harm: what they send costs them a connection, and nobody else anything.

use std::io::Read as _;
use std::net::TcpStream;
use std::thread;

use crate::support::PATIENCE;
use crate::support::client::Request;
use crate::support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GET, GOAWAY, HEADERS, Http2, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, frame,
};
use crate::support::memory::peak_kib;
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;

const ENHANCE_YOUR_CALM: u32 = 11;

fn config(upstream: &Upstream, limits: &str) -> String {
    format!(
        "upstream = \"{}\"\n[runtime]\nworkers = 1\n[[routes]]\nname = \"everything\"\nmatch = \"* /**\"\nauth = \"none\"\n\
         [[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n[listeners.limits]\n{limits}\n",
        upstream.url()
    )
}

/// A sidecar, and a good client of its only worker.
struct Scene {
    upstream: Upstream,
    serve: Serve,
    good: Http2,
    _home: Home,
    peak: u64,
}

impl Scene {
    fn new(limits: &str) -> Self {
        let upstream = Upstream::start(|exchange| {
            exchange.read_body();
            if exchange.request.target == "/held" {
                return exchange.wait_for_the_end();
            }
            exchange.answer(200, &[], b"ok");
        });
        let home = Home::new(Kind::Embedded, &config(&upstream, limits));
        let serve = Serve::start(&home.config_file());
        let mut good = Http2::connect(serve.address);
        assert_eq!(good.send(&Request::get("/")).status, 200);
        let peak = peak_kib(serve.id());
        Self { upstream, serve, good, _home: home, peak }
    }

    /// The good client is still served, and memory has not grown.
    fn check_unharmed(mut self) {
        assert_eq!(self.good.send(&Request::get("/")).text(), "ok");
        let grown = peak_kib(self.serve.id()) - self.peak;
        println!("{}: at most {grown} KiB more than {}", thread::current().name().unwrap_or_default(), self.peak);
        assert!(grown < 4 << 10, "grown by {grown} KiB");
    }
}

/// Sends the same bytes until the server has had enough, or as often as `most`.
fn flood(frames: &mut Frames, bytes: &[u8], most: usize) {
    frames.stream.set_write_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..most {
        if !frames.bytes(bytes) {
            return;
        }
    }
}

#[test]
fn rapid_resets_end_the_connection() {
    let scene = Scene::new("");
    let mut client = Frames::connect(scene.serve.address);
    for index in 0..20_000_u32 {
        let stream = 2 * index + 1;
        let fields = [&GET[..2], &[(":path", "/held"), (":authority", "a")]].concat();
        let pair =
            [frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields)), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
        if !client.bytes(&pair) {
            break;
        }
    }
    assert!(matches!(client.goaway(), None | Some(ENHANCE_YOUR_CALM)));
    assert!(scene.upstream.recorded().len() < 1000);
    scene.check_unharmed();
}

#[test]
fn resets_that_we_are_made_to_send_end_the_connection() {
    let scene = Scene::new("");
    let mut client = Frames::connect(scene.serve.address);
    for index in 0..20_000_u32 {
        let stream = 2 * index + 1;
        let fields = [&GET[..2], &[(":path", "/held"), (":authority", "a")]].concat();
        // A window of more than 2^31 is the stream's fault.
        let pair =
            [frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields)), frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])];
        if !client.bytes(&pair.concat()) {
            break;
        }
    }
    assert!(matches!(client.goaway(), None | Some(ENHANCE_YOUR_CALM)));
    assert!(scene.upstream.recorded().len() < 1000);
    scene.check_unharmed();
}

#[test]
fn a_head_without_end_ends_the_connection() {
    let scene = Scene::new("");
    for piece in [Vec::new(), block(&[("x-filler", &"f".repeat(200))]), vec![0; 16 << 10]] {
        let mut client = Frames::connect(scene.serve.address);
        client.send(HEADERS, END_STREAM, 1, &block(&GET));
        flood(&mut client, &frame(CONTINUATION, 0, 1, &piece), 20_000);
        assert!(
            !client.bytes(&frame(CONTINUATION, 0, 1, &[])) || client.find(|frame| frame.kind == GOAWAY).is_some() || closes(&mut client)
        );
    }
    scene.check_unharmed();
}

fn closes(client: &mut Frames) -> bool {
    while client.next().is_some() {}
    true
}

#[test]
fn settings_and_pings_of_who_never_reads_are_not_collected() {
    for (kind, payload) in [(SETTINGS, vec![0, 3, 0, 0, 0, 100]), (PING, vec![7; 8])] {
        let scene = Scene::new("");
        let mut client = Frames::connect(scene.serve.address);
        // Many frames in one write; who never reads is soon not read either.
        client.stream.set_write_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        let many = frame(kind, 0, 0, &payload).repeat(10_000);
        for _ in 0..100 {
            if !client.bytes(&many) {
                break;
            }
        }
        scene.check_unharmed();
    }
}

#[test]
fn empty_frames_and_priorities_are_not_collected() {
    let scene = Scene::new("");
    let mut client = Frames::connect(scene.serve.address);
    let fields = [&[(":method", "POST")][..], &GET[1..2], &[(":path", "/held"), (":authority", "a")]].concat();
    client.send(HEADERS, END_HEADERS, 1, &block(&fields));
    flood(&mut client, &frame(DATA, 0, 1, &[]).repeat(1000), 200);
    flood(&mut client, &frame(2, 0, 1, &[0, 0, 0, 0, 1]).repeat(1000), 200);
    scene.check_unharmed();
}

#[test]
fn small_frames_that_the_upstream_does_not_read_are_bounded() {
    let scene = Scene::new("");
    let mut client = Frames::connect(scene.serve.address);
    let fields = [&[(":method", "POST")][..], &GET[1..2], &[(":path", "/held"), (":authority", "a")]].concat();
    client.send(HEADERS, END_HEADERS, 1, &block(&fields));
    flood(&mut client, &frame(DATA, 0, 1, b"x").repeat(1000), 2000);
    scene.check_unharmed();
}

#[test]
fn a_table_bomb_is_refused_by_the_size_of_what_it_means() {
    let scene = Scene::new("");
    let mut client = Frames::connect(scene.serve.address);
    // One long field goes into the table, then it is named by a byte, thousands of times.
    let mut bomb = block(&GET);
    bomb.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0x81, 0x1e]);
    bomb.extend_from_slice(&[b'y'; 4000]);
    bomb.extend_from_slice(&vec![0xbe; 10_000]);
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
    let answer = client.find(|frame| matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY));
    assert!(scene.upstream.complete().len() == 1, "only the good client's: {answer:?}");
    scene.check_unharmed();
}

#[test]
fn streams_beyond_the_limit_are_refused_and_the_others_served() {
    let scene = Scene::new("streams = 10");
    let mut client = Frames::connect(scene.serve.address);
    for index in 0..15 {
        let fields = [&GET[..2], &[(":path", "/held"), (":authority", "a")]].concat();
        client.request(2 * index + 1, &fields);
    }
    for _ in 0..5 {
        let refused = client.find(|frame| frame.kind == RST_STREAM).unwrap();
        assert_eq!(refused.code(), 7, "REFUSED_STREAM: {refused:?}");
    }
    // The good client's request, and ten.
    scene.upstream.wait(|all| all.len() == 11);
    scene.check_unharmed();
}

#[test]
fn who_begins_and_never_goes_on_is_ended() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream, "header_timeout = \"200ms\"\nidle_timeout = \"400ms\""));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    // The first line decides; what is shorter is a slow head of HTTP/1.
    for bytes in [&preface[..5], &preface[..18], &preface[..], &[&preface[..], &frame(SETTINGS, 0, 0, &[])].concat()] {
        let mut client = TcpStream::connect(sidecar.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        std::io::Write::write_all(&mut client, bytes).unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
    }
    // A head that never ends is no request.
    let mut client = Frames::connect(sidecar.address());
    client.send(SETTINGS, ACK, 0, &[]);
    client.send(HEADERS, END_STREAM, 1, &block(&GET));
    assert!(closes(&mut client));
    assert!(upstream.recorded().is_empty());
}

#[test]
fn windows_of_one_byte_hold_little_of_what_the_upstream_would_send() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        if exchange.request.target == "/" {
            return exchange.answer(200, &[], b"ok");
        }
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 << 20).as_bytes());
        for _ in 0..64 {
            exchange.send(&vec![b'x'; 1 << 20]);
        }
    });
    let home = Home::new(Kind::Embedded, &config(&upstream, ""));
    let serve = Serve::start(&home.config_file());
    let mut good = Http2::connect(serve.address);
    assert_eq!(good.send(&Request::get("/")).text(), "ok");
    let before = peak_kib(serve.id());
    let mut client = Frames::connect_with(serve.address, &[(4, 1)]);
    for index in 0..100 {
        client.request(2 * index + 1, &GET);
    }
    for _ in 0..100 {
        assert!(client.find(|frame| frame.kind == DATA).is_some());
    }
    // The only worker gets many turns in which it could read on.
    for _ in 0..300 {
        assert_eq!(good.send(&Request::get("/")).text(), "ok");
    }
    let grown = peak_kib(serve.id()) - before;
    assert!(grown < 32 << 10, "grown by {grown} KiB");
}

#[test]
fn frames_of_any_kind_in_any_order_harm_nobody_and_complete_nothing() {
    let scene = Scene::new("");
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut client = Frames::connect(scene.serve.address);
        for _ in 0..random.usize(1..40) {
            let payload: Vec<u8> = match random.u8(0..4) {
                0 => block(&GET[..random.usize(0..4)]),
                1 => vec![0; random.usize(0..20)],
                _ => (0..random.usize(0..40)).map(|_| random.u8(..)).collect(),
            };
            let (kind, flags, stream) = (random.u8(0..12), random.u8(..), random.u32(0..6));
            if !client.send(kind, flags, stream, &payload) {
                break;
            }
        }
    }
    let seen = scene.upstream.recorded();
    assert!(seen.iter().all(|request| request.header("host") == Some("api.example")), "{seen:?}");
    scene.check_unharmed();
}
