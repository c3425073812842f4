//! One worker: a thread with its own runtime, its own upstream connections and its clone of every listener.
//! Nothing on the request's path is shared with another worker but the snapshot and the key cache.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, watch};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_rustls::TlsAcceptor;

use super::bind::{Bound, Listening};
use super::body::Upload;
use super::connection::{self, Speech};
use super::exchange::Session;
use super::life::{Life, Pulse, Stage, Timeouts};
use super::record::Scribe;
use super::socket::Socket;
use crate::app::Snapshot;
use crate::clock::Clock;
use crate::config::sections::ListenerLimits;
use crate::forward::upstream::pool::Pools;
use crate::gate::Connection;
use crate::net::Peer;
use crate::rejection::Rejection;
use crate::telemetry::access::AccessLog;

/// Connections that a worker turns away at the same time with an answer; more are just closed.
const TURNED_AWAY_MAX: usize = 256;
/// Pause of accepting when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bound addresses, in the listeners' order. Workers hold them only as long as they accept: dropped, nothing listens any more.
#[derive(Debug)]
pub struct Doors {
    bound: Vec<Bound>,
    // Last: closed after the sockets.
    _open: Sender<()>,
}

impl Doors {
    /// These; the receiver is closed when they are.
    #[must_use]
    pub fn new(bound: Vec<Bound>) -> (Arc<Self>, Receiver<()>) {
        let (open, closed) = mpsc::channel();
        (Arc::new(Self { bound, _open: open }), closed)
    }
}

/// One listener.
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// TLS, if it speaks that.
    pub tls: Option<TlsAcceptor>,
    /// What it speaks.
    pub speech: Speech,
    /// Its bounds.
    pub limits: ListenerLimits,
    /// Open connections of all workers.
    pub open: AtomicUsize,
}

/// What all workers share.
pub struct Shared {
    /// The snapshot that new connections take.
    pub app: ArcSwap<Snapshot>,
    /// The listeners.
    pub listeners: Vec<Arc<Listener>>,
    /// The access log.
    pub log: AccessLog,
    /// The time.
    pub clock: Clock,
    /// How many workers there are.
    pub workers: usize,
}

/// A connection, and the timeouts of its listener.
type Watched = (Rc<Life>, Rc<Timeouts>);

struct Worker {
    shared: Arc<Shared>,
    pools: Rc<Pools<Upload>>,
    pulse: Rc<Pulse>,
    period: Duration,
    connections: RefCell<HashMap<u64, Watched>>,
    next_id: Cell<u64>,
    turned_away: Cell<usize>,
    accepting: Cell<usize>,
    /// A connection or an accept loop has ended.
    ended: Notify,
}

/// Runs a worker until it is drained or stopped; how many requests were cut off by that.
///
/// # Errors
/// Its runtime cannot be built, or a listener cannot be cloned.
pub fn run(shared: Arc<Shared>, doors: Arc<Doors>, stage: watch::Receiver<Stage>) -> io::Result<usize> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let pulse = Rc::<Pulse>::default();
    runtime.block_on(work(shared, doors, stage, Rc::clone(&pulse)))?;
    // What is still in flight ends here.
    drop(runtime);
    Ok(pulse.cut_off())
}

async fn work(shared: Arc<Shared>, doors: Arc<Doors>, mut stage: watch::Receiver<Stage>, pulse: Rc<Pulse>) -> io::Result<()> {
    let period = Timeouts::period(shared.listeners.iter().map(|listener| &listener.limits));
    let worker = Rc::new(Worker {
        pools: Rc::new(Pools::new(&shared.app.load().upstreams, shared.workers, period)),
        pulse,
        period,
        connections: RefCell::default(),
        next_id: Cell::new(0),
        turned_away: Cell::new(0),
        accepting: Cell::new(0),
        ended: Notify::new(),
        shared,
    });
    for (listener, bound) in worker.shared.listeners.iter().zip(&doors.bound) {
        let accept = Rc::clone(&worker).accept(Arc::clone(listener), bound.listen()?, stage.clone());
        let doors = Arc::clone(&doors);
        worker.accepting.set(worker.accepting.get() + 1);
        spawn_local(async move {
            accept.await;
            drop(doors);
        });
    }
    drop(doors);
    let mut sweeps = interval(period);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = sweeps.tick() => worker.sweep(),
            () = worker.ended.notified() => {}
            changed = stage.changed() => {
                let stage = changed.map_or(Stage::Stop, |()| *stage.borrow_and_update());
                worker.pulse.enter(stage);
                match stage {
                    Stage::Serve => {}
                    Stage::Leave | Stage::Drain => worker.wake(),
                    Stage::Stop => return Ok(()),
                }
            }
        }
        if worker.pulse.draining() && worker.accepting.get() == 0 && worker.connections.borrow().is_empty() {
            return Ok(());
        }
    }
}

