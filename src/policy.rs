//! What an authenticated caller may do: one list of pure checks, in the order of the contract.
//! The proxy stops at the first refusal; `explain` runs them all.

pub mod browser;
pub mod endpoint;
pub mod guess_guard;
pub mod kind;
pub mod network;
pub mod referrer;
pub mod scope;

use http::HeaderMap;

use crate::config::sections::Observable;
use crate::facts::Facts;
use crate::gate::trace::Note;
use crate::identity::Identity;
use crate::net::IpSet;
use crate::net::client::ClientAddr;
use crate::rejection::{Refusal, Rejection};
use crate::route::Route;

/// Everything a check may look at.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Who is calling.
    pub identity: &'a Identity,
    /// What is asked.
    pub facts: &'a Facts,
    /// What that demands.
    pub route: &'a Route,
    /// What the route captured.
    pub captures: &'a [&'a str],
    /// From where.
    pub client: ClientAddr,
    /// With which headers.
    pub headers: &'a HeaderMap,
    /// Networks of the whole deployment.
    pub deployment_allowlist: Option<&'a IpSet>,
    /// What becomes of a secret key in a browser.
    pub browser: crate::config::sections::BrowserRule,
}

/// A check: what it decides, and what `explain` says of it.
#[derive(Debug)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Decides.
    pub check: fn(&Case<'_>) -> Result<(), Refusal>,
    /// Says what it looks at, and where that stands.
    pub look: fn(&Case<'_>) -> Note,
    /// What it is called where it may be observed instead of enforced.
    pub observable: Option<Observable>,
}

/// The checks, in order.
pub const CHECKS: &[Check] = &[
    Check { name: "key kind", check: kind::check_kind, look: kind::look_at_kind, observable: None },
    Check { name: "credential type", check: kind::check_credential, look: kind::look_at_credential, observable: None },
    Check { name: "network", check: network::check, look: network::look, observable: Some(Observable::Ip) },
    Check { name: "referrer", check: referrer::check, look: referrer::look, observable: Some(Observable::Referrer) },
    Check { name: "browser", check: browser::check, look: browser::look, observable: None },
    Check { name: "endpoint", check: endpoint::check, look: endpoint::look, observable: Some(Observable::Endpoint) },
    // A caller whose own restrictions hold may learn that there is no such route.
    Check { name: "known route", check: check_matched, look: look_at_route, observable: None },
    Check { name: "scope", check: scope::check, look: scope::look, observable: Some(Observable::Scope) },
];

fn check_matched(case: &Case<'_>) -> Result<(), Refusal> {
    if case.route.matched { Ok(()) } else { Err(Rejection::RouteUnmatched.into()) }
}

fn look_at_route(case: &Case<'_>) -> Note {
    if case.route.matched {
        Note::new(case.route.template.as_ref()).at(&case.route.path)
    } else {
        Note::new("no route matches").at("routing.unmatched")
    }
}

impl Note {
    /// Decided by this field of the key's record, if it is a key or stands for one.
    fn record(self, case: &Case<'_>, field: &str) -> Self {
        match case.identity.acts_for() {
            Some(id) => self.at(&format!("record of {id}, {field}")),
            None => self,
        }
    }

    /// Decided by this key of the route.
    fn route(self, case: &Case<'_>, key: &str) -> Self {
        if case.route.path.is_empty() { self } else { self.at(&format!("{}.{key}", case.route.path)) }
    }
}
