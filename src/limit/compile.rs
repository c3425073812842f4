//! `[rate_limits]` and `[quotas]` compiled, and which of them apply where. All mistakes at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::rule::{Count, OWN, Rule};
use super::{Limits, Set, policy_of};
use crate::config::path::join;
use crate::config::problem::Problems;
use crate::config::sections::{self, Config, EnvironmentName, LimitBy, RateLimit, RouteAuth};
use crate::store::draw::Budget;

/// Longest name.
const NAME_MAX: usize = 64;
/// The set of routes that name none, and of what is no `[[routes]]` entry.
pub(crate) const DEFAULTS: usize = 0;

/// The set of a route: its own where it names limits, even none; else the defaults, and nothing where nobody is authenticated.
#[must_use]
pub(crate) fn set_of(index: usize, route: &sections::Route) -> Option<usize> {
    match (&route.rate_limits, route.auth) {
        (Some(_), _) => Some(index + 1),
        (None, RouteAuth::Required) => Some(DEFAULTS),
        (None, RouteAuth::None) => None,
    }
}

impl Limits {
    /// Compiles them; `None` after an error.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let rates: Vec<_> = config.rate_limits.iter().map(|(name, section)| rate(name, section, problems).map(Arc::new)).collect();
        let quotas: Vec<_> = config.quotas.iter().map(|(name, section)| quota(name, section, problems).map(Arc::new)).collect();
        let mut sound = true;
        for name in config.quotas.keys().filter(|name| config.rate_limits.contains_key(*name)) {
            problems
                .error(join("quotas", name), format!("a rate limit is called `{name}` too: nobody could tell the two apart in RateLimit"));
            sound = false;
        }
        let (rates, quotas): (Option<Vec<_>>, Option<Vec<_>>) = (rates.into_iter().collect(), quotas.into_iter().collect());
        let (rates, quotas) = (rates?, quotas?);
        for (index, route) in config.routes.iter().enumerate().filter(|(_, route)| route.auth == RouteAuth::None) {
            sound &= check_open(config, index, route, &rates, problems);
        }
        unused(config, problems);
        let set = |rates: &[Arc<Rule>], environment: Option<EnvironmentName>| {
            let applies =
                |quota: &sections::Quota| environment.is_some_and(|own| quota.environments.as_ref().is_none_or(|list| list.contains(&own)));
            let quotas = quotas.iter().zip(config.quotas.values()).filter(|(_, section)| applies(section)).map(|(rule, _)| rule);
            // Where nobody is known, nothing is counted by who is calling.
            let rates = rates.iter().filter(|rule| environment.is_some() || !rule.needs_caller());
            let rules: Box<[Arc<Rule>]> = rates.chain(quotas).cloned().collect();
            Set { policy: policy_of(rules.iter().map(Arc::as_ref)), rules }
        };
        let sets = |rates: &[Arc<Rule>]| {
            [Some(EnvironmentName::Live), Some(EnvironmentName::Test), None].map(|environment| set(rates, environment))
        };
        let named = |names: &[String]| -> Vec<Arc<Rule>> {
            let indexes: BTreeSet<usize> = names.iter().filter_map(|name| config.rate_limits.get_index_of(name)).collect();
            indexes.into_iter().filter_map(|index| rates.get(index)).cloned().collect()
        };
        let defaults: Vec<String> =
            config.rate_limits.iter().filter(|(_, section)| section.default).map(|(name, _)| name.clone()).collect();
        let of_routes = config.routes.iter().map(|route| sets(&named(route.rate_limits.as_deref().unwrap_or_default())));
        let sets = std::iter::once(sets(&named(&defaults))).chain(of_routes).collect();
        sound.then(|| Self { all: rates.iter().chain(&quotas).cloned().collect(), sets })
    }
}

fn rate(name: &str, section: &RateLimit, problems: &mut Problems) -> Option<Rule> {
    let path = join("rate_limits", name);
    check(name, &path, &section.by, problems)?;
    let rule = problems.keep(path.clone(), Rule::of_section(name, path.clone(), section))?;
    if let Count::Fleet(terms) = &rule.count
        && let Budget::Rate { per_ms, capacity, .. } = terms.budget
    {
        if per_ms < 1000 {
            problems
                .warn(join(&path, "per"), "sidecars share a fleet limit in portions: a period under a second is only kept on average")
                .help("name the requests of a whole second, or counted = \"local\"");
        }
        if let Some(burst) = section.burst.filter(|burst| *burst < capacity) {
            problems.warn(
                join(&path, "burst"),
                format!("the fleet admits {capacity} at once, not {burst}: sidecars share it in portions of up to 600 ms"),
            );
        }
    }
    Some(rule)
}

fn quota(name: &str, section: &sections::Quota, problems: &mut Problems) -> Option<Rule> {
    let path = join("quotas", name);
    check(name, &path, &section.by, problems)?;
    if section.environments.as_ref().is_some_and(Vec::is_empty) {
        problems
            .error(join(&path, "environments"), "no environment: the quota applies to nothing")
            .help("drop the line: it then applies to all");
        return None;
    }
    problems.keep(path.clone(), Rule::of_quota(name, path, section))
}

