//! Whether an upstream on this machine also answers at addresses that others reach: whoever finds its port there needs no key. Looked
//! for at start and from time to time, by connecting; told in the log, on `/readyz?verbose` and as a metric. It changes nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::health::Health;

/// From this machine to itself: more is no answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The first pause between two looks; an API may start later than its sidecar.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(5);

/// What was found last.
#[derive(Debug, Default)]
pub(crate) struct Exposed(Mutex<Vec<Found>>);

/// An upstream, and where else it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its name in the configuration.
    pub(crate) upstream: String,
    /// An address that others may reach.
    pub(crate) at: SocketAddr,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "upstream {} answers at {} too, where nobody needs a key: let it listen on 127.0.0.1 alone", self.upstream, self.at)
    }
}

impl Exposed {
    /// What was found last.
    pub(crate) fn found(&self) -> Vec<Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, now: &[Found]) {
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), now.to_vec());
        now.iter().filter(|found| !before.contains(found)).for_each(|found| tracing::warn!("{found}"));
        for Found { upstream, at } in before.iter().filter(|found| !now.contains(found)) {
            tracing::info!("upstream {upstream} does not answer at {at} any more");
        }
    }
}

/// Looks, for ever: often at first, then every few minutes.
pub(super) async fn watch(health: &Health) {
    let mut pause = PAUSE;
    loop {
        let addresses = spawn_blocking(addresses).await.unwrap_or_default();
        let mut found = Vec::new();
        for (upstream, port) in upstreams(health) {
            for at in addresses.iter().map(|ip| SocketAddr::new(*ip, port)) {
                if !is_ours(health, at) && answers(at).await {
                    found.push(Found { upstream: upstream.clone(), at });
                }
            }
        }
        health.exposed.replace(&found);
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Those that are meant for this machine alone, and their ports.
fn upstreams(health: &Health) -> Vec<(String, u16)> {
    let app = health.reloader.app().load();
    let is_here = |host: &str| host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let places = app.upstreams.targets().filter_map(|target| Some((&target.name, target.place()?)));
    places.filter(|(_, (host, _))| is_here(host)).map(|(name, (_, port))| (name.clone(), port)).collect()
}

/// Of this machine, as others reach it. Those of one link only are no service's.
fn addresses() -> Vec<IpAddr> {
    let found = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::debug!(%error, "the addresses of this machine are not known");
        Vec::new()
    });
    let is_of_link = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    found.iter().map(if_addrs::Interface::ip).filter(|ip| !ip.is_loopback() && !is_of_link(ip)).collect()
}

/// Whether a listener of the sidecar is there: it may have the port of the API at another address.
fn is_ours(health: &Health, at: SocketAddr) -> bool {
    let doors = health.reloader.doors();
    let doors = doors.borrow();
    let mut bound = doors.iter().filter_map(|door| door.bound.address());
    bound.any(|bound| bound.port() == at.port() && (bound.ip() == at.ip() || bound.ip().is_unspecified()))
}

async fn answers(at: SocketAddr) -> bool {
    matches!(timeout(PATIENCE, TcpStream::connect(at)).await, Ok(Ok(_)))
}
