//! `[[routes]]` and `[routing]` compiled. Every mistake is reported, none stops the search for others.

use std::sync::Arc;

use indexmap::IndexMap;

use super::table::Table;
use super::template::{self, Step, Template};
use super::tokens::Endpoint;
use super::{Demand, Piece, Route, Routes, metadata, own};
use crate::config::problem::Problems;
use crate::config::sections::{self, Config, CredentialType, RouteAuth, Unmatched, Upstream};
use crate::facts::path::Encoded;
use crate::limit;
use crate::net::IpSet;
use crate::policy::scope::check_grant;

impl Routes {
    /// Compiles the routes; `None` after an error.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let allow_encoded = encoded(&config.routing.allow_encoded, "routing.allow_encoded", problems);
        let mut table = Table::default();
        let mut list = Vec::new();
        let mut sound = allow_encoded.is_some();
        let endpoints = Endpoint::all(config, problems);
        sound &= endpoints.is_some();
        let endpoints = endpoints.unwrap_or_default();
        let mut entries = Vec::new();
        for (index, entry) in config.routes.iter().enumerate() {
            let path = format!("routes[{index}]");
            let Some((template, route)) = compile(entry, index, &config.upstreams, allow_encoded.unwrap_or_default(), problems) else {
                sound = false;
                continue;
            };
            let route = Arc::new(endpoints.iter().fold(route, |route, endpoint| endpoint.claim(&template, route)));
            if let Err(there) = table.insert(&template, Arc::clone(&route)) {
                problems
                    .error(
                        format!("{path}.match"),
                        format!("`{}` matches the same requests as route `{}` (`{}`)", route.template, there.name, there.template),
                    )
                    .help("name other methods, or drop one of the two");
                sound = false;
            }
            entries.push((template, Arc::clone(&route)));
            list.push(route);
        }
        for endpoint in endpoints {
            match endpoint.add(&entries, &mut table, problems) {
                Some(route) if list.iter().any(|known| Arc::ptr_eq(known, &route)) => {}
                Some(route) => list.push(route),
                None => sound = false,
            }
        }
        let anything = |name: &str, matched| Arc::new(implied(name, matched, allow_encoded.unwrap_or_default()));
        let unmatched = anything("", false);
        sound &= metadata::add(config, &mut table, &mut list, problems);
        sound &= own::add(config, &unmatched, &mut table, &mut list, problems);
        let fallback = if config.routes.is_empty() || config.routing.unmatched == Unmatched::Authenticated {
            anything("any", true)
        } else {
            Arc::clone(&unmatched)
        };
        sound.then_some(Self { table, list, fallback, unmatched })
    }
}

/// The route where none is configured: a valid secret key, no scope. The answer to an unmatched path takes every kind of caller,
/// so that each is told so only after its own restrictions held.
pub(super) fn implied(name: &str, matched: bool, allow_encoded: Encoded) -> Route {
    Route {
        name: name.into(),
        path: String::new(),
        template: "* /**".into(),
        matched,
        open: false,
        scopes: Box::default(),
        any_scopes: Box::default(),
        kinds: matched.then(default_kinds),
        credentials: [CredentialType::ApiKey, CredentialType::Jwt, CredentialType::Opaque].into(),
        issuers: None,
        allowlist: None,
        environments: None,
        upstream: None,
        response_timeout: None,
        limits: Some(limit::DEFAULTS),
        allow_encoded,
        idempotency_off: false,
        own: None,
        document: None,
        tokens: None,
        rank: template::Rank::default(),
    }
}

pub(super) fn default_kinds() -> Box<[Box<str>]> {
    ["secret".into()].into()
}

