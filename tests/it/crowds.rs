//! Many connections at once: idle ones, tunnels, heads that never end. What each costs is printed; nobody else is disturbed.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sidegate::clock::instant;

use crate::support::PATIENCE;
use crate::support::client::Request;
use crate::support::fleet::{Figures, full};
use crate::support::memory::rss_kib;
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind};
use crate::support::upstream::{Exchange, Upstream};
use crate::support::wire::{Framing, Reader};

const OK: &str = "HTTP/1.1 200 Answer";
/// The answer to the handshake of RFC 6455 §1.3.
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// What an idle connection may cost (product.md §12).
const IDLE_BYTES: u64 = 16 << 10;

struct Scene {
    serve: Serve,
    secret: String,
    _home: Home,
    // Last: it judges what it was sent.
    _upstream: Upstream,
}

impl Scene {
    fn new(limits: &str, handler: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        // Both ends of each connection are on this machine, one of them in this process.
        rlimit::increase_nofile_limit(u64::MAX).unwrap();
        let upstream = Upstream::start(handler);
        let home = Home::new(
            Kind::Embedded,
            &format!(
                "[upstreams.main]\nurl = \"{}\"\nconnections = 4096\n[log]\naccess = \"off\"\n\
                 [[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n[listeners.limits]\nconnections = 15000\n{limits}\n",
                upstream.url()
            ),
        );
        let secret = home.issue().secret;
        let serve = Serve::start(&home.config_file());
        Self { serve, secret, _home: home, _upstream: upstream }
    }

    fn connect(&self) -> TcpStream {
        connect(self.serve.address)
    }

    fn request(&self) -> Vec<u8> {
        Request::get("/v1/users").bearer(&self.secret).bytes()
    }

    fn rss(&self) -> u64 {
        rss_kib(self.serve.id())
    }
}

/// A connection that takes one descriptor.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A whole exchange.
fn ask(mut stream: &TcpStream, request: &[u8]) -> String {
    stream.write_all(request).unwrap();
    let mut reader = Reader::new(stream);
    let head = reader.head().unwrap().expect("an answer");
    reader.body(head.framing().unwrap().unwrap_or(Framing::Length(0)), &mut |_| {}).unwrap();
    head.first_line
}

fn echo(exchange: &mut Exchange<'_>) {
    exchange.read_body();
    exchange.answer(200, &[], b"ok");
}

#[test]
fn idle_connections_cost_little() {
    let count = if full() { 10_000 } else { 1_000 };
    for (what, method, content) in [("no request", "", 0), ("a request", "GET", 0), ("an upload of 1 MiB", "POST", 1 << 20)] {
        // One of its own for each: what another left behind would hide what these take.
        let scene = Scene::new("idle_timeout = \"10m\"", echo);
        let request = Request::new(method, "/v1/users").bearer(&scene.secret).body(vec![b'x'; content]).bytes();
        for _ in 0..10 {
            assert_eq!(ask(&scene.connect(), &scene.request()), OK);
        }
        let before = scene.rss();
        let connections: Vec<TcpStream> = (0..count)
            .map(|_| {
                let stream = scene.connect();
                if !method.is_empty() {
                    assert_eq!(ask(&stream, &request), OK);
                }
                stream
            })
            .collect();
        // The last of them was accepted by then.
        assert_eq!(ask(&scene.connect(), &scene.request()), OK);
        let held = scene.rss();
        let each = held.saturating_sub(before) * 1024 / count;
        for stream in connections.iter().step_by(97) {
            assert_eq!(ask(stream, &scene.request()), OK, "it is as good as new");
        }
        println!("{count} idle connections after {what}: {each} bytes each ({before} to {held} KiB)");
        assert!(each <= IDLE_BYTES, "{each} bytes each after {what}");
    }
}

