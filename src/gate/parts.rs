//! What others ask the gate for: rules that hold behind it too, and what is told of it. Nothing here judges.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::{Caller, Gate, Lenience};
use crate::environment::Environments;
use crate::forward::headers::HeaderRules;
use crate::limit::{Counts, Limits};
use crate::net::Peer;
use crate::policy::guess_guard::GuessGuard;
use crate::telemetry::spans::{Context, Sampler};

impl Gate {
    /// Whether the peer's forwarding headers are believed.
    #[must_use]
    pub fn trusts(&self, peer: Peer) -> bool {
        self.rules.trust.trusts(peer)
    }

    /// Whether credentials stand in this header, whoever's.
    #[must_use]
    pub fn carries_credentials(&self, name: &HeaderName) -> bool {
        self.rules.credentials.is_carrier(name)
    }

    /// What is done to the headers of admitted requests.
    #[must_use]
    pub const fn header_rules(&self) -> &HeaderRules {
        &self.rules.headers
    }

    /// The limits, for metrics.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.rules.limits
    }

    /// What is counted by them.
    #[must_use]
    pub const fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The environments, for `{environment}` in answers.
    #[must_use]
    pub const fn environments(&self) -> &Environments {
        &self.rules.environments
    }

    /// What is let through for a time only, for readiness.
    #[must_use]
    pub const fn lenience(&self) -> &Lenience {
        &self.rules.lenience
    }

    /// Which requests are recorded; `None` = there are no traces.
    #[must_use]
    pub const fn sampler(&self) -> Option<Sampler> {
        self.rules.sampler
    }

    /// The place in its trace of a request that is let through: only who is known is followed.
    #[must_use]
    pub fn trace(&self, caller: &Caller, headers: &HeaderMap) -> Option<Context> {
        self.rules.sampler.map(|sampler| sampler.admitted(matches!(caller, Caller::Known(_)), headers))
    }

    /// The guess guard, for readiness.
    #[must_use]
    pub fn guard(&self) -> &GuessGuard {
        &self.rules.guard
    }
}
