//! Builds everything from a configuration: compile (all problems at once), then start in order; stop in reverse.

use std::net::SocketAddr;

use crate::clock::Clock;
use crate::config::problem::Problems;
use crate::config::sections::Config;

/// What is compiled from a configuration.
#[derive(Debug)]
pub struct App;

/// Compiles everything, reporting all problems.
#[must_use]
pub fn compile(_: &Config, _: &mut Problems) -> Option<App> {
    Some(App)
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
