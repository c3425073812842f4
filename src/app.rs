//! Builds everything from a configuration: compile (all problems at once), then start in order; stop in reverse.
//! No global state: several sidecars may run in one process, as tests do.

mod admin;
mod control;
mod exposed;
pub(crate) mod health;
mod http;
mod metrics;
mod office;
mod ops;
mod probes;
pub mod reload;
mod running;
mod status;
mod table;
mod traces;

use std::io::{self, Write};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use crate::admin as admin_api;
use crate::answer::Answers;
use crate::authn::KeyTable;
use crate::clock::Clock;
use crate::config::problem::Problems;
use crate::config::sections::{Config, Listener, ListenerLimits, Role};
use crate::config::units::Span;
use crate::explain::Explainer;
use crate::fleet::Standing;
use crate::forward::upstream::Upstreams;
use crate::gate::{Gate, Rules};
use crate::idempotency::Ledger;
use crate::identity::template::IdentityHeaders;
use crate::key;
use crate::management::Management;
use crate::self_service::SelfService;
use crate::server::bind;
use crate::server::connection::Speech;
use crate::server::door::Terms;
use crate::server::framing::Limits;
use crate::server::tls;
use crate::session::lifecycle::SessionLifecycle;
use crate::session::{self, authority::Authority};
use crate::store;
use crate::telemetry::access::{self, AccessLog, Writer};
use crate::telemetry::mask::Mask;
use crate::telemetry::spans::Spans;
use crate::usage;
pub use probes::Probes;
pub use running::{Running, Stopper};
use table::{Hold, Table};
use traces::Collector;

/// What is compiled from a configuration: all that can be known without opening a socket or the store.
#[derive(Debug)]
pub struct App {
    rules: Rules,
    answers: Answers,
    upstreams: Upstreams,
    listeners: Vec<Arc<Terms>>,
    identity_headers: Arc<IdentityHeaders>,
    log: Arc<access::Settings>,
    last_used_resolution: Span,
    probes: Probes,
    collector: Option<Arc<Collector>>,
    key_rules: Arc<key::rules::Rules>,
    sessions: Arc<session::Settings>,
    admin: Arc<admin_api::Settings>,
    self_service: Arc<SelfService>,
}

/// What judges and answers requests: one immutable snapshot, swapped as a whole.
#[derive(Debug)]
pub struct Snapshot {
    /// Judges.
    pub gate: Gate,
    /// Words of refusals.
    pub answers: Answers,
    /// Where admitted requests go.
    pub upstreams: Upstreams,
    /// Where all of them are written down.
    pub log: AccessLog,
    /// Of requests that are to be run once.
    pub ledger: Arc<Ledger>,
    /// Of keys, and recent denials.
    pub usage: Arc<usage::Collector>,
    /// In what steps the last use of a key is told.
    pub last_used_resolution: Span,
    /// Where its key table stands among the sidecars of the store.
    pub fleet: Arc<Standing>,
    /// What the platform may ask the upstreams.
    pub probes: Probes,
    /// Spans of requests, on their way out.
    pub spans: Arc<Spans>,
    /// Where they are sent.
    pub(crate) collector: Option<Arc<Collector>>,
    /// Management of its key table.
    pub management: Management,
    /// On what terms tokens are given.
    pub sessions: Arc<session::Settings>,
    /// Whom the admin listener knows.
    pub admin: Arc<admin_api::Settings>,
    /// What its callers may do with their keys.
    pub self_service: Arc<SelfService>,
    _table: Hold,
}

impl Snapshot {
    /// Who issues tokens here, in somebody's name; `None` = nothing is configured to sign them with.
    #[must_use]
    pub fn authority(&self, sessions: SessionLifecycle) -> Option<Authority> {
        let signing = Arc::clone(self.gate.issuers().signing()?);
        Some(Authority::new(sessions, signing, self.sessions.terms))
    }
}

