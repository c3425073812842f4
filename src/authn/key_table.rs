//! The key table of a serving process: the store, the authenticator over it and what keeps its cache true,
//! on a runtime and a thread of their own, so that workers never wait for the store's I/O.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::Authenticator;
use super::snapshot::{Snapshot, Turn};
use crate::audit::Actor;
use crate::chores::Chores;
use crate::clock::Clock;
use crate::config::sections::Config;
use crate::fleet::{self, Standing};
use crate::idempotency::{Ledger, Roots};
use crate::identity::template::IdentityHeaders;
use crate::key::digest::Peppers;
use crate::key::lifecycle::Lifecycle;
use crate::key::rules::Rules;
use crate::limit::Desk;
use crate::management::Management;
use crate::store::change::ChangeLog;
use crate::store::instance::Instance;
use crate::store::session::Sessions;
use crate::store::{self, Opened, Store};
use crate::usage::Collector;

/// Pauses between attempts to read a change log that cannot be read.
const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_millis(500);
/// A store that does not take the last words or the goodbye in this time learns by silence.
const GOODBYE: Duration = Duration::from_millis(500);

/// An open key table. Dropping it closes the store; look-ups are `store_unavailable` from then on.
pub struct KeyTable {
    authenticator: Arc<Authenticator>,
    store: Arc<dyn Store>,
    ledger: Arc<Ledger>,
    standing: Arc<Standing>,
    desk: Arc<Desk>,
    peppers: Peppers,
    clock: Clock,
    usage: Arc<Collector>,
    sessions: Arc<dyn Sessions>,
    turn: Turn,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KeyTable {
    /// Opens the store of the configuration. A server that cannot be reached is no error: see [`Authenticator::store_status`].
    ///
    /// # Errors
    /// What in `[store]` cannot be used.
    pub fn start(config: &Config, headers: Arc<IdentityHeaders>, clock: &Clock) -> Result<Self, String> {
        Self::run(config, headers, clock, true, Turn::first())
    }

    /// One beside this one, of the same process: it takes nothing over until [`Self::take_turn`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_beside(&self, config: &Config, headers: Arc<IdentityHeaders>, clock: &Clock) -> Result<Self, String> {
        Self::run(config, headers, clock, true, self.turn.next())
    }

