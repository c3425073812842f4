//! Why a key that may be made will not work on this deployment, or not wholly: said to whoever makes it, for the proxy would
//! only answer 403. Never a reason to refuse: a key may be made here for a deployment elsewhere, or for a route to come.

use http::Method;

use super::record::KeyRecord;
use crate::config::problem::Problems;
use crate::config::sections::{Config, Unmatched};
use crate::environment::Environments;
use crate::policy::scope::Grants;
use crate::route::template::{Methods, Step, Template};
use crate::tenant::TenantRecord;

/// What its maker should know.
#[must_use]
pub fn hints(config: &Config, key: &KeyRecord, tenant: &TenantRecord) -> Vec<String> {
    let environment = environment(config, key);
    environment.into_iter().chain(beyond_ceiling(key, tenant)).chain(endpoints(config, key)).collect()
}

fn environment(config: &Config, key: &KeyRecord) -> Option<String> {
    // What is wrong with the section is told by `check`.
    let environments = Environments::compile(config, &mut Problems::default())?;
    let name = key.environment.name();
    (!environments.of(key.environment).is_served())
        .then(|| format!("{name} keys are not served by this deployment (deployment, environments.{name}): it refuses the key"))
}

fn beyond_ceiling(key: &KeyRecord, tenant: &TenantRecord) -> Option<String> {
    let ceiling = Grants::parse(tenant.scopes.as_ref()?).ok()?;
    let wholly = |scope: &str| Grants::parse(&[scope]).is_ok_and(|granted| granted.intersect(&ceiling) == granted);
    let beyond: Vec<&str> = key.scopes.iter().map(String::as_str).filter(|scope| !wholly(scope)).collect();
    let allowed = tenant.scopes.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
    (!beyond.is_empty()).then(|| {
        format!("{} is beyond the ceiling of tenant {} ({allowed}): only what both name is effective", beyond.join(" "), tenant.id)
    })
}

fn endpoints(config: &Config, key: &KeyRecord) -> Vec<String> {
    if config.routes.is_empty() || config.routing.unmatched == Unmatched::Authenticated {
        return Vec::new();
    }
    let routes: Vec<Template> = config.routes.iter().filter_map(|route| route.matches.parse().ok()).collect();
    let is_routed = |endpoint: &str| endpoint.parse().is_ok_and(|endpoint: Template| routes.iter().any(|route| meet(&endpoint, route)));
    let lost = key.endpoints.iter().flatten().filter(|endpoint| !is_routed(endpoint));
    lost.map(|endpoint| format!("endpoint `{endpoint}` is in no route of this deployment (`sidegate routes`)")).collect()
}

/// Whether some request matches both.
fn meet(one: &Template, other: &Template) -> bool {
    methods_meet(&one.methods, &other.methods) && steps_meet(&one.steps, &other.steps)
}

fn methods_meet(one: &Methods, other: &Methods) -> bool {
    let named_in = |named: &[Method], others: &Methods| named.iter().any(|method| others.contain(method));
    match (one, other) {
        (Methods::Any, _) | (_, Methods::Any) => true,
        (Methods::Named(left), Methods::Named(right)) => named_in(left, other) || named_in(right, one),
    }
}

fn steps_meet(one: &[Step], other: &[Step]) -> bool {
    match (one.split_first(), other.split_first()) {
        (Some((Step::Rest, _)), _) | (_, Some((Step::Rest, _))) | (None, None) => true,
        (None, Some(_)) | (Some(_), None) => false,
        (Some((first, one)), Some((second, other))) => {
            let same = match (first, second) {
                (Step::Static(first), Step::Static(second)) => first == second,
                (Step::Static(_) | Step::Capture(_) | Step::Rest, _) => true,
            };
            same && steps_meet(one, other)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sections::EnvironmentName;
    use crate::store::contract::{key, tenant};

    fn config(toml: &str) -> Config {
        let mut config: Config = toml::from_str(toml).unwrap();
        config.upstreams.insert("main".into(), toml::from_str("url = \"http://127.0.0.1:3000\"").unwrap());
        config
    }

    #[test]
    fn a_key_that_works_everywhere_gets_no_hint() {
        assert_eq!(hints(&config(""), &key("key_1", "acme", "s"), &tenant("acme")), Vec::<String>::new());
    }

    #[test]
    fn an_environment_that_is_not_served_is_told() {
        let mut test = key("key_1", "acme", "s");
        test.environment = EnvironmentName::Test;
        let of = |toml: &str| hints(&config(toml), &test, &tenant("acme")).len();
        assert_eq!((of("deployment = \"production\""), of("deployment = \"staging\"")), (1, 0));
        assert_eq!(of("[environments.test]\nallow = true\nupstream = \"sandbox\""), 1, "its upstream is not there");
    }

    #[test]
    fn scopes_beyond_the_ceiling_are_told_alone() {
        let mut record = key("key_1", "acme", "s");
        record.scopes = vec!["read:orders".into(), "write:*".into(), "admin".into()];
        let mut acme = tenant("acme");
        acme.scopes = Some(vec!["read:*".into(), "write:orders".into()]);
        let told = hints(&config(""), &record, &acme);
        assert!(told.len() == 1 && told[0].starts_with("write:* admin is beyond"), "{told:?}");
    }

    #[test]
    fn an_endpoint_is_told_where_no_route_takes_any_of_it() {
        let routes = "[[routes]]\nname = \"a\"\nmatch = \"GET /v1/{resource}/**\"\n";
        let mut record = key("key_1", "acme", "s");
        let mut told = |toml: &str, endpoint: &str| {
            record.endpoints = Some(vec![endpoint.into()]);
            !hints(&config(toml), &record, &tenant("acme")).is_empty()
        };
        for fine in ["GET /v1/users/{id}", "HEAD /v1/users", "* /**", "GET,POST /v1/users"] {
            assert!(!told(routes, fine), "{fine}");
        }
        for lost in ["POST /v1/users", "GET /v2/users", "GET /v1"] {
            assert!(told(routes, lost), "{lost}");
            assert!(!told("", lost) && !told(&format!("{routes}[routing]\nunmatched = \"authenticated\""), lost), "{lost}");
        }
    }
}
