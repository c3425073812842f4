//! Trailers, both ways and over both protocols: passed on, but never as what a header could not be.

use crate::support::client::{Client, Request};
use crate::support::http2::{Http2, head};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Recorded, Upstream};

fn config(upstream: &Upstream) -> String {
    format!("upstream = \"{}\"\n[[routes]]\nname = \"everything\"\nmatch = \"* /**\"\nauth = \"none\"\n", upstream.url())
}

/// Answers in chunks, with trailers.
fn upstream() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        exchange.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, grpc-status\r\n\r\n\
              7\r\ncontent\r\n0\r\nx-sum: abc\r\ngrpc-status: 0\r\nconnection: close\r\nkeep-alive: 1\r\n\r\n",
        );
    })
}

fn sorted(trailers: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut sorted: Vec<_> = trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    sorted.sort_unstable();
    sorted
}

fn check(seen: &Recorded) {
    assert!(seen.complete);
    assert_eq!(seen.body, b"content");
    assert_eq!(sorted(&seen.trailers), [("x-sum", "abc")]);
    assert_eq!(seen.header("trailer"), Some("x-sum"));
    assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
}

#[test]
fn trailers_of_a_chunked_request_reach_the_upstream_without_what_no_trailer_may_say() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream));
    let mut client = Client::connect(sidecar.address());
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, X-Tenant-Id, authorization\r\n\r\n7\r\ncontent\r\n0\r\n\
         x-sum: abc\r\nX-Tenant-Id: evil\r\nAuthorization: Bearer evil\r\nContent-Length: 3\r\nundeclared: 1\r\n\r\n",
    );
    assert_eq!(client.answer("POST").status, 200);
    check(&upstream.only());
}

#[test]
fn trailers_of_a_stream_reach_the_upstream_without_what_no_trailer_may_say() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&config(&upstream));
    for length in [None, Some("7")] {
        let mut client = Http2::connect(sidecar.address());
        let mut request = Request::new("POST", "/").header("trailer", "x-sum, x-tenant-id");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let mut opened = client.open(head(&request), false);
        opened.body.send_data("content".into(), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        for (name, value) in [("x-sum", "abc"), ("x-tenant-id", "evil"), ("authorization", "Bearer evil"), ("content-length", "3")] {
            trailers.insert(name, value.parse().unwrap());
        }
        opened.body.send_trailers(trailers).unwrap();
        assert_eq!(client.try_answer(opened.response).unwrap().status, 200);
        check(upstream.recorded().last().unwrap());
    }
}

#[test]
fn trailers_of_an_answer_reach_every_stream() {
    let upstream = upstream();
    let sidecar = Sidecar::start(&config(&upstream));
    let mut client = Http2::connect(sidecar.address());
    for _ in 0..3 {
        let answer = client.send(&Request::get("/"));
        assert_eq!(answer.text(), "content");
        assert_eq!(sorted(&answer.trailers), [("grpc-status", "0"), ("x-sum", "abc")]);
    }
}

#[test]
fn trailers_of_an_answer_reach_clients_of_http_1_that_want_them() {
    let upstream = upstream();
    let sidecar = Sidecar::start(&config(&upstream));
    let mut client = Client::connect(sidecar.address());
    client.send(Request::get("/").header("TE", "trailers").bytes());
    let answer = client.answer("GET");
    assert_eq!((answer.text().as_str(), answer.header("trailer")), ("content", Some("x-sum, grpc-status")));
    assert_eq!(sorted(&answer.trailers), [("grpc-status", "0"), ("x-sum", "abc")]);
    assert_eq!(upstream.recorded().last().unwrap().header("te"), Some("trailers"));
    client.send(Request::get("/").bytes());
    let answer = client.answer("GET");
    assert_eq!((answer.text().as_str(), answer.trailers.len()), ("content", 0));
}
