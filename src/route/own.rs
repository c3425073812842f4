//! The routes that Sidegate answers itself: `[self_service] path` and what lies below it. They stand in the table beside the others
//! and are judged like them. What lies there and is no action goes to no upstream, which knows nothing of keys, unless a route says so.

use std::sync::Arc;

use super::compile::{demand, implied};
use super::table::Table;
use super::template::{Methods, Step, Template};
use super::{Demand, Route};
use crate::config::problem::Problems;
use crate::config::sections::{Config, CredentialType, SelfServiceAction};
use crate::facts::path::Encoded;

const PATH: &str = "self_service.path";

/// Name of its route in logs, method, and what stands behind the path.
const fn place(action: SelfServiceAction) -> (&'static str, &'static str, &'static str) {
    match action {
        SelfServiceAction::List => ("api-keys-list", "GET", ""),
        SelfServiceAction::Create => ("api-keys-create", "POST", ""),
        SelfServiceAction::Rotate => ("api-keys-rotate", "POST", "/{id}/rotate"),
        SelfServiceAction::Revoke => ("api-keys-revoke", "DELETE", "/{id}"),
    }
}

/// Adds them; `false` after an error.
pub(super) fn add(
    config: &Config,
    unmatched: &Arc<Route>,
    table: &mut Table<Arc<Route>>,
    list: &mut Vec<Arc<Route>>,
    problems: &mut Problems,
) -> bool {
    let section = &config.self_service;
    if section.path.is_empty() {
        return true;
    }
    let Some(root) = root(&section.path, problems) else { return false };
    if section.actions.is_empty() {
        problems.error("self_service.actions", "an empty `actions` would do nothing").help("path = \"\" switches self-service off");
        return false;
    }
    let scopes =
        if section.required_scope.is_empty() { Ok(Box::default()) } else { demand(&section.required_scope, &[]).map(|one| [one].into()) };
    let Some(scopes) = problems.keep("self_service.required_scope", scopes) else { return false };
    tell_neighbours(config, &root, problems);
    let mut sound = true;
    for action in [SelfServiceAction::List, SelfServiceAction::Create, SelfServiceAction::Rotate, SelfServiceAction::Revoke] {
        if !section.actions.contains(&action) {
            continue;
        }
        let (name, method, behind) = place(action);
        // Of literal segments, as `root` has judged them.
        let Ok(template) = format!("{method} {}{behind}", section.path).parse::<Template>() else { return false };
        let route = Arc::new(route(name, action, &template, &scopes));
        if let Err(there) = table.insert(&template, Arc::clone(&route)) {
            problems
                .error(
                    format!("{}.match", there.path),
                    format!("`{}` is what [self_service] answers (`{}`)", there.template, route.template),
                )
                .help("drop the route, or take the action from self_service.actions");
            sound = false;
        }
        list.push(route);
    }
    // A route of the operator's that takes all of it says so itself.
    let rest = Template { methods: Methods::Any, steps: root.steps.into_iter().chain([Step::Rest]).collect() };
    let _ = table.insert(&rest, Arc::clone(unmatched));
    sound
}

fn route(name: &str, action: SelfServiceAction, template: &Template, scopes: &[Demand]) -> Route {
    Route {
        path: PATH.into(),
        template: template.to_string().into(),
        scopes: scopes.into(),
        credentials: [CredentialType::ApiKey].into(),
        own: Some(action),
        rank: template.rank(),
        // No id has one.
        ..implied(name, true, Encoded::default())
    }
}

/// The path as a template of any method.
fn root(path: &str, problems: &mut Problems) -> Option<Template> {
    let template: Template = problems.parse(PATH, &format!("* {path}"))?;
    let is_literal = template.steps.iter().all(|step| matches!(step, Step::Static(text) if !text.is_empty()));
    if !is_literal {
        problems.error(PATH, format!("`{path}`: literal segments, without a slash at the end, such as /v1/api-keys"));
        return None;
    }
    Some(template)
}

