//! What an upstream says of its answer's framing is not repeated, it is read and said anew.

use std::sync::mpsc::channel;

use crate::support::PATIENCE;
use crate::support::client::{Answer, Client, Request, once};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

fn answer_of(raw: &'static str) -> Answer {
    let upstream = Upstream::start(move |exchange| {
        exchange.read_body();
        exchange.send(raw.as_bytes());
        exchange.close();
    });
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"", upstream.url()));
    let key = sidecar.home.issue().secret;
    once(sidecar.address(), &Request::get("/").bearer(&key))
}

#[test]
fn one_length_is_sent_whatever_the_upstream_wrote() {
    let answer = answer_of("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok");
    assert_eq!((answer.status, answer.header("content-length"), answer.text().as_str()), (200, Some("2"), "ok"));
}

#[test]
fn an_answer_in_another_coding_than_chunked_is_no_answer() {
    let answer = answer_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("UPSTREAM_UNAVAILABLE"));
}

#[test]
fn interim_answers_stay_with_us() {
    let answer = answer_of(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    assert_eq!((answer.status, answer.interim.as_slice(), answer.header("link"), answer.text().as_str()), (200, [].as_slice(), None, "ok"));
}

#[test]
fn an_early_answer_is_relayed_and_stops_the_upload() {
    let (told, tell) = channel();
    let upstream = Upstream::start(move |exchange| {
        exchange.answer(413, &[], b"too much");
        exchange.read_body();
        told.send(exchange.request.complete).unwrap();
    });
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"", upstream.url()));
    let key = sidecar.home.issue().secret;
    let mut client = Client::connect(sidecar.address());
    client.send(Request::new("POST", "/").bearer(&key).header("Content-Length", "1000000000").bytes());
    client.send(vec![b'x'; 1000]);
    let answer = client.answer("POST");
    assert_eq!((answer.status, answer.text().as_str()), (413, "too much"));
    assert!(client.is_closed());
    assert!(!tell.recv_timeout(PATIENCE).unwrap(), "the upstream sees the end of it");
}
