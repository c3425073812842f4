//! The law, by the checks of the gate themselves: what a key made or shown by self-service is admitted to, its maker is admitted to.
//! Kinds apart, and browsers, which say where a secret belongs and not what it may do.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, header};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

use super::*;
use crate::config::problem::Problems;
use crate::config::sections::{BrowserRule, Config};
use crate::facts::Facts;
use crate::facts::path::CanonicalPath;
use crate::identity::template::IdentityHeaders;
use crate::identity::{Identity, Ids};
use crate::net::client::ClientAddr;
use crate::policy::{CHECKS, Case};
use crate::route::Routes;
use crate::self_service::body::Create;
use crate::store::contract::{key, tenant};
use crate::tenant::TenantRecord;

const SCOPES: [&str; 8] = ["*", "read:*", "read:a*", "read:a", "read:ab", "read:b", "write:*", "write:a"];
const NETWORKS: [&str; 7] = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.1.2.3", "2001:db8::/32", "::/0"];
const ORIGINS: [&str; 5] =
    ["https://shop.example", "https://*.shop.example", "https://a.shop.example", "https://*.a.shop.example", "http://shop.example"];
const ENDPOINTS: [&str; 8] =
    ["* /**", "GET /**", "GET,POST /read/**", "GET /read/{id}", "POST /read/a", "GET /read/a", "* /write/{id}", "DELETE /write/**"];

type Lists = (Vec<String>, Option<Vec<String>>, Option<Vec<String>>, Option<Vec<String>>);

fn some_of(words: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    subsequence(words, 0..=most).prop_map(|words| words.into_iter().map(ToOwned::to_owned).collect())
}

/// Scopes, networks, origins, endpoints.
fn lists() -> impl Strategy<Value = Lists> {
    (
        some_of(&SCOPES, 3),
        prop::option::of(some_of(&NETWORKS, 3)),
        prop::option::of(some_of(&ORIGINS, 3)),
        prop::option::of(some_of(&ENDPOINTS, 3)),
    )
}

fn record(id: &str, (scopes, ip_allowlist, referrers, endpoints): Lists, expires_at: Option<i64>) -> KeyRecord {
    let expires_at = expires_at.map(Timestamp);
    KeyRecord { scopes, ip_allowlist, referrers, endpoints, expires_at, ..key(id, "acme", id) }
}

/// What may be asked: method, path, address, origin, time.
fn asked() -> impl Strategy<Value = (Method, &'static str, &'static str, Option<&'static str>, i64)> {
    (
        select(vec![Method::GET, Method::HEAD, Method::POST, Method::DELETE]),
        select(vec!["/read/a", "/read/ab", "/read/a/b", "/read/", "/write/a", "/write", "/other"]),
        select(vec!["10.1.2.3", "10.200.0.1", "192.0.2.1", "2001:db8::1", "2001:db9::1"]),
        prop::option::of(select(vec![
            "https://shop.example",
            "https://a.shop.example",
            "https://b.a.shop.example",
            "http://shop.example",
            "https://evil.example",
        ])),
        0_i64..4,
    )
}

struct World {
    routes: Routes,
    headers: IdentityHeaders,
}

impl World {
    fn new() -> Self {
        let toml = "[[routes]]\nname = \"all\"\nmatch = \"* /**\"\n[[routes]]\nname = \"some\"\nmatch = \"* /{verb}/{what}/**\"\nscopes = [\"{verb}:{what}\"]\n";
        let config: Config = toml::from_str(toml).unwrap();
        let mut problems = Problems::default();
        let routes = Routes::compile(&config, &mut problems).unwrap();
        Self { routes, headers: IdentityHeaders::compile(&config, &mut problems).unwrap() }
    }

    fn admits(
        &self,
        key: &KeyRecord,
        tenant: &TenantRecord,
        (method, path, ip, origin, now): &(Method, &'static str, &'static str, Option<&'static str>, i64),
    ) -> bool {
        let ids = Ids { key: key.id.as_str().into(), tenant: "acme".into() };
        let identity = Identity::compile(ids, key, tenant, &self.headers).unwrap();
        let facts = Facts { method: method.clone(), host: None, path: CanonicalPath::parse(PathAndQuery::from_static(path)).unwrap() };
        let (route, captures) = self.routes.find(&facts.method, &facts.path);
        let headers: HeaderMap = origin.iter().map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))).collect();
        let case = Case {
            identity: &identity,
            facts: &facts,
            route,
            captures: &captures,
            client: ClientAddr(Some(ip.parse().unwrap())),
            headers: &headers,
            deployment_allowlist: None,
            browser: BrowserRule::Ignore,
        };
        let is_alive = key.expires_at.is_none_or(|end| Timestamp(*now) < end);
        is_alive && CHECKS.iter().filter(|check| check.name != "key kind").all(|check| (check.check)(&case).is_ok())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_key_that_is_made_is_admitted_to_nothing_that_its_maker_is_not(
        caller in lists(), caller_end in prop::option::of(1_i64..4), ceiling in prop::option::of(some_of(&SCOPES, 3)),
        wanted in lists(), scopes_left_out in any::<bool>(), end in prop::option::of(1_i64..5), requests in vec(asked(), 40)
    ) {
        let world = World::new();
        let caller = record("key_caller", caller, caller_end);
        let tenant = TenantRecord { scopes: ceiling, ..tenant("acme") };
        let (scopes, ip_allowlist, referrers, endpoints) = wanted;
        let scopes = (!scopes_left_out).then_some(scopes);
        let asked = Create { name: "ci".into(), kind: None, scopes, ip_allowlist, referrers, endpoints, expires_in: None };
        let new = asked.completed_by(&caller, None);
        let ids = Ids { key: "key_caller".into(), tenant: "acme".into() };
        let effective = Identity::compile(ids, &caller, &tenant, &world.headers).unwrap().grants;
        let rights = Rights { expires_at: end.map(Timestamp), ..Rights::of_new(&new) };
        let granted = (new.scopes != caller.scopes).then_some(&effective);
        if check(&caller, granted, &rights).is_ok() {
            let made = KeyRecord {
                scopes: new.scopes.clone(),
                ip_allowlist: new.ip_allowlist.clone(),
                referrers: new.referrers.clone(),
                endpoints: new.endpoints.clone(),
                expires_at: end.map(Timestamp),
                ..key("key_made", "acme", "made")
            };
            for request in &requests {
                let beyond = world.admits(&made, &tenant, request) && !world.admits(&caller, &tenant, request);
                prop_assert!(!beyond, "{request:?}: {made:?} by {caller:?}");
            }
        }
    }

    #[test]
    fn a_key_whose_secret_is_shown_is_admitted_to_nothing_that_who_sees_it_is_not(
        caller in lists(), caller_end in prop::option::of(1_i64..4), target in lists(), target_end in prop::option::of(1_i64..4),
        ceiling in prop::option::of(some_of(&SCOPES, 3)), requests in vec(asked(), 40)
    ) {
        let world = World::new();
        let (caller, target) = (record("key_caller", caller, caller_end), record("key_target", target, target_end));
        let tenant = TenantRecord { scopes: ceiling, ..tenant("acme") };
        if check(&caller, None, &Rights::of(&target)).is_ok() {
            for request in &requests {
                prop_assert!(!world.admits(&target, &tenant, request) || world.admits(&caller, &tenant, request), "{request:?}: {target:?} by {caller:?}");
            }
        }
    }

    #[test]
    fn every_key_may_make_its_like(caller in lists(), end in prop::option::of(1_i64..4)) {
        let caller = record("key_caller", caller, end);
        prop_assert_eq!(check(&caller, None, &Rights::of(&caller)), Ok(()));
    }
}

