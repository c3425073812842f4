//! Environment gate: which environments of keys this deployment serves, at which hosts, by which upstream.
//! Judged from the prefix before any look-up: a test key never costs production anything.

use http::{HeaderName, HeaderValue};

use crate::config::problem::Problems;
use crate::config::sections::{Config, Deployment, EnvironmentName, EnvironmentRule};
use crate::facts::Facts;
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
    /// Where it stands in the configuration.
    pub path: &'static str,
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
    /// `environment_blocked`.
    pub fn check(&self, name: EnvironmentName, facts: &Facts, route: &Route) -> Result<usize, Refusal> {
        let environment = self.of(name);
        let blocked = |why: &'static str| Err(Rejection::EnvironmentBlocked.because(why));
        if !environment.allow {
            return blocked("not served by this deployment");
        }
        if !environment.hosts.is_empty() && !facts.host.as_ref().is_some_and(|host| environment.hosts.iter().any(|name| host.is(name))) {
            return blocked("not served at this host");
        }
        if route.environments.as_ref().is_some_and(|allowed| !allowed.contains(&name)) {
            return blocked("not served by this route");
        }
        route.upstream.or(environment.upstream).map_or_else(|| blocked("its upstream is not defined"), Ok)
    }
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
                (Some(name), Some(value)) => add_headers.push((name, value)),
                _ => sound = false,
            }
        }
        sound.then(|| Self {
            allow: rule.allow.unwrap_or(default),
            path,
            upstream: config.upstreams.get_index_of(&rule.upstream),
            add_headers: add_headers.into(),
            label: rule.label.as_str().into(),
            hosts: rule.hosts.iter().map(|host| host.as_str().into()).collect(),
        })
    }
}
