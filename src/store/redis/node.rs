//! One server, kept connected: dials, publishes, pings, and on loss clears, so that whoever asks meanwhile is told at once
//! instead of waiting. It never queues a command for a server that is not there.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::FutureExt as _;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::dial::{Demand, Dialled, Dialler, ping};
use super::sentinel::Sentinels;
use super::server::{Driver, ServerConnection, Signals};
use crate::clock::{Clock, Timestamp};
use crate::store::Status;
use crate::store::target::Address;

/// How often a silent server is asked whether it is there.
pub(super) const PING_EVERY: Duration = Duration::from_millis(500);
const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
/// "At most one connect a second", once it backs off.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Where the server is found.
pub(super) enum Finder {
    /// Always there.
    Fixed(Address),
    /// Where the sentinels say that the master is.
    Sentinel(Sentinels),
}

/// A published connection. Dropping it ends the supervisor.
pub(super) struct Node {
    shared: Arc<Shared>,
    supervisor: JoinHandle<()>,
    /// Of sentinels: listens for a change of the master.
    _watch: Option<Driver>,
}

struct Shared {
    dialler: Arc<Dialler>,
    finder: Finder,
    clock: Clock,
    /// What it is called in the log.
    name: &'static str,
    current: ArcSwapOption<ServerConnection>,
    reachable: AtomicBool,
    /// Why there is no connection; empty while there is one.
    trouble: ArcSwap<String>,
    /// When the connection came or went last; 0 = it was there from the start.
    changed_at: AtomicI64,
    signals: Arc<Signals>,
    /// A sentinel has named a master.
    switched: Notify,
    /// Told when the connection comes or goes.
    observer: Arc<Notify>,
    /// Counts losses and replacements: connections of their own end with the published one, as the server may be another after that.
    losses: watch::Sender<u64>,
}

/// Why a connection is given up.
enum End {
    /// It is of no use.
    Lost(String),
    /// It works, and the server is not the master any more.
    Deposed(String),
}

impl Node {
    /// Dials once and goes on by itself from there, whether or not that succeeded.
    pub(super) async fn new(dialler: Arc<Dialler>, finder: Finder, clock: Clock, name: &'static str, observer: Arc<Notify>) -> Self {
        let shared = Arc::new(Shared {
            dialler,
            finder,
            clock,
            name,
            current: ArcSwapOption::empty(),
            reachable: AtomicBool::new(false),
            trouble: ArcSwap::from_pointee("not connected yet".to_owned()),
            changed_at: AtomicI64::new(0),
            signals: Arc::default(),
            switched: Notify::new(),
            observer,
            losses: watch::Sender::new(0),
        });
        let first = shared.dial().await;
        match &first {
            Ok(up) => shared.publish(up),
            Err(why) => shared.not_reached(why),
        }
        let watch = matches!(shared.finder, Finder::Sentinel(_)).then(|| Driver(tokio::spawn(watch_sentinels(Arc::clone(&shared)))));
        let supervisor = tokio::spawn(supervise(Arc::clone(&shared), first.ok()));
        Self { shared, supervisor, _watch: watch }
    }

    /// The published connection, or why there is none.
    pub(super) fn connection(&self) -> Result<ServerConnection, String> {
        match self.shared.current.load().as_deref() {
            Some(connection) => Ok(connection.clone()),
            None => Err(self.shared.trouble.load().to_string()),
        }
    }

    /// A further connection, closed when it is dropped and when the published one is lost or replaced.
    pub(super) async fn dedicated(&self) -> Result<ServerConnection, String> {
        let mut losses = self.shared.losses.subscribe();
        if !self.is_reachable() {
            return Err(self.shared.trouble.load().to_string());
        }
        let dialled = self.shared.dial().await?;
        let connection = dialled.connection.clone();
        let driver = Driver(tokio::spawn(async move {
            let mut dialled = dialled;
            tokio::select! {
                _ = &mut dialled.driver => {}
                _ = losses.changed() => {}
            }
        }));
        Ok(ServerConnection::own(connection, Arc::clone(&self.shared.signals), driver))
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.shared.reachable.load(Ordering::Acquire)
    }

