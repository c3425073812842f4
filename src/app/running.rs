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
use crate::server::quota;
use crate::server::worker::{self, Listener, Shared, Stage};
use crate::telemetry::access::{AccessLog, Writer};

/// A running sidecar, in this process. Dropping it without [`Running::stop`] stops it abruptly.
#[derive(Debug)]
pub struct Running {
    stage: Stopper,
    workers: Vec<JoinHandle<()>>,
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
        self.0.send_replace(Stage::Stop);
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
        let mut addresses: Vec<_> = listeners.iter().map(|listener| describe(&listener.name, &listener.bound)).collect();
        let writer = Arc::new(Writer::start(access_log)?);
        let gate = Gate::new(rules, Arc::clone(key_table.authenticator()));
        let shared = Arc::new(Shared {
            app: ArcSwap::from_pointee(Snapshot { gate, answers, upstreams }),
            listeners,
            log: AccessLog::new(log, Arc::clone(&writer)),
            clock,
            workers: quota::workers(config.runtime.workers),
        });
        let ops = Arc::new(Ops::new(Arc::clone(&shared), Arc::clone(key_table.authenticator())));
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
            working,
            ops,
            addresses,
            drain_timeout: config.shutdown.drain_timeout.0,
            log: writer,
            key_table: Some(key_table),
        };
        for index in 0..shared.workers {
            let (shared, stage, at_work) = (Arc::clone(&shared), running.stage.0.subscribe(), at_work.clone());
            let work = move || {
                let _at_work = at_work;
                if let Err(error) = worker::run(shared, stage) {
                    tracing::error!(%error, "a worker ended");
                }
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

    /// From now on `/readyz` says no; requests are still served.
    pub fn set_unready(&self) {
        self.ops.draining();
    }

    /// Stops from another thread, or a signal.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stage.clone()
    }

    /// Drains (in-flight requests finish, at most `shutdown.drain_timeout`) and stops every thread.
    pub fn stop(self) {
        let timeout = self.drain_timeout;
        self.stop_within(timeout);
    }

    /// The same with another limit.
    pub fn stop_within(mut self, timeout: Duration) {
        self.set_unready();
        self.remove_files();
        self.stage.0.send_if_modified(|stage| {
            let drains = *stage == Stage::Serve;
            *stage = (*stage).max(Stage::Drain);
            drains
        });
        let started = instant();
        while let Some(left) = timeout.checked_sub(started.elapsed()) {
            match self.working.recv_timeout(left) {
                Err(RecvTimeoutError::Disconnected) => break,
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.end();
    }

    /// Before the sockets are closed: from then on a successor may bind the same paths.
    fn remove_files(&mut self) {
        for file in self.addresses.iter_mut().filter_map(|address| address.file.take()) {
            let _ = std::fs::remove_file(file);
        }
    }

    fn end(&mut self) {
        self.remove_files();
        self.stage.stop_now();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
        self.key_table = None;
        self.log.close();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn listen(settings: ListenerSettings) -> anyhow::Result<Arc<Listener>> {
    let ListenerSettings { name, address, tls, limits } = settings;
    let bound = bind(&address).with_context(|| format!("listener {name}: cannot listen on {address}"))?;
    Ok(Arc::new(Listener { name, bound, tls: tls.map(TlsAcceptor::from), limits, open: AtomicUsize::new(0) }))
}

fn describe(name: &str, bound: &Bound) -> Address {
    Address { name: name.to_owned(), text: bound.to_string(), socket: bound.address(), file: bound.file().map(Path::to_owned) }
}
