//! Upstreams over TLS: verified always, spoken HTTP/1.1 with, and what is wrong with a certificate stays in our log.

use std::net::SocketAddr;
use std::sync::mpsc::channel;

use crate::support::PATIENCE;
use crate::support::client::{Client, Request, once};
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::stream::Address;
use crate::support::terminator::Terminator;
use crate::support::upstream::Upstream;

fn tcp(upstream: &Upstream) -> SocketAddr {
    match upstream.address {
        Address::Tcp(address) => address,
        Address::Unix(_) => panic!("a Unix socket"),
    }
}

fn config(url: &str, tls: &str) -> String {
    format!("[upstreams.main]\nurl = \"{url}\"\n[upstreams.main.tls]\n{tls}\n[runtime]\nworkers = 1")
}

fn trusting(terminator: &Terminator) -> String {
    format!("ca_file = \"{}\"", terminator.ca_file().display())
}

#[test]
fn requests_go_over_one_verified_connection() {
    let upstream = Upstream::echo();
    let terminator = Terminator::start(tcp(&upstream), "localhost", &["h2", "http/1.1"]);
    let url = format!("https://localhost:{}", terminator.address.port());
    let sidecar = Sidecar::start(&config(&url, &trusting(&terminator)));
    let key = sidecar.home.issue().secret;
    for body in ["one", "two", "three"] {
        let answer = once(sidecar.address(), &Request::new("POST", "/").bearer(&key).body(body));
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
    }
    assert_eq!(upstream.recorded().len(), 3);
    assert_eq!(terminator.spoken(), [Some("http/1.1".to_owned())], "one connection, and never another protocol than asked for");
}

#[test]
fn an_address_and_a_name_of_its_own_are_verified_too() {
    let upstream = Upstream::echo();
    for (name, tls) in [("127.0.0.1", ""), ("app.internal", "server_name = \"app.internal\"")] {
        let terminator = Terminator::start(tcp(&upstream), name, &[]);
        let url = format!("https://{}", terminator.address);
        let sidecar = Sidecar::start(&config(&url, &format!("{}\n{tls}", trusting(&terminator))));
        let key = sidecar.home.issue().secret;
        assert_eq!(once(sidecar.address(), &Request::get("/").bearer(&key)).status, 200, "{name}");
    }
}

#[test]
fn a_certificate_that_is_not_believed_is_a_502_whose_cause_is_logged_only() {
    let upstream = Upstream::echo();
    let terminator = Terminator::start(tcp(&upstream), "localhost", &[]);
    let stranger = Terminator::start(tcp(&upstream), "localhost", &[]);
    let url = format!("https://localhost:{}", terminator.address.port());
    for (tls, cause) in
        [(trusting(&stranger), "certificate"), (format!("{}\nserver_name = \"other.internal\"", trusting(&terminator)), "other.internal")]
    {
        let home = Home::new(Kind::Embedded, &config(&url, &tls));
        let key = home.issue().secret;
        let serve = Serve::start(&home.config_file());
        let answer = once(serve.address, &Request::get("/").bearer(&key));
        assert_eq!((answer.status, answer.json()["code"].as_str()), (502, Some("UPSTREAM_UNAVAILABLE")));
        assert!(!answer.text().contains(cause), "{}", answer.text());
        let line = serve.access(1).remove(0);
        assert_eq!(line["reason"], "upstream_unavailable");
        assert!(line["detail"].as_str().unwrap().contains(cause), "{line}");
    }
    assert_eq!(upstream.recorded().len(), 0);
}

#[test]
fn an_upstream_that_speaks_no_tls_is_a_502() {
    let upstream = Upstream::echo();
    let terminator = Terminator::start(tcp(&upstream), "localhost", &[]);
    let plain = Plain::start();
    let sidecar = Sidecar::start(&config(&format!("https://{}", plain.0), &trusting(&terminator)));
    let key = sidecar.home.issue().secret;
    assert_eq!(once(sidecar.address(), &Request::get("/").bearer(&key)).status, 502);
}

/// Answers whatever comes in the clear.
struct Plain(SocketAddr);

impl Plain {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = std::io::Read::read(&mut stream, &mut [0; 1024]);
                let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
        });
        Self(address)
    }
}

#[test]
fn a_client_that_leaves_ends_its_request_behind_tls_too() {
    let (ended, end) = channel();
    let upstream = Upstream::start(move |exchange| {
        exchange.wait_for_the_end();
        ended.send(()).unwrap();
    });
    let terminator = Terminator::start(tcp(&upstream), "localhost", &[]);
    let url = format!("https://localhost:{}", terminator.address.port());
    let sidecar = Sidecar::start(&config(&url, &trusting(&terminator)));
    let key = sidecar.home.issue().secret;
    let mut client = Client::connect(sidecar.address());
    client.send(Request::new("POST", "/").bearer(&key).header("Content-Length", "3").bytes());
    upstream.wait(|seen| seen.len() == 1);
    drop(client);
    end.recv_timeout(PATIENCE).unwrap();
}
