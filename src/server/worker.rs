//! One worker: a thread with its own runtime, its own upstream connections and its clone of every listener.
//! Nothing on the request's path is shared with another worker but the snapshot and the key cache.

mod entrance;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, watch};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::bind::Listening;
use super::connection;
use super::door::{Door, Listener, Place, Terms};
use super::exchange::Session;
use super::generation::Generations;
use super::life::{Life, Pulse, Stage, Timeouts};
use super::proxy_protocol;
use super::record::Scribe;
use super::socket::Socket;
use crate::app::Snapshot;
use crate::clock::Clock;
use crate::gate::Connection;
use crate::net::Peer;
use crate::rejection::Rejection;
use crate::telemetry::tally::{Tallies, Tally};
use entrance::Entrance;

/// Connections that a worker turns away at the same time with an answer; more are just closed.
const TURNED_AWAY_MAX: usize = 256;
/// How often it is asked whether what admitted a running exchange still does: twice within the second that is promised.
const REVIEW: Duration = Duration::from_millis(500);
/// Pause of accepting when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all workers share.
pub struct Shared {
    /// The snapshot that new requests take.
    pub app: Arc<ArcSwap<Snapshot>>,
    /// The time.
    pub clock: Clock,
    /// How many workers there are.
    pub workers: usize,
    /// What they count.
    pub tallies: Arc<Tallies>,
}

/// What workers are told while they run.
#[derive(Debug, Clone)]
pub struct Orders {
    /// How far the process is.
    pub stage: watch::Receiver<Stage>,
    /// The listeners; a new value also says that the terms of some have changed.
    pub doors: watch::Receiver<Vec<Arc<Door>>>,
}

/// A connection, and where it came in.
type Watched = (Rc<Life>, Rc<Entrance>);

struct Worker {
    shared: Arc<Shared>,
    index: usize,
    generations: Rc<Generations>,
    pulse: Pulse,
    period: Cell<Duration>,
    entrances: RefCell<Vec<Rc<Entrance>>>,
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
pub fn run(shared: Arc<Shared>, index: usize, doors: Vec<Arc<Door>>, orders: Orders) -> io::Result<usize> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let generations = Rc::new(Generations::new(Arc::clone(&shared.app), shared.workers, period_of(&doors)));
    let worker = Rc::new(Worker {
        index,
        generations,
        pulse: Pulse::default(),
        period: Cell::new(period_of(&doors)),
        entrances: RefCell::default(),
        connections: RefCell::default(),
        next_id: Cell::new(0),
        turned_away: Cell::new(0),
        accepting: Cell::new(0),
        ended: Notify::new(),
        shared,
    });
    runtime.block_on(Rc::clone(&worker).work(doors, orders))?;
    // What is still in flight ends here.
    drop(runtime);
    Ok(worker.pulse.cut_off())
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn period_of(doors: &[Arc<Door>]) -> Duration {
    let terms: Vec<_> = doors.iter().map(|door| door.listener.terms.load()).collect();
    Timeouts::period(terms.iter().map(|terms| &terms.limits))
}

impl Worker {
    async fn work(self: Rc<Self>, doors: Vec<Arc<Door>>, orders: Orders) -> io::Result<()> {
        let Orders { mut stage, doors: mut told } = orders;
        self.follow(&doors)?;
        drop(doors);
        let mut sweeps = self.sweeps();
        let mut reviews = every(REVIEW);
        loop {
            tokio::select! {
                _ = sweeps.tick() => self.sweep(),
                _ = reviews.tick() => self.review(),
                () = self.ended.notified() => {}
                () = self.pulse.errand_ended() => {}
                changed = stage.changed() => {
                    let stage = changed.map_or(Stage::Stop, |()| *stage.borrow_and_update());
                    self.enter(stage);
                    if stage == Stage::Stop {
                        return Ok(());
                    }
                }
                Ok(()) = told.changed() => {
                    let doors = told.borrow_and_update().clone();
                    let period = self.period.get();
                    if let Err(error) = self.follow(&doors) {
                        tracing::error!(%error, "a worker cannot serve every listener");
                    }
                    if self.period.get() != period {
                        sweeps = self.sweeps();
                    }
                }
            }
            let is_idle = self.accepting.get() == 0 && self.connections.borrow().is_empty() && !self.pulse.has_errands();
            if self.pulse.draining() && is_idle {
                return Ok(());
            }
        }
    }

