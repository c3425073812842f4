//! What a credential admitted ends with it, within a second, whatever it is: a download, events, a stream, a call, a WebSocket,
//! an upload that has no answer yet. What a credential may do is judged when a request begins, and a store that is away ends nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use h2::{Reason, RecvStream, SendStream};
use serde_json::json;
use sidegate::clock::{Timestamp, instant};
use sidegate::key::record::{KeyRecord, KeyStatus, PreviousSecret};

use crate::support::PATIENCE;
use crate::support::client::{Client, Request, once};
use crate::support::http2::{Frames, GET, HEADERS, Http2, RST_STREAM, head};
use crate::support::process::Serve;
use crate::support::seed::{self, Issued};
use crate::support::sidecar::{Home, Kind, NOW, Sidecar};
use crate::support::upstream::{Exchange, Upstream};

/// One second is promised; a busy machine may take its time on top.
const BOUND: Duration = Duration::from_secs(3);
/// Only what is told of, or passes, can be what ends an exchange in the time of a test.
const CONFIG: &str = "[cache]\nttl = \"1h\"\nstale_for = \"2h\"\n[runtime]\nworkers = 1\n[ops]\nlisten = \"127.0.0.1:0\"\n";
/// `SETTINGS_INITIAL_WINDOW_SIZE` (RFC 9113 §6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 4;
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Begins an answer that has no end, and says more whenever anything more comes.
fn answer(exchange: &mut Exchange<'_>) {
    let (head, begun, more) = match exchange.request.target.as_str() {
        "/download" => ("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "begun", "more"),
        "/chat" => (std::str::from_utf8(SWITCHED).unwrap(), "", "more"),
        "/upload" => ("", "", ""),
        "/call" => {
            ("HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nbegun\r\n", "4\r\nmore\r\n")
        }
        _ => {
            ("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nbegun\r\n", "4\r\nmore\r\n")
        }
    };
    if exchange.request.target == "/flood" {
        // Never all of it is taken: this ends when the connection does.
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        return exchange.send(&vec![0; 100_000_000]);
    }
    exchange.send(format!("{head}{begun}").as_bytes());
    exchange.tunnel(|stream, _| drop(std::io::Write::write_all(stream, more.as_bytes())));
}

struct Scene {
    /// Dropped first: what still runs ends with it.
    sidecar: Sidecar,
    key: Issued,
    /// Which exchanges have ended at the upstream.
    gone: Receiver<String>,
    others: AtomicUsize,
    _upstream: Upstream,
}

fn upstream() -> (Upstream, Receiver<String>) {
    let (tell, gone) = channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::start(move |exchange| {
        if exchange.request.target == "/whole" {
            return exchange.answer(200, &[], b"whole");
        }
        answer(exchange);
        let _ = tell.lock().unwrap().send(exchange.request.target.clone());
    });
    (upstream, gone)
}

impl Scene {
    fn new(kind: Kind) -> Self {
        let (upstream, gone) = upstream();
        let sidecar = Sidecar::with_manual_clock(kind, &format!("upstream = \"{}\"\n{CONFIG}", upstream.url())).in_touch();
        let key = sidecar.home.issue_with(&json!({ "scopes": ["read:things"] }));
        Self { sidecar, key, gone, others: AtomicUsize::new(0), _upstream: upstream }
    }

    fn issue(&self, id: &str) -> Issued {
        let issued = seed::key(&self.sidecar.home.config, "acme", &json!({ "id": id }));
        self.sidecar.home.table().put_key(&issued.record);
        issued
    }

    fn begin(&self) -> Vec<Running> {
        Running::all(self.sidecar.address(), &self.key.secret)
    }

    fn update(&self, id: &str, change: impl FnOnce(&mut KeyRecord)) {
        self.sidecar.home.table().update_key(id, change);
    }

    /// Returns when everything that runs has been looked at again since this was called: what another key admits has ended twice.
    fn reviewed(&self) {
        for _ in 0..2 {
            let id = format!("key_other{}", self.others.fetch_add(1, Ordering::Relaxed));
            let other = self.issue(&id);
            let socket = Running::socket(self.sidecar.address(), &other.secret);
            self.update(&id, |record| record.status = KeyStatus::Revoked);
            socket.ends(instant(), "");
            assert_eq!(self.gone.recv_timeout(PATIENCE).unwrap(), "/chat");
        }
    }

    /// All of these end, at the upstream too.
    fn all_end(&self, running: Vec<Running>, since: Instant, reason: &str) {
        let mut targets: Vec<&str> = running.iter().map(Running::target).collect();
        for each in running {
            each.ends(since, reason);
        }
        let mut gone: Vec<String> = targets.iter().map(|_| self.gone.recv_timeout(PATIENCE).unwrap()).collect();
        targets.sort_unstable();
        gone.sort_unstable();
        assert_eq!(gone, targets, "{reason}");
    }
}

/// An exchange that is under way.
enum Running {
    Download(Client),
    Events(Client),
    Socket(Client),
    Upload(Client),
    Stream(Http2, SendStream<bytes::Bytes>, RecvStream),
    Call(Http2, SendStream<bytes::Bytes>, RecvStream),
}

impl Running {
    fn all(address: std::net::SocketAddr, key: &str) -> Vec<Self> {
        let mut download = Client::connect(address);
        download.send(Request::get("/download").bearer(key).bytes());
        assert_eq!(download.head().one("content-length"), Some("1000000"));
        assert_eq!(download.bytes(5), b"begun");

        let chunked = |target| Request::new("POST", target).header("Transfer-Encoding", "chunked").bearer(key);
        let mut events = Client::connect(address);
        events.send(chunked("/events").bytes());
        assert_eq!(events.head().first_line, "HTTP/1.1 200 OK");
        assert_eq!(events.bytes(10), b"5\r\nbegun\r\n");

        let mut upload = Client::connect(address);
        upload.send(Request::new("POST", "/upload").header("Content-Length", "100").bearer(key).bytes());

        let open = |request: Request| {
            let mut client = Http2::connect(address);
            let opened = client.open(head(&request.bearer(key)), false);
            let mut begun = client.begin(opened.response).unwrap();
            assert_eq!(client.data(&mut begun.body).unwrap().unwrap(), "begun");
            (client, opened.body, begun.body)
        };
        let (client, sends, receives) = open(Request::new("POST", "/stream"));
        let stream = Self::Stream(client, sends, receives);
        let (client, sends, receives) =
            open(Request::new("POST", "/call").header("content-type", "application/grpc").header("te", "trailers"));
        let call = Self::Call(client, sends, receives);
        vec![Self::Download(download), Self::Events(events), Self::Upload(upload), stream, call, Self::socket(address, key)]
    }

    fn socket(address: std::net::SocketAddr, key: &str) -> Self {
        let mut socket = Client::connect(address);
        let handshake = Request::get("/chat")
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        socket.send(handshake.bearer(key).bytes());
        assert!(socket.head().first_line.starts_with("HTTP/1.1 101"));
        Self::Socket(socket)
    }

    fn target(&self) -> &'static str {
        match self {
            Self::Download(_) => "/download",
            Self::Events(_) => "/events",
            Self::Socket(_) => "/chat",
            Self::Upload(_) => "/upload",
            Self::Stream(..) => "/stream",
            Self::Call(..) => "/call",
        }
    }

    /// It ends soon, and nothing that is incomplete looks complete.
    fn ends(self, since: Instant, why: &str) {
        let target = self.target();
        match self {
            Self::Download(mut client) | Self::Events(mut client) | Self::Socket(mut client) => {
                assert!(client.is_closed(), "{target} goes on: {why}");
            }
            Self::Upload(mut client) => {
                let answers = client.answers();
                assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [401], "{why}");
            }
            Self::Stream(client, _sends, mut receives) => {
                let error = client.data(&mut receives).unwrap().unwrap_err();
                assert_eq!((error.reason(), error.is_remote()), (Some(Reason::CANCEL), true), "{why}");
            }
            Self::Call(client, _sends, receives) => {
                let begun = crate::support::http2::Begun { status: 200, headers: http::HeaderMap::new(), body: receives };
                let rest = client.finish(begun).unwrap();
                let outcome = rest.trailers.iter().find(|(name, _)| name == "grpc-status").map(|(_, code)| code.as_str());
                assert_eq!((outcome, rest.text().as_str()), (Some("16"), ""), "{why}: {:?}", rest.trailers);
            }
        }
        assert!(since.elapsed() < BOUND, "{target} took {:?}: {why}", since.elapsed());
    }

    /// It is asked for more, and gives it.
    fn goes_on(&mut self) {
        match self {
            Self::Events(client) => {
                client.send(b"1\r\nx\r\n");
                assert_eq!(client.bytes(9), b"4\r\nmore\r\n");
            }
            Self::Socket(client) => {
                client.send(b"x");
                assert_eq!(client.bytes(4), b"more");
            }
            Self::Stream(client, sends, receives) | Self::Call(client, sends, receives) => {
                sends.send_data("x".into(), false).unwrap();
                assert_eq!(client.data(receives).unwrap().unwrap(), "more");
            }
            // Nobody asks for more of these; how they end shows that they had not.
            Self::Download(_) | Self::Upload(_) => {}
        }
    }
}

