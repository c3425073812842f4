//! Reload: the configuration is read and compiled as at start, then takes the place of the one in use as a whole, or not at all.
//! Everything that can fail happens before anything is changed. Requests under way end under what they began with.

mod report;
mod restart;
mod retry;

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::table::{Table, Unfit};
use super::{App, Snapshot};
use crate::clock::{Clock, Timestamp};
use crate::config::sections::{Config, Shutdown};
use crate::config::{self, Fingerprint, Loaded, Sources};
use crate::server::bind::bind;
use crate::server::descriptors;
use crate::server::door::{Door, Listener, Terms};
use crate::store::target::of_reservations;
use crate::telemetry::access::Writer;
pub use report::{Outcome, Report, Standing};
use retry::Retry;

/// Where a configuration came from, so that it can be read again.
#[derive(Debug)]
pub struct Origin {
    /// Its layers.
    pub sources: Sources,
    /// What its files held.
    pub fingerprint: Fingerprint,
}

/// Why a reload is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// SIGHUP.
    Signal,
    /// A file holds something else.
    File,
    /// The control socket.
    Command,
}

/// Holds the configuration in use, and puts another in its place.
pub struct Reloader {
    app: Arc<ArcSwap<Snapshot>>,
    doors: watch::Sender<Vec<Arc<Door>>>,
    writer: Arc<Writer>,
    clock: Clock,
    sources: Option<Sources>,
    state: Mutex<State>,
    standing: ArcSwap<Standing>,
    shutdown: ArcSwap<Shutdown>,
}

struct State {
    /// What the process was started with.
    started: Config,
    /// What is in use.
    config: Config,
    /// What the files held when they were last read, for better or worse.
    tried: Fingerprint,
    /// What they held when the configuration in use was read.
    used: Fingerprint,
    /// Of a change that waits for its store.
    retry: Option<Retry>,
    /// `None` = closed: the sidecar stops.
    table: Option<Table>,
    /// Key tables that requests under way still ask.
    retired: Vec<Table>,
    /// Doors hold a clone each.
    open: Option<Sender<()>>,
}

/// What a configuration needs beside itself, made and not in use yet.
struct Prepared {
    doors: Vec<Opened>,
    table: Option<Table>,
}

/// A door, and the terms that it will have.
type Opened = (Arc<Door>, Arc<Terms>);

/// What cannot be had: the path of the setting, and why.
struct Unmet {
    path: String,
    why: String,
    /// Whether it may be had later, as it is.
    may_pass: bool,
}

impl Reloader {
    /// Makes what the first configuration needs and puts it to use. The receiver is closed when nothing is listened on any more.
    ///
    /// # Errors
    /// The store cannot be opened, or an address cannot be bound.
    pub(super) fn start(
        app: App,
        config: &Config,
        origin: Option<Origin>,
        clock: Clock,
        writer: Arc<Writer>,
    ) -> anyhow::Result<(Self, Receiver<()>)> {
        let (open, listening) = mpsc::channel();
        let (sources, fingerprint) = origin.map_or((None, Fingerprint::default()), |origin| (Some(origin.sources), origin.fingerprint));
        let table = Table::start(config, &app, &clock).map_err(|why| anyhow::anyhow!("store: {why}"))?;
        let doors = open_doors(&app.listeners, &[], &open).map_err(|Unmet { path, why, .. }| anyhow::anyhow!("{path}: {why}"))?;
        let snapshot = app.furnish(&table, &writer, &Arc::default());
        snapshot.gate.keep_keys();
        let now = clock.now();
        // A reload tells its warnings itself.
        snapshot.gate.lenience().notes(now).for_each(|(path, note)| tracing::warn!("{path}: {note}"));
        let reloader = Self {
            app: Arc::new(ArcSwap::from_pointee(snapshot)),
            doors: watch::Sender::new(doors.into_iter().map(|(door, _)| door).collect()),
            writer,
            clock,
            sources,
            state: Mutex::new(State {
                started: config.clone(),
                config: config.clone(),
                tried: fingerprint.clone(),
                used: fingerprint,
                retry: None,
                table: Some(table),
                retired: Vec::new(),
                open: Some(open),
            }),
            standing: ArcSwap::from_pointee(Standing::first(config, now)),
            shutdown: ArcSwap::from_pointee(config.shutdown.clone()),
        };
        Ok((reloader, listening))
    }

