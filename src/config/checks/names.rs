//! Names: given once, and defined where they are used.

use std::collections::HashSet;

use crate::authn::introspection;
use crate::config::path::{self, join};
use crate::config::problem::Problems;
use crate::config::sections::{Config, CredentialType, EnvironmentName, Route};
use crate::config::suggest;
use crate::config::tree::Tree;
use crate::policy::scope::check_grant;

pub(super) fn check(config: &Config, tree: &Tree, problems: &mut Problems) {
    unique("routes", config.routes.iter().map(|route| route.name.as_str()), problems);
    unique("listeners", config.listeners.iter().map(|listener| listener.name.as_str()), problems);
    unique("key_kinds", config.key_kinds.iter().map(|kind| kind.name.as_str()), problems);
    unique("issuers", config.issuers.iter().map(|issuer| issuer.name.as_str()), problems);
    unique("admin.tokens", config.admin.tokens.iter().map(|token| token.name.as_str()), problems);
    for scope in config.scopes.keys() {
        if let Err(why) = check_grant(scope) {
            problems.error(join("scopes", scope), why);
        }
    }
    for (index, route) in config.routes.iter().enumerate() {
        route_names(config, route, &format!("routes[{index}]"), problems);
    }
    let required = &config.self_service.required_scope;
    if !required.is_empty() {
        scope("self_service.required_scope", required, config, problems);
    }
    upstreams(config, tree, problems);
    tokens(config, problems);
}

fn unique<'a>(list: &str, names: impl Iterator<Item = &'a str>, problems: &mut Problems) {
    let mut seen = HashSet::new();
    for (index, name) in names.enumerate() {
        let path = format!("{list}[{index}].name");
        if name.is_empty() {
            problems.error(path, "a name is needed here");
        } else if !seen.insert(name) {
            problems
                .error(path, format!("the name `{name}` is given twice in [[{list}]]"))
                .help("names tell entries apart in logs, and entries of several layers merge by them");
        }
    }
}

fn route_names(config: &Config, route: &Route, path: &str, problems: &mut Problems) {
    let list = |key: &str, names: &Option<Vec<String>>, what: &str, defined: &[&str], problems: &mut Problems| {
        for (index, name) in names.iter().flatten().enumerate() {
            if !defined.contains(&name.as_str()) {
                problems
                    .error(format!("{path}.{key}[{index}]"), format!("there is no {what} `{name}`"))
                    .help(suggest::among(name, defined.iter().copied()));
            }
        }
    };
    let kinds: Vec<&str> = config.key_kinds.iter().map(|kind| kind.name.as_str()).collect();
    let asked = (!config.introspection.url.is_empty()).then_some(introspection::NAME);
    let issuers: Vec<&str> = config.issuers.iter().map(|issuer| issuer.name.as_str()).chain(asked).collect();
    let rate_limits: Vec<&str> = config.rate_limits.keys().map(String::as_str).collect();
    list("kinds", &route.kinds, "key kind", &kinds, problems);
    list("issuers", &route.issuers, "issuer", &issuers, problems);
    list("rate_limits", &route.rate_limits, "rate limit", &rate_limits, problems);
    for (key, scopes) in [("scopes", &route.scopes), ("any_scopes", &route.any_scopes)] {
        for (index, demanded) in scopes.iter().flatten().enumerate() {
            scope(&format!("{path}.{key}[{index}]"), demanded, config, problems);
        }
    }
    if let Some(name) = route.upstream.as_deref().filter(|name| !config.upstreams.contains_key(*name)) {
        problems
            .error(format!("{path}.upstream"), format!("there is no upstream `{name}`"))
            .help(suggest::among(name, config.upstreams.keys().map(String::as_str)));
    }
}

/// A demanded scope is one of the vocabulary, if there is one; what a capture fills is only known with the request.
fn scope(path: &str, demanded: &str, config: &Config, problems: &mut Problems) {
    if !config.scopes.is_empty() && !demanded.contains('{') && !config.scopes.contains_key(demanded) {
        problems
            .error(path, format!("the scope `{demanded}` is not in [scopes]"))
            .help(suggest::among(demanded, config.scopes.keys().map(String::as_str)));
    }
}

fn upstreams(config: &Config, tree: &Tree, problems: &mut Problems) {
    if config.upstreams.is_empty() {
        if config.listeners.is_empty() {
            return;
        }
        // Where the only one was wrong, that was told.
        let at = if tree.root.lost(&path::parse("upstreams.main")) { "upstreams.main" } else { "upstream" };
        problems.warn(at, "there is no upstream: nothing is forwarded");
        return;
    }
    for (name, _) in config.upstreams.iter().filter(|(_, upstream)| upstream.url.is_empty()) {
        problems
            .error(join(&join("upstreams", name), "url"), format!("the upstream `{name}` has no url"))
            .help("url = \"http://127.0.0.1:3000\"");
    }
    for (environment, rule) in [(EnvironmentName::Live, &config.environments.live), (EnvironmentName::Test, &config.environments.test)] {
        let (name, upstream) = (environment.name(), &rule.upstream);
        if rule.allow == Some(true) && !config.upstreams.contains_key(upstream) {
            problems
                .warn(
                    format!("environments.{name}.upstream"),
                    format!("there is no upstream `{upstream}`: keys of environment {name} are refused (environment_blocked)"),
                )
                .help(format!("add [upstreams.{upstream}] with its url; no other upstream ever serves them"));
        }
    }
}

/// What a profile's API document says of tokens needs somebody who can verify them.
fn tokens(config: &Config, problems: &mut Problems) {
    let verified = !config.issuers.is_empty() || !config.sessions.signing_key_files.is_empty() || !config.introspection.url.is_empty();
    if verified {
        return;
    }
    if matches!(config.profile.as_str(), "gately" | "g-tateth" | "standard") {
        problems
            .warn("profile", format!("profile `{}` also takes tokens, and nothing here can verify them: they are refused", config.profile))
            .help("add [[issuers]], [introspection] or [sessions] signing_key_files when tokens are in use");
    }
    for (index, route) in config.routes.iter().enumerate() {
        if route.credentials.as_ref().is_some_and(|list| !list.is_empty() && !list.contains(&CredentialType::ApiKey)) {
            problems.warn(
                format!("routes[{index}].credentials"),
                format!("nobody can call the route `{}`: it takes tokens only, and nothing here can verify them", route.name),
            );
        }
    }
}
