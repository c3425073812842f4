//! Listeners behind a balancer that says whose connection it is: required there, refused everywhere else; and limits by client.

use std::process::Command;

use crate::support::client::{Client, Request, once};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const OPEN: &str = "[[routes]]\nname = \"all\"\nmatch = \"* /**\"\nauth = \"none\"\n";

fn listening(upstream: &Upstream, trusted: &str, listener: &str) -> Sidecar {
    Sidecar::start(&format!(
        "upstream = \"{}\"\n{OPEN}[client_ip]\ntrusted_proxies = [{trusted}]\n\
         [[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n{listener}",
        upstream.url()
    ))
}

fn introduced(sidecar: &Sidecar, preamble: &[u8]) -> Client {
    let mut client = Client::connect(sidecar.address());
    client.send(preamble);
    client.send(Request::get("/").bytes());
    client
}

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 10.0.0.1 40000 443\r\n").into_bytes()
}

#[test]
fn the_client_that_the_balancer_names_is_the_client() {
    let upstream = Upstream::echo();
    let sidecar = listening(&upstream, "\"127.0.0.0/8\"", "proxy_protocol = true\n");
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([203, 0, 113, 9, 10, 0, 0, 1, 1, 1, 1, 1]);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    for (preamble, client) in [(v1("192.0.2.7"), "192.0.2.7"), (v2, "203.0.113.9"), (local, "127.0.0.1")] {
        let mut kept = introduced(&sidecar, &preamble);
        assert_eq!(kept.answer("GET").status, 200);
        // Once a connection, not once a request.
        kept.send(Request::get("/").bytes());
        assert_eq!(kept.answer("GET").status, 200);
        assert_eq!(upstream.recorded().last().unwrap().header("x-forwarded-for"), Some(client));
    }
}

#[test]
fn without_a_preamble_or_with_a_bad_one_the_connection_ends() {
    let upstream = Upstream::echo();
    let sidecar = listening(&upstream, "\"127.0.0.0/8\"", "proxy_protocol = true\n");
    for preamble in [&b""[..], b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x01\0"] {
        assert!(introduced(&sidecar, preamble).try_answer("GET").is_none());
    }
    assert_eq!(upstream.recorded().len(), 0);
}

#[test]
fn nobody_but_a_trusted_proxy_is_believed() {
    let upstream = Upstream::echo();
    let sidecar = listening(&upstream, "\"10.0.0.0/8\"", "proxy_protocol = true\n");
    assert!(introduced(&sidecar, &v1("10.0.0.9")).try_answer("GET").is_none());
    assert_eq!(upstream.recorded().len(), 0);
}

#[test]
fn elsewhere_a_preamble_is_a_malformed_request() {
    let upstream = Upstream::echo();
    let sidecar = listening(&upstream, "\"127.0.0.0/8\"", "");
    assert_eq!(introduced(&sidecar, &v1("192.0.2.7")).answer("GET").status, 400);
    assert_eq!(introduced(&sidecar, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").answer("GET").status, 400);
    assert_eq!(upstream.recorded().len(), 0);
}

#[test]
fn it_comes_before_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let made = rcgen::generate_simple_self_signed(vec!["api.example".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let upstream = Upstream::echo();
    let tls = format!("proxy_protocol = true\n[listeners.tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\n", cert.display(), key.display());
    let sidecar = listening(&upstream, "\"127.0.0.0/8\"", &tls);
    let port = sidecar.address().port();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--haproxy-protocol", "--resolve", &format!("api.example:{port}:127.0.0.1"), "--cacert"]).arg(&cert);
    let output = curl.arg(format!("https://api.example:{port}/")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(upstream.recorded().last().unwrap().header("x-forwarded-proto"), Some("https"));
}

#[test]
fn a_client_has_no_more_connections_than_it_may() {
    let upstream = Upstream::echo();
    let sidecar = listening(&upstream, "\"127.0.0.0/8\"", "proxy_protocol = true\n[listeners.limits]\nconnections_per_ip = 2\n");
    let connect = |client: &str| introduced(&sidecar, &v1(client));
    let (mut one, mut two) = (connect("192.0.2.7"), connect("192.0.2.7"));
    assert_eq!((one.answer("GET").status, two.answer("GET").status), (200, 200));
    let refused = connect("192.0.2.7").answer("GET");
    assert_eq!((refused.status, refused.header("connection")), (503, Some("close")));
    assert_eq!(connect("192.0.2.8").answer("GET").status, 200, "another client");
    drop(one);
    let began = sidegate::clock::instant();
    while connect("192.0.2.7").answer("GET").status != 200 {
        assert!(began.elapsed() < crate::support::PATIENCE, "its place is never free again");
    }
    assert_eq!(once_more(&mut two), 200);
}

fn once_more(client: &mut Client) -> u16 {
    client.send(Request::get("/").bytes());
    client.answer("GET").status
}

#[test]
fn a_peer_counts_where_there_is_no_balancer() {
    let upstream = Upstream::echo();
    let sidecar = listening(&upstream, "", "[listeners.limits]\nconnections_per_ip = 1\n");
    let mut kept = Client::connect(sidecar.address());
    assert_eq!(once_more(&mut kept), 200);
    assert_eq!(once(sidecar.address(), &Request::get("/")).status, 503);
    assert_eq!(once_more(&mut kept), 200);
}
