//! Environment gate: which environments of keys this deployment serves, at which hosts, by which upstream.
//! Judged from the prefix before any look-up: a test key never costs production anything.

use http::{HeaderName, HeaderValue};

use crate::config::problem::Problems;
use crate::config::sections::{Config, Deployment, EnvironmentName, EnvironmentRule};
use crate::facts::Facts;
use crate::identity::template::is_plain_name;
use crate::rejection::{Refusal, Rejection};
use crate::route::Route;

/// Both environments, compiled.
#[derive(Debug)]
pub struct Environments {
    live: Environment,
    test: Environment,
}

/// One environment.
#[derive(Debug)]
pub struct Environment {
    allow: bool,
    /// Whether the configuration says so itself, or the deployment implies it.
    allow_is_written: bool,
    /// Index of its upstream; none = it is served nowhere, never by another upstream.
    pub upstream: Option<usize>,
    /// Set on its requests.
    pub add_headers: Box<[(HeaderName, HeaderValue)]>,
    /// What people call it.
    pub label: Box<str>,
    hosts: Box<[Box<str>]>,
}

impl Environments {
    /// Compiles `deployment` and `[environments]`.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let live_default = config.deployment != Deployment::Staging;
        let test_default = config.deployment != Deployment::Production;
        let live = Environment::compile(config, &config.environments.live, live_default, "environments.live", problems);
        let test = Environment::compile(config, &config.environments.test, test_default, "environments.test", problems);
        Some(Self { live: live?, test: test? })
    }

    /// The environment of this name.
    #[must_use]
    pub const fn of(&self, name: EnvironmentName) -> &Environment {
        match name {
            EnvironmentName::Live => &self.live,
            EnvironmentName::Test => &self.test,
        }
    }

    /// Names of all headers that any environment adds: reserved, as identity headers are.
    pub fn added_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.live.add_headers.iter().chain(&self.test.add_headers).map(|(name, _)| name)
    }

    /// Whether a key of this environment is served here, and by which upstream.
    ///
    /// # Errors
    /// What blocks it.
    pub fn check(&self, name: EnvironmentName, facts: &Facts, route: &Route) -> Result<usize, Blocked> {
        let environment = self.of(name);
        if !environment.allow {
            return Err(Blocked::Deployment);
        }
        if !environment.hosts.is_empty() && !facts.host.as_ref().is_some_and(|host| environment.hosts.iter().any(|name| host.is(name))) {
            return Err(Blocked::Host);
        }
        if route.environments.as_ref().is_some_and(|allowed| !allowed.contains(&name)) {
            return Err(Blocked::Route);
        }
        let own = environment.upstream.ok_or(Blocked::Upstream)?;
        // A route's upstream is for the environment that shares live's, or that the route names: test keys that have an upstream
        // of their own never meet live's by a route that did not think of them.
        let is_meant = own == self.live.upstream.unwrap_or(own) || route.environments.is_some();
        Ok(route.upstream.filter(|_| is_meant).unwrap_or(own))
    }

    /// Where in the configuration it is decided.
    #[must_use]
    pub fn place(&self, name: EnvironmentName, blocked: Option<Blocked>, route: &Route) -> String {
        let environment = self.of(name);
        let section = format!("environments.{}", name.name());
        match blocked {
            None | Some(Blocked::Deployment) if !environment.allow_is_written => "deployment".to_owned(),
            None | Some(Blocked::Deployment) => format!("{section}.allow"),
            Some(Blocked::Host) => format!("{section}.hosts"),
            Some(Blocked::Route) => format!("{}.environments", route.path),
            Some(Blocked::Upstream) => format!("{section}.upstream"),
        }
    }
}

/// What keeps a key of an environment out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// The deployment does not serve it.
    Deployment,
    /// Another host does.
    Host,
    /// Other routes do.
    Route,
    /// Nothing does: its upstream is not defined.
    Upstream,
}

impl From<Blocked> for Refusal {
    fn from(blocked: Blocked) -> Self {
        Rejection::EnvironmentBlocked.because(match blocked {
            Blocked::Deployment => "not served by this deployment",
            Blocked::Host => "not served at this host",
            Blocked::Route => "not served by this route",
            Blocked::Upstream => "its upstream is not defined",
        })
    }
}

/// Whether `[identity.headers]` has it: what is added last would stand in its place.
fn tells_identity(config: &Config, name: &HeaderName) -> bool {
    config.identity.headers.keys().any(|identity| identity.eq_ignore_ascii_case(name.as_str()))
}

impl Environment {
    /// Whether this deployment serves its keys at all.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        self.allow && self.upstream.is_some()
    }

    fn compile(config: &Config, rule: &EnvironmentRule, default: bool, path: &'static str, problems: &mut Problems) -> Option<Self> {
        let mut sound = true;
        let mut add_headers = Vec::new();
        for (name, value) in &rule.add_headers {
            let at = format!("{path}.add_headers.{name}");
            match (problems.parse::<HeaderName>(&at, name), problems.parse::<HeaderValue>(&at, value)) {
                (Some(name), Some(value)) if is_plain_name(&name) && !tells_identity(config, &name) => add_headers.push((name, value)),
                (Some(_), Some(_)) => {
                    problems
                        .error(&at, format!("`{name}` tells who is calling, or is a header of HTTP itself"))
                        .help("add a header of your own, such as X-Sandbox");
                    sound = false;
                }
                _ => sound = false,
            }
        }
        sound.then(|| Self {
            allow: rule.allow.unwrap_or(default),
            allow_is_written: rule.allow.is_some(),
            upstream: config.upstreams.get_index_of(&rule.upstream),
            add_headers: add_headers.into(),
            label: rule.label.as_str().into(),
            hosts: rule.hosts.iter().map(|host| host.as_str().into()).collect(),
        })
    }
}