fn compile(
    entry: &sections::Route,
    index: usize,
    upstreams: &IndexMap<String, Upstream>,
    allow_encoded: Encoded,
    problems: &mut Problems,
) -> Option<(Template, Route)> {
    let (path, open) = (&*format!("routes[{index}]"), entry.auth == RouteAuth::None);
    let template: Option<Template> = problems.parse(&format!("{path}.match"), &entry.matches);
    if open {
        refuse_demands_of_open_route(entry, path, problems);
    }
    let captures: Vec<&str> = template.iter().flat_map(|template| template.steps.iter().filter_map(Step::capture)).collect();
    let scopes = demands(entry.scopes.as_deref(), &format!("{path}.scopes"), &captures, problems);
    let any_scopes = demands(entry.any_scopes.as_deref(), &format!("{path}.any_scopes"), &captures, problems);
    let own_encoded = match &entry.allow_encoded {
        Some(words) => encoded(words, &format!("{path}.allow_encoded"), problems),
        None => Some(allow_encoded),
    };
    // Bad networks and unknown upstreams are reported where all configured lists and names are checked; here they only make the route unusable.
    let allowlist = entry.ip_allowlist.as_ref().map(|list| IpSet::parse(list)).transpose().ok();
    let upstream = entry.upstream.as_ref().map(|name| upstreams.get_index_of(name).ok_or(())).transpose().ok();
    let route = Route {
        name: entry.name.as_str().into(),
        path: path.into(),
        template: template.as_ref()?.to_string().into(),
        matched: true,
        open,
        scopes: scopes?,
        any_scopes: any_scopes?,
        kinds: Some(entry.kinds.as_ref().map_or_else(default_kinds, |kinds| kinds.iter().map(|kind| kind.as_str().into()).collect())),
        credentials: entry
            .credentials
            .clone()
            .unwrap_or_else(|| vec![CredentialType::ApiKey, CredentialType::Jwt, CredentialType::Opaque])
            .into(),
        issuers: entry.issuers.as_ref().map(|names| names.iter().map(|name| name.as_str().into()).collect()),
        allowlist: allowlist?,
        environments: entry.environments.clone().map(Into::into),
        upstream: upstream?,
        response_timeout: entry.response_timeout.map(|timeout| timeout.0),
        limits: limit::set_of(index, entry),
        allow_encoded: own_encoded?,
        idempotency_off: entry.idempotency.is_some(),
        own: None,
        document: None,
        tokens: None,
        rank: template.as_ref()?.rank(),
    };
    Some((template?, route))
}

fn refuse_demands_of_open_route(entry: &sections::Route, path: &str, problems: &mut Problems) {
    let demands = [
        ("scopes", entry.scopes.is_some()),
        ("any_scopes", entry.any_scopes.is_some()),
        ("kinds", entry.kinds.is_some()),
        ("credentials", entry.credentials.is_some()),
        ("issuers", entry.issuers.is_some()),
        ("environments", entry.environments.is_some()),
    ];
    for (key, _) in demands.into_iter().filter(|(_, set)| *set) {
        problems
            .error(format!("{path}.{key}"), format!("route `{}` is open (auth = \"none\") and demands `{key}`", entry.name))
            .help("drop one of the two");
    }
}

fn encoded(words: &[String], path: &str, problems: &mut Problems) -> Option<Encoded> {
    Encoded::parse(words)
        .map_err(|word| {
            let index = words.iter().position(|other| other == word).unwrap_or_default();
            problems
                .error(format!("{path}[{index}]"), format!("`{word}` is none of \"%2F\" \"%5C\" \"%25\" \"%3B\" \"%3F\" \"%23\""))
                .help("other encodings need no leave");
        })
        .ok()
}

fn demands(list: Option<&[String]>, path: &str, captures: &[&str], problems: &mut Problems) -> Option<Box<[Demand]>> {
    let mut sound = true;
    let mut out = Vec::new();
    for (index, scope) in list.unwrap_or_default().iter().enumerate() {
        match demand(scope, captures) {
            Ok(demand) => out.push(demand),
            Err(why) => {
                problems.error(format!("{path}[{index}]"), why);
                sound = false;
            }
        }
    }
    sound.then(|| out.into())
}

