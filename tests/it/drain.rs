//! SIGTERM: not ready and `Connection: close` at once, served for `drain_delay`, then refused; what is in flight may finish.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use crate::support::client::{Client, Request, once};
use crate::support::process::{Lines, Serve, signal};
use crate::support::sidecar::{Home, Kind};
use crate::support::upstream::Upstream;
use sidegate::clock::Clock;
use sidegate::config::sections::AccessLog;

/// An upstream whose answers to `/slow` wait until the sender says so or is gone.
fn upstream() -> (Upstream, Sender<()>) {
    let (release, released) = channel();
    let released = Arc::new(Mutex::new(released));
    let upstream = Upstream::start(move |exchange| {
        exchange.read_body();
        if exchange.request.target == "/slow" {
            let _ = released.lock().unwrap().recv();
        }
        exchange.answer(200, &[], b"ok");
    });
    (upstream, release)
}

fn home(upstream: &Upstream, shutdown: &str) -> Home {
    let url = upstream.url();
    Home::new(
        Kind::Embedded,
        &format!("upstream = \"{url}\"\n[[routes]]\nname = \"all\"\nmatch = \"* /**\"\nauth = \"none\"\n[shutdown]\n{shutdown}\n"),
    )
}

fn says(lines: &Lines, what: &str) {
    assert!(lines.find(|line| line.contains(what).then_some(())).is_some(), "{what}: {}", lines.text());
}

fn in_flight(serve: &Serve, upstream: &Upstream) -> Client {
    let mut client = Client::connect(serve.address);
    client.send(Request::get("/slow").bytes());
    upstream.wait(|all| all.iter().any(|request| request.target == "/slow"));
    client
}

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

#[test]
fn until_drain_delay_has_passed_newcomers_are_served_and_no_connection_is_kept() {
    let (upstream, _release) = upstream();
    let home = home(&upstream, "drain_delay = \"1h\"\ndrain_timeout = \"2h\"");
    let serve = Serve::start(&home.config_file());
    let mut kept = Client::connect(serve.address);
    kept.send(Request::get("/before").bytes());
    assert_eq!(kept.answer("GET").header("connection"), None);
    signal(serve.id(), "TERM");
    says(&serve.stderr, "stopping: not ready");
    kept.send(Request::get("/during").bytes());
    let answer = kept.answer("GET");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(kept.is_closed());
    for _ in 0..4 {
        let newcomer = once(serve.address, &Request::get("/newcomer"));
        assert_eq!((newcomer.status, newcomer.header("connection")), (200, Some("close")));
    }
}

#[test]
fn after_drain_delay_newcomers_are_refused_and_what_is_in_flight_is_finished() {
    let (upstream, release) = upstream();
    let home = home(&upstream, "drain_delay = \"100ms\"\ndrain_timeout = \"1h\"");
    let serve = Serve::start(&home.config_file());
    let mut slow = in_flight(&serve, &upstream);
    signal(serve.id(), "TERM");
    says(&serve.stderr, "no longer listening");
    assert!(refuses(serve.address), "a request in flight keeps the socket open");
    release.send(()).unwrap();
    let answer = slow.answer("GET");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let (status, stdout, stderr) = serve.wait();
    assert!(status.success(), "{status}");
    says(&stderr, "no request was cut off");
    assert!(!stdout.text().contains("error.type"), "{}", stdout.text());
}

#[test]
fn a_request_that_was_on_its_way_as_the_drain_began_is_served() {
    let (upstream, _release) = upstream();
    let home = home(&upstream, "drain_delay = \"0s\"\ndrain_timeout = \"1h\"");
    let serve = Serve::start(&home.config_file());
    let mut idle: Vec<Client> = (0..2).map(|_| Client::connect(serve.address)).collect();
    for client in &mut idle {
        client.send(Request::get("/before").bytes());
        assert_eq!(client.answer("GET").header("connection"), None);
    }
    signal(serve.id(), "TERM");
    says(&serve.stderr, "no longer listening");
    idle[0].send(Request::get("/on-its-way").bytes());
    let answer = idle[0].answer("GET");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    // Nobody waits for the other one's.
    let (status, _, _) = serve.wait();
    assert!(status.success(), "{status}");
    assert!(idle[1].is_closed());
}

#[test]
fn who_leaves_is_not_ready_at_once() {
    let upstream = Upstream::echo();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"", upstream.url()));
    let mut config = home.config.clone();
    config.log.access = AccessLog::Off;
    let running = sidegate::app::start(&config, Clock::System).unwrap();
    let ready = || once(running.address("ops").unwrap(), &Request::get("/readyz")).status;
    assert_eq!(ready(), 200);
    running.leave();
    assert_eq!(ready(), 503);
    running.stop();
}

#[test]
fn a_request_that_outlasts_drain_timeout_is_logged_as_cut_off_by_us() {
    let (upstream, _release) = upstream();
    let home = home(&upstream, "drain_delay = \"0s\"\ndrain_timeout = \"200ms\"");
    let serve = Serve::start(&home.config_file());
    let mut slow = in_flight(&serve, &upstream);
    let (status, stdout, stderr) = serve.stop();
    assert!(status.success(), "{status}");
    assert!(slow.try_answer("GET").is_none());
    says(&stdout, "\"error.type\":\"shutdown\"");
    says(&stderr, "requests cut off: 1");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for delay in ["0s", "1h"] {
        let (upstream, _release) = upstream();
        let home = home(&upstream, &format!("drain_delay = \"{delay}\"\ndrain_timeout = \"1h\""));
        let serve = Serve::start(&home.config_file());
        let mut slow = in_flight(&serve, &upstream);
        signal(serve.id(), "TERM");
        says(&serve.stderr, if delay == "0s" { "no longer listening" } else { "stopping: not ready" });
        let (status, stdout, stderr) = serve.stop();
        assert!(status.success(), "{status}");
        assert!(slow.try_answer("GET").is_none());
        says(&stdout, "\"error.type\":\"shutdown\"");
        says(&stderr, "another signal");
    }
}