/// Names are told to clients and stand in metrics.
fn check(name: &str, path: &str, by: &[LimitBy], problems: &mut Problems) -> Option<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !(1..=NAME_MAX).contains(&name.len()) || !name.bytes().all(is_plain) {
        problems.error(path, format!("`{}` is no name of a limit: 1 to {NAME_MAX} of A-Z a-z 0-9 . _ -", name.escape_debug()));
        return None;
    }
    if OWN.contains(&name) {
        problems.error(path, "the limits that keys and tenants carry are called so");
        return None;
    }
    if by.is_empty() {
        problems.error(join(path, "by"), "nothing to count by").help("one or several of \"key\" \"tenant\" \"subject\" \"ip\" \"route\"");
        return None;
    }
    Some(())
}

/// Nobody is known on an open route.
fn check_open(config: &Config, index: usize, route: &sections::Route, rates: &[Arc<Rule>], problems: &mut Problems) -> bool {
    let mut sound = true;
    for (place, name) in route.rate_limits.iter().flatten().enumerate() {
        let rule = config.rate_limits.get_index_of(name).and_then(|index| rates.get(index));
        if rule.is_some_and(|rule| rule.needs_caller()) {
            problems
                .error(
                    format!("routes[{index}].rate_limits[{place}]"),
                    format!("route `{}` is open (auth = \"none\") and `{name}` counts by who is calling", route.name),
                )
                .help("a limit by \"ip\", by \"route\" or by both");
            sound = false;
        }
    }
    sound
}

fn unused(config: &Config, problems: &mut Problems) {
    for (name, _) in config.rate_limits.iter().filter(|(_, section)| !section.default) {
        let is_named = config.routes.iter().any(|route| route.rate_limits.as_ref().is_some_and(|list| list.contains(name)));
        if !is_named {
            problems
                .warn(join("rate_limits", name), "it limits nothing: no route names it")
                .help("default = true, or rate_limits on a route");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> Vec<String> {
        let mut problems = Problems::default();
        let compiled = Limits::compile(&toml::from_str(toml).unwrap(), &mut problems);
        assert_eq!(compiled.is_none(), problems.has_errors());
        problems.list().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        for (wrong, said) in [
            ("[rate_limits.a]\nby = []\nrequests = 1\nper = \"1s\"\ndefault = true", "nothing to count by"),
            ("[rate_limits.a]\nby = [\"key\"]\nrequests = 0\nper = \"1s\"\ndefault = true", "`requests` must be from 1"),
            ("[rate_limits.a]\nby = [\"key\"]\nrequests = 1\nper = \"0s\"\ndefault = true", "`per` must be more than 0"),
            ("[rate_limits.a]\nby = [\"key\"]\nrequests = 1\nper = \"1s\"\nburst = 0\ndefault = true", "`burst` must be from 1"),
            ("[rate_limits.\"a b\"]\nby = [\"key\"]\nrequests = 1\nper = \"1s\"\ndefault = true", "is no name of a limit"),
            ("[rate_limits.key-record]\nby = [\"key\"]\nrequests = 1\nper = \"1s\"\ndefault = true", "are called so"),
            ("[quotas.a]\nby = [\"key\"]\nrequests = 1\nper = \"day\"\nenvironments = []", "no environment"),
            (
                "[quotas.a]\nby = [\"key\"]\nrequests = 1\nper = \"day\"\n[rate_limits.a]\nby = [\"key\"]\nrequests = 1\nper = \"1s\"\ndefault = true",
                "a rate limit is called `a` too",
            ),
            (
                "[rate_limits.a]\nby = [\"key\"]\nrequests = 1\nper = \"1s\"\n[[routes]]\nname = \"x\"\nmatch = \"GET /\"\nauth = \"none\"\nrate_limits = [\"a\"]",
                "counts by who is calling",
            ),
        ] {
            let told = problems(wrong);
            assert!(told.len() == 1 && told[0].contains(said), "{wrong}: {told:?}");
        }
    }

    #[test]
    fn what_may_not_be_meant_is_told() {
        for (odd, said) in [
            ("[rate_limits.a]\nby = [\"key\"]\nrequests = 1\nper = \"1s\"", "it limits nothing"),
            (
                "[rate_limits.a]\nby = [\"key\"]\nrequests = 5\nper = \"100ms\"\ncounted = \"fleet\"\nburst = 50\ndefault = true",
                "only kept on average",
            ),
            (
                "[rate_limits.a]\nby = [\"key\"]\nrequests = 100\nper = \"1s\"\ncounted = \"fleet\"\nburst = 1\ndefault = true",
                "the fleet admits 60 at once",
            ),
        ] {
            let told = problems(odd);
            assert!(told.len() == 1 && told[0].contains(said), "{odd}: {told:?}");
        }
        assert!(problems("[rate_limits.a]\nby = [\"key\", \"ip\"]\nrequests = 100\nper = \"1s\"\nburst = 5\ndefault = true").is_empty());
    }
}
