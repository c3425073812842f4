//! Many sidecars in this process over one store, a load that never stops asking, and a poll that tells when a change has arrived.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sidegate::clock::{Clock, instant};
use toml::Table;

use super::PATIENCE;
use super::client::{Answer, Client, Request};
use super::desk::Desk;
use super::seed;
use super::sidecar::{Home, Kind, Sidecar, merge};
use super::upstream::Upstream;

pub(crate) struct Fleet {
    pub(crate) sidecars: Vec<Sidecar>,
    pub(crate) clock: Clock,
    // Last: it judges what it was sent.
    pub(crate) upstream: Upstream,
}

impl Fleet {
    /// One sidecar over each of these URLs of the same store, by the machine's clock. `text` is what else proxy.toml says.
    pub(crate) fn start(urls: &[String], text: &str) -> Self {
        Self::with_clock(urls, text, Clock::System)
    }

    pub(crate) fn with_clock(urls: &[String], text: &str, clock: Clock) -> Self {
        let upstream = Upstream::echo();
        let sidecars: Vec<Sidecar> = urls.iter().map(|url| Sidecar::in_home(home(url, &upstream, text), clock.clone())).collect();
        Desk::open(&sidecars[0].home.config).wait_for_everybody(sidecars.len());
        Self { sidecars, clock, upstream }
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.sidecars.iter().map(Sidecar::address).collect()
    }

    /// Where management happens: the first one's configuration.
    pub(crate) fn home(&self) -> &Home {
        &self.sidecars[0].home
    }

    pub(crate) fn table(&self) -> seed::Table {
        self.home().table()
    }

    pub(crate) fn poll(&self) -> Poll {
        Poll { clients: self.addresses().into_iter().map(Client::connect).collect() }
    }
}

/// A place for a sidecar over a store that others share. Nobody is throttled: all clients have one address here.
pub(crate) fn home(store: &str, upstream: &Upstream, text: &str) -> Home {
    let mut table: Table = format!(
        "upstream = \"{}\"\n[store]\nurl = \"{store}\"\n[runtime]\nworkers = 1\n[restrictions]\nguess_throttle = {{ failures = 1000000, per = \"1s\" }}",
        upstream.url()
    )
    .parse()
    .unwrap();
    merge(&mut table, text.parse().unwrap_or_else(|error| panic!("{error}\n{text}")));
    Home::from_table(Kind::Embedded, table)
}

/// A connection to each sidecar.
pub(crate) struct Poll {
    clients: Vec<Client>,
}

impl Poll {
    /// Every sidecar's answer.
    pub(crate) fn ask(&mut self, request: &Request) -> Vec<Answer> {
        let bytes = request.bytes();
        self.clients.iter_mut().for_each(|client| client.send(&bytes));
        self.clients.iter_mut().map(|client| client.answer(&request.method)).collect()
    }

    /// Asks each until it has given this status; the time from `since` to its first such answer. None goes back afterwards.
    #[track_caller]
    pub(crate) fn until(&mut self, request: &Request, status: u16, since: Instant) -> Vec<Duration> {
        let bytes = request.bytes();
        let mut reached = Vec::new();
        let mut waiting: Vec<usize> = (0..self.clients.len()).collect();
        while !waiting.is_empty() {
            assert!(since.elapsed() < PATIENCE, "not yet on sidecars {waiting:?}");
            for index in &waiting {
                self.clients[*index].send(&bytes);
            }
            waiting.retain(|index| {
                let is = self.clients[*index].answer(&request.method).status == status;
                reached.extend(is.then(|| since.elapsed()));
                !is
            });
        }
        let afterwards: Vec<u16> = self.ask(request).iter().map(|answer| answer.status).collect();
        assert!(afterwards.iter().all(|now| *now == status), "one went back: {afterwards:?}");
        reached
    }
}

/// What a request under load came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// When it was sent.
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    pub(crate) sidecar: usize,
    pub(crate) key: usize,
    /// 0 = the connection ended instead.
    pub(crate) status: u16,
}

/// Connections that ask without end, each with the next key at the next sidecar.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Sample>>>,
}

struct Shared {
    addresses: Vec<SocketAddr>,
    keys: Vec<String>,
    stop: Mutex<bool>,
    stopped: Condvar,
    asked: AtomicUsize,
}

impl Load {
    /// `pause` is what a connection waits between two requests.
    pub(crate) fn start(addresses: Vec<SocketAddr>, keys: Vec<String>, connections: usize, pause: Duration) -> Self {
        let (stop, stopped, asked) = (Mutex::default(), Condvar::new(), AtomicUsize::new(0));
        let shared = Arc::new(Shared { addresses, keys, stop, stopped, asked });
        let threads = (0..connections).map(|index| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.ask(index, pause))
        });
        Self { threads: threads.collect(), shared }
    }

    /// Waits until so many more requests were answered.
    pub(crate) fn wait_for(&self, more: usize) {
        let began = instant();
        let until = self.shared.asked.load(Ordering::Acquire) + more;
        while self.shared.asked.load(Ordering::Acquire) < until {
            assert!(began.elapsed() < PATIENCE, "the load has stopped");
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Ends it: every request in the order of its sending.
    pub(crate) fn stop(self) -> Vec<Sample> {
        *self.shared.stop.lock().unwrap() = true;
        self.shared.stopped.notify_all();
        let mut samples: Vec<Sample> = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        samples.sort_by_key(|sample| sample.at);
        samples
    }
}

impl Shared {
    fn ask(&self, first: usize, pause: Duration) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut clients: Vec<Option<Client>> = self.addresses.iter().map(|_| None).collect();
        for turn in first.. {
            let (sidecar, key) = (turn % clients.len(), (turn * 7 + turn / clients.len()) % self.keys.len());
            let mut client = clients[sidecar].take().unwrap_or_else(|| Client::connect(self.addresses[sidecar]));
            let at = instant();
            client.send(Request::get("/load").bearer(&self.keys[key]).bytes());
            let answer = client.try_answer("GET");
            let status = answer.as_ref().map_or(0, |answer| answer.status);
            samples.push(Sample { at, took: at.elapsed(), sidecar, key, status });
            let closes = answer.is_none_or(|answer| answer.header("Connection") == Some("close"));
            clients[sidecar] = (!closes).then_some(client);
            self.asked.fetch_add(1, Ordering::AcqRel);
            let stop = self.stop.lock().unwrap();
            if *self.stopped.wait_timeout_while(stop, pause, |stop| !*stop).unwrap().0 {
                break;
            }
        }
        samples
    }
}

/// Times, to print.
pub(crate) struct Figures(Vec<Duration>);

impl Figures {
    pub(crate) fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort();
        assert!(!times.is_empty(), "nothing was measured");
        Self(times)
    }

    /// The time that this share of them did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.0[((self.0.len() * percent).div_ceil(100).max(1)) - 1]
    }

    pub(crate) fn max(&self) -> Duration {
        self.percentile(100)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.2?}, p99 {:.2?}, max {:.2?} of {}", self.percentile(50), self.percentile(99), self.max(), self.0.len())
    }
}

/// Whether the long versions are asked for: `SIDEGATE_DRILL=full`.
#[expect(clippy::disallowed_methods, reason = "how long a drill lasts is no configuration of the sidecar")]
pub(crate) fn full() -> bool {
    std::env::var("SIDEGATE_DRILL").is_ok_and(|word| word == "full")
}
