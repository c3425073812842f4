//! HTTP/2 from clients: the same gate, the same answers, the same lines as HTTP/1.

use std::process::Command;

use crate::support::client::{Client, Request};
use crate::support::http2::{DATA, END_HEADERS, END_STREAM, Frames, GET, HEADERS, Http2, RST_STREAM, block, head};
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;

const OPEN: &str = "[[routes]]\nname = \"everything\"\nmatch = \"* /**\"\nauth = \"none\"\n";

fn config(upstream: &Upstream, listener: &str) -> String {
    format!("upstream = \"{}\"\n{OPEN}[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n{listener}\n", upstream.url())
}

fn home(upstream: &Upstream, listener: &str) -> Home {
    Home::new(Kind::Embedded, &config(upstream, listener))
}

#[test]
fn curl_speaks_http_2_with_prior_knowledge() {
    let upstream = Upstream::echo();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"", upstream.url()));
    let key = home.issue().secret;
    upstream.must_never_see(&key);
    let serve = Serve::start(&home.config_file());
    let upload = home.dir.path().join("upload");
    std::fs::write(&upload, vec![b'u'; 3 << 20]).unwrap();
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "--http2-prior-knowledge", "--max-time", "60", "-w", " %{http_version} %{http_code}"])
            .args(arguments)
            .arg(format!("http://{}/v1/users", serve.address))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let bearer = format!("Authorization: Bearer {key}");
    assert_eq!(curl(&["-H", &bearer]), "ok 2 200");
    assert!(curl(&["-H", &bearer, "-H", "Expect: 100-continue", "-T", upload.to_str().unwrap()]).ends_with("uu 2 200"));
    assert!(curl(&[]).ends_with(" 2 401"));
    assert_eq!(curl(&["-I", "-H", &bearer]).lines().next(), Some("HTTP/2 200 "));
    let seen = upstream.recorded();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].header("host"), Some(serve.address.to_string().as_str()));
    assert_eq!(seen[1].body_len, 3 << 20);
    let lines = serve.access(4);
    assert!(lines.iter().all(|line| line["network.protocol.version"] == "2"), "{lines:#?}");
}

#[test]
fn one_listener_speaks_both_and_each_line_says_which() {
    let upstream = Upstream::echo();
    let home = home(&upstream, "");
    let serve = Serve::start(&home.config_file());
    let mut old = Client::connect(serve.address);
    old.send(Request::get("/old").bytes());
    assert_eq!(old.answer("GET").text(), "ok");
    let mut client = Http2::connect(serve.address);
    let paths = ["/a", "/b", "/c"];
    let opened: Vec<_> = paths.iter().map(|path| client.open(head(&Request::get(path)), true)).collect();
    for opened in opened {
        assert_eq!(client.try_answer(opened.response).unwrap().text(), "ok");
    }
    let lines = serve.access(4);
    let mut told: Vec<_> =
        lines.iter().map(|line| (line["url.path"].as_str().unwrap(), line["network.protocol.version"].as_str().unwrap())).collect();
    told.sort_unstable();
    assert_eq!(told, [("/a", "2"), ("/b", "2"), ("/c", "2"), ("/old", "1.1")]);
}

#[test]
fn a_preface_that_arrives_byte_by_byte_is_one() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream, ""));
    let mut client = Frames { stream: std::net::TcpStream::connect(sidecar.address()).unwrap() };
    client.stream.set_nodelay(true).unwrap();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
        client.bytes(&[*byte]);
    }
    client.request(1, &GET);
    let answer = client.find(|frame| frame.kind == HEADERS && frame.stream == 1);
    assert!(answer.is_some());
}

#[test]
fn a_listener_speaks_only_what_it_is_told_to() {
    let upstream = Upstream::echo();
    let old = Sidecar::start(&config(&upstream, "protocols = [\"http1\"]"));
    let mut client = Client::connect(old.address());
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.answer("GET").status, 400);
    let new = Sidecar::start(&config(&upstream, "protocols = [\"http2\"]"));
    assert_eq!(Http2::connect(new.address()).send(&Request::get("/")).status, 200);
    let mut client = Frames { stream: std::net::TcpStream::connect(new.address()).unwrap() };
    client.bytes(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    while client.next().is_some() {}
    assert_eq!(upstream.recorded().len(), 1);
}