impl Worker {
    fn sweep(&self) {
        self.pulse.beat();
        for (life, timeouts) in self.connections.borrow().values() {
            life.sweep(timeouts);
        }
        self.pools.sweep();
    }

    /// Idle connections end when they see that the worker drains; of HTTP/2, as soon as it is about to.
    fn wake(&self) {
        for (life, _) in self.connections.borrow().values() {
            life.wake();
        }
    }

    async fn accept(self: Rc<Self>, listener: Arc<Listener>, listening: Listening, mut stage: watch::Receiver<Stage>) {
        let timeouts = Rc::new(Timeouts::new(&listener.limits, self.period));
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stage.wait_for(|stage| *stage >= Stage::Drain) => break,
                accepted = listening.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => self.admit(socket, peer, &listener, &timeouts),
                Err(error) => {
                    // Out of descriptors: the connection stays in the queue, so that trying again at once would spin.
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
                    ) {
                        tracing::warn!(listener = %listener.name, %error, "cannot accept connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
            // The other workers accept too.
            yield_now().await;
        }
        for (socket, peer) in listening.drain() {
            self.admit(socket, peer, &listener, &timeouts);
        }
        self.accepting.set(self.accepting.get() - 1);
        self.ended.notify_one();
    }

    /// Serves a connection, or turns it away.
    fn admit(self: &Rc<Self>, socket: Socket, peer: Peer, listener: &Arc<Listener>, timeouts: &Rc<Timeouts>) {
        let place = Place::take(listener);
        let session = Rc::new(Session {
            app: self.shared.app.load_full(),
            pools: Rc::clone(&self.pools),
            scribe: Scribe { log: self.shared.log.clone(), clock: self.shared.clock.clone(), listener: Arc::clone(&listener.name) },
            life: Life::new(Rc::clone(&self.pulse)),
            tunnel: RefCell::default(),
            connection: Connection { peer, tls: listener.tls.is_some() },
            limits: listener.speech.limits,
            body_limit: match listener.limits.body_bytes.0 {
                0 => u64::MAX,
                limit => limit,
            },
        });
        if listener.open.load(Ordering::Relaxed) > listener.limits.connections {
            if listener.tls.is_none() && self.turned_away.get() < TURNED_AWAY_MAX {
                spawn_local(Rc::clone(self).turn_away(socket, session));
            }
            return;
        }
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.connections.borrow_mut().insert(id, (Rc::clone(&session.life), Rc::clone(timeouts)));
        let registered = Registered { worker: Rc::clone(self), id, _place: place };
        let listener = Arc::clone(listener);
        spawn_local(async move {
            let _registered = registered;
            let socket = match &listener.tls {
                None => Some(socket),
                Some(acceptor) => connection::handshake(socket, acceptor, listener.limits.handshake_timeout.0).await,
            };
            if let Some(socket) = socket {
                connection::serve(socket, session, listener.speech).await;
            }
        });
    }

    async fn turn_away(self: Rc<Self>, socket: Socket, session: Rc<Session>) {
        self.turned_away.set(self.turned_away.get() + 1);
        connection::turn_away(socket, session, Rejection::Overloaded.because("connections of the listener")).await;
        self.turned_away.set(self.turned_away.get() - 1);
    }
}

/// One of the open connections of a listener.
struct Place(Arc<Listener>);

impl Place {
    fn take(listener: &Arc<Listener>) -> Self {
        listener.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(listener))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection in the worker's list.
struct Registered {
    worker: Rc<Worker>,
    id: u64,
    _place: Place,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(&self.id);
        self.worker.ended.notify_one();
    }
}
