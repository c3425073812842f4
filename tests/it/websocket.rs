//! A WebSocket: opened by a verified 101 and by nothing else; before it, whatever the client sends stays with us.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::mpsc::channel;

use crate::support::PATIENCE;
use crate::support::client::{Client, Request, once};
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::stream::Address;
use crate::support::terminator::Terminator;
use crate::support::upstream::{Exchange, Upstream};

/// The example of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

fn handshake() -> Request {
    Request::get("/chat")
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", KEY)
}

/// Agrees, and gives back what it is sent until the other side ends.
fn echo(exchange: &mut Exchange<'_>) {
    exchange.send(format!("{SWITCHED}Sec-WebSocket-Protocol: chat\r\nX-Api: 1\r\n\r\nhello").as_bytes());
    exchange.tunnel(|stream, bytes| stream.write_all(bytes).unwrap());
}

struct Scene {
    upstream: Upstream,
    sidecar: Sidecar,
    key: String,
}

impl Scene {
    fn new(handler: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        let upstream = Upstream::start(handler);
        let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n[runtime]\nworkers = 1", upstream.url()));
        let key = sidecar.home.issue().secret;
        upstream.must_never_see(&key);
        Self { upstream, sidecar, key }
    }

    fn send(&self, request: &Request, ahead: &str) -> Client {
        let mut client = Client::connect(self.sidecar.address());
        client.send([request.clone().bearer(&self.key).bytes(), ahead.as_bytes().to_vec()].concat());
        client
    }
}