pub(super) fn demand(scope: &str, captures: &[&str]) -> Result<Demand, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = scope;
    while let Some((front, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').ok_or_else(|| format!("`{scope}`: a brace is not closed"))?;
        let index = captures
            .iter()
            .position(|capture| *capture == name)
            .ok_or_else(|| format!("`{{{name}}}` is no capture of this route's template"))?;
        if !front.is_empty() {
            pieces.push(Piece::Text(front.into()));
        }
        pieces.push(Piece::Capture(index, name.into()));
        literal.push_str(front);
        literal.push('x');
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    literal.push_str(rest);
    if scope.contains('*') {
        return Err(format!("`{scope}`: only grants may end in *, a demand is one scope"));
    }
    check_grant(&literal)?;
    Ok(Demand(pieces.into()))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http::uri::PathAndQuery;

    use super::*;
    use crate::facts::path::CanonicalPath;

    fn routes(toml: &str) -> (Option<Routes>, Vec<String>) {
        let config: Config = toml::from_str(toml).unwrap();
        let mut problems = Problems::default();
        let routes = Routes::compile(&config, &mut problems);
        (routes, problems.list().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect())
    }

    fn name(routes: &Routes, method: &Method, target: &'static str) -> String {
        let path = CanonicalPath::parse(PathAndQuery::from_static(target)).unwrap();
        routes.find(method, &path).0.name.to_string()
    }

    #[test]
    fn without_routes_every_path_needs_a_secret_key_and_no_scope() {
        let (routes, _) = routes("");
        let routes = routes.unwrap();
        let path = CanonicalPath::parse(PathAndQuery::from_static("/any/Thing/")).unwrap();
        let (route, _) = routes.find(&Method::PUT, &path);
        assert!(route.matched && !route.open && route.scopes.is_empty());
        assert_eq!(route.kinds.as_deref(), Some(&["secret".into()][..]));
    }

    #[test]
    fn a_path_that_folds_into_a_stricter_route_is_unmatched() {
        let (routes, problems) = routes(
            r#"
            [[routes]]
            name = "open"
            match = "GET /files/**"
            auth = "none"
            [[routes]]
            name = "admin"
            match = "GET /files/admin"
            scopes = ["admin"]
            [[routes]]
            name = "user"
            match = "GET /users/{id}"
            "#,
        );
        let routes = routes.unwrap_or_else(|| panic!("{}", problems.join("\n")));
        assert_eq!(name(&routes, &Method::GET, "/files/admin"), "admin");
        assert_eq!(name(&routes, &Method::GET, "/files/readme"), "open");
        assert_eq!(name(&routes, &Method::GET, "/files/README"), "open");
        assert_eq!(name(&routes, &Method::GET, "/users/AbC"), "user");
        for target in
            ["/files/admin;v=1", "/files;x/admin", "/;/files/admin", "/files/Admin", "/files/admin/", "/files/ADMIN/", "/files/%41dmin"]
        {
            assert_eq!(name(&routes, &Method::GET, target), "", "{target}");
        }
    }

    #[test]
    fn a_capture_in_a_scope_must_be_plain_or_the_route_does_not_match() {
        let (routes, _) = routes("[[routes]]\nname = \"read\"\nmatch = \"GET /v1/{resource}/**\"\nscopes = [\"read:{resource}\"]\n");
        let routes = routes.unwrap();
        let path = CanonicalPath::parse(PathAndQuery::from_static("/v1/items/7")).unwrap();
        let (route, captures) = routes.find(&Method::GET, &path);
        assert_eq!(route.scopes[0].with(&captures, str::to_owned).unwrap(), "read:items");
        for target in ["/v1/a%20b", "/v1/a:b/1", "/v1/a*"] {
            assert_eq!(name(&routes, &Method::GET, target), "", "{target}");
        }
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        let (routes, problems) = routes(
            r#"
            [routing]
            allow_encoded = ["%2F", "%41"]
            [[routes]]
            name = "a"
            match = "GET /v1/{id}"
            scopes = ["read:{other}", "read:*"]
            [[routes]]
            name = "b"
            match = "get /v1"
            [[routes]]
            name = "c"
            match = "GET /x"
            auth = "none"
            scopes = ["x"]
            [[routes]]
            name = "d"
            match = "GET /x"
            "#,
        );
        assert!(routes.is_none());
        for place in [
            "routing.allow_encoded[1]",
            "routes[0].scopes[0]",
            "routes[0].scopes[1]",
            "routes[1].match",
            "routes[2].scopes",
            "routes[3].match",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(&format!("{place}: "))), "{place} in {problems:#?}");
        }
    }
}
