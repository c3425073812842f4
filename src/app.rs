//! Builds everything from a configuration: compile (all problems at once), then start in order; stop in reverse.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::answer::Answers;
use crate::clock::Clock;
use crate::config::problem::Problems;
use crate::config::sections::{Config, Listener, ListenerLimits};
use crate::forward::upstream::Upstreams;
use crate::gate::Gate;
use crate::server::tls;
use crate::telemetry::access;

/// Everything that is compiled from a configuration: one immutable snapshot.
#[derive(Debug)]
pub struct App {
    /// Judges requests.
    pub gate: Gate,
    /// What refusals say.
    pub answers: Answers,
    /// Where requests go.
    pub upstreams: Upstreams,
    /// Where they come from.
    pub listeners: Vec<ListenerSettings>,
    /// What is logged of them.
    pub log: Arc<access::Settings>,
}

/// A listener, compiled but not bound.
#[derive(Debug)]
pub struct ListenerSettings {
    /// Its name.
    pub name: Arc<str>,
    /// `host:port` or `unix:/path`.
    pub address: String,
    /// TLS.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Bounds.
    pub limits: ListenerLimits,
}

/// A running sidecar, in this process. Dropping it without [`Running::stop`] stops it abruptly.
#[derive(Debug)]
pub struct Running {}

/// Starts a sidecar: store, workers, listeners, ops. Returns when every listener accepts.
///
/// # Errors
/// Problems of the configuration, or an address that cannot be bound.
pub fn start(_config: &Config, _clock: Clock) -> anyhow::Result<Running> {
    todo!()
}

impl Running {
    /// Address of the listener with this name (`public`, or the ops listener as `ops`); `None` for Unix sockets.
    #[must_use]
    pub fn address(&self, _listener: &str) -> Option<SocketAddr> {
        todo!()
    }

    /// Drains (in-flight requests finish, at most `shutdown.drain_timeout`) and stops every thread.
    pub fn stop(self) {
        todo!()
    }
}
