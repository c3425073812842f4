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

use crate::facts::Facts;
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

/// A check.
pub type Check = fn(&Case<'_>) -> Result<(), Refusal>;

/// The checks, by name, in order.
pub const CHECKS: &[(&str, Check)] = &[
    ("key kind", kind::check_kind),
    ("credential type", kind::check_credential),
    ("network", network::check),
    ("referrer", referrer::check),
    ("browser", browser::check),
    ("endpoint", endpoint::check),
    // A caller whose own restrictions hold may learn that there is no such route.
    ("route", check_matched),
    ("scope", scope::check),
];

fn check_matched(case: &Case<'_>) -> Result<(), Refusal> {
    if case.route.matched { Ok(()) } else { Err(Rejection::RouteUnmatched.into()) }
}