#[test]
fn what_is_beyond_is_named_and_so_is_what_cannot_be_read() {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let caller = KeyRecord {
        scopes: words(&["read:*"]),
        ip_allowlist: Some(words(&["10.0.0.0/8"])),
        referrers: Some(words(&["https://*.shop.example"])),
        endpoints: Some(words(&["GET /read/**"])),
        rate_limit: Some(json!({ "requests": 10, "per": "1s", "burst": 20 })),
        expires_at: Some(Timestamp(5)),
        ..key("key_1", "acme", "s")
    };
    let (scopes, networks) = (words(&["read:a", "write:a"]), words(&["10.0.0.0/7"]));
    let (origins, endpoints) = (words(&["https://shop.example"]), words(&["* /read/a"]));
    let nonsense = words(&["a b"]);
    let own = Rights::of(&caller);
    let limits = [
        json!({ "requests": 11, "per": "1s", "burst": 20 }),
        json!({ "requests": 10, "per": "999ms", "burst": 20 }),
        json!({ "requests": 10, "per": "1s", "burst": 21 }),
        json!({ "requests": 10, "per": "1s", "burst": 20, "counted": "local" }),
    ];
    let of_limits = limits.iter().map(|limit| (Rights { rate_limit: Some(limit), ..own }, Beyond::Rights("rate_limit")));
    for (rights, why) in of_limits {
        assert_eq!(check(&caller, None, &rights), Err(why), "{rights:?}");
    }
    for stricter in [
        json!({ "requests": 10, "per": "1s", "burst": 20, "on_unavailable": "deny" }),
        json!({ "requests": 600, "per": "1m", "burst": 20 }),
        json!({ "requests": 9, "per": "1s" }),
    ] {
        assert_eq!(check(&caller, None, &Rights { rate_limit: Some(&stricter), ..own }), Ok(()), "{stricter}");
    }
    for (rights, why) in [
        (Rights { kind: "internal", ..own }, Beyond::Rights("kind")),
        (Rights { scopes: &scopes, ..own }, Beyond::Rights("scopes")),
        (Rights { ip_allowlist: Some(&networks), ..own }, Beyond::Rights("ip_allowlist")),
        (Rights { ip_allowlist: None, ..own }, Beyond::Rights("ip_allowlist")),
        (Rights { referrers: Some(&origins), ..own }, Beyond::Rights("referrers")),
        (Rights { referrers: None, ..own }, Beyond::Rights("referrers")),
        (Rights { endpoints: Some(&endpoints), ..own }, Beyond::Rights("endpoints")),
        (Rights { endpoints: None, ..own }, Beyond::Rights("endpoints")),
        (Rights { rate_limit: None, ..own }, Beyond::Rights("rate_limit")),
        (Rights { rate_limit: Some(&Value::Null), ..own }, Beyond::Grammar("rate_limit")),
        (Rights { expires_at: None, ..own }, Beyond::Rights("expires_in")),
        (Rights { expires_at: Some(Timestamp(6)), ..own }, Beyond::Rights("expires_in")),
        (Rights { scopes: &nonsense, ..own }, Beyond::Grammar("scopes")),
        (Rights { referrers: Some(&nonsense), ..own }, Beyond::Grammar("referrers")),
        (Rights { endpoints: Some(&nonsense), ..own }, Beyond::Grammar("endpoints")),
    ] {
        assert_eq!(check(&caller, None, &rights), Err(why), "{rights:?}");
    }
    assert_eq!(check(&caller, None, &Rights { kind: "publishable", ..own }), Ok(()));
    // A ceiling holds for what is asked for by name.
    let granted = Grants::parse(&["read:a"]).unwrap();
    assert_eq!(check(&caller, Some(&granted), &own), Err(Beyond::Rights("scopes")));
}