    /// The same for who only reads: an embedded store that is not there is not made, and reads as empty.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_existing(config: &Config, headers: Arc<IdentityHeaders>, clock: &Clock) -> Result<Self, String> {
        Self::run(config, headers, clock, false, Turn::first())
    }

    fn run(config: &Config, headers: Arc<IdentityHeaders>, clock: &Clock, makes: bool, turn: Turn) -> Result<Self, String> {
        let peppers = Peppers::from_file(&config.store.pepper_file)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let handle = runtime.handle().clone();
        let (own_peppers, own_clock) = (peppers.clone(), clock.clone());
        let (config, clock) = (config.clone(), clock.clone());
        // Who only looks is no sidecar.
        let instance = makes.then(|| fleet::this_process(&config.cache, &clock)).transpose().map_err(|error| error.to_string())?;
        let standing = Arc::new(Standing::default());
        let (at, own) = (Arc::clone(&standing), turn.clone());
        let snapshot =
            instance.as_ref().map(|instance| Snapshot::configured(&config, &peppers, &instance.id, &turn)).transpose()?.flatten();
        let (opened, ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = async move {
            let opening = async {
                if makes {
                    store::open(&config.store, &clock).await
                } else {
                    store::open_existing(&config.store, &clock).await.map(|(opened, _)| opened)
                }
            };
            let Opened { store, reservations, usages, sessions, changes } = match opening.await {
                Ok(open) => open,
                Err(why) => return drop(opened.send(Err(why))),
            };
            // Who only looks claims nothing.
            let reservations = match if makes { store::open_reservations(&config, &clock).await } else { Ok(None) } {
                Ok(own) => own.unwrap_or(reservations),
                Err(why) => return drop(opened.send(Err(why))),
            };
            let ledger = Ledger::new(reservations, Roots::new(&peppers), Handle::current(), config.store.command_timeout.0);
            let authenticator =
                Authenticator::new(Arc::clone(&store), Arc::clone(&sessions), &config, peppers, headers, clock.clone(), Handle::current());
            let authenticator = Arc::new(authenticator);
            // What another table of this process has written is of one that is still there.
            let first = snapshot.as_ref().filter(|_| own.is_here());
            let predecessor = first.and_then(|file| file.restore(&authenticator.shared, !store.is_reachable()));
            let patience = config.store.command_timeout.0;
            let desk = Arc::new(Desk::new(Arc::clone(&store), Arc::clone(&at), Handle::current(), clock.clone(), patience));
            let chores = Chores::new(&config, Arc::clone(&store), clock.clone());
            let usage = Collector::new(usages);
            let _ = opened.send(Ok((
                Arc::clone(&authenticator),
                Arc::clone(&store),
                Arc::clone(&ledger),
                Arc::clone(&desk),
                Arc::clone(&usage),
                sessions,
            )));
            // A flush under way when all ends is not to be broken off: it could not be done again.
            let (stop_usage, usage_stopped) = oneshot::channel();
            let usage = tokio::spawn(usage.run(usage_stopped));
            tokio::select! {
                never = follow(changes, &authenticator, &clock, &at) => match never {},
                never = beat(instance.as_ref(), predecessor, &store, &at) => match never {},
                never = keep(snapshot.as_ref(), &authenticator) => match never {},
                never = tidy(makes.then_some(chores)) => match never {},
                _ = stopped => {}
            }
            drop(stop_usage);
            let _ = timeout(GOODBYE, desk.close()).await;
            let _ = timeout(GOODBYE, usage).await;
            // What the end of the workers has cut off.
            let _ = timeout(GOODBYE, ledger.told()).await;
            match (snapshot.filter(|_| own.is_here()), instance) {
                // What comes after this process may serve what it knew: until then, or until that is too old, it is not gone.
                (Some(file), _) => drop(file.save(&authenticator.shared).await),
                (None, Some(instance)) => drop(timeout(GOODBYE, store.leave(&instance.id)).await),
                (None, None) => {}
            }
        };
        let thread =
            thread::Builder::new().name("store".into()).spawn(move || runtime.block_on(serve)).map_err(|error| error.to_string())?;
        let (authenticator, store, ledger, desk, usage, sessions) = ready.recv().map_err(|error| error.to_string())??;
        let (peppers, clock) = (own_peppers, own_clock);
        Ok(Self {
            authenticator,
            store,
            ledger,
            standing,
            desk,
            usage,
            sessions,
            peppers,
            clock,
            turn,
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// This one is asked from now on, and the one that it was started beside is not. That one keeps no snapshot any more, and says
    /// goodbye to the store when it is dropped.
    pub fn take_turn(&self) {
        self.turn.take();
    }

    /// What the gate asks.
    #[must_use]
    pub fn authenticator(&self) -> &Arc<Authenticator> {
        &self.authenticator
    }

    /// The store itself, for management; its calls run on [`Self::runtime`].
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Of requests that are to be run once, in the same store unless another is configured.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// How this process stands among those that share the store.
    #[must_use]
    pub fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Who asks the store for what limits are counted by.
    #[must_use]
    pub const fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Management of it, by these rules.
    #[must_use]
    pub fn management(&self, rules: Arc<Rules>) -> Management {
        let actor = Actor::local("sidegate");
        let lifecycle = Lifecycle::new(Arc::clone(&self.store), rules, self.peppers.clone(), self.clock.clone(), actor);
        Management::new(lifecycle, Arc::clone(self.usage.usages()), Arc::clone(&self.sessions), self.runtime.clone())
    }

    /// What gathers the usage of keys and recent denials, and knows where they are kept.
    #[must_use]
    pub const fn usage(&self) -> &Arc<Collector> {
        &self.usage
    }

    /// The store's runtime.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl Drop for KeyTable {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyTable").finish_non_exhaustive()
    }
}

/// Tells the store of this process, for ever; and first that the one whose snapshot it has taken over is gone.
async fn beat(instance: Option<&Instance>, predecessor: Option<String>, store: &Arc<dyn Store>, standing: &Standing) -> Infallible {
    let Some(instance) = instance else { return pending().await };
    if let Some(id) = predecessor {
        while store.leave(&id).await.is_err() {
            sleep(BACK_OFF_MAX).await;
        }
    }
    fleet::heartbeat(store, instance.clone(), standing).await
}

/// Keeps the snapshot, for ever.
async fn keep(snapshot: Option<&Arc<Snapshot>>, authenticator: &Authenticator) -> Infallible {
    match snapshot {
        Some(file) => file.keep(&authenticator.shared).await,
        None => pending().await,
    }
}

/// Does the store's chores, for ever; who only looks does none.
async fn tidy(chores: Option<Chores>) -> Infallible {
    match chores {
        Some(chores) => chores.run().await,
        None => pending().await,
    }
}

/// Applies what the change log tells, for ever.
async fn follow(changes: Option<Box<dyn ChangeLog>>, authenticator: &Authenticator, clock: &Clock, standing: &Standing) -> Infallible {
    let Some(mut log) = changes else { return pending().await };
    let mut back_off = BACK_OFF_FIRST;
    loop {
        // What is read was so when the reading began, at the earliest. Later would be too late for a process that was stopped meanwhile.
        let began = clock.now();
        match log.next().await {
            Ok(batch) => {
                back_off = BACK_OFF_FIRST;
                batch.changes.iter().for_each(|change| authenticator.apply(change));
                if batch.current {
                    authenticator.heard(began);
                }
                standing.applied(batch.position);
            }
            Err(error) => {
                standing.lost();
                tracing::debug!(%error, "the change log cannot be read; trying again");
                sleep(back_off.mul_f64(fastrand::f64().mul_add(0.5, 0.5))).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
}
