//! The law of self-service: who calls gives nobody more than it has. Kinds, scopes, networks, origins, endpoints, limits and the end of
//! life are compared as they are written, each by whether the caller's covers the other's in any case.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::key::lifecycle::NewKey;
use crate::key::record::KeyRecord;
use crate::limit::Own;
use crate::net::IpSet;
use crate::policy::referrer::Referrers;
use crate::policy::scope::Grants;
use crate::route::template::Template;

/// A kind that every secret key may make: it opens only the routes that name it.
const PUBLISHABLE: &str = "publishable";

/// What a key may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rights<'a> {
    pub(super) kind: &'a str,
    pub(super) scopes: &'a [String],
    pub(super) ip_allowlist: Option<&'a [String]>,
    pub(super) referrers: Option<&'a [String]>,
    pub(super) endpoints: Option<&'a [String]>,
    pub(super) rate_limit: Option<&'a Value>,
    pub(super) expires_at: Option<Timestamp>,
}

/// Why a caller may not give that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beyond {
    /// It has less of this.
    Rights(&'static str),
    /// This cannot be read.
    Grammar(&'static str),
}

impl<'a> Rights<'a> {
    pub(super) fn of(key: &'a KeyRecord) -> Self {
        Self {
            kind: &key.kind,
            scopes: &key.scopes,
            ip_allowlist: key.ip_allowlist.as_deref(),
            referrers: key.referrers.as_deref(),
            endpoints: key.endpoints.as_deref(),
            rate_limit: key.rate_limit.as_ref(),
            expires_at: key.expires_at,
        }
    }

    /// Of a key that is to be made, its end apart.
    pub(super) fn of_new(key: &'a NewKey) -> Self {
        Self {
            kind: &key.kind,
            scopes: &key.scopes,
            ip_allowlist: key.ip_allowlist.as_deref(),
            referrers: key.referrers.as_deref(),
            endpoints: key.endpoints.as_deref(),
            rate_limit: key.rate_limit.as_ref(),
            expires_at: None,
        }
    }
}

/// Whether the caller has all that. Its scopes are `granted`, where they are under a ceiling; else those of its record.
pub(super) fn check(caller: &KeyRecord, granted: Option<&Grants>, rights: &Rights<'_>) -> Result<(), Beyond> {
    let own = Rights::of(caller);
    if rights.kind != own.kind && rights.kind != PUBLISHABLE {
        return Err(Beyond::Rights("kind"));
    }
    let scopes = |list: &[String]| Grants::parse(list).map_err(|_| Beyond::Grammar("scopes"));
    let granted = granted.map_or_else(|| scopes(own.scopes), |granted| Ok(granted.clone()))?;
    if !granted.cover(&scopes(rights.scopes)?) {
        return Err(Beyond::Rights("scopes"));
    }
    within("ip_allowlist", own.ip_allowlist, rights.ip_allowlist, IpSet::parse, IpSet::covers)?;
    within("referrers", own.referrers, rights.referrers, Referrers::parse, Referrers::cover)?;
    within("endpoints", own.endpoints, rights.endpoints, templates, |wide, narrow| {
        narrow.iter().all(|other| wide.iter().any(|one| one.covers(other)))
    })?;
    within("rate_limit", own.rate_limit, rights.rate_limit, Own::parse, Own::covers)?;
    match (own.expires_at, rights.expires_at) {
        (Some(latest), end) if end.is_none_or(|end| end > latest) => Err(Beyond::Rights("expires_in")),
        _ => Ok(()),
    }
}

/// An absent list is any, and so is an absent limit.
fn within<W: ?Sized, T>(
    what: &'static str,
    own: Option<&W>,
    other: Option<&W>,
    parse: impl Fn(&W) -> Result<T, String>,
    covers: impl Fn(&T, &T) -> bool,
) -> Result<(), Beyond> {
    let parse = |written: Option<&W>| written.map(&parse).transpose().map_err(|_| Beyond::Grammar(what));
    match (parse(own)?, parse(other)?) {
        (None, _) => Ok(()),
        (Some(wide), Some(narrow)) if covers(&wide, &narrow) => Ok(()),
        (Some(_), _) => Err(Beyond::Rights(what)),
    }
}

fn templates(list: &[String]) -> Result<Vec<Template>, String> {
    list.iter().map(|entry| entry.parse()).collect()
}

#[cfg(test)]
mod tests;
