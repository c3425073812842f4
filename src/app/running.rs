//! A sidecar while it runs: its threads, in the order they start and stop.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

use super::health::Health;
use super::office::Office;
use super::reload::{Origin, Reloader};
use super::{App, admin, control};
use crate::clock::{Clock, instant};
use crate::config::sections::{Config, Shutdown};
use crate::server::bind::bind;
use crate::server::life::Stage;
use crate::server::quota;
use crate::server::worker::{self, Orders, Shared};
use crate::telemetry::access::Writer;

/// A running sidecar, in this process. Dropping it without [`Running::stop`] stops it abruptly.
#[derive(Debug)]
pub struct Running {
    stage: Stopper,
    workers: Vec<JoinHandle<usize>>,
    /// Closed when no address is listened on any more.
    listening: Receiver<()>,
    /// Closed when the last worker has ended.
    working: Receiver<()>,
    health: Arc<Health>,
    office: Option<Office>,
    /// The listeners that are no worker's: name and address.
    own: Vec<(&'static str, Option<SocketAddr>, String)>,
    log: Arc<Writer>,
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
    pub(super) fn advance(&self, to: Stage) {
        self.0.send_if_modified(|stage| std::mem::replace(stage, to.max(*stage)) < to);
    }
}

impl Running {
    /// Starts: store, sockets, workers, ops. With its origin, the configuration can be read again.
    ///
    /// # Errors
    /// The store cannot be opened, an address cannot be bound, a thread cannot be started.
    pub fn start(
        app: App,
        config: &Config,
        origin: Option<Origin>,
        clock: Clock,
        access_log: Box<dyn Write + Send>,
    ) -> anyhow::Result<Self> {
        let log = Arc::new(Writer::start(access_log)?);
        let now = clock.now();
        let (reloader, listening) = Reloader::start(app, config, origin, clock.clone(), Arc::clone(&log))?;
        let reloader = Arc::new(reloader);
        let ops = (!config.ops.listen.is_empty()).then(|| bind(&config.ops.listen)).transpose();
        let ops = ops.with_context(|| format!("ops.listen: cannot listen on {}", config.ops.listen))?;
        let admin = (!config.admin.listen.is_empty()).then(|| admin::bind(&config.admin.listen, &reloader.app().load().admin)).transpose();
        let admin = admin.with_context(|| format!("admin.listen: cannot listen on {}", config.admin.listen))?;
        let stage = Stopper(Arc::new(watch::Sender::new(Stage::Serve)));
        let health = Arc::new(Health::new(Arc::clone(&reloader), stage.clone(), now));
        let shared = Arc::new(Shared {
            app: Arc::clone(reloader.app()),
            clock,
            workers: quota::workers(config.runtime.workers),
            tallies: Arc::clone(&health.tallies),
        });
        // A scrape before the first worker is there tells zeros too.
        for door in reloader.doors().borrow().iter() {
            let name = &door.listener.terms.load().name;
            (0..shared.workers).for_each(|worker| drop(health.tallies.of(name, worker)));
        }
        let (at_work, working) = mpsc::channel();
        let mut running = Self {
            stage,
            workers: Vec::new(),
            listening,
            working,
            own: [("ops", &ops), ("admin", &admin)]
                .into_iter()
                .filter_map(|(name, bound)| bound.as_ref().map(|bound| (name, bound.address(), bound.to_string())))
                .collect(),
            office: Some(Office::start(Arc::clone(&health), ops, control::bind(&config.ops.socket), admin)?),
            health,
            log,
        };
        for index in 0..shared.workers {
            let (shared, at_work) = (Arc::clone(&shared), at_work.clone());
            let orders = Orders { stage: running.stage.0.subscribe(), doors: reloader.doors() };
            let doors = reloader.doors().borrow().clone();
            let work = move || {
                let _at_work = at_work;
                worker::run(shared, index, doors, orders).unwrap_or_else(|error| {
                    tracing::error!(%error, "a worker ended");
                    0
                })
            };
            running.workers.push(thread::Builder::new().name(format!("worker-{index}")).spawn(work)?);
        }
        running.health.serve();
        Ok(running)
    }

    /// Address of the listener with this name (`public`, or `ops` and `admin` for those); `None` for Unix sockets.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        if let Some((_, address, _)) = self.own.iter().find(|(name, _, _)| *name == listener) {
            return *address;
        }
        let doors = self.health.reloader.doors();
        let doors = doors.borrow();
        doors.iter().find(|door| *door.listener.terms.load().name == *listener).and_then(|door| door.bound.address())
    }

    /// Names and addresses of all listeners, as people read them.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, String)> {
        let doors = self.health.reloader.doors();
        let doors = doors.borrow();
        let listeners = doors.iter().map(|door| (door.listener.terms.load().name.to_string(), door.bound.to_string()));
        listeners.chain(self.own.iter().map(|(name, _, text)| ((*name).to_owned(), text.clone()))).collect()
    }

    /// What puts another configuration in the place of this one.
    #[must_use]
    pub fn reloader(&self) -> &Arc<Reloader> {
        &self.health.reloader
    }

    /// How long the sidecar may take to leave, by the configuration in use.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.health.reloader.shutdown()
    }

    /// The access log's writer: lines dropped so far.
    #[must_use]
    pub fn access_log(&self) -> &Writer {
        &self.log
    }

    /// From now on `/readyz` says no and every answer closes its connection; new connections are still served.
    pub fn leave(&self) {
        self.health.leave();
    }

    /// How long that has been so; zero before.
    #[must_use]
    pub fn leaving_for(&self) -> Duration {
        self.health.leaving_for().unwrap_or_default()
    }

    /// Stops from another thread, or a signal.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stage.clone()
    }

    /// Drains (no new connections, in-flight requests finish, at most `shutdown.drain_timeout`) and stops every thread.
    pub fn stop(self) {
        let timeout = self.shutdown().drain_timeout.0;
        self.stop_within(timeout);
    }

    /// The same with another limit.
    pub fn stop_within(mut self, timeout: Duration) {
        self.leave();
        self.close_doors();
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

    fn close_doors(&mut self) {
        self.health.reloader.close_doors();
        if let Some(office) = &mut self.office {
            office.remove_files();
        }
    }

    /// How many requests were cut off by that.
    fn end(&mut self) -> usize {
        self.close_doors();
        self.stage.stop_now();
        let cut_off = self.workers.drain(..).map(|worker| worker.join().unwrap_or_default()).sum();
        self.office = None;
        // Last: workers and ops ask it to their end.
        self.health.reloader.close_tables();
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
