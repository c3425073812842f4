//! A sidecar while it runs: its threads, in the order they start and stop.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::ops::Ops;
use super::{App, ListenerSettings, Snapshot};
use crate::authn::KeyTable;
use crate::clock::{Clock, instant};
use crate::config::sections::Config;
use crate::gate::Gate;
use crate::server::bind::{Bound, bind};
use crate::server::life::Stage;
use crate::server::quota;
use crate::server::worker::{self, Doors, Listener, Shared};
use crate::telemetry::access::{AccessLog, Writer};

/// A running sidecar, in this process. Dropping it without [`Running::stop`] stops it abruptly.
#[derive(Debug)]
pub struct Running {
    stage: Stopper,
    workers: Vec<JoinHandle<usize>>,
    /// Closed when no address is listened on any more.
    listening: Receiver<()>,
    /// Closed when the last worker has ended.
    working: Receiver<()>,
    ops: Arc<Ops>,
    addresses: Vec<Address>,
    drain_timeout: Duration,
    log: Arc<Writer>,
    // Last: workers and ops ask it to their end.
    key_table: Option<KeyTable>,
}

/// A bound address.
#[derive(Debug)]
struct Address {
    name: String,
    /// As people read it.
    text: String,
    socket: Option<SocketAddr>,
    file: Option<PathBuf>,
}

/// Stops a sidecar at once, from another thread.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<watch::Sender<Stage>>);

impl Stopper {
    /// Breaks off what is running.
    pub fn stop_now(&self) {
        self.advance(Stage::Stop);
    }

    /// Never back.
    fn advance(&self, to: Stage) {
        self.0.send_if_modified(|stage| std::mem::replace(stage, to.max(*stage)) < to);
    }
}

impl Running {
    /// Starts: store, sockets, workers, ops.
    ///
    /// # Errors
    /// The store cannot be opened, an address cannot be bound, a thread cannot be started.
    pub fn start(app: App, config: &Config, clock: Clock, access_log: Box<dyn Write + Send>) -> anyhow::Result<Self> {
        let App { rules, answers, upstreams, listeners, identity_headers, log } = app;
        let key_table = KeyTable::start(config, identity_headers, &clock).map_err(|why| anyhow::anyhow!("store: {why}"))?;
        let listeners = listeners.into_iter().map(listen).collect::<anyhow::Result<Vec<_>>>()?;
        let mut addresses: Vec<_> = listeners.iter().map(|(listener, bound)| describe(&listener.name, bound)).collect();
        let (listeners, bound): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
        let (doors, listening) = Doors::new(bound);
        let writer = Arc::new(Writer::start(access_log)?);
        let gate = Gate::new(rules, Arc::clone(key_table.authenticator()));
        let shared = Arc::new(Shared {
            app: ArcSwap::from_pointee(Snapshot { gate, answers, upstreams }),
            listeners,
            log: AccessLog::new(log, Arc::clone(&writer)),
            clock,
            workers: quota::workers(config.runtime.workers),
        });
        let ops = Arc::new(Ops::new(Arc::clone(&shared), &key_table));
        if !config.ops.listen.is_empty() {
            let bound = bind(&config.ops.listen).with_context(|| format!("ops.listen: cannot listen on {}", config.ops.listen))?;
            addresses.push(describe("ops", &bound));
            key_table.runtime().spawn(Arc::clone(&ops).serve(bound));
        }
        let stage = Stopper(Arc::new(watch::Sender::new(Stage::Serve)));
        let (at_work, working) = mpsc::channel();
        let mut running = Self {
            stage,
            workers: Vec::new(),
            listening,
            working,
            ops,
            addresses,
            drain_timeout: config.shutdown.drain_timeout.0,
            log: writer,
            key_table: Some(key_table),
        };
        for index in 0..shared.workers {
            let (shared, doors, at_work) = (Arc::clone(&shared), Arc::clone(&doors), at_work.clone());
            let stage = running.stage.0.subscribe();
            let work = move || {
                let _at_work = at_work;
                worker::run(shared, doors, stage).unwrap_or_else(|error| {
                    tracing::error!(%error, "a worker ended");
                    0
                })
            };
            running.workers.push(thread::Builder::new().name(format!("worker-{index}")).spawn(work)?);
        }
        running.ops.serving();
        Ok(running)
    }

    /// Address of the listener with this name (`public`, or the ops listener as `ops`); `None` for Unix sockets.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses.iter().find(|address| address.name == listener).and_then(|address| address.socket)
    }

    /// Names and addresses of all listeners, as people read them.
    pub fn listeners(&self) -> impl Iterator<Item = (&str, &str)> {
        self.addresses.iter().map(|address| (address.name.as_str(), address.text.as_str()))
    }

    /// The access log's writer: lines dropped so far.
    #[must_use]
    pub fn access_log(&self) -> &Writer {
        &self.log
    }

    /// From now on `/readyz` says no and every answer closes its connection; new connections are still served.
    pub fn leave(&self) {
        self.ops.draining();
        self.stage.advance(Stage::Leave);
    }

    /// Stops from another thread, or a signal.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stage.clone()
    }

    /// Drains (no new connections, in-flight requests finish, at most `shutdown.drain_timeout`) and stops every thread.
    pub fn stop(self) {
        let timeout = self.drain_timeout;
        self.stop_within(timeout);
    }

    /// The same with another limit.
    pub fn stop_within(mut self, timeout: Duration) {
        self.leave();
        self.remove_files();
        self.stage.advance(Stage::Drain);
        let started = instant();
        if closes_within(&self.listening, timeout) {
            tracing::info!("no longer listening: new connections are refused, requests in flight may finish");
        }
        closes_within(&self.working, timeout.saturating_sub(started.elapsed()));
        match self.end() {
            0 => tracing::info!("stopped: no request was cut off"),
            requests => tracing::warn!("stopped: requests cut off: {requests}"),
        }
    }

    /// Before the sockets are closed: from then on a successor may bind the same paths.
    fn remove_files(&mut self) {
        for file in self.addresses.iter_mut().filter_map(|address| address.file.take()) {
            let _ = std::fs::remove_file(file);
        }
    }

    /// How many requests were cut off by that.
    fn end(&mut self) -> usize {
        self.remove_files();
        self.stage.stop_now();
        let cut_off = self.workers.drain(..).map(|worker| worker.join().unwrap_or_default()).sum();
        self.key_table = None;
        self.log.close();
        cut_off
    }
}

/// Nothing is ever sent on it.
fn closes_within(channel: &Receiver<()>, timeout: Duration) -> bool {
    channel.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn listen(settings: ListenerSettings) -> anyhow::Result<(Arc<Listener>, Bound)> {
    let ListenerSettings { name, address, tls, speech, limits } = settings;
    let bound = bind(&address).with_context(|| format!("listener {name}: cannot listen on {address}"))?;
    Ok((Arc::new(Listener { name, tls: tls.map(TlsAcceptor::from), speech, limits, open: AtomicUsize::new(0) }), bound))
}

fn describe(name: &str, bound: &Bound) -> Address {
    Address { name: name.to_owned(), text: bound.to_string(), socket: bound.address(), file: bound.file().map(Path::to_owned) }
}