fn all_go_on(running: &mut [Running]) {
    running.iter_mut().for_each(Running::goes_on);
}

fn later(ms: i64) -> Timestamp {
    NOW.parse::<Timestamp>().unwrap().plus_millis(ms)
}

#[test]
fn everything_ends_when_what_admitted_it_does() {
    for kind in Kind::BOTH {
        for reason in ["key_revoked", "key_inactive", "key_expired", "key_unknown", "tenant_suspended"] {
            let scene = Scene::new(kind);
            let mut running = scene.begin();
            scene.reviewed();
            all_go_on(&mut running);
            let since = instant();
            match reason {
                "key_revoked" => scene.update("key_main", |record| record.status = KeyStatus::Revoked),
                "key_inactive" => scene.update("key_main", |record| record.status = KeyStatus::Inactive),
                "key_expired" => scene.update("key_main", |record| record.expires_at = Some(later(-1))),
                "key_unknown" => scene.update("key_main", |record| record.digest = seed::digest("another")),
                _ => scene.sidecar.home.table().put_tenant(&seed::tenant(&json!({ "status": "suspended", "version": 2 }))),
            }
            let (count, why) = (running.len(), format!("{reason}, {}", kind.name()));
            scene.all_end(running, since, &why);
            println!("{count} exchanges, {why}: {:?}", since.elapsed());
            // Two of the revoked ones are those of the review.
            let expected = if reason == "key_revoked" { count + 2 } else { count };
            let told = format!("sidegate_exchanges_ended_total{{reason=\"{reason}\"}} {expected}\n");
            // It is counted when its line is written: a moment after the client knows.
            while !once(scene.sidecar.ops(), &Request::get("/metrics")).text().contains(&told) {
                assert!(since.elapsed() < PATIENCE, "{told}");
            }
        }
    }
}