#[test]
fn no_preface_is_taken_behind_a_request() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream, ""));
    let mut client = Client::connect(sidecar.address());
    client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let statuses: Vec<u16> = client.answers().iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 400]);
}

#[test]
fn the_upstream_gets_the_request_that_http_1_would_have_sent() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream, ""));
    let mut client = Http2::connect(sidecar.address());
    let request = Request::new("POST", "/v1/a%20b?c=d&e").header("cookie", "a=1").header("cookie", "b=2").header("x-multi", "1");
    let answer = client.send(&request.header("x-multi", "2").header("te", "trailers").body("content"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "content"));
    assert!(answer.header("connection").is_none() && answer.header("transfer-encoding").is_none());
    let seen = upstream.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/v1/a%20b?c=d&e"));
    assert_eq!((seen.header("host"), seen.header("cookie")), (Some("api.example"), Some("a=1; b=2")));
    assert_eq!(seen.head.all("x-multi").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((seen.header("content-length"), seen.header("te")), (Some("7"), Some("trailers")));
    assert_eq!(seen.header("x-forwarded-host"), Some("api.example"));
}

#[test]
fn one_stream_after_another_uses_one_upstream_connection() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        if exchange.request.target == "/chunked" {
            return exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        }
        exchange.answer(200, &[], &vec![b'x'; 100_000]);
    });
    let sidecar = Sidecar::start(&config(&upstream, ""));
    let mut client = Http2::connect(sidecar.address());
    for _ in 0..10 {
        assert_eq!(client.send(&Request::get("/")).body.len(), 100_000);
        assert_eq!(client.send(&Request::new("HEAD", "/")).body.len(), 0);
        assert_eq!(client.send(&Request::get("/chunked")).text(), "ok");
        assert_eq!(client.send(&Request::new("POST", "/chunked").body("content")).text(), "ok");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn content_of_unknown_length_is_chunked_for_the_upstream() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream, ""));
    let mut client = Http2::connect(sidecar.address());
    let answer = client.exchange(head(&Request::new("PUT", "/")), "content");
    assert_eq!(answer.text(), "content");
    assert_eq!(upstream.only().header("transfer-encoding"), Some("chunked"));
}

#[test]
fn what_http_1_refuses_is_refused_in_the_same_bytes() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream, "limits = { header_bytes = \"4KiB\", headers = 20 }"));
    let long = "x".repeat(5000);
    let many: Vec<String> = (0..30).map(|index| format!("x-{index}")).collect();
    let with =
        |lines: &[(&'static str, &'static str)]| lines.iter().fold(Request::get("/"), |request, (name, value)| request.header(name, value));
    let mut client = Http2::connect(sidecar.address());
    for (status, request) in [
        (400, with(&[("content-length", "0"), ("content-length", "0")])),
        (400, Request::get("/a//b")),
        (400, Request::get("/a/../b")),
        (405, Request::new("TRACE", "/")),
        (414, Request::get(&format!("/{}", "x".repeat(8200)))),
        (431, Request::get("/").header("x-long", &long)),
        (431, many.iter().fold(Request::get("/"), |request, name| request.header(name, "1"))),
        (417, with(&[("expect", "miracles")])),
    ] {
        let answer = client.send(&request);
        assert_eq!(answer.status, status, "{request:?}");
        let mut old = Client::connect(sidecar.address());
        old.send(request.bytes());
        // A bound on heads comes first over HTTP/1; the words are those of the status either way.
        let same = old.answer(&request.method);
        if same.status == status {
            assert_eq!((same.text(), same.header("content-type")), (answer.text(), answer.header("content-type")), "{request:?}");
        }
        assert!(answer.json()["success"] == false && answer.header("x-request-id").is_some());
    }
    assert_eq!(client.send(&Request::get("/")).status, 200, "the connection is kept");
    assert_eq!(upstream.recorded().len(), 1);
}

