//! Scopes: what was granted, what a route demands. Grants may end in `*`, demands never.

use std::fmt;
use std::sync::Arc;

use super::Case;
use crate::gate::trace::Note;
use crate::rejection::{Refusal, Rejection};
use crate::route::{Demand, Scope};

/// Granted scopes: words with single spaces between them, side by side, as they are sent on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(Arc<str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grant<'g>(&'g str);

/// Scopes of one record, at most: a ceiling is compared with each of them.
pub const SCOPES_MAX: usize = 512;
/// Longest scope.
pub const SCOPE_MAX: usize = 256;

/// Checks one scope word: 1–256 bytes of visible ASCII without `, ; " \` (as it is injected), `*` only at the end, no dot segments.
///
/// # Errors
/// What is wrong with it.
pub fn check_grant(scope: &str) -> Result<(), String> {
    let body = scope.strip_suffix('*').unwrap_or(scope);
    if scope.is_empty() || scope.len() > SCOPE_MAX {
        return Err(format!("a scope has 1 to {SCOPE_MAX} characters"));
    }
    if body.contains('*') {
        return Err(format!("`{scope}`: `*` stands only at the end of a scope"));
    }
    if !scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'"' | b'\\')) {
        return Err(format!("`{}` is not a scope: visible ASCII without , ; \" \\", scope.escape_debug()));
    }
    if scope.split(['/', ':']).any(|segment| matches!(segment, "." | "..")) {
        return Err(format!("`{scope}` has a dot segment"));
    }
    Ok(())
}

impl Grants {
    /// From the words of a record.
    ///
    /// # Errors
    /// What is wrong with the first bad one.
    pub fn parse<S: AsRef<str>>(scopes: &[S]) -> Result<Self, String> {
        if scopes.len() > SCOPES_MAX {
            return Err(format!("more than {SCOPES_MAX} scopes"));
        }
        let scopes: Vec<&str> = scopes.iter().map(AsRef::as_ref).collect();
        scopes.iter().try_for_each(|scope| check_grant(scope))?;
        Ok(Self(scopes.join(" ").into()))
    }

    /// Every scope there is.
    #[must_use]
    pub fn all() -> Self {
        Self("*".into())
    }

    /// The same ones, side by side.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same ones, as others have them too.
    #[must_use]
    pub fn shared(&self, share: impl FnOnce(&str) -> Arc<str>) -> Self {
        Self(share(&self.0))
    }

