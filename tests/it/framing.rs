//! Framing: what is ambiguous is refused and the connection closed; nothing of it reaches the upstream; answers = requests.

use crate::support::client::{Answer, Client, Request};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const HOST_AND_KEY: &str = "Host: api.example\r\nAuthorization: Bearer {key}\r\n";

/// Refused with this status, and the connection closed.
const REFUSED: &[(u16, &str, &str)] = &[
    (
        400,
        "Content-Length beside Transfer-Encoding",
        "POST / HTTP/1.1\r\n{id}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        "Transfer-Encoding beside Content-Length",
        "POST / HTTP/1.1\r\n{id}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (400, "gzip, chunked", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (400, "chunked, chunked", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (400, "chunked in two lines", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "gzip and chunked in two lines", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "identity", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: identity\r\n\r\n"),
    (400, "a coding that only looks like chunked", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (400, "chunked with a parameter", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    (400, "chunked in quotes", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    (400, "an empty Transfer-Encoding", "POST / HTTP/1.1\r\n{id}Transfer-Encoding:\r\n\r\n0\r\n\r\n"),
    (400, "a vertical tab before chunked", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    (400, "a space before the colon", "POST / HTTP/1.1\r\n{id}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    (400, "chunked on HTTP/1.0", "POST / HTTP/1.0\r\n{id}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "a length with a plus", "POST / HTTP/1.1\r\n{id}Content-Length: +5\r\n\r\n12345"),
    (400, "a length with a minus", "POST / HTTP/1.1\r\n{id}Content-Length: -5\r\n\r\n12345"),
    (400, "a length in hex", "POST / HTTP/1.1\r\n{id}Content-Length: 0x5\r\n\r\n12345"),
    (400, "a length with an underscore", "POST / HTTP/1.1\r\n{id}Content-Length: 1_0\r\n\r\n1234567890"),
    (400, "a list of lengths", "POST / HTTP/1.1\r\n{id}Content-Length: 5, 5\r\n\r\n12345"),
    (400, "an empty length", "POST / HTTP/1.1\r\n{id}Content-Length:\r\n\r\n"),
    (400, "a length of nineteen digits", "POST / HTTP/1.1\r\n{id}Content-Length: 1000000000000000000\r\n\r\n"),
    (400, "two different lengths", "POST / HTTP/1.1\r\n{id}Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456"),
    (400, "two equal lengths", "POST / HTTP/1.1\r\n{id}Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345"),
    (400, "two lengths in two cases", "POST / HTTP/1.1\r\n{id}Content-Length: 5\r\ncontent-length: 0\r\n\r\n12345"),
    (400, "lines that end in LF alone", "GET / HTTP/1.1\nHost: api.example\nAuthorization: Bearer {key}\n\n"),
    (400, "one line that ends in LF alone", "GET / HTTP/1.1\r\n{id}X-A: 1\nX-B: 2\r\n\r\n"),
    (400, "a CR inside a value", "GET / HTTP/1.1\r\n{id}X-A: 1\rX-Tenant-Id: forged\r\n\r\n"),
    (400, "a NUL inside a value", "GET / HTTP/1.1\r\n{id}X-A: 1\x002\r\n\r\n"),
    (400, "a folded line", "GET / HTTP/1.1\r\n{id}X-A: 1\r\n X-Tenant-Id: forged\r\n\r\n"),
    (400, "a line folded by a tab", "GET / HTTP/1.1\r\n{id}X-A: 1\r\n\tX-Tenant-Id: forged\r\n\r\n"),
    (400, "a first header line that is folded", "GET / HTTP/1.1\r\n Host: api.example\r\n{id}\r\n"),
    (400, "a line without colon", "GET / HTTP/1.1\r\n{id}X-A\r\n\r\n"),
    (400, "a header without name", "GET / HTTP/1.1\r\n{id}: 1\r\n\r\n"),
    (400, "a space inside a name", "GET / HTTP/1.1\r\n{id}X A: 1\r\n\r\n"),
    (400, "a control byte inside a name", "GET / HTTP/1.1\r\n{id}X\x01A: 1\r\n\r\n"),
    (400, "no Host", "GET / HTTP/1.1\r\nAuthorization: Bearer {key}\r\n\r\n"),
    (400, "two Host lines", "GET / HTTP/1.1\r\n{id}Host: other.example\r\n\r\n"),
    (400, "the same Host twice", "GET / HTTP/1.1\r\n{id}Host: api.example\r\n\r\n"),
    (400, "a Host with a path", "GET / HTTP/1.1\r\nHost: api.example/x\r\nAuthorization: Bearer {key}\r\n\r\n"),
    (400, "a Host with a user", "GET / HTTP/1.1\r\nHost: user@api.example\r\nAuthorization: Bearer {key}\r\n\r\n"),
    (400, "a Host with a space", "GET / HTTP/1.1\r\nHost: api example\r\nAuthorization: Bearer {key}\r\n\r\n"),
    (400, "a Host that is a list", "GET / HTTP/1.1\r\nHost: api.example, other.example\r\nAuthorization: Bearer {key}\r\n\r\n"),
    (400, "a Host with a port that is none", "GET / HTTP/1.1\r\nHost: api.example:80a\r\nAuthorization: Bearer {key}\r\n\r\n"),
    (400, "a Host with a port too high", "GET / HTTP/1.1\r\nHost: api.example:65536\r\nAuthorization: Bearer {key}\r\n\r\n"),
    (400, "a Host with an open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\nAuthorization: Bearer {key}\r\n\r\n"),
    (400, "an empty Host", "GET / HTTP/1.1\r\nHost:\r\nAuthorization: Bearer {key}\r\n\r\n"),
    (400, "absolute-form with another authority", "GET http://other.example/ HTTP/1.1\r\n{id}\r\n"),
    (400, "absolute-form with a user", "GET http://user@api.example/ HTTP/1.1\r\n{id}\r\n"),
    (400, "absolute-form of another scheme", "GET ftp://api.example/ HTTP/1.1\r\n{id}\r\n"),
    (400, "a target that begins with no slash", "GET v1/users HTTP/1.1\r\n{id}\r\n"),
    (400, "the asterisk with GET", "GET * HTTP/1.1\r\n{id}\r\n"),
    (400, "a fragment", "GET /x#y HTTP/1.1\r\n{id}\r\n"),
    (400, "a byte beyond ASCII in the target", "GET /\u{e9} HTTP/1.1\r\n{id}\r\n"),
    (400, "two spaces in the request line", "GET  / HTTP/1.1\r\n{id}\r\n"),
    (400, "a tab in the request line", "GET\t/ HTTP/1.1\r\n{id}\r\n"),
    (400, "a space after the version", "GET / HTTP/1.1 \r\n{id}\r\n"),
    (400, "a target with a space", "GET /a b HTTP/1.1\r\n{id}\r\n"),
    (400, "a method that is no token", "GE(T / HTTP/1.1\r\n{id}\r\n"),
    (400, "a version in lower case", "GET / http/1.1\r\n{id}\r\n"),
    (400, "a version that nobody knows", "GET / HTTP/1.2\r\n{id}\r\n"),
    (400, "HTTP/0.9", "GET /\r\n\r\n"),
];

/// Chunk grammar. The head was admitted, so the upstream may have been called; it must never see a whole request.
const BROKEN_CHUNKS: &[(&str, &str)] = &[
    ("a size that ends in LF alone", "5\n12345\r\n0\r\n\r\n"),
    ("data that is not followed by CRLF", "5\r\n12345GET / HTTP/1.1\r\n\r\n"),
    ("data that is followed by LF alone", "5\r\n12345\n0\r\n\r\n"),
    ("a size that is no number", "x\r\n12345\r\n0\r\n\r\n"),
    ("a size with 0x", "0x5\r\n12345\r\n0\r\n\r\n"),
    ("a size with a plus", "+5\r\n12345\r\n0\r\n\r\n"),
    ("a size with a minus", "-5\r\n12345\r\n0\r\n\r\n"),
    ("a size with an underscore", "0_5\r\n12345\r\n0\r\n\r\n"),
    ("a space before the size", " 5\r\n12345\r\n0\r\n\r\n"),
    ("an empty size", "\r\n12345\r\n0\r\n\r\n"),
    ("a size of seventeen digits", "00000000000000005\r\n12345\r\n0\r\n\r\n"),
    ("a size beyond 64 bits", "fffffffffffffffff\r\n12345\r\n0\r\n\r\n"),
    ("a CR alone inside an extension", "5;a\rb\r\n12345\r\n0\r\n\r\n"),
    ("an LF alone inside an extension", "5;a\nb\r\n12345\r\n0\r\n\r\n"),
    ("a last chunk that ends in LF alone", "5\r\n12345\r\n0\n\r\n"),
    ("a trailer that ends in LF alone", "5\r\n12345\r\n0\r\nX: 1\n\r\n"),
    ("a trailer without colon", "5\r\n12345\r\n0\r\nX\r\n\r\n"),
];

/// Let through; the upstream gets this body.
const PASSED: &[(&str, &str, &str)] = &[
    ("a fixed length", "POST / HTTP/1.1\r\n{id}Content-Length: 5\r\n\r\n12345", "12345"),
    ("a length of nothing", "POST / HTTP/1.1\r\n{id}Content-Length: 0\r\n\r\n", ""),
    ("chunks", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n3\r\n678\r\n0\r\n\r\n", "12345678"),
    ("a size in upper case", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    ("an extension, which is dropped", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: chunked\r\n\r\n5;a=b\r\n12345\r\n0\r\n\r\n", "12345"),
    ("a trailer", "POST / HTTP/1.1\r\n{id}Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\nX-Sum: 1\r\n\r\n", "12345"),
    ("no body on a POST", "POST / HTTP/1.1\r\n{id}\r\n", ""),
    ("absolute-form with the same authority", "GET http://api.example/ HTTP/1.1\r\n{id}\r\n", ""),
    ("absolute-form in another case", "GET HTTP://API.example/ HTTP/1.1\r\n{id}\r\n", ""),
    ("a Host with a port", "GET / HTTP/1.1\r\nHost: api.example:8080\r\nAuthorization: Bearer {key}\r\n\r\n", ""),
    ("a Host that is an IPv6 address", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\nAuthorization: Bearer {key}\r\n\r\n", ""),
    ("a Host with a trailing dot", "GET / HTTP/1.1\r\nHost: api.example.\r\nAuthorization: Bearer {key}\r\n\r\n", ""),
    ("an empty value", "GET / HTTP/1.1\r\n{id}X-A:\r\n\r\n", ""),
    ("bytes beyond ASCII in a value", "GET / HTTP/1.1\r\n{id}X-A: caf\u{e9}\r\n\r\n", ""),
];

struct Scene {
    upstream: Upstream,
    sidecar: Sidecar,
    key: String,
}

impl Scene {
    fn new(config: &str) -> Self {
        let upstream = Upstream::echo();
        let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n{config}", upstream.url()));
        let key = sidecar.home.issue().secret;
        upstream.must_never_see(&key);
        Self { upstream, sidecar, key }
    }

    fn connect(&self) -> Client {
        Client::connect(self.sidecar.address())
    }

    fn fill(&self, raw: &str) -> Vec<u8> {
        raw.replace("{id}", HOST_AND_KEY).replace("{key}", &self.key).into_bytes()
    }

    /// A good request, after which the client wants the connection closed.
    fn last(&self) -> Vec<u8> {
        Request::get("/last").bearer(&self.key).header("Connection", "close").bytes()
    }
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

#[test]
fn what_is_ambiguous_is_refused_and_the_connection_closed() {
    let scene = Scene::new("");
    let mut wrong = Vec::new();
    for (status, name, raw) in REFUSED {
        let mut client = scene.connect();
        // What follows would be a request of its own to whoever reads the framing in another way.
        let mut bytes = scene.fill(raw);
        bytes.extend_from_slice(&scene.fill("GET /smuggled HTTP/1.1\r\n{id}\r\n"));
        client.send(bytes);
        let (answers, end) = client.answers_and_end();
        if statuses(&answers) != [*status] || end.is_err() {
            wrong.push(format!("{name}: {:?} {end:?}", statuses(&answers)));
        } else if answers[0].header("Connection") != Some("close") || answers[0].header("X-Request-Id").is_none() {
            wrong.push(format!("{name}: {:?}", answers[0].head.fields));
        }
    }
    let seen: Vec<String> = scene.upstream.recorded().into_iter().map(|request| request.target).collect();
    assert!(wrong.is_empty() && seen.is_empty(), "{wrong:#?}\nthe upstream saw {seen:?}");
}

#[test]
fn a_broken_chunk_ends_the_request_and_never_completes_it_upstream() {
    let scene = Scene::new("");
    let mut wrong = Vec::new();
    for (name, chunks) in BROKEN_CHUNKS {
        let mut client = scene.connect();
        client.send(scene.fill(&format!(
            "POST /chunks HTTP/1.1\r\n{{id}}Transfer-Encoding: chunked\r\n\r\n{chunks}GET /smuggled HTTP/1.1\r\n{{id}}\r\n"
        )));
        let (answers, end) = client.answers_and_end();
        let got = statuses(&answers);
        if !(got.is_empty() || got == [400]) || end.is_err() {
            wrong.push(format!("{name}: {got:?} {end:?}"));
        }
    }
    let whole: Vec<String> = scene.upstream.complete().into_iter().map(|request| request.target).collect();
    assert!(wrong.is_empty() && whole.is_empty(), "{wrong:#?}\nthe upstream saw {whole:?}");
}

#[test]
fn chunk_extensions_of_more_than_16_kib_in_all_are_refused() {
    let scene = Scene::new("");
    let mut client = scene.connect();
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1000));
    client.send(scene.fill(&format!("POST / HTTP/1.1\r\n{{id}}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(20))));
    let got = statuses(&client.answers());
    assert!(got.is_empty() || got == [400], "{got:?}");
    assert_eq!(scene.upstream.complete().len(), 0);
}

#[test]
fn what_is_plain_is_let_through_and_the_connection_kept() {
    for (name, raw, body) in PASSED {
        let scene = Scene::new("");
        let mut client = scene.connect();
        client.send(scene.fill(raw));
        client.send(scene.last());
        assert_eq!(statuses(&client.answers()), [200, 200], "{name}");
        let seen = scene.upstream.recorded();
        assert_eq!(seen[0].target, "/", "{name}");
        assert_eq!(String::from_utf8_lossy(&seen[0].body), *body, "{name}");
    }
}

#[test]
fn http_1_0_without_host_gets_the_upstreams_authority() {
    let scene = Scene::new("");
    let mut client = scene.connect();
    client.send(scene.fill("GET / HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n"));
    assert_eq!(statuses(&client.answers()), [200]);
    let host = scene.upstream.only().header("host").unwrap().to_owned();
    assert_eq!(format!("http://{host}"), scene.upstream.url());
}

#[test]
fn every_request_of_a_pipeline_is_judged_on_its_own() {
    let scene = Scene::new("");
    let mut client = scene.connect();
    let mut bytes = Request::get("/1").bearer(&scene.key).bytes();
    bytes.extend(Request::get("/2").bytes());
    bytes.extend(Request::new("POST", "/3").bearer(&scene.key).body("GET /4 HTTP/1.1\r\n\r\n").bytes());
    bytes.extend(Request::get("/5").header("X-API-Key", "sk_live_nonsense").bytes());
    bytes.extend(scene.last());
    client.send(bytes);
    assert_eq!(statuses(&client.answers()), [200, 401, 200, 401, 200]);
    let seen: Vec<String> = scene.upstream.recorded().into_iter().map(|request| request.target).collect();
    assert_eq!(seen, ["/1", "/3", "/last"]);
}

#[test]
fn the_body_of_a_refused_request_never_becomes_a_request() {
    let scene = Scene::new("");
    let hidden = String::from_utf8(scene.fill("GET /smuggled HTTP/1.1\r\n{id}\r\n")).unwrap();
    for framed in [
        format!("Content-Length: {}\r\n\r\n{hidden}", hidden.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len()),
    ] {
        let mut client = scene.connect();
        client.send(format!("POST /refused HTTP/1.1\r\nHost: api.example\r\n{framed}"));
        client.send(scene.last());
        assert_eq!(statuses(&client.answers()), [401, 200], "{framed}");
    }
    assert!(scene.upstream.recorded().iter().all(|request| request.target == "/last"));
}

#[test]
fn a_refused_request_with_much_body_to_come_is_answered_at_once_and_closed() {
    let scene = Scene::new("");
    let mut client = scene.connect();
    client.send("POST /refused HTTP/1.1\r\nHost: api.example\r\nContent-Length: 10000000\r\n\r\n");
    assert_eq!(client.answer("POST").status, 401);
    assert!(client.is_closed());
}

#[test]
fn a_client_that_expects_leave_is_refused_before_it_sends() {
    let scene = Scene::new("");
    let mut client = scene.connect();
    client.send("POST /refused HTTP/1.1\r\nHost: api.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.answer("POST");
    assert_eq!((answer.status, answer.interim.as_slice()), (401, [].as_slice()));
    assert!(client.is_closed());
    assert_eq!(scene.upstream.recorded().len(), 0);
}

#[test]
fn a_refused_head_request_gets_no_content() {
    let scene = Scene::new("");
    for head in ["HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "HEAD /?q=\"<> HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut client = scene.connect();
        client.send(head);
        assert_eq!(client.answer("HEAD").status, 400, "{head:?}");
        assert!(client.is_closed(), "{head:?}");
    }
}

#[test]
fn a_client_that_expects_leave_gets_it_once_it_was_admitted() {
    let scene = Scene::new("");
    let mut client = scene.connect();
    client.send(scene.fill("POST / HTTP/1.1\r\n{id}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"));
    assert_eq!(client.head().first_line, "HTTP/1.1 100 Continue");
    client.send("12345");
    let answer = client.answer("POST");
    assert_eq!((answer.status, answer.interim.as_slice(), answer.text().as_str()), (200, [].as_slice(), "12345"));
    assert_eq!(scene.upstream.only().header("expect"), None);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_completes_nothing_upstream() {
    let scene = Scene::new("");
    let mut client = scene.connect();
    client.send(scene.fill("POST /half HTTP/1.1\r\n{id}Content-Length: 10\r\n\r\n12345"));
    scene.upstream.wait(|seen| seen.len() == 1);
    client.finish();
    drop(client);
    let mut other = scene.connect();
    other.send(scene.last());
    assert_eq!(statuses(&other.answers()), [200]);
    let whole: Vec<String> = scene.upstream.complete().into_iter().map(|request| request.target).collect();
    assert_eq!(whole, ["/last"]);
}

#[test]
fn heads_come_in_any_pieces() {
    let scene = Scene::new("");
    let bytes = scene.fill("POST /pieces HTTP/1.1\r\n{id}Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n");
    for size in [1, 2, 7, 31] {
        let mut client = scene.connect();
        for piece in bytes.chunks(size) {
            client.send(piece);
        }
        let answer = client.answer("POST");
        assert_eq!((answer.status, answer.text().as_str()), (200, "12345"), "pieces of {size}");
    }
}