/// Names the routes that take requests below the path to an upstream. They may be meant; nobody should have to find out.
fn tell_neighbours(config: &Config, root: &Template, problems: &mut Problems) {
    for (index, entry) in config.routes.iter().enumerate() {
        let below = entry.matches.parse::<Template>().is_ok_and(|template| template.steps.starts_with(&root.steps));
        if below {
            problems.warn(
                format!("routes[{index}].match"),
                format!("`{}` lies below self_service.path: what it matches and no action does goes to the upstream", entry.matches),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http::uri::PathAndQuery;

    use super::*;
    use crate::facts::path::CanonicalPath;
    use crate::route::Routes;

    fn compile(toml: &str) -> (Option<Routes>, Vec<String>) {
        let mut problems = Problems::default();
        let routes = Routes::compile(&toml::from_str(toml).unwrap(), &mut problems);
        (routes, problems.list().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect())
    }

    fn found(routes: &Routes, method: &str, target: &'static str) -> String {
        let path = CanonicalPath::parse(PathAndQuery::from_static(target)).unwrap();
        let (route, captures) = routes.find(&Method::from_bytes(method.as_bytes()).unwrap(), &path);
        match (route.own, route.matched) {
            (Some(action), true) => format!("{action:?} {}", captures.join(" ")).trim_end().to_owned(),
            (None, true) => route.name.to_string(),
            (_, false) => "nothing".to_owned(),
        }
    }

    #[test]
    fn below_the_path_there_are_its_actions_and_nothing_else() {
        let (routes, problems) = compile("[self_service]\npath = \"/v1/api-keys\"\nactions = [\"list\", \"rotate\", \"revoke\"]");
        let routes = routes.unwrap_or_else(|| panic!("{problems:?}"));
        for (method, target, what) in [
            ("GET", "/v1/api-keys", "List"),
            ("HEAD", "/v1/api-keys", "List"),
            ("GET", "/v1/api-keys?x=1", "List"),
            ("POST", "/v1/api-keys/key_1/rotate", "Rotate key_1"),
            ("DELETE", "/v1/api-keys/key_1", "Revoke key_1"),
            ("POST", "/v1/api-keys", "nothing"),
            ("GET", "/v1/api-keys/", "nothing"),
            ("GET", "/v1/api-keys/key_1", "nothing"),
            ("DELETE", "/v1/api-keys/key_1/", "nothing"),
            ("POST", "/v1/api-keys/key_1/rotate/now", "nothing"),
            ("OPTIONS", "/v1/api-keys", "nothing"),
            ("GET", "/v1/api-keysx", "any"),
            ("GET", "/v1", "any"),
        ] {
            assert_eq!(found(&routes, method, target), what, "{method} {target}");
        }
    }

    #[test]
    fn a_route_of_the_operators_wins_where_it_is_more_specific_and_is_told_of() {
        let toml = |matches: &str| {
            format!(
                "[self_service]\npath = \"/keys\"\nactions = [\"list\", \"revoke\"]\n[[routes]]\nname = \"mine\"\nmatch = \"{matches}\""
            )
        };
        for (matches, method, target) in
            [("DELETE /keys/all", "DELETE", "/keys/all"), ("POST /keys", "POST", "/keys"), ("* /keys/**", "PUT", "/keys/7")]
        {
            let (routes, problems) = compile(&toml(matches));
            assert_eq!(found(&routes.unwrap(), method, target), "mine", "{matches}");
            assert!(problems.len() == 1 && problems[0].contains("lies below self_service.path"), "{problems:?}");
        }
        let (routes, _) = compile(&toml("* /**"));
        assert_eq!(found(&routes.unwrap(), "GET", "/keys"), "List");
        let (routes, problems) = compile(&toml("GET,PUT /keys"));
        assert!(
            routes.is_none()
                && problems.iter().any(|problem| problem.starts_with("routes[0].match: ") && problem.contains("[self_service]"))
        );
    }

    #[test]
    fn what_cannot_be_a_path_or_does_nothing_is_refused() {
        for (toml, said) in [
            ("path = \"keys\"", "begins with /"),
            ("path = \"/\"", "literal segments"),
            ("path = \"/keys/\"", "literal segments"),
            ("path = \"/{tenant}/keys\"", "literal segments"),
            ("path = \"/keys/**\"", "literal segments"),
            ("path = \"/keys\"\nactions = []", "would do nothing"),
            ("path = \"/keys\"\nrequired_scope = \"keys:*\"", "only grants"),
        ] {
            let (routes, problems) = compile(&format!("[self_service]\n{toml}"));
            assert!(routes.is_none() && problems.len() == 1 && problems[0].contains(said), "{toml}: {problems:?}");
        }
    }
}