#[test]
fn nothing_that_could_be_read_in_two_ways_reaches_the_upstream() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream, ""));
    let with = |more: &[(&'static str, &'static str)]| [&GET[..], more].concat();
    let without = |name: &str| GET.iter().filter(|(own, _)| *own != name).copied().collect::<Vec<_>>();
    let replaced =
        |name: &str, value: &'static str| GET.iter().map(|(own, was)| (*own, if *own == name { value } else { *was })).collect::<Vec<_>>();
    for fields in [
        with(&[("host", "other.example")]),
        with(&[("host", "api.example"), ("host", "api.example")]),
        with(&[("connection", "close")]),
        with(&[("Upper-Case", "1")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "close")]),
        with(&[("te", "gzip")]),
        with(&[("x-a", "b\r\nx-tenant-id: evil")]),
        with(&[("x-a", "b\nc")]),
        with(&[("x-a", "b\0c")]),
        with(&[("x-a", " b")]),
        with(&[("x a", "b")]),
        with(&[("x:a", "b")]),
        with(&[("", "b")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "0"), ("content-length", "0")]),
        with(&[(":path", "/other")]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "1")]),
        without(":path"),
        without(":scheme"),
        without(":method"),
        without(":authority"),
        replaced(":path", ""),
        replaced(":path", "*"),
        replaced(":path", "v1/users"),
        replaced(":path", "http://evil/"),
        replaced(":path", "/a b"),
        replaced(":path", "/a\u{e9}"),
        replaced(":path", "/a/../b"),
        replaced(":scheme", "ftp"),
        replaced(":authority", "user@api.example"),
        replaced(":authority", "api.example:"),
        replaced(":authority", "a b"),
        replaced(":method", "CONNECT"),
        replaced(":method", "G ET"),
        [&[("x-first", "1")], &GET[..]].concat(),
    ] {
        let mut client = Frames::connect(sidecar.address());
        client.request(1, &fields);
        let outcome = client.find(|frame| frame.stream == 1 && matches!(frame.kind, HEADERS | RST_STREAM)).map(|frame| frame.kind);
        // An answer, a reset of the stream or the end of the connection.
        assert!(upstream.recorded().is_empty(), "{fields:?} was forwarded: {outcome:?}");
    }
    let mut client = Frames::connect(sidecar.address());
    client.request(1, &GET);
    assert!(client.find(|frame| frame.kind == HEADERS).is_some());
    upstream.only();
}

#[test]
fn a_host_stands_for_an_authority_that_was_not_sent() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream, ""));
    let mut client = Frames::connect(sidecar.address());
    client.request(1, &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "api.example")]);
    assert!(client.find(|frame| frame.kind == HEADERS).is_some());
    assert_eq!(upstream.only().header("host"), Some("api.example"));
}

#[test]
fn content_that_is_not_as_long_as_it_says_is_no_request() {
    for (length, content) in [("5", "four"), ("3", "four")] {
        let upstream = Upstream::echo();
        let sidecar = Sidecar::start(&config(&upstream, ""));
        let mut client = Frames::connect(sidecar.address());
        let fields = [&[(":method", "POST"), ("content-length", length)][..], &GET[1..]].concat();
        let mut fields = fields;
        fields.swap(1, 4);
        client.send(HEADERS, END_HEADERS, 1, &block(&fields));
        client.send(DATA, END_STREAM, 1, content.as_bytes());
        assert!(client.find(|frame| frame.kind == RST_STREAM && frame.stream == 1).is_some(), "{length} {content}");
        assert!(upstream.complete().is_empty());
    }
}

#[test]
fn head_and_answers_without_content_are_told_apart_from_empty_ones() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        match exchange.request.target.as_str() {
            "/none" => exchange.send(b"HTTP/1.1 204 No Content\r\nx-kept: 1\r\n\r\n"),
            "/same" => exchange.send(b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n"),
            _ => exchange.answer(200, &[], b"content"),
        }
    });
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"", upstream.url()));
    let key = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    let mut client = Http2::connect(serve.address);
    let answer = client.send(&Request::new("HEAD", "/").bearer(&key));
    assert_eq!((answer.status, answer.body.len(), answer.header("content-length")), (200, 0, Some("7")));
    let answer = client.send(&Request::get("/none").bearer(&key));
    assert_eq!((answer.status, answer.body.len(), answer.header("content-length")), (204, 0, None));
    let answer = client.send(&Request::get("/same").bearer(&key));
    assert_eq!((answer.status, answer.body.len(), answer.header("etag")), (304, 0, Some("\"1\"")));
    let refused = client.send(&Request::new("HEAD", "/"));
    let whole = client.send(&Request::get("/"));
    assert_eq!((refused.status, refused.body.len()), (401, 0));
    assert_eq!(refused.header("content-length"), Some(whole.body.len().to_string().as_str()));
}
