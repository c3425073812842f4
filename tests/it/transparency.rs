//! Clients and APIs notice nothing: curl unchanged, bodies of any size in constant memory, Unix-socket upstreams.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::mpsc::channel;

use crate::support::PATIENCE;
use crate::support::client::{Client, Request};
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::stream::Address;
use crate::support::upstream::{Exchange, Upstream};
use crate::support::wire::Framing;

const MIB: u64 = 1 << 20;

struct Scene {
    upstream: Upstream,
    home: Home,
    serve: Serve,
    key: String,
}

impl Scene {
    fn new(upstream: Upstream) -> Self {
        let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"", upstream.url()));
        let key = home.issue().secret;
        upstream.must_never_see(&key);
        let serve = Serve::start(&home.config_file());
        Self { upstream, home, serve, key }
    }

    fn curl(&self, arguments: &[&str]) -> Output {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "120", "-H", &format!("Authorization: Bearer {}", self.key)])
            .args(arguments)
            .arg(format!("http://{}/v1/users", self.serve.address))
            .current_dir(self.home.dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Most memory the process ever had, KiB.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.serve.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_gets() {
    let scene = Scene::new(Upstream::echo());
    assert_eq!(stdout(&scene.curl(&[])), "ok");
    let seen = scene.upstream.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/v1/users"));
    assert_eq!(seen.header("host"), Some(scene.serve.address.to_string().as_str()));
    assert!(seen.header("user-agent").unwrap().starts_with("curl/"));
    assert_eq!(seen.framing, None);
}

#[test]
fn curl_posts() {
    let scene = Scene::new(Upstream::echo());
    assert_eq!(stdout(&scene.curl(&["-d", "{\"name\":\"x\"}", "-H", "Content-Type: application/json"])), "{\"name\":\"x\"}");
    let seen = scene.upstream.only();
    assert_eq!((seen.method.as_str(), seen.framing), ("POST", Some(Framing::Length(12))));
    assert_eq!(seen.header("content-type"), Some("application/json"));
}

#[test]
fn curl_asks_for_the_head() {
    let scene = Scene::new(Upstream::start(|exchange| exchange.answer(200, &[("X-Custom", "1")], b"0123456789")));
    let head = stdout(&scene.curl(&["-I"])).to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 200") && head.contains("\r\ncontent-length: 10\r\n") && head.contains("\r\nx-custom: 1\r\n"),
        "{head}"
    );
}

#[test]
fn curl_uploads_in_chunks() {
    let scene = Scene::new(Upstream::echo());
    assert_eq!(stdout(&scene.curl(&["-H", "Transfer-Encoding: chunked", "-d", "in chunks"])), "in chunks");
    assert_eq!(scene.upstream.only().framing, Some(Framing::Chunked));
}

#[test]
fn curl_speaks_http_1_0() {
    let scene = Scene::new(Upstream::echo());
    assert_eq!(stdout(&scene.curl(&["--http1.0"])), "ok");
    assert_eq!(stdout(&scene.curl(&["--http1.0", "-d", "body"])), "body");
}

#[test]
fn an_http_1_0_client_gets_an_answer_of_unknown_length_until_the_connection_ends() {
    let scene = Scene::new(Upstream::start(|exchange| {
        exchange.read_body();
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
    }));
    let output = scene.curl(&["--http1.0", "-i"]);
    let text = stdout(&output);
    assert!(text.ends_with("\r\n\r\nabcdef"), "{text}");
    assert!(!text.to_ascii_lowercase().contains("transfer-encoding"), "{text}");
}

#[test]
fn curl_keeps_its_connection() {
    let scene = Scene::new(Upstream::echo());
    let url = format!("http://{}/second", scene.serve.address);
    let output = scene.curl(&["-w", "%{num_connects} ", &url, "-d", "1"]);
    assert_eq!(stdout(&output), "11 10 ");
    assert_eq!(scene.upstream.recorded().len(), 2);
}

#[test]
fn curl_expects_leave_for_a_large_body() {
    let scene = Scene::new(Upstream::echo());
    let file = scene.home.dir.path().join("body");
    std::fs::write(&file, vec![b'x'; 100_000]).unwrap();
    let output = scene.curl(&["-H", "Expect: 100-continue", "--data-binary", "@body"]);
    assert_eq!(output.stdout.len(), 100_000);
}

#[test]
fn a_hundred_megabytes_go_up_in_constant_memory() {
    let scene = Scene::new(Upstream::start(|exchange| {
        exchange.read_body();
        let length = exchange.request.body_len.to_string();
        exchange.answer(200, &[], length.as_bytes());
    }));
    scene.curl(&["-d", "warm"]);
    let before = scene.peak();
    let file = std::fs::File::create(scene.home.dir.path().join("body")).unwrap();
    file.set_len(100 * MIB).unwrap();
    for framing in ["X-Nothing: 1", "Transfer-Encoding: chunked"] {
        assert_eq!(stdout(&scene.curl(&["-X", "POST", "-T", "body", "-H", framing])), (100 * MIB).to_string());
    }
    let grown = scene.peak() - before;
    assert!(grown < 24 * 1024, "{grown} KiB more");
}

fn send_a_hundred_megabytes(exchange: &mut Exchange<'_>) {
    exchange.read_body();
    exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 100 * MIB).as_bytes());
    let piece = vec![b'x'; 1 << 16];
    for _ in 0..(100 * MIB) >> 16 {
        exchange.send(&piece);
    }
}

#[test]
fn a_hundred_megabytes_come_down_in_constant_memory() {
    let scene = Scene::new(Upstream::start(send_a_hundred_megabytes));
    let first = stdout(&scene.curl(&["-o", "/dev/null", "-w", "%{size_download}"]));
    assert_eq!(first, (100 * MIB).to_string());
    let peak = scene.peak();
    assert!(peak < 96 * 1024, "{peak} KiB");
}