#[test]
fn bytes_go_both_ways_behind_a_verified_101_and_make_one_line() {
    let upstream = Upstream::start(echo);
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"", upstream.url()));
    let issued = home.issue();
    upstream.must_never_see(&issued.secret);
    let serve = Serve::start(&home.config_file());
    let mut client = Client::connect(serve.address);
    client.send(handshake().bearer(&issued.secret).bytes());
    let head = client.head();
    assert_eq!(head.first_line, "HTTP/1.1 101 Switching Protocols");
    for (name, value) in [
        ("connection", Some("upgrade")),
        ("upgrade", Some("websocket")),
        ("sec-websocket-accept", Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")),
        ("sec-websocket-protocol", Some("chat")),
        ("x-api", Some("1")),
        ("content-length", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(head.one(name), value, "{name}");
    }
    assert!(head.one("x-request-id").is_some());
    assert_eq!(client.bytes(5), b"hello");
    for piece in [b"\x81\x85frame".as_slice(), b"GET / HTTP/1.1\r\n\r\n", &vec![0; 100_000]] {
        client.send(piece);
        assert_eq!(client.bytes(piece.len()), piece);
    }
    client.finish();
    assert!(client.is_closed());
    let seen = upstream.only();
    assert_eq!((seen.header("upgrade"), seen.header("connection")), (Some("websocket"), Some("upgrade")));
    assert_eq!((seen.header("sec-websocket-key"), seen.header("sec-websocket-version")), (Some(KEY), Some("13")));
    assert_eq!(seen.header("x-tenant-id"), Some("acme"));
    let (status, stdout, _) = serve.stop();
    assert!(status.success());
    let lines: Vec<serde_json::Value> = stdout.wait(1, |line| serde_json::from_str::<serde_json::Value>(line).ok());
    assert_eq!(lines.len(), 1, "{lines:?}");
    let moved = 7 + 18 + 100_000;
    assert_eq!((&lines[0]["http.response.status_code"], &lines[0]["reason"]), (&101.into(), &"".into()));
    assert_eq!((&lines[0]["http.request.body.size"], &lines[0]["http.response.body.size"]), (&moved.into(), &(moved + 5).into()));
    assert_eq!(lines[0].get("error.type"), None);
}

#[test]
fn who_may_not_ask_opens_nothing() {
    let scene = Scene::new(echo);
    let answer = once(scene.sidecar.address(), &handshake());
    assert_eq!((answer.status, answer.header("upgrade")), (401, None));
    assert_eq!(scene.upstream.recorded().len(), 0);
}

#[test]
fn what_is_sent_ahead_of_the_101_is_held_and_is_no_request_afterwards() {
    let (go, told) = channel();
    let told = std::sync::Mutex::new(told);
    let (say, said) = channel();
    let scene = Scene::new(move |exchange| {
        told.lock().unwrap().recv().unwrap();
        exchange.send(format!("{SWITCHED}\r\n").as_bytes());
        exchange.tunnel(|stream, bytes| {
            say.send(bytes.to_vec()).unwrap();
            stream.write_all(bytes).unwrap();
        });
    });
    let smuggled =
        format!("GET /smuggled HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer {}\r\n\r\n{}", scene.key, "x".repeat(200_000));
    let mut client = scene.send(&handshake(), &smuggled);
    scene.upstream.wait(|seen| seen.len() == 1);
    assert!(said.try_recv().is_err());
    go.send(()).unwrap();
    assert!(client.head().first_line.starts_with("HTTP/1.1 101"));
    assert_eq!(String::from_utf8(client.bytes(smuggled.len())).unwrap(), smuggled, "given back by the upstream, not answered by us");
    assert_eq!(scene.upstream.recorded().len(), 1);
    client.finish();
    assert!(client.is_closed());
    assert_eq!(said.try_iter().map(|bytes| bytes.len()).sum::<usize>(), smuggled.len());
}

#[test]
fn without_a_101_what_was_sent_ahead_is_judged_as_the_next_request() {
    let scene = Scene::new(|exchange| {
        exchange.read_body();
        exchange.answer(if exchange.request.target == "/chat" { 403 } else { 200 }, &[], b"no socket");
    });
    let next = "GET /next HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n";
    let mut client = scene.send(&handshake(), next);
    let answers: Vec<u16> = client.answers().iter().map(|answer| answer.status).collect();
    assert_eq!(answers, [403, 401], "it has no key of its own");
    assert_eq!(scene.upstream.recorded().len(), 1);
    let mut client = scene.send(&handshake(), "\u{1}\u{5}frame");
    let answers: Vec<u16> = client.answers().iter().map(|answer| answer.status).collect();
    assert_eq!(answers, [403, 400], "a frame is no request");
    assert_eq!(scene.upstream.recorded().len(), 2);
}

#[test]
fn a_101_that_does_not_answer_the_handshake_is_no_answer() {
    for head in [
        SWITCHED.replace("s3pP", "S3pP"),
        SWITCHED.replace("Sec-WebSocket-Accept", "X-Accept"),
        SWITCHED.replace("Upgrade: websocket", "Upgrade: h2c"),
        format!("{SWITCHED}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
    ] {
        let scene = Scene::new(move |exchange| {
            exchange.send(format!("{head}\r\n").as_bytes());
            exchange.wait_for_the_end();
        });
        let mut client = scene.send(&handshake(), "");
        let answer = client.answer("GET");
        assert_eq!((answer.status, answer.json()["code"].as_str()), (502, Some("UPSTREAM_UNAVAILABLE")));
    }
}

#[test]
fn a_length_in_a_101_delimits_nothing() {
    let scene = Scene::new(|exchange| {
        exchange.send(format!("{SWITCHED}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n12345HTTP/1.1 200 OK\r\n\r\n").as_bytes());
        exchange.tunnel(|_, _| {});
    });
    let mut client = scene.send(&handshake(), "");
    let head = client.head();
    assert_eq!((head.one("content-length"), head.one("transfer-encoding")), (None, None));
    assert_eq!(client.bytes(24), b"12345HTTP/1.1 200 OK\r\n\r\n");
}

#[test]
fn a_101_that_nobody_asked_for_is_no_answer() {
    let scene = Scene::new(|exchange| {
        exchange.read_body();
        exchange.send(format!("{SWITCHED}\r\n").as_bytes());
        exchange.wait_for_the_end();
    });
    for request in [Request::get("/"), Request::new("POST", "/").body("x"), handshake().header("Upgrade", "h2c")] {
        assert_eq!(scene.send(&request, "").answer("GET").status, 502);
    }
}

#[test]
fn other_switches_are_taken_off_the_request() {
    let scene = Scene::new(|exchange| {
        exchange.read_body();
        exchange.answer(200, &[], b"plain");
    });
    let get = || Request::get("/chat").header("Connection", "Upgrade, HTTP2-Settings").header("Sec-WebSocket-Key", KEY);
    let http10 =
        String::from_utf8(handshake().bearer(&scene.key).header("Connection", "close").bytes()).unwrap().replace("1.1\r\n", "1.0\r\n");
    let version = |version: &str| get().header("Upgrade", "websocket").header("Sec-WebSocket-Version", version);
    for request in [
        get().header("Upgrade", "h2c").header("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        get().header("Upgrade", "TLS/1.0"),
        version("8"),
        version("13").header("Upgrade", "h2c"),
        version("13").header("Sec-WebSocket-Key", KEY),
        Request { method: "POST".into(), ..handshake() },
        handshake().body("x"),
        handshake().header("Content-Length", "0"),
    ] {
        let mut client = scene.send(&request, "");
        assert_eq!(client.answer("GET").text(), "plain", "{request:?}");
    }
    let mut client = Client::connect(scene.sidecar.address());
    client.send(http10);
    assert_eq!(client.answer("GET").text(), "plain");
    let all = scene.upstream.recorded();
    assert_eq!(all.len(), 9);
    for seen in all {
        assert_eq!((seen.header("upgrade"), seen.header("connection"), seen.header("http2-settings")), (None, None, None), "{seen:?}");
    }
}

#[test]
fn a_connection_that_was_asked_to_switch_serves_nothing_else() {
    let scene = Scene::new(|exchange| {
        exchange.read_body();
        if exchange.request.header("upgrade").is_some() && exchange.request.target == "/chat" {
            return echo(exchange);
        }
        exchange.answer(200, &[], b"ok");
    });
    assert_eq!(scene.send(&Request::get("/"), "").answer("GET").status, 200);
    let mut client = scene.send(&handshake(), "");
    client.head();
    assert_eq!(scene.send(&Request { target: "/declined".into(), ..handshake() }, "").answer("GET").status, 200);
    assert_eq!(scene.send(&Request::get("/"), "").answer("GET").status, 200);
    let connections: Vec<usize> = scene.upstream.recorded().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 1, 2, 0]);
}

#[test]
fn either_side_that_ends_ends_the_other() {
    let (ended, end) = channel();
    let scene = Scene::new(move |exchange| {
        exchange.send(format!("{SWITCHED}\r\n").as_bytes());
        if exchange.request.target == "/bye" {
            return exchange.close();
        }
        exchange.tunnel(|_, _| {});
        ended.send(()).unwrap();
    });
    let mut client = scene.send(&Request { target: "/bye".into(), ..handshake() }, "");
    client.head();
    assert!(client.is_closed());
    let mut client = scene.send(&handshake(), "");
    client.head();
    drop(client);
    end.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_client_that_leaves_before_the_101_ends_the_request() {
    let (ended, end) = channel();
    let scene = Scene::new(move |exchange| {
        exchange.wait_for_the_end();
        ended.send(()).unwrap();
    });
    let client = scene.send(&handshake(), "");
    scene.upstream.wait(|seen| seen.len() == 1);
    drop(client);
    end.recv_timeout(PATIENCE).unwrap();
}

/// What is left when the sidecar is told to stop.
fn line_of(upstream: &Upstream, config: &str, ends_by_itself: bool) -> (Client, serde_json::Value) {
    let home = Home::new(Kind::Embedded, &format!("{config}\n[upstreams.main]\nurl = \"{}\"", upstream.url()));
    let key = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    let mut client = Client::connect(serve.address);
    client.send(handshake().bearer(&key).bytes());
    client.head();
    client.bytes(5);
    let line = if ends_by_itself {
        serve.access(1).remove(0)
    } else {
        let (_, stdout, _) = serve.stop();
        stdout.find(|line| serde_json::from_str(line).ok()).unwrap()
    };
    (client, line)
}

#[test]
fn a_silent_one_is_ended_by_stream_idle_timeout_and_any_by_the_end_of_the_drain() {
    let upstream = Upstream::start(echo);
    let listener = "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nprotocols = [\"http1\"]\n[listeners.limits]";
    let (mut client, line) = line_of(&upstream, &format!("{listener}\nstream_idle_timeout = \"200ms\""), true);
    assert!(client.is_closed());
    assert_eq!((&line["http.response.status_code"], &line["error.type"]), (&101.into(), &"stream_idle_timeout".into()));
    let (mut client, line) = line_of(&upstream, "[shutdown]\ndrain_delay = \"0s\"\ndrain_timeout = \"200ms\"", false);
    assert!(client.is_closed());
    assert_eq!((&line["http.response.status_code"], &line["error.type"]), (&101.into(), &"shutdown".into()));
}

#[test]
fn upstreams_may_be_unix_sockets_or_behind_tls_and_so_may_we() {
    let directory = tempfile::tempdir().unwrap();
    let by_socket = Upstream::start_at(&Address::Unix(directory.path().join("api.sock")), echo);
    let by_tcp = Upstream::start(echo);
    let Address::Tcp(tcp) = by_tcp.address else { panic!("not TCP") };
    let behind_tls = Terminator::start(tcp, "localhost", &["http/1.1"]);
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert_file, key_file) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    std::fs::write(&cert_file, certificate.cert.pem()).unwrap();
    std::fs::write(&key_file, certificate.signing_key.serialize_pem()).unwrap();
    let listener = format!(
        "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nprotocols = [\"http1\"]\n[listeners.tls]\ncert_file = \"{}\"\nkey_file = \"{}\"",
        cert_file.display(),
        key_file.display()
    );
    let tls_url = format!("https://localhost:{}", behind_tls.address.port());
    for (url, tls) in
        [(by_socket.url(), String::new()), (tls_url, format!("[upstreams.main.tls]\nca_file = \"{}\"", behind_tls.ca_file().display()))]
    {
        let sidecar = Sidecar::start(&format!("{listener}\n[upstreams.main]\nurl = \"{url}\"\n{tls}"));
        let key = sidecar.home.issue().secret;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let client = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let socket = std::net::TcpStream::connect(sidecar.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = rustls::StreamOwned::new(client, socket);
        client.write_all(&handshake().bearer(&key).bytes()).unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\nhello") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            read.extend_from_slice(&byte);
        }
        assert!(read.starts_with(b"HTTP/1.1 101 "));
        client.write_all(b"ping").unwrap();
        let mut echoed = [0; 4];
        client.read_exact(&mut echoed).unwrap();
        assert_eq!(&echoed, b"ping");
    }
}
