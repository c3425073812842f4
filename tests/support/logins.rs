//! Sessions, as an API's login has them begin; and what becomes of them.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use sidegate::audit::Actor;
use sidegate::authn::Issuers;
use sidegate::clock::Clock;
use sidegate::config::problem::Problems;
use sidegate::config::sections::Config;
use sidegate::key::digest::Peppers;
use sidegate::key::lifecycle::Lifecycle;
use sidegate::key::rules::Rules;
use sidegate::session::authority::{Authority, NewSession, Terms};
use sidegate::session::lifecycle::SessionLifecycle;
use sidegate::store::session::SessionQuery;
use sidegate::store::{self, Opened};
use tokio::runtime::{Builder, Runtime};

/// A pair of tokens.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// Who begins sessions in a store, and ends them.
pub(crate) struct Logins {
    runtime: Runtime,
    authority: Authority,
    sessions: SessionLifecycle,
}

impl Logins {
    /// By the keys and on the terms of this configuration.
    pub(crate) fn open(config: &Config, clock: Clock) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let Opened { store, sessions, .. } = runtime.block_on(store::open(&config.store, &clock)).unwrap();
        let rules = Arc::new(Rules::compile(config, &mut Problems::default()).unwrap());
        let sessions = SessionLifecycle::new(Lifecycle::new(store, rules, Peppers::default(), clock, Actor::local("test")), sessions);
        let signing = Issuers::compile(config, &mut Problems::default()).unwrap().signing().cloned().unwrap();
        Self { runtime, authority: Authority::new(sessions.clone(), signing, Terms::from(&config.sessions)), sessions }
    }

    pub(crate) fn begin(&self, new: NewSession) -> Login {
        let pair = self.runtime.block_on(self.authority.create(new)).unwrap();
        let text = |secret: &secrecy::SecretString| secret.expose_secret().to_owned();
        Login { access: text(&pair.access), refresh: pair.refresh.as_ref().map(text).unwrap() }
    }

    /// Ends all that a subject has begun.
    pub(crate) fn end(&self, subject: &str) {
        self.runtime.block_on(self.sessions.revoke_all(None, Some(subject))).unwrap();
    }

    /// How often the session of a subject was written.
    pub(crate) fn version(&self, subject: &str) -> u64 {
        let query = SessionQuery { subject: Some(subject), limit: 1, ..SessionQuery::default() };
        self.runtime.block_on(self.sessions.list(&query)).unwrap().items[0].version
    }

    /// Why each session of a subject is over; empty = it is not.
    pub(crate) fn ends(&self, subject: &str) -> Vec<String> {
        let query = SessionQuery { subject: Some(subject), limit: 100, ..SessionQuery::default() };
        let found = self.runtime.block_on(self.sessions.list(&query)).unwrap().items;
        found.into_iter().map(|session| session.ended.map(|ended| ended.reason).unwrap_or_default()).collect()
    }
}