/// Compiles everything that a start needs; `None` after an error.
pub fn compile(config: &Config, problems: &mut Problems) -> Option<App> {
    let identity_headers = IdentityHeaders::compile(config, problems);
    let rules = Rules::compile(config, identity_headers.as_ref(), problems);
    let answers = Answers::compile(config, problems);
    let upstreams = Upstreams::compile(config, problems);
    let listeners: Vec<_> = config.listeners.iter().enumerate().map(|(index, each)| listener(index, each, problems)).collect();
    let admin = admin_api::Settings::compile(config, problems);
    for (path, address) in [("ops.listen", &config.ops.listen), ("admin.listen", &config.admin.listen)] {
        if !address.is_empty() {
            problems.parse::<bind::Address>(path, address);
        }
    }
    let probes = Probes::compile(config, problems);
    let collector = Collector::compile(config, problems);
    store::target::check(&config.store, problems);
    store::target::check_reservations(config, problems);
    // What the management commands would find, serve and check find too.
    let key_rules = key::rules::Rules::compile(config, problems);
    let self_service = SelfService::compile(config, problems);
    let sessions = session::Settings::compile(config, problems);
    Some(App {
        rules: rules?,
        answers: answers?,
        upstreams: upstreams?,
        listeners: listeners.into_iter().collect::<Option<_>>()?,
        identity_headers: Arc::new(identity_headers?),
        log: Arc::new(access::Settings::compile(config)),
        last_used_resolution: config.keys.last_used_resolution,
        probes: probes?,
        collector: collector?,
        key_rules: Arc::new(key_rules?),
        sessions: Arc::new(sessions?),
        admin: Arc::new(admin?),
        self_service: Arc::new(self_service?),
    })
}

impl App {
    /// What judges by this configuration, over an open key table.
    fn furnish(self, table: &Table, writer: &Arc<Writer>, spans: &Arc<Spans>) -> Snapshot {
        Snapshot {
            gate: Gate::new(self.rules, Arc::clone(table.authenticator()), Arc::clone(table.desk())),
            answers: self.answers,
            upstreams: self.upstreams,
            log: AccessLog::new(self.log, Arc::clone(writer)),
            ledger: Arc::clone(table.ledger()),
            usage: Arc::clone(table.usage()),
            last_used_resolution: self.last_used_resolution,
            fleet: Arc::clone(table.fleet()),
            probes: self.probes,
            spans: Arc::clone(spans),
            collector: self.collector,
            management: table.management(self.key_rules),
            sessions: self.sessions,
            admin: self.admin,
            self_service: self.self_service,
            _table: table.hold(),
        }
    }

    /// For `explain`: the gate over the same store, without a socket.
    ///
    /// # Errors
    /// A store that cannot be opened.
    pub fn explainer(self, config: &Config, clock: Clock) -> Result<Explainer, String> {
        let key_table = KeyTable::start_existing(config, self.identity_headers, &clock)?;
        let limits =
            self.listeners.first().map_or_else(|| Limits::from(&ListenerLimits::default()), |listener| Limits::from(&listener.limits));
        let gate = Gate::new(self.rules, Arc::clone(key_table.authenticator()), Arc::clone(key_table.desk()));
        let mask = Mask::new(&config.key_kinds);
        Ok(Explainer::new(gate, self.answers, self.upstreams, mask, key_table, limits, clock))
    }
}

/// A listener, not bound yet.
fn listener(index: usize, listener: &Listener, problems: &mut Problems) -> Option<Arc<Terms>> {
    let address = problems.parse::<bind::Address>(&format!("listeners[{index}].address"), &listener.address);
    let tls = match &listener.tls {
        None => None,
        Some(tls) => Some(TlsAcceptor::from(tls::compile(tls, &listener.protocols, &format!("listeners[{index}]"), problems)?)),
    };
    address?;
    Some(Arc::new(Terms {
        name: listener.name.as_str().into(),
        address: listener.address.clone(),
        tls,
        expires: listener.tls.as_ref().and_then(|tls| tls::expiry::of(&tls.cert_file)),
        proxy_protocol: listener.proxy_protocol,
        decides: listener.role == Role::AuthzHttp,
        speech: Speech::from(listener),
        limits: listener.limits.clone(),
    }))
}

/// Starts a sidecar that logs requests on stdout. Returns when every listener accepts.
///
/// # Errors
/// Problems of the configuration, a store that cannot be opened, or an address that cannot be bound.
pub fn start(config: &Config, clock: Clock) -> anyhow::Result<Running> {
    start_with(config, clock, Box::new(io::stdout()))
}

/// The same, with the access log written to `access_log`.
///
/// # Errors
/// As [`start`].
pub fn start_with(config: &Config, clock: Clock, access_log: Box<dyn Write + Send>) -> anyhow::Result<Running> {
    let mut problems = Problems::default();
    match compile(config, &mut problems) {
        Some(app) if !problems.has_errors() => Running::start(app, config, None, clock, access_log),
        _ => {
            let list: Vec<String> = problems.list().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
            anyhow::bail!("the configuration is wrong: {}", list.join("; "))
        }
    }
}
