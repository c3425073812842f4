//! An API that also listens where others reach it is told of; one that listens on this machine alone is not.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

use sidegate::clock::{Clock, instant};

use crate::support::PATIENCE;
use crate::support::client::{Request, once};
use crate::support::sidecar::{Home, Kind, Sidecar};

#[test]
fn an_upstream_that_answers_beside_the_loopback_is_told_of_everywhere() {
    let is_reached = |ip: &IpAddr| ip.is_ipv4() && !ip.is_loopback();
    let own = if_addrs::get_if_addrs().unwrap().iter().map(if_addrs::Interface::ip).find(is_reached);
    let own = own.expect("this machine has no address but those of the loopback: give it one (ip address add 192.0.2.10/32 dev lo)");
    let (open, closed) = (TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap(), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let home = Home::new(
        Kind::Embedded,
        &format!(
            "[ops]\nlisten = \"127.0.0.1:0\"\n[upstreams.main]\nurl = \"http://127.0.0.1:{}\"\n[upstreams.sandbox]\nurl = \"http://localhost:{}\"\n",
            port(&open),
            port(&closed)
        ),
    );
    let sidecar = Sidecar::in_home(home, Clock::System);
    let ask = |path: &str| once(sidecar.ops(), &Request::get(path));
    let began = instant();
    let told = loop {
        let told = ask("/readyz?verbose");
        if told.text().contains("[!]upstream main ") {
            break told;
        }
        assert!(began.elapsed() < PATIENCE, "{}", told.text());
    };
    assert_eq!(told.status, 200, "it is no reason to be sent nothing");
    assert!(told.text().contains(&format!("answers at {own}:{}", port(&open))), "{}", told.text());
    assert!(!told.text().contains("sandbox"), "{}", told.text());
    let metrics = ask("/metrics").text();
    assert!(metrics.contains("sidegate_upstream_exposed{upstream=\"main\"} 1\n"), "{metrics}");
    assert!(metrics.contains("sidegate_upstream_exposed{upstream=\"sandbox\"} 0\n"), "{metrics}");
}
