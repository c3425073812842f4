//! Large bodies in both directions cost no memory: they stream, however long they are, and whoever is slow slows down the other side.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sidegate::clock::instant;

use crate::support::client::{Client, Request, once};
use crate::support::fleet::full;
use crate::support::http2::{Http2, head};
use crate::support::memory::{forget_peak, peak_kib, rss_kib};
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind};
use crate::support::stream::Address;
use crate::support::upstream::{Exchange, Upstream};

const PIECE: usize = 256 << 10;
/// More memory than this a transfer may not take, however long it is.
const GROWTH_KIB: u64 = 8 << 10;
/// What may be under way between who sends and who reads, in the sidecar and in the kernel's buffers around it.
const AHEAD: u64 = 2 << 20;

fn transfer_bytes() -> u64 {
    if full() { 1 << 30 } else { 64 << 20 }
}

/// How far the two ends of a transfer are.
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    received: AtomicU64,
    /// The most that the first was ahead of the second, as seen by the second.
    ahead: AtomicU64,
}

impl Progress {
    fn begin(&self) {
        for count in [&self.sent, &self.received, &self.ahead] {
            count.store(0, Ordering::SeqCst);
        }
    }

    fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    fn receive(&self, bytes: usize) {
        let received = self.received.fetch_add(bytes as u64, Ordering::SeqCst) + bytes as u64;
        self.ahead.fetch_max(self.sent.load(Ordering::SeqCst).saturating_sub(received), Ordering::SeqCst);
    }
}

/// Sends a body of so many bytes; chunked where its head says so.
fn send_body(total: u64, is_chunked: bool, mut send: impl FnMut(&[u8])) {
    let content = vec![b'x'; PIECE];
    let piece = if is_chunked { [format!("{PIECE:x}\r\n").as_bytes(), &content, b"\r\n"].concat() } else { content };
    for _ in 0..total / PIECE as u64 {
        send(&piece);
    }
    if is_chunked {
        send(b"0\r\n\r\n");
    }
}

fn framing(total: u64, is_chunked: bool) -> String {
    if is_chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {total}") }
}

