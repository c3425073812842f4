//! Clients that ask without end, of HTTP/1.1 and HTTP/2, of whichever address is ready; every request without its answer is a failure.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use h2::Reason;
use sidegate::clock::instant;

use super::PATIENCE;
use super::client::{Client, Request};
use super::http2::{Http2, head};

/// The addresses that are ready, as a Service of the platform knows them.
pub(crate) struct Service(Mutex<Vec<SocketAddr>>);

impl Service {
    pub(crate) fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(Mutex::new(addresses.into_iter().collect()))
    }

    /// Connects to one of them; none is taken away meanwhile.
    fn connect<T>(&self, connect: impl FnOnce(SocketAddr) -> T) -> T {
        let addresses = self.0.lock().unwrap();
        connect(addresses[fastrand::usize(..addresses.len())])
    }

    pub(crate) fn add(&self, address: SocketAddr) {
        self.0.lock().unwrap().push(address);
    }

    pub(crate) fn remove(&self, address: SocketAddr) {
        self.0.lock().unwrap().retain(|own| *own != address);
    }
}

/// A client that keeps its connection as long as it may, or never; nothing is asked twice that may have been processed.
enum Caller {
    Http1(Option<Client>),
    Http2(Option<Http2>),
    Fresh,
}

impl Caller {
    fn ask(&mut self, service: &Service, request: &Request) -> Result<u16, String> {
        match self {
            Self::Http1(kept) => {
                let mut client = kept.take().unwrap_or_else(|| service.connect(Client::connect));
                client.send(request.bytes());
                let answer = client.try_answer(&request.method).ok_or("the connection ended without an answer")?;
                *kept = (answer.header("connection") != Some("close")).then_some(client);
                Ok(answer.status)
            }
            Self::Fresh => Self::Http1(None).ask(service, request),
            Self::Http2(kept) => loop {
                let client = kept.get_or_insert_with(|| service.connect(Http2::connect));
                // Who is told to leave has sent nothing, or is told with it that this was not processed (RFC 9113 §6.8).
                let Ok(opened) = client.try_open(head(request), true) else {
                    *kept = None;
                    continue;
                };
                match client.try_answer(opened.response) {
                    Err(error) if error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR) => *kept = None,
                    answer => return answer.map(|answer| answer.status).map_err(|error| error.to_string()),
                }
            },
        }
    }
}

/// Clients that ask without end, while something is done to what they ask.
pub(crate) struct Load {
    stop: AtomicBool,
    served: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// One client for each of these requests, of every kind in turn.
    pub(crate) fn during(service: &Service, requests: &[Request], what: impl FnOnce(&Self)) -> Self {
        let load = Self { stop: AtomicBool::new(false), served: AtomicUsize::new(0), failures: Mutex::default() };
        thread::scope(|scope| {
            for (index, request) in requests.iter().enumerate() {
                let load = &load;
                scope.spawn(move || {
                    let mut caller = match index % 3 {
                        0 => Caller::Http1(None),
                        1 => Caller::Http2(None),
                        _ => Caller::Fresh,
                    };
                    while !load.stop.load(Ordering::Relaxed) {
                        match caller.ask(service, request) {
                            Ok(200) => drop(load.served.fetch_add(1, Ordering::Relaxed)),
                            other => load.failures.lock().unwrap().push(format!("{}: {other:?}", request.target)),
                        }
                    }
                });
            }
            what(&load);
            load.stop.store(true, Ordering::Relaxed);
        });
        load
    }

    /// Waits until so many more are served.
    pub(crate) fn goes_on(&self, more: usize) {
        let (began, before) = (instant(), self.served.load(Ordering::Relaxed));
        while self.served.load(Ordering::Relaxed) < before + more && self.failures.lock().unwrap().is_empty() {
            assert!(began.elapsed() < PATIENCE, "the load has stopped");
            thread::yield_now();
        }
    }

    /// How many requests were served; it is all of them.
    pub(crate) fn assert_nothing_failed(&self) -> usize {
        let failures = self.failures.lock().unwrap();
        assert!(failures.is_empty(), "{} failed: {failures:?}", failures.len());
        self.served.load(Ordering::Relaxed)
    }
}