#[test]
fn websockets_echo_at_the_same_time() {
    let count = if full() { 1_000 } else { 200 };
    let scene = Scene::new("", |exchange| {
        exchange.send(SWITCHED.as_bytes());
        exchange.tunnel(|stream, bytes| drop(stream.write_all(bytes)));
    });
    let handshake = Request::get("/chat")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .bearer(&scene.secret)
        .bytes();
    let before = scene.rss();
    let sockets: Vec<TcpStream> = (0..count)
        .map(|_| {
            let stream = scene.connect();
            assert_eq!(ask(&stream, &handshake), "HTTP/1.1 101 Switching Protocols");
            stream
        })
        .collect();
    let (began, rounds) = (instant(), 20);
    for round in 0..rounds {
        let message = |index: usize| format!("message {round} of {index}, {}", "x".repeat(round * 50));
        for (index, mut stream) in sockets.iter().enumerate() {
            stream.write_all(message(index).as_bytes()).unwrap();
        }
        for (index, mut stream) in sockets.iter().enumerate() {
            let mut echoed = vec![0; message(index).len()];
            stream.read_exact(&mut echoed).unwrap();
            assert_eq!(String::from_utf8(echoed).unwrap(), message(index));
        }
    }
    let took = began.elapsed();
    let each = scene.rss().saturating_sub(before) * 1024 / sockets.len() as u64;
    println!("{count} WebSockets: {} echoes in {took:.1?}, {each} bytes each", count * rounds);
    for mut stream in &sockets {
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0, "both ends are closed");
    }
}

/// Requests one after another, every tenth on a new connection, for as long as `goes_on`; how long each took.
fn good_client(scene: &Scene, mut goes_on: impl FnMut(usize) -> bool) -> Figures {
    let request = scene.request();
    let (mut stream, mut times) = (scene.connect(), Vec::new());
    while goes_on(times.len()) {
        let began = instant();
        if times.len() % 10 == 0 {
            stream = scene.connect();
        }
        assert_eq!(ask(&stream, &request), OK);
        times.push(began.elapsed());
    }
    Figures::new(times)
}

/// So many clients send a byte of a head a second until each is told to stop, while a good one goes on.
fn slow_heads(scene: &Scene, count: usize) -> Figures {
    const HEAD: &[u8] = b"GET /slow HTTP/1.1\r\nHost: api.example\r\nX-Slow: ";
    let all_told = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut waiting: Vec<TcpStream> = (0..count).map(|_| scene.connect()).collect();
            for stream in &waiting {
                stream.set_nonblocking(true).unwrap();
            }
            for byte in HEAD.iter().chain(std::iter::repeat(&b'x')) {
                waiting.retain_mut(|stream| {
                    let mut answer = [0; 1024];
                    match stream.read(&mut answer) {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => stream.write_all(&[*byte]).is_ok(),
                        Ok(bytes) => {
                            assert!(answer[..bytes].starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer[..bytes]));
                            false
                        }
                        Err(error) => panic!("{error}"),
                    }
                });
                if waiting.is_empty() {
                    break;
                }
                thread::park_timeout(Duration::from_secs(1));
            }
            all_told.store(true, Ordering::Release);
        });
        good_client(scene, |_| !all_told.load(Ordering::Acquire))
    })
}

#[test]
fn slow_heads_are_ended_and_delay_nobody() {
    let (count, timeout) = if full() { (5_000, "10s") } else { (500, "1s") };
    let scene = Scene::new(&format!("header_timeout = \"{timeout}\"\n[runtime]\nworkers = 1"), echo);
    let alone = good_client(&scene, |asked| asked < 2_000);
    let before = scene.rss();
    println!("a good client alone: {alone}; {before} KiB");
    let mut after = Vec::new();
    for _ in 0..3 {
        let among = slow_heads(&scene, count);
        after.push(scene.rss());
        println!("among {count} slow heads: {among}; afterwards {} KiB", after[after.len() - 1]);
        assert!(among.percentile(99) < Duration::from_millis(250), "{among}");
    }
    assert!(after[2] <= after[0] + after[0] / 10, "memory does not return: {after:?}");
}