    /// The snapshot in use.
    #[must_use]
    pub fn app(&self) -> &Arc<ArcSwap<Snapshot>> {
        &self.app
    }

    /// The listeners.
    #[must_use]
    pub fn doors(&self) -> watch::Receiver<Vec<Arc<Door>>> {
        self.doors.subscribe()
    }

    /// How the configuration in use stands.
    #[must_use]
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// The access log's writer.
    #[must_use]
    pub const fn writer(&self) -> &Arc<Writer> {
        &self.writer
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether the files can be read again.
    #[must_use]
    pub const fn has_sources(&self) -> bool {
        self.sources.is_some()
    }

    /// How long the sidecar may take to leave.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        Shutdown::clone(&self.shutdown.load())
    }

    /// What the files held when they were last read.
    #[must_use]
    pub fn tried(&self) -> Fingerprint {
        self.state().tried.clone()
    }

    /// Whether a change of a file that waits for its store is to be tried again now.
    #[must_use]
    pub fn is_retry_due(&self) -> bool {
        self.state().retry.as_ref().is_some_and(Retry::is_due)
    }

    /// Reads everything again and puts it to use, if there is nothing wrong with it.
    pub fn reload(&self, trigger: Trigger) -> Report {
        let mut state = self.state();
        let report = match &self.sources {
            None => Report::refused(trigger, self.clock.now(), vec!["the configuration came from no file".to_owned()]),
            Some(_) if state.table.is_none() => Report::refused(trigger, self.clock.now(), vec!["the sidecar is stopping".to_owned()]),
            Some(sources) => self.replace(&mut state, config::load(sources), trigger),
        };
        drop(state);
        self.standing.rcu(|standing| standing.after(&report));
        report.tell();
        report
    }

    fn replace(&self, state: &mut State, mut loaded: Loaded, trigger: Trigger) -> Report {
        let at = self.clock.now();
        // Before the files are read: what changes from now on is seen as a change.
        state.tried = loaded.fingerprint();
        let retry = state.retry.take();
        let Some(app) = loaded.compile() else { return Report::refused(trigger, at, loaded.lines()) };
        match self.prepare(state, &app, &loaded.config) {
            Ok(prepared) => {
                let needs_restart = restart::needed(&state.started, &loaded.config);
                self.commit(state, app, &loaded.config, prepared);
                Report::applied(trigger, at, loaded.lines(), needs_restart, &loaded)
            }
            Err(Unmet { path, why, may_pass }) => {
                // Who asked for it is told to ask again; a file has nobody to tell.
                if may_pass && (retry.is_some() || trigger == Trigger::File) {
                    state.retry = Some(Retry::after(retry));
                }
                loaded.problems.error(path, why);
                Report::refused(trigger, at, loaded.lines())
            }
        }
    }

    fn prepare(&self, state: &State, app: &App, config: &Config) -> Result<Prepared, Unmet> {
        let (Some(open), Some(table)) = (&state.open, &state.table) else {
            return Err(Unmet::for_good(String::new(), "the sidecar is stopping".to_owned()));
        };
        let doors = open_doors(&app.listeners, &self.doors.borrow(), open)?;
        let table = if state.keeps_table(config) { None } else { Some(table.replacement(config, app, &self.clock)?) };
        Ok(Prepared { doors, table })
    }

    /// Nothing here can fail.
    fn commit(&self, state: &mut State, app: App, config: &Config, prepared: Prepared) {
        let Prepared { doors, table } = prepared;
        if let Some(table) = table {
            table.take_turn();
            state.retired.extend(state.table.replace(table));
        }
        let Some(table) = &state.table else { return };
        let earlier = self.app.load();
        let mut snapshot = app.furnish(table, &self.writer, &earlier.spans);
        snapshot.gate.follow(&earlier.gate);
        snapshot.gate.keep_keys();
        snapshot.upstreams.keep(&earlier.upstreams, |name| state.keeps_upstream(config, name));
        descriptors::raise(config);
        self.shutdown.store(Arc::new(config.shutdown.clone()));
        self.app.store(Arc::new(snapshot));
        let doors: Vec<_> = doors
            .into_iter()
            .map(|(door, terms)| {
                door.listener.terms.store(terms);
                door
            })
            .collect();
        remove_files(self.doors.borrow().iter().filter(|door| !doors.iter().any(|kept| Arc::ptr_eq(kept, door))));
        self.doors.send_replace(doors);
        state.config = config.clone();
        state.used = state.tried.clone();
    }