/// An API with large answers (`/down`, chunked on request), and one that tells how much it was sent (`/up`).
fn serve(exchange: &mut Exchange<'_>, total: u64, progress: &Progress, pause: impl Fn()) {
    let is_slow = exchange.request.target.ends_with("slowly");
    if exchange.request.target.starts_with("/down") {
        let is_chunked = exchange.request.target.contains("chunked");
        exchange.send(format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", framing(total, is_chunked)).as_bytes());
        return send_body(total, is_chunked, |bytes| {
            exchange.send(bytes);
            progress.send(bytes.len());
        });
    }
    exchange.read_body_with(&mut |bytes| {
        if is_slow {
            progress.receive(bytes.len());
            pause();
        }
    });
    let length = exchange.request.body_len.to_string();
    exchange.answer(200, &[], length.as_bytes());
}

struct Scene {
    serve: Serve,
    home: Home,
    settled: u64,
    // Last: it judges what it was sent.
    _upstream: Upstream,
}

impl Scene {
    fn new(upstream: Upstream) -> Self {
        let home = Home::new(
            Kind::Embedded,
            &format!(
                "upstream = \"{}\"\n[runtime]\nworkers = 1\n[[routes]]\nname = \"all\"\nmatch = \"* /**\"\nauth = \"none\"\n\
                 [[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n\
                 [[listeners]]\nname = \"near\"\naddress = \"unix:near.sock\"\n",
                upstream.url()
            ),
        );
        let serve = Serve::start(&home.config_file());
        let mut client = Client::connect(serve.address);
        client.send(Request::get("/up").bytes());
        assert_eq!(client.answer("GET").text(), "0");
        assert_eq!(Http2::connect(serve.address).send(&Request::get("/up")).text(), "0");
        let settled = rss_kib(serve.id());
        Self { serve, home, settled, _upstream: upstream }
    }

    /// Over a Unix socket, where the kernel keeps little.
    fn near(&self) -> Address {
        Address::Unix(self.home.dir.path().join("near.sock"))
    }

    /// What a transfer cost; it must not be much.
    fn measure(&self, what: &str, transfer: impl FnOnce() -> u64) {
        forget_peak(self.serve.id());
        let began = instant();
        let bytes = transfer();
        let (took, grown) = (began.elapsed(), peak_kib(self.serve.id()).saturating_sub(self.settled));
        println!("{what}: {} MiB in {took:.1?}, at most {grown} KiB more than the {} KiB of an idle sidecar", bytes >> 20, self.settled);
        assert!(grown < GROWTH_KIB, "{what}: grown by {grown} KiB");
    }
}

fn download(address: impl Into<Address>, target: &str, mut each: impl FnMut(&[u8])) -> u64 {
    let mut client = Client::connect(address);
    client.send(Request::get(target).bytes());
    let (head, mut bytes) = (client.head(), 0);
    client.content(&head, &mut |piece| {
        bytes += piece.len() as u64;
        each(piece);
    });
    bytes
}

fn download_over_http2(client: &mut Http2, target: &str, mut each: impl FnMut(&[u8])) -> u64 {
    let opened = client.open(head(&Request::get(target)), true);
    let (mut begun, mut bytes) = (client.begin(opened.response).unwrap(), 0);
    while let Some(piece) = client.data(&mut begun.body) {
        let piece = piece.unwrap();
        bytes += piece.len() as u64;
        each(&piece);
    }
    bytes
}

fn upload(address: impl Into<Address>, target: &str, total: u64, is_chunked: bool, mut each: impl FnMut(&[u8])) -> u64 {
    let mut client = Client::connect(address);
    client.send(format!("POST {target} HTTP/1.1\r\nHost: api.example\r\n{}\r\n\r\n", framing(total, is_chunked)));
    send_body(total, is_chunked, |bytes| {
        client.send(bytes);
        each(bytes);
    });
    client.answer("POST").text().parse().unwrap()
}

fn upload_over_http2(client: &mut Http2, target: &str, total: u64, length: Option<u64>, mut each: impl FnMut(&[u8])) -> u64 {
    let mut request = Request::new("POST", target);
    if let Some(length) = length {
        request = request.header("Content-Length", &length.to_string());
    }
    let mut opened = client.open(head(&request), false);
    let piece = Bytes::from(vec![b'x'; PIECE]);
    for _ in 0..total / PIECE as u64 {
        assert!(client.upload(&mut opened.body, piece.clone()));
        each(&piece);
    }
    opened.body.send_data(Bytes::new(), true).unwrap();
    client.try_answer(opened.response).unwrap().text().parse().unwrap()
}

#[test]
fn transfers_of_any_length_take_no_memory() {
    let total = transfer_bytes();
    let scene = Scene::new(Upstream::start(move |exchange| serve(exchange, total, &Progress::default(), || {})));
    let address = scene.serve.address;
    let mut client = Http2::connect(address);
    let whole = |bytes: u64| {
        assert_eq!(bytes, total);
        bytes
    };
    for (what, target) in [("fixed", "/down"), ("chunked", "/down/chunked")] {
        scene.measure(&format!("download, {what}, HTTP/1.1"), || whole(download(address, target, |_| {})));
        scene.measure(&format!("download, {what}, HTTP/2"), || whole(download_over_http2(&mut client, target, |_| {})));
    }
    for is_chunked in [false, true] {
        let what = if is_chunked { "chunked" } else { "fixed" };
        let length = (!is_chunked).then_some(total);
        scene.measure(&format!("upload, {what}, HTTP/1.1"), || whole(upload(address, "/up", total, is_chunked, |_| {})));
        scene.measure(&format!("upload, {what}, HTTP/2"), || whole(upload_over_http2(&mut client, "/up", total, length, |_| {})));
    }
    println!(
        "afterwards: {} KiB, {} KiB more than before",
        rss_kib(scene.serve.id()),
        rss_kib(scene.serve.id()).saturating_sub(scene.settled)
    );
}

#[test]
fn who_is_slow_slows_down_the_other_side() {
    let total = if full() { 64 << 20 } else { 8 << 20 };
    let directory = tempfile::tempdir().unwrap();
    let (progress, sidecar) = (Arc::new(Progress::default()), Arc::new(OnceLock::<Address>::new()));
    let (seen, asked) = (Arc::clone(&progress), Arc::clone(&sidecar));
    // Whoever is slow lets the only worker serve somebody else before it reads on: a turn in which that could run ahead.
    let turn = move || assert_eq!(once(asked.get().unwrap().clone(), &Request::get("/up")).status, 200);
    let pause = turn.clone();
    let upstream =
        Upstream::start_at(&Address::Unix(directory.path().join("api.sock")), move |exchange| serve(exchange, total, &seen, &pause));
    let scene = Scene::new(upstream);
    sidecar.set(scene.near()).unwrap();
    let mut client = Http2::connect(scene.serve.address);
    let slowly = |piece: &[u8]| {
        progress.receive(piece.len());
        turn();
    };
    let send = |piece: &[u8]| progress.send(piece.len());
    let measure = |what: &str, transfer: &mut dyn FnMut() -> u64| {
        progress.begin();
        scene.measure(what, transfer);
        let ahead = progress.ahead.load(Ordering::SeqCst);
        println!("{what}: at most {} KiB ahead of the reader", ahead >> 10);
        assert!(ahead < AHEAD, "{what}: {ahead} bytes ahead");
    };
    measure("a slow reader, HTTP/1.1", &mut || download(scene.near(), "/down", slowly));
    measure("a slow reader, HTTP/2", &mut || download_over_http2(&mut client, "/down", slowly));
    measure("a slow upstream, HTTP/1.1", &mut || upload(scene.near(), "/up/slowly", total, false, send));
    measure("a slow upstream, HTTP/2", &mut || upload_over_http2(&mut client, "/up/slowly", total, None, send));
}