#[test]
fn a_slow_reader_does_not_make_the_sidecar_hold_the_answer() {
    let scene = Scene::new(Upstream::start(send_a_hundred_megabytes));
    let mut client = Client::connect(scene.serve.address);
    client.send(Request::get("/").bearer(&scene.key).bytes());
    // Nothing is read until the upstream has been asked; what the sidecar took by then is bounded.
    scene.upstream.wait(|seen| seen.len() == 1);
    let answer = client.answer("GET");
    assert_eq!(answer.body.len() as u64, 100 * MIB);
    assert!(scene.peak() < 96 * 1024, "{} KiB", scene.peak());
}

#[test]
fn the_answer_begins_before_the_request_ends_and_streams() {
    let upstream = Upstream::start(|exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        exchange.read_body();
        exchange.send(b"4\r\nlast\r\n0\r\n\r\n");
    });
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"", upstream.url()));
    let key = sidecar.home.issue().secret;
    let address: Address = sidecar.address().into();
    let mut stream = address.connect().unwrap();
    stream
        .write_all(format!("POST / HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer {key}\r\nContent-Length: 3\r\n\r\n").as_bytes())
        .unwrap();
    let mut reader = crate::support::wire::Reader::new(stream.try_clone().unwrap());
    let head = reader.head().unwrap().unwrap();
    assert!(head.first_line.starts_with("HTTP/1.1 200"));
    stream.write_all(b"end").unwrap();
    let mut body = Vec::new();
    reader.body(Framing::Chunked, &mut |bytes| body.extend_from_slice(bytes)).unwrap();
    assert_eq!(body, b"firstlast");
    assert_eq!(upstream.only().body, b"end");
}

#[test]
fn an_answer_goes_on_to_a_client_that_sends_for_long_before_it_reads() {
    const ANSWER: usize = 96 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, tell) = channel();
    let answer = vec![b'x'; ANSWER];
    // Reads and writes at the same time.
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = crate::support::wire::Reader::new(stream.try_clone().unwrap());
        reader.head().unwrap().unwrap();
        std::thread::spawn(move || {
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER}\r\n\r\n").as_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        });
        let _ = reader.body(Framing::Length(2000), &mut |bytes| bytes.iter().for_each(|_| told.send(()).unwrap()));
    });
    let sidecar = Sidecar::start(&format!("upstream = \"{url}\"\n[runtime]\nworkers = 1"));
    let key = sidecar.home.issue().secret;
    let mut client = Client::connect(sidecar.address());
    client.send(Request::new("POST", "/").bearer(&key).header("Content-Length", "2000").bytes());
    // The only worker gets many turns in which the answer fills what is between it and the client.
    for _ in 0..1000 {
        client.send("x");
        tell.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(client.answer("POST").body.len(), ANSWER);
}

#[test]
fn an_answer_that_breaks_off_is_seen_to_break_off() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
        exchange.close();
    });
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"", upstream.url()));
    let key = sidecar.home.issue().secret;
    let mut client = Client::connect(sidecar.address());
    client.send(Request::get("/").bearer(&key).bytes());
    assert!(client.try_answer("GET").is_none());
}

#[test]
fn an_upstream_may_be_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start_at(&Address::Unix(dir.path().join("api.sock")), |exchange| {
        exchange.read_body();
        exchange.answer(200, &[], b"by socket");
    });
    let scene = Scene::new(upstream);
    assert_eq!(stdout(&scene.curl(&["-d", "x"])), "by socket");
    assert_eq!(stdout(&scene.curl(&[])), "by socket");
    assert_eq!(scene.upstream.recorded().len(), 2);
}

#[test]
fn upstream_connections_are_used_again() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n[runtime]\nworkers = 1", upstream.url()));
    let key = sidecar.home.issue().secret;
    for _ in 0..20 {
        assert_eq!(crate::support::client::once(sidecar.address(), &Request::get("/").bearer(&key)).status, 200);
    }
    assert_eq!((upstream.recorded().len(), upstream.connections()), (20, 1));
}

#[test]
fn a_reused_connection_that_was_closed_is_no_failure() {
    // Answers once, then closes without a word: as servers do when their keep-alive ends.
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.answer(200, &[], b"ok");
        exchange.close();
    });
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n[runtime]\nworkers = 1", upstream.url()));
    let key = sidecar.home.issue().secret;
    for _ in 0..20 {
        assert_eq!(crate::support::client::once(sidecar.address(), &Request::get("/").bearer(&key)).status, 200);
    }
    assert_eq!(upstream.recorded().len(), 20);
}

#[test]
fn statuses_and_headers_of_the_upstream_pass() {
    for status in [200, 201, 204, 301, 304, 400, 401, 403, 404, 418, 429, 500, 503] {
        let upstream = Upstream::start(move |exchange| {
            exchange.read_body();
            if matches!(status, 204 | 304) {
                exchange.send(format!("HTTP/1.1 {status} Answer\r\nETag: \"x\"\r\n\r\n").as_bytes());
            } else {
                exchange.answer(status, &[("ETag", "\"x\""), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"body");
            }
        });
        let sidecar = Sidecar::start(&format!("upstream = \"{}\"", upstream.url()));
        let key = sidecar.home.issue().secret;
        let answer = crate::support::client::once(sidecar.address(), &Request::get("/").bearer(&key));
        assert_eq!((answer.status, answer.header("etag")), (status, Some("\"x\"")));
        if !matches!(status, 204 | 304) {
            assert_eq!(answer.text(), "body");
            assert_eq!(answer.head.all("set-cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
        }
    }
}