    fn sweeps(&self) -> Interval {
        every(self.period.get())
    }

    fn review(&self) {
        let now = self.shared.clock.now();
        for (life, _) in self.connections.borrow().values() {
            life.review(now);
        }
    }

    fn sweep(&self) {
        self.pulse.beat();
        for (life, entrance) in self.connections.borrow().values() {
            life.sweep(&entrance.timeouts.get());
        }
        self.generations.current().pools.sweep();
    }

    /// How far the process is.
    fn enter(self: &Rc<Self>, stage: Stage) {
        self.pulse.enter(stage);
        let open: Vec<_> = self.connections.borrow().values().map(|(_, entrance)| Rc::clone(entrance)).collect();
        for entrance in self.entrances.borrow().iter().chain(&open) {
            self.lead(entrance, stage);
        }
        self.connections.borrow().values().for_each(|(life, _)| life.wake());
    }

    /// The same of one listener. It accepts no more from [`Stage::Drain`] on, and its idle connections end with it, but no sooner
    /// than a while after answers have begun to close theirs: a request may be on its way on any of them.
    fn lead(self: &Rc<Self>, entrance: &Rc<Entrance>, stage: Stage) {
        if stage < Stage::Drain || stage == Stage::Stop {
            return entrance.enter(stage);
        }
        let Some(grace) = entrance.close() else { return };
        let (worker, entrance) = (Rc::clone(self), Rc::clone(entrance));
        spawn_local(async move {
            sleep(grace).await;
            entrance.enter(Stage::Drain);
            worker.wake_all_of(&entrance);
        });
    }

    /// Its connections look at how far it is: idle ones end when they see that nobody is waited for; of HTTP/2, as soon as that is
    /// about to be so.
    fn wake_all_of(&self, entrance: &Rc<Entrance>) {
        let connections = self.connections.borrow();
        connections.values().filter(|(_, of)| Rc::ptr_eq(of, entrance)).for_each(|(life, _)| life.wake());
    }

    /// Serves these listeners and no others, on the terms they have now.
    fn follow(self: &Rc<Self>, doors: &[Arc<Door>]) -> io::Result<()> {
        if self.pulse.draining() {
            return Ok(());
        }
        self.keep_time(period_of(doors));
        let (kept, gone): (Vec<_>, Vec<_>) =
            self.entrances.take().into_iter().partition(|entrance| doors.iter().any(|door| entrance.is_of(door)));
        for entrance in gone {
            self.lead(&entrance, Stage::Drain);
            self.wake_all_of(&entrance);
        }
        for entrance in &kept {
            entrance.timeouts.set(Timeouts::new(&entrance.listener.terms.load().limits, self.period.get()));
            entrance.tally.replace(self.tally(&entrance.listener));
        }
        self.entrances.replace(kept);
        for door in doors {
            if !self.entrances.borrow().iter().any(|entrance| entrance.is_of(door)) {
                self.open(door)?;
            }
        }
        Ok(())
    }

    fn tally(&self, listener: &Listener) -> Arc<Tally> {
        self.shared.tallies.of(&listener.terms.load().name, self.index)
    }

    fn keep_time(&self, period: Duration) {
        if self.period.replace(period) != period {
            self.generations.set_period(period);
            self.connections.borrow().values().for_each(|(life, _)| life.restart());
        }
    }

