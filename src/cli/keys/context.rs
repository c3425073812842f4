//! What every command that manages the key table begins with: the configuration, the rules in it, the open store.
//! The same for keys and tenants.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use crate::audit::Actor;
use crate::cli::{Exit, Failure, Globals, output};
use crate::clock::Clock;
use crate::config::sections::{Config, EnvironmentName};
use crate::config::units::Span;
use crate::config::{self, Loaded, Sources};
use crate::key::digest::Peppers;
use crate::key::lifecycle::{Lifecycle, LifecycleError};
use crate::key::rules::Rules;
use crate::session::lifecycle::SessionLifecycle;
use crate::store;
use crate::store::reservation::Reservations;
use crate::store::usage::Usages;

/// What a command does to the key table. Only one that makes something new makes the file of an embedded store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It looks.
    Read,
    /// It changes what is there.
    Change,
    /// It makes what was not there.
    Make,
}

/// For an answer of the store to work in bulk.
const BULK_TIMEOUT: Span = Span::secs(30);

/// An open key table, for one command.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) lifecycle: Lifecycle,
    /// In the same store.
    pub(crate) reservations: Arc<dyn Reservations>,
    /// In the same store.
    pub(crate) usages: Arc<dyn Usages>,
    /// In the same store.
    pub(crate) sessions: SessionLifecycle,
    pub(crate) clock: Clock,
    runtime: Runtime,
}

impl Context {
    /// Reads the configuration and opens its store.
    pub(crate) fn open(access: Access, globals: &Globals) -> Result<Self, Failure> {
        Self::of(config::load(&Sources::from_globals(globals)), access, globals)
    }

    /// The same for work in bulk: nobody waits for a single answer of the store, and a slow one must not end it.
    pub(crate) fn open_for_bulk(access: Access, globals: &Globals) -> Result<Self, Failure> {
        let mut loaded = config::load(&Sources::from_globals(globals));
        let timeout = &mut loaded.config.store.command_timeout;
        *timeout = BULK_TIMEOUT.max(*timeout);
        Self::of(loaded, access, globals)
    }

    fn of(mut loaded: Loaded, access: Access, globals: &Globals) -> Result<Self, Failure> {
        if globals.admin.is_some() {
            return Err(
                Exit::Usage.because("this is done at the store itself: without --admin (SIDEGATE_ADMIN), where the store can be reached")
            );
        }
        loaded.require()?;
        let rules = Rules::compile(&loaded.config, &mut loaded.problems);
        store::target::check(&loaded.config.store, &mut loaded.problems);
        loaded.require()?;
        let rules = rules.ok_or_else(|| Exit::Configuration.because("the configuration cannot be used"))?;
        let unusable = |why: String| Exit::Configuration.because(format!("[store]: {why}"));
        let peppers = Peppers::from_file(&loaded.config.store.pepper_file).map_err(unusable)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| Exit::Failed.because(error.to_string()))?;
        let clock = Clock::System;
        let open = async {
            match access {
                Access::Make => store::open(&loaded.config.store, &clock).await.map(|opened| (opened, None)),
                Access::Read | Access::Change => store::open_existing(&loaded.config.store, &clock).await,
            }
        };
        let (opened, missing) = runtime.block_on(open).map_err(unusable)?;
        say_where(access, missing.as_deref(), &loaded, globals);
        let actor = config::user().map_or_else(|| "cli".to_owned(), |user| format!("cli:{user}"));
        let lifecycle = Lifecycle::new(opened.store, Arc::new(rules), peppers, clock.clone(), Actor::local(&actor));
        let (reservations, usages) = (opened.reservations, opened.usages);
        let sessions = SessionLifecycle::new(lifecycle.clone(), opened.sessions);
        Ok(Self { config: loaded.config, lifecycle, reservations, usages, sessions, clock, runtime })
    }

    /// Runs a piece of work to its end.
    pub(crate) fn run<T>(&self, work: impl Future<Output = Result<T, LifecycleError>>) -> Result<T, Failure> {
        self.runtime.block_on(work).map_err(Failure::from)
    }

    /// The environment of this name or label.
    pub(crate) fn environment(&self, word: &str) -> Result<EnvironmentName, Failure> {
        let environments = &self.config.environments;
        [(EnvironmentName::Live, &environments.live.label), (EnvironmentName::Test, &environments.test.label)]
            .into_iter()
            .find(|(name, label)| word.eq_ignore_ascii_case(name.name()) || word.eq_ignore_ascii_case(label))
            .map(|(name, _)| name)
            .ok_or_else(|| {
                let (live, test) = (&environments.live.label, &environments.test.label);
                Exit::Usage.because(format!("no environment `{word}`: live ({live}) or test ({test})"))
            })
    }
}

/// Says which table this is where that may not be the one that was meant.
fn say_where(access: Access, missing: Option<&Path>, loaded: &Loaded, globals: &Globals) {
    let unnamed = loaded.file.is_none() && globals.store.is_none();
    if unnamed && (missing.is_some() || (access != Access::Read && !globals.quiet)) {
        let url = config::without_passwords(&loaded.config.store.url);
        output::note(format_args!("no proxy.toml here or in /etc/sidegate; the store is {url}"));
    }
    if let Some(path) = missing {
        output::note(format_args!("there is no key table at {} yet; it reads as empty", path.display()));
    }
}

impl From<LifecycleError> for Failure {
    fn from(error: LifecycleError) -> Self {
        let exit = match error {
            LifecycleError::Store(error) => return error.into(),
            LifecycleError::Invalid(_) => Exit::Usage,
            LifecycleError::NoKey(_) | LifecycleError::NoTenant(_) | LifecycleError::NoSession(_) => Exit::NotFound,
            LifecycleError::State(_) | LifecycleError::Limit { .. } | LifecycleError::Version { .. } | LifecycleError::Lost => {
                Exit::Conflict
            }
            LifecycleError::NoRandomness(_) => Exit::Failed,
        };
        exit.because(error.to_string())
    }
}

/// `k=v` on the command line.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A list that was given, or none at all: `--ip` not given is "any".
pub(crate) fn given(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}