    /// Closes key tables that nobody asks any more.
    pub fn tidy(&self) {
        let (retired, asked): (Vec<_>, Vec<_>) = std::mem::take(&mut self.state().retired).into_iter().partition(Table::is_idle);
        self.state().retired.extend(asked);
        // Closing one takes its time.
        drop(retired);
    }

    /// Nothing is reloaded any more, and nothing listened on once the workers let go. Files of sockets go first: from then on
    /// a successor may bind the same paths.
    pub(super) fn close_doors(&self) {
        self.state().open = None;
        remove_files(self.doors.borrow().iter());
        self.doors.send_replace(Vec::new());
    }

    /// The key table closes.
    pub(super) fn close_tables(&self) {
        let mut state = self.state();
        let tables = (state.table.take(), std::mem::take(&mut state.retired));
        drop(state);
        drop(tables);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("standing", &self.standing.load()).finish_non_exhaustive()
    }
}

impl Unmet {
    const fn for_good(path: String, why: String) -> Self {
        Self { path, why, may_pass: false }
    }
}

impl From<Unfit> for Unmet {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Wrong(why) => Self::for_good("store".to_owned(), why),
            Unfit::Away(detail) => Self {
                path: "store.url".to_owned(),
                why: format!(
                    "what has changed needs a new key table, and its store does not answer, which would lose the keys that are known \
                     here: {detail}; try again when it is back"
                ),
                may_pass: true,
            },
        }
    }
}

impl State {
    /// Whether everything that the key table was made from is what it was. Passwords and certificates of the store are read at each
    /// dial: who rotates them changes nothing that is known.
    fn keeps_table(&self, config: &Config) -> bool {
        self.config.store == config.store
            && self.config.cache == config.cache
            && self.config.identity == config.identity
            && self.config.key_kinds == config.key_kinds
            && of_reservations(&self.config) == of_reservations(config)
            && self.used.agrees(&self.tried, &config.store.pepper_file)
    }

    fn keeps_upstream(&self, config: &Config, name: &str) -> bool {
        let (earlier, now) = (self.config.upstreams.get(name), config.upstreams.get(name));
        earlier == now && now.is_some_and(|upstream| self.used.agrees(&self.tried, &upstream.tls.ca_file))
    }
}

/// A door for each of the listeners: the one that is there at its address, or a new one.
fn open_doors(terms: &[Arc<Terms>], known: &[Arc<Door>], open: &Sender<()>) -> Result<Vec<Opened>, Unmet> {
    let mut known = known.to_vec();
    let mut doors = Vec::new();
    for (index, terms) in terms.iter().enumerate() {
        let is_at = |door: &Arc<Door>| door.listener.terms.load().address == terms.address;
        let same = known.iter().position(|door| is_at(door) && door.listener.terms.load().name == terms.name);
        let door = if let Some(position) = same.or_else(|| known.iter().position(is_at)) {
            known.swap_remove(position)
        } else {
            let bound = bind(&terms.address).map_err(|error| {
                let why = format!("listener {}: cannot listen on {}: {error}", terms.name, terms.address);
                Unmet::for_good(format!("listeners[{index}].address"), why)
            })?;
            Door::new(Listener::new(Arc::clone(terms)), bound, open.clone())
        };
        doors.push((door, Arc::clone(terms)));
    }
    Ok(doors)
}

fn remove_files<'a>(doors: impl Iterator<Item = &'a Arc<Door>>) {
    for file in doors.filter_map(|door| door.bound.file()) {
        let _ = std::fs::remove_file(file);
    }
}