#[test]
fn a_deadline_of_the_record_ends_what_runs_when_it_passes() {
    for kind in Kind::BOTH {
        let scene = Scene::new(kind);
        scene.update("key_main", |record| record.expires_at = Some(later(60_000)));
        let mut running = scene.begin();
        scene.sidecar.clock.advance(59_999);
        scene.reviewed();
        all_go_on(&mut running);
        let since = instant();
        scene.sidecar.clock.advance(1);
        scene.all_end(running, since, kind.name());
    }
}

#[test]
fn a_rotation_ends_what_the_old_secret_admitted_when_its_overlap_is_over() {
    for kind in Kind::BOTH {
        let scene = Scene::new(kind);
        let mut running = scene.begin();
        scene.update("key_main", |record| {
            let old = std::mem::replace(&mut record.digest, seed::digest("another"));
            record.previous = Some(PreviousSecret { digest: old, until: later(60_000) });
        });
        scene.reviewed();
        all_go_on(&mut running);
        let since = instant();
        scene.sidecar.clock.advance(60_000);
        scene.all_end(running, since, kind.name());
    }
}

#[test]
fn other_changes_end_nothing() {
    for kind in Kind::BOTH {
        let scene = Scene::new(kind);
        let other = scene.issue("key_other");
        let mut others = Running::all(scene.sidecar.address(), &other.secret);
        let mut running = scene.begin();
        scene.update("key_main", |record| {
            record.scopes.clear();
            record.ip_allowlist = Some(vec!["192.0.2.1/32".into()]);
        });
        scene.reviewed();
        all_go_on(&mut running);
        all_go_on(&mut others);
        scene.update("key_other", |record| record.status = KeyStatus::Revoked);
        scene.all_end(others, instant(), kind.name());
        scene.reviewed();
        all_go_on(&mut running);
        scene.update("key_main", |record| record.status = KeyStatus::Revoked);
        scene.all_end(running, instant(), kind.name());
    }
}