    fn iter(&self) -> impl Iterator<Item = Grant<'_>> {
        self.0.split(' ').filter(|scope| !scope.is_empty()).map(Grant)
    }

    /// Whether this scope is granted.
    #[must_use]
    pub fn allow(&self, scope: &str) -> bool {
        self.iter().any(|grant| grant.covers(scope))
    }

    /// Whether everything that the other grants is granted by one of these.
    #[must_use]
    pub fn cover(&self, other: &Self) -> bool {
        other.iter().all(|theirs| self.iter().any(|mine| mine.covers_grant(theirs)))
    }

    /// What both grant: the effective scopes under a tenant's ceiling.
    #[must_use]
    pub fn intersect(&self, ceiling: &Self) -> Self {
        let mut both: Vec<&str> = Vec::new();
        for mine in self.iter() {
            for theirs in ceiling.iter() {
                let Grant(narrower) = match (mine.covers_grant(theirs), theirs.covers_grant(mine)) {
                    (_, true) => mine,
                    (true, false) => theirs,
                    (false, false) => continue,
                };
                if !both.contains(&narrower) {
                    both.push(narrower);
                }
            }
        }
        Self(both.join(" ").into())
    }

    /// Whether none is granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Grant<'_> {
    fn covers(self, scope: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => scope.starts_with(prefix),
            None => self.0 == scope,
        }
    }

    fn covers_grant(self, other: Self) -> bool {
        match (self.0.strip_suffix('*'), other.0.strip_suffix('*')) {
            (_, None) => self.covers(other.0),
            (Some(own), Some(prefix)) => prefix.starts_with(own),
            (None, Some(_)) => false,
        }
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the check looks at.
pub(super) fn look(case: &Case<'_>) -> Note {
    let identity = case.identity;
    let all = demanded(&case.route.scopes, case.captures);
    let any = demanded(&case.route.any_scopes, case.captures);
    let needs = match (all.is_empty(), any.is_empty()) {
        (true, true) => "none needed".to_owned(),
        (false, true) => format!("needs {all}"),
        (true, false) => format!("needs one of {any}"),
        (false, false) => format!("needs {all} and one of {any}"),
    };
    let granted = if identity.grants.is_empty() { "none".to_owned() } else { identity.grants.to_string() };
    let ceiling = identity
        .particulars()
        .ceiling
        .as_ref()
        .map(|ceiling| format!(", under the ceiling of tenant {}: {ceiling}", identity.tenant_id))
        .unwrap_or_default();
    Note::new(format!("{needs}; granted {granted}{ceiling}")).route(case, if all.is_empty() { "any_scopes" } else { "scopes" })
}

/// The route's `scopes` are all granted, and one of its `any_scopes`.
pub(super) fn check(case: &Case<'_>) -> Result<(), Refusal> {
    let grants = &case.identity.grants;
    let granted = |demand: &Demand| demand.with(case.captures, |scope| grants.allow(scope)) == Some(true);
    if let Some(missing) = case.route.scopes.iter().find(|demand| !granted(demand)) {
        let needs = missing.with(case.captures, |scope| format!("needs {scope}"));
        return Err(Rejection::ScopeMissing.because(needs.unwrap_or_default()));
    }
    if case.route.any_scopes.is_empty() || case.route.any_scopes.iter().any(granted) {
        return Ok(());
    }
    Err(Rejection::ScopeMissing.because(format!("needs one of {}", demanded(&case.route.any_scopes, case.captures))))
}

/// What an admitted request needed, separated by spaces: all of `scopes`, and of `any_scopes` the first that is granted.
#[must_use]
pub fn used(case: &Case<'_>) -> Scope {
    let grants = &case.identity.grants;
    let any = case.route.any_scopes.iter().find(|demand| demand.with(case.captures, |scope| grants.allow(scope)) == Some(true));
    let mut all = Scope::new();
    for demand in case.route.scopes.iter().chain(any) {
        demand.with(case.captures, |scope| {
            if !all.is_empty() {
                all.push(b' ');
            }
            all.extend_from_slice(scope.as_bytes());
        });
    }
    all
}

/// Demanded scopes, separated by spaces, as a challenge names them (RFC 6750 §3).
#[must_use]
pub fn demanded(demands: &[Demand], captures: &[&str]) -> String {
    demands.iter().filter_map(|demand| demand.with(captures, str::to_owned)).collect::<Vec<_>>().join(" ")
}

/// It is made of text.
#[must_use]
pub fn text(scope: &Scope) -> &str {
    std::str::from_utf8(scope).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(list: &[&str]) -> Grants {
        Grants::parse(list).unwrap()
    }

    #[test]
    fn a_star_covers_what_begins_so() {
        assert!(grants(&["read:*"]).allow("read:customers"));
        assert!(!grants(&["read:*"]).allow("write:customers"));
        assert!(!grants(&["read"]).allow("read:customers"));
        assert!(grants(&["*"]).allow("anything"));
        assert!(!grants(&[]).allow("anything"));
    }

    #[test]
    fn a_ceiling_narrows_and_never_widens() {
        assert_eq!(grants(&["*"]).intersect(&grants(&["read:*"])).to_string(), "read:*");
        assert_eq!(grants(&["read:a", "write:a"]).intersect(&grants(&["read:*"])).to_string(), "read:a");
        assert_eq!(grants(&["read:*"]).intersect(&grants(&["read:a", "read:b"])).to_string(), "read:a read:b");
        assert!(grants(&["read:a"]).intersect(&grants(&[])).is_empty());
    }

    #[test]
    fn a_grant_is_covered_by_its_like_and_by_stars_that_are_shorter() {
        for (mine, theirs, covered) in [
            (&["read:*"][..], &["read:a", "read:*", "read:a*"][..], true),
            (&["*"], &["anything", "*"], true),
            (&[], &[], true),
            (&["read:a"], &["read:*"], false),
            (&["read:a", "read:b"], &["read:a", "read:c"], false),
            (&["read:a*"], &["read:*"], false),
            (&[], &["a"], false),
        ] {
            assert_eq!(grants(mine).cover(&grants(theirs)), covered, "{mine:?} {theirs:?}");
        }
    }

    #[test]
    fn what_could_be_read_otherwise_is_refused() {
        assert!(Grants::parse(&vec!["a"; SCOPES_MAX + 1]).is_err());
        for bad in ["", "a b", "a,b", "a\"b", "r*d", "**", "é", "read:..", "a/./b", &"x".repeat(257)] {
            assert!(Grants::parse(&[bad]).is_err(), "{bad}");
        }
    }
}
