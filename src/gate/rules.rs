//! What the configuration says of the gate, compiled from every section that concerns it; all mistakes at once.

use std::sync::Arc;

use crate::authn::Issuers;
use crate::config::problem::Problems;
use crate::config::sections::{BrowserRule, Config};
use crate::cors::Cors;
use crate::credential::Credentials;
use crate::environment::Environments;
use crate::forward::headers::HeaderRules;
use crate::gate::Lenience;
use crate::idempotency;
use crate::identity::template::IdentityHeaders;
use crate::limit::Limits;
use crate::net::IpSet;
use crate::net::client::Trust;
use crate::policy::guess_guard::GuessGuard;
use crate::route::Routes;
use crate::telemetry::spans::Sampler;

/// What the configuration says of the gate, compiled.
#[derive(Debug)]
pub struct Rules {
    pub(super) trust: Trust,
    pub(super) routes: Routes,
    pub(super) credentials: Credentials,
    pub(super) environments: Environments,
    pub(super) issuers: Arc<Issuers>,
    pub(super) guard: Arc<GuessGuard>,
    pub(super) cors: Option<Cors>,
    pub(super) deployment_allowlist: Option<IpSet>,
    pub(super) browser: BrowserRule,
    pub(super) headers: HeaderRules,
    pub(super) limits: Limits,
    pub(super) idempotency: Option<Arc<idempotency::Rules>>,
    pub(super) lenience: Lenience,
    pub(super) sampler: Option<Sampler>,
}

impl Rules {
    /// Compiles what concerns the gate; `None` after an error.
    pub fn compile(config: &Config, identity_headers: Option<&IdentityHeaders>, problems: &mut Problems) -> Option<Self> {
        let trust = Trust::compile(config, problems);
        let routes = Routes::compile(config, problems);
        let credentials = Credentials::compile(config, problems);
        let environments = Environments::compile(config, problems);
        let issuers = Issuers::compile(config, problems);
        let guard = GuessGuard::compile(config, problems);
        let cors = Cors::compile(config, problems);
        let limits = Limits::compile(config, problems);
        let idempotency = idempotency::Rules::compile(config, problems);
        let lenience = Lenience::compile(config, problems);
        let sampler = Sampler::compile(config, problems);
        // Bad networks are reported where all configured lists are checked.
        let deployment_allowlist = config.restrictions.ip_allowlist.as_ref().map(|list| IpSet::parse(list)).transpose().ok();
        let (trust, credentials, environments) = (trust?, credentials?, environments?);
        let headers = HeaderRules::compile(config, &trust, &environments, &credentials, identity_headers?, problems);
        Some(Self {
            trust,
            routes: routes?,
            credentials,
            environments,
            issuers: Arc::new(issuers?),
            guard: Arc::new(guard?),
            cors: cors?,
            deployment_allowlist: deployment_allowlist?,
            browser: config.restrictions.secret_key_in_browser,
            headers: headers?,
            limits: limits?,
            idempotency: idempotency?,
            lenience: lenience?,
            sampler: sampler?,
        })
    }

    /// Who may issue tokens.
    #[must_use]
    pub const fn issuers(&self) -> &Arc<Issuers> {
        &self.issuers
    }

    /// All routes.
    #[must_use]
    pub const fn routes(&self) -> &Routes {
        &self.routes
    }
}
