//! What a sidecar says of itself: on the control socket, and to the management API. Nothing of a request or a key.

use std::sync::Arc;

use serde::Serialize;

use super::health::Health;
use super::reload::Standing;
use crate::clock::Timestamp;

/// A sidecar, as it is.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    version: &'static str,
    pid: u32,
    state: &'static str,
    ready: bool,
    started_at: Timestamp,
    uptime_s: u64,
    configuration: Arc<Standing>,
    listeners: Vec<ListenerStatus>,
    connections: usize,
    requests_in_flight: u64,
}

#[derive(Debug, Serialize)]
struct ListenerStatus {
    name: String,
    address: String,
    tls: bool,
    connections: usize,
}

impl Health {
    /// How the sidecar is.
    pub(crate) fn status(&self) -> Status {
        let doors = self.reloader.doors().borrow().clone();
        let listeners: Vec<_> = doors
            .iter()
            .map(|door| {
                let terms = door.listener.terms.load();
                let (name, tls) = (terms.name.to_string(), terms.tls.is_some());
                ListenerStatus { name, address: door.bound.to_string(), tls, connections: door.listener.open() }
            })
            .collect();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            state: self.state(),
            ready: self.readiness().0,
            started_at: self.started_at,
            uptime_s: self.uptime().as_secs(),
            configuration: self.reloader.standing(),
            connections: listeners.iter().map(|listener| listener.connections).sum(),
            listeners,
            requests_in_flight: self.tallies.in_flight(),
        }
    }
}