    pub(super) fn status(&self) -> Status {
        let reachable = self.is_reachable();
        let changed_at = self.shared.changed_at.load(Ordering::Relaxed);
        Status {
            reachable,
            since: (changed_at != 0).then_some(Timestamp(changed_at)),
            detail: if reachable { String::new() } else { self.shared.trouble.load().to_string() },
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// Keeps a connection published for as long as it runs.
async fn supervise(shared: Arc<Shared>, mut dialled: Option<Dialled>) {
    let mut back_off = BACK_OFF_FIRST;
    loop {
        let mut at_once = false;
        if let Some(up) = dialled.take() {
            let (end, lasted) = shared.watch(up).await;
            // A connection that did not last is no reason to hurry.
            if lasted {
                back_off = BACK_OFF_FIRST;
            }
            let (End::Lost(why) | End::Deposed(why)) = &end;
            shared.lost(why);
            at_once = lasted && matches!(end, End::Deposed(_));
        }
        if !at_once {
            sleep(jittered(back_off)).await;
        }
        // What was told before is answered by this dial.
        let _ = shared.signals.deposed.notified().now_or_never();
        back_off = (back_off * 2).min(BACK_OFF_MAX);
        match shared.dial().await {
            Ok(up) => {
                shared.publish(&up);
                tracing::info!(store = %shared.finder, "{} is back", shared.name);
                dialled = Some(up);
            }
            Err(why) => shared.trouble.store(Arc::new(why)),
        }
    }
}

/// So that a fleet does not come back all at once.
pub(super) fn jittered(back_off: Duration) -> Duration {
    back_off.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
}

/// Has the connection given up as soon as a sentinel tells of another master.
async fn watch_sentinels(shared: Arc<Shared>) {
    let Finder::Sentinel(sentinels) = &shared.finder else { return };
    let mut back_off = BACK_OFF_FIRST;
    loop {
        if sentinels.watch(&shared.dialler, || shared.switched.notify_one()).await {
            back_off = BACK_OFF_FIRST;
        }
        sleep(jittered(back_off)).await;
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

impl std::fmt::Display for Finder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(address) => address.fmt(f),
            Self::Sentinel(sentinels) => sentinels.fmt(f),
        }
    }
}

impl Shared {
    fn publish(&self, dialled: &Dialled) {
        if self.changed_at.load(Ordering::Relaxed) != 0 {
            self.changed_at.store(self.clock.now().0, Ordering::Relaxed);
        }
        let connection = ServerConnection::shared(dialled.connection.clone(), Arc::clone(&self.signals));
        self.current.store(Some(Arc::new(connection)));
        self.trouble.store(Arc::default());
        self.reachable.store(true, Ordering::Release);
        self.observer.notify_one();
    }

    /// The first attempt failed. Nothing changed by that: a sidecar that never had its store is not ready.
    fn not_reached(&self, why: &str) {
        self.trouble.store(Arc::new(why.to_owned()));
        tracing::warn!(store = %self.finder, why, "{} cannot be reached; trying again until it is there", self.name);
    }

    fn lost(&self, why: &str) {
        self.trouble.store(Arc::new(why.to_owned()));
        self.reachable.store(false, Ordering::Release);
        self.current.store(None);
        self.losses.send_modify(|losses| *losses += 1);
        self.changed_at.store(self.clock.now().0, Ordering::Relaxed);
        self.observer.notify_one();
        tracing::warn!(store = %self.finder, why, "{} is unreachable; trying again until it is back", self.name);
    }

    /// Returns when the connection is of no use any more, and whether it was of use at all.
    async fn watch(&self, mut up: Dialled) -> (End, bool) {
        let finder = &self.finder;
        let mut lasted = false;
        let mut may_redial = true;
        let mut redial_from = pin!(sleep(BACK_OFF_MAX));
        loop {
            tokio::select! {
                _ = &mut up.driver => return (End::Lost(format!("{finder}: the server closed the connection")), lasted),
                () = self.signals.deposed.notified(), if may_redial => match finder {
                    Finder::Sentinel(_) => return (End::Deposed(format!("{finder}: another server may be the master now")), lasted),
                    Finder::Fixed(_) => {
                        // Perhaps the name leads elsewhere by now. Until then what can be read is read.
                        self.replace(&mut up).await;
                        may_redial = false;
                        redial_from.set(sleep(BACK_OFF_MAX));
                    }
                },
                () = self.switched.notified() => if let Finder::Sentinel(sentinels) = finder && sentinels.have_moved() {
                    return (End::Deposed(format!("{finder}: another server is the master now")), lasted);
                },
                () = &mut redial_from, if !may_redial => may_redial = true,
                () = self.signals.suspect.notified() => {}
                () = sleep(PING_EVERY) => lasted = true,
            }
            let mut connection = up.connection.clone();
            let why = match timeout(self.dialler.command_timeout, ping(&mut connection)).await {
                Ok(Ok(())) => continue,
                Ok(Err(why)) => why,
                Err(_) => format!("no answer to PING within {} ms", self.dialler.command_timeout.as_millis()),
            };
            return (End::Lost(format!("{finder}: {why}")), lasted);
        }
    }

    /// Dials again beside a connection that still works, which may finish what it has begun.
    async fn replace(&self, up: &mut Dialled) {
        if let Ok(other) = self.dial().await {
            // Whoever waits on a connection of its own waits at the server that is left.
            self.losses.send_modify(|losses| *losses += 1);
            self.publish(&other);
            let mut old = std::mem::replace(up, other);
            let grace = self.dialler.command_timeout;
            tokio::spawn(async move { timeout(grace, &mut old.driver).await.is_ok() });
        }
    }

    async fn dial(&self) -> Result<Dialled, String> {
        match &self.finder {
            Finder::Fixed(address) => self.dialler.dial(address, Demand::Answers).await,
            Finder::Sentinel(sentinels) => sentinels.dial_master(&self.dialler).await,
        }
    }
}