    fn open(self: &Rc<Self>, door: &Arc<Door>) -> io::Result<()> {
        let listening = door.bound.listen()?;
        let timeouts = Timeouts::new(&door.listener.terms.load().limits, self.period.get());
        let entrance = Entrance::new(Arc::clone(&door.listener), self.pulse.of_another(), timeouts, self.tally(&door.listener));
        self.entrances.borrow_mut().push(Rc::clone(&entrance));
        self.accepting.set(self.accepting.get() + 1);
        let (worker, door) = (Rc::clone(self), Arc::clone(door));
        spawn_local(async move {
            worker.accept(entrance, listening).await;
            drop(door);
        });
        Ok(())
    }

    async fn accept(self: Rc<Self>, entrance: Rc<Entrance>, listening: Listening) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = entrance.closing.notified() => break,
                accepted = listening.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => self.admit(socket, peer, &entrance),
                Err(error) => {
                    // Out of descriptors: the connection stays in the queue, so that trying again at once would spin.
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
                    ) {
                        tracing::warn!(listener = %entrance.listener.terms.load().name, %error, "cannot accept connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
            // The other workers accept too.
            yield_now().await;
        }
        for (socket, peer) in listening.drain() {
            self.admit(socket, peer, &entrance);
        }
        self.accepting.set(self.accepting.get() - 1);
        self.ended.notify_one();
    }

    /// Serves a connection, or turns it away.
    fn admit(self: &Rc<Self>, socket: Socket, peer: Peer, entrance: &Rc<Entrance>) {
        let terms = entrance.listener.terms.load_full();
        let place = Place::take(&entrance.listener);
        entrance.tally.borrow().accepted.add(1);
        let life = Life::new(Rc::clone(&entrance.pulse));
        if entrance.listener.open() > terms.limits.connections {
            let session = self.session(entrance, &terms, life, peer);
            spawn_local(Rc::clone(self).turn_away(socket, session, "connections of the listener"));
            return;
        }
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.connections.borrow_mut().insert(id, (Rc::clone(&life), Rc::clone(entrance)));
        let registered = Registered { worker: Rc::clone(self), id, _place: place };
        spawn_local(Rc::clone(entrance).welcome(registered, socket, peer, terms, life));
    }

    fn session(&self, entrance: &Entrance, terms: &Terms, life: Rc<Life>, peer: Peer) -> Rc<Session> {
        let connection = Connection::new(peer, terms.tls.is_some());
        Rc::new(Session {
            scribe: Rc::new(Scribe {
                generations: Rc::clone(&self.generations),
                clock: self.shared.clock.clone(),
                listener: Arc::clone(&terms.name),
                scheme: if terms.tls.is_some() { "https" } else { "http" },
                tally: Arc::clone(&entrance.tally.borrow()),
            }),
            life,
            tunnel: RefCell::default(),
            connection: if terms.decides { connection.of_gateway() } else { connection },
            limits: terms.speech.limits,
            body_limit: match terms.limits.body_bytes.0 {
                0 => u64::MAX,
                limit => limit,
            },
        })
    }

    /// Who is at the other end, by the PROXY protocol. Who may open a Unix socket, its file says.
    async fn introduced(&self, socket: &mut Socket, peer: Peer) -> io::Result<Peer> {
        if peer != Peer::Unix && !self.generations.current().app.gate.trusts(peer) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not of client_ip.trusted_proxies"));
        }
        proxy_protocol::read(socket, peer).await
    }

    /// Answers that there is no room, unless that would take room too.
    async fn turn_away(self: Rc<Self>, socket: Socket, session: Rc<Session>, full: &'static str) {
        session.scribe.tally.turned_away.add(1);
        if session.connection.tls || self.turned_away.get() >= TURNED_AWAY_MAX {
            return;
        }
        self.turned_away.set(self.turned_away.get() + 1);
        connection::turn_away(socket, session, Rejection::Overloaded.because(full)).await;
        self.turned_away.set(self.turned_away.get() - 1);
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
