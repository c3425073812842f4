//! What is sent again and what never is (product.md §2.13), against an upstream that closes connections at bad moments.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::support::client::{Request, once};
use crate::support::sidecar::Sidecar;
use crate::support::stream::Address;
use crate::support::upstream::{Exchange, Upstream};

struct Scene {
    upstream: Upstream,
    sidecar: Sidecar,
    key: String,
}

impl Scene {
    fn new(handler: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        let upstream = Upstream::start(handler);
        let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n[runtime]\nworkers = 1", upstream.url()));
        let key = sidecar.home.issue().secret;
        Self { upstream, sidecar, key }
    }

    fn status(&self, request: Request) -> u16 {
        once(self.sidecar.address(), &request.bearer(&self.key)).status
    }

    /// How often the request arrived, and on how many connections all came.
    fn arrived(&self, target: &str) -> usize {
        self.upstream.recorded().iter().filter(|seen| seen.target == target).count()
    }
}

/// Serves `/warm`; a connection that has served it closes at the next request, after saying `last_words`.
fn closes_when_reused(last_words: &'static str) -> impl Fn(&mut Exchange<'_>) + Send + Sync {
    let warm = Mutex::new(std::collections::HashSet::new());
    move |exchange| {
        exchange.read_body();
        if warm.lock().unwrap().contains(&exchange.request.connection) {
            exchange.send(last_words.as_bytes());
            return exchange.close();
        }
        if exchange.request.target == "/warm" {
            warm.lock().unwrap().insert(exchange.request.connection);
        }
        exchange.answer(200, &[], b"ok");
    }
}

#[test]
fn what_asks_for_no_change_is_sent_again_when_a_used_connection_closes_without_a_byte() {
    for method in ["GET", "HEAD", "OPTIONS"] {
        let scene = Scene::new(closes_when_reused(""));
        assert_eq!(scene.status(Request::get("/warm")), 200);
        assert_eq!(scene.status(Request::new(method, "/again")), 200, "{method}");
        assert_eq!((scene.arrived("/again"), scene.upstream.connections()), (2, 2), "{method}");
    }
}

#[test]
fn what_may_have_been_done_is_a_502_and_arrives_once() {
    for request in [
        Request::new("POST", "/once"),
        Request::new("POST", "/once").body("pay"),
        Request::new("PUT", "/once").body("x"),
        Request::new("PATCH", "/once").body("x"),
        Request::new("DELETE", "/once"),
        Request::new("BREW", "/once"),
        Request::get("/once").body("a body"),
    ] {
        let scene = Scene::new(closes_when_reused(""));
        assert_eq!(scene.status(Request::get("/warm")), 200);
        assert_eq!(scene.status(request.clone()), 502, "{request:?}");
        assert_eq!(scene.arrived("/once"), 1, "{request:?}");
    }
}

#[test]
fn an_answer_that_has_begun_is_not_asked_for_again() {
    for last_words in ["H", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let scene = Scene::new(closes_when_reused(last_words));
        assert_eq!(scene.status(Request::get("/warm")), 200);
        assert_eq!(scene.status(Request::get("/once")), 502, "{last_words:?}");
        assert_eq!(scene.arrived("/once"), 1);
    }
}

#[test]
fn a_new_connection_that_closes_without_a_byte_is_a_502() {
    let scene = Scene::new(|exchange| {
        exchange.read_body();
        exchange.close();
    });
    assert_eq!(scene.status(Request::get("/once")), 502);
    assert_eq!((scene.arrived("/once"), scene.upstream.connections()), (1, 1));
}

#[test]
fn an_upstream_that_always_closes_is_asked_twice_at_most() {
    let warm = Mutex::new(true);
    let scene = Scene::new(move |exchange| {
        exchange.read_body();
        if std::mem::replace(&mut *warm.lock().unwrap(), false) {
            return exchange.answer(200, &[], b"ok");
        }
        exchange.close();
    });
    assert_eq!(scene.status(Request::get("/warm")), 200);
    assert_eq!(scene.status(Request::get("/again")), 502);
    assert_eq!(scene.arrived("/again"), 2);
}

#[test]
fn every_address_of_a_name_is_tried() {
    // `localhost` may be ::1 first; nobody listens there.
    let upstream = Upstream::echo();
    let Address::Tcp(address) = upstream.address else { panic!("not TCP") };
    let sidecar = Sidecar::start(&format!("upstream = \"http://localhost:{}\"", address.port()));
    let key = sidecar.home.issue().secret;
    assert_eq!(once(sidecar.address(), &Request::get("/").bearer(&key)).status, 200);
}

#[test]
fn an_upstream_that_is_still_starting_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let sidecar = Sidecar::start(&format!("[upstreams.main]\nurl = \"unix:{}\"\nconnect_timeout = \"10s\"", path.display()));
    let key = sidecar.home.issue().secret;
    let address = sidecar.address();
    let (asking, asked) = channel();
    let client = std::thread::spawn(move || {
        let mut client = crate::support::client::Client::connect(address);
        client.send(Request::get("/").bearer(&key).bytes());
        asking.send(()).unwrap();
        client.answer("GET").status
    });
    asked.recv().unwrap();
    let _upstream = Upstream::start_at(&Address::Unix(path), |exchange| exchange.answer(200, &[], b"ok"));
    assert_eq!(client.join().unwrap(), 200);
}

#[test]
fn one_that_never_starts_is_a_502_after_connect_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("unix:{}", directory.path().join("none.sock").display());
    let sidecar = Sidecar::start(&format!("[upstreams.main]\nurl = \"{url}\"\nconnect_timeout = \"100ms\""));
    let key = sidecar.home.issue().secret;
    assert_eq!(once(sidecar.address(), &Request::get("/").bearer(&key)).status, 502);
}