#[test]
fn a_store_that_is_away_ends_nothing_but_what_has_a_deadline() {
    const AGE: i64 = 100 * 3_600_000;
    let mut scene = Scene::new(Kind::Redis);
    let mut running = scene.begin();
    // One behind the other, so that between two ends everything was looked at; the last two long after anything stale may be served.
    let deadlines = [60_000, AGE, AGE + 60_000];
    let brief = deadlines.map(|ms| {
        let id = format!("key_until{ms}");
        let key = scene.issue(&id);
        scene.update(&id, |record| record.expires_at = Some(later(ms)));
        (Running::socket(scene.sidecar.address(), &key.secret), ms)
    });
    scene.reviewed();
    scene.sidecar.home.redis.as_mut().unwrap().stop();
    for (socket, ms) in brief {
        scene.sidecar.clock.advance(ms - (scene.sidecar.clock.now().0 - later(0).0));
        socket.ends(instant(), "its deadline");
        assert_eq!(scene.gone.recv_timeout(PATIENCE).unwrap(), "/chat");
        all_go_on(&mut running);
    }
    drop(scene.sidecar.home.redis.take());
}

#[test]
fn a_connection_outlives_the_credential_of_an_exchange_that_is_over() {
    let scene = Scene::new(Kind::Embedded);
    let (mut old, mut new) = (Client::connect(scene.sidecar.address()), Http2::connect(scene.sidecar.address()));
    let whole = Request::get("/whole").bearer(&scene.key.secret);
    old.send(whole.bytes());
    assert_eq!((old.answer("GET").status, new.send(&whole).status), (200, 200));
    scene.update("key_main", |record| record.status = KeyStatus::Revoked);
    scene.reviewed();
    let other = Request::get("/whole").bearer(&scene.issue("key_next").secret);
    for (request, status) in [(&other, 200), (&whole, 401), (&other, 200)] {
        old.send(request.bytes());
        assert_eq!((old.answer("GET").status, new.send(request).status), (status, status));
    }
}

#[test]
fn who_does_not_read_is_ended_too() {
    let scene = Scene::new(Kind::Embedded);
    let mut stalled = Client::connect(scene.sidecar.address());
    stalled.send(Request::get("/flood").bearer(&scene.key.secret).bytes());
    assert_eq!(stalled.head().first_line, "HTTP/1.1 200 OK");
    let mut client = Http2::connect(scene.sidecar.address());
    let opened = client.open(head(&Request::get("/flood").bearer(&scene.key.secret)), true);
    let begun = client.begin(opened.response).unwrap();
    // No window at all, so that not even a first frame goes out.
    let mut frames = Frames::connect_with(scene.sidecar.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    let bearer = format!("Bearer {}", scene.key.secret);
    let fields = [&GET[..2], &[(":path", "/flood"), (":authority", "api.example"), ("authorization", &bearer)]].concat();
    assert!(frames.request(1, &fields));
    assert!(frames.find(|frame| frame.kind == HEADERS).is_some());
    scene.reviewed();
    scene.update("key_main", |record| record.status = KeyStatus::Revoked);
    for _ in 0..3 {
        assert_eq!(scene.gone.recv_timeout(PATIENCE).unwrap(), "/flood");
    }
    let reset = frames.find(|frame| frame.kind == RST_STREAM).unwrap();
    assert_eq!(reset.code(), u32::from(Reason::CANCEL));
    assert_eq!(client.finish(begun).unwrap_err().reason(), Some(Reason::CANCEL));
}

#[test]
fn the_access_line_says_why() {
    for kind in Kind::BOTH {
        let (upstream, _gone) = upstream();
        let home = Home::new(kind, &format!("upstream = \"{}\"\n[runtime]\nworkers = 1\n", upstream.url()));
        let key = home.issue();
        let serve = Serve::start(&home.config_file());
        let running = Running::all(serve.address, &key.secret);
        let since = instant();
        home.table().update_key("key_main", |record| record.status = KeyStatus::Revoked);
        for each in running {
            each.ends(since, kind.name());
        }
        for line in serve.access(6) {
            let (reason, error) = (&line["reason"], &line["error.type"]);
            if line["url.path"] == "/upload" {
                assert_eq!((reason, &line["http.response.status_code"]), (&json!("key_revoked"), &json!(401)), "{line:#}");
            } else {
                assert_eq!((reason, error), (&json!(""), &json!("key_revoked")), "{line:#}");
            }
        }
    }
}
