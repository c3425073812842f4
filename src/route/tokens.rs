//! The endpoints of `[sessions]`, which Sidegate answers itself as soon as it has a key to sign with: POST to `refresh_path` and to
//! `token_path`. A route of the operator's at the same place says what else is demanded there; without one a secret key is.

use std::sync::Arc;

use http::Method;

use super::Route;
use super::compile::implied;
use super::table::Table;
use super::template::{Methods, Step, Template};
use crate::config::problem::Problems;
use crate::config::sections::{Config, CredentialType, RefreshAuth};
use crate::facts::path::Encoded;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenEndpoint {
    /// `refresh_path`: the next pair for a refresh token.
    Refresh,
    /// `token_path`: an OAuth 2.0 token endpoint.
    Token,
}

/// One of them, and where it is.
pub(super) struct Endpoint {
    kind: TokenEndpoint,
    /// In the configuration.
    key: &'static str,
    /// Whether nobody has to show a key before the body is read.
    open: bool,
    template: Template,
}

impl Endpoint {
    /// Those that are answered here.
    pub(super) fn all(config: &Config, problems: &mut Problems) -> Option<Vec<Self>> {
        let section = &config.sessions;
        if section.signing_key_files.is_empty() {
            if !section.token_path.is_empty() {
                problems.warn("sessions.token_path", "without signing_key_files nothing is answered there: it goes to the upstream");
            }
            return Some(Vec::new());
        }
        let refresh = (TokenEndpoint::Refresh, "sessions.refresh_path", section.refresh_auth == RefreshAuth::None, &section.refresh_path);
        // Its clients show their keys in the body, or by Basic.
        let token = (TokenEndpoint::Token, "sessions.token_path", true, &section.token_path);
        let mut all: Vec<Self> = Vec::new();
        for (kind, key, open, path) in [refresh, token].into_iter().filter(|(.., path)| !path.is_empty()) {
            let template: Template = problems.parse(key, &format!("POST {path}"))?;
            if !template.steps.iter().all(|step| matches!(step, Step::Static(text) if !text.is_empty())) {
                problems.error(key, format!("`{path}`: literal segments, without a slash at the end, such as /oauth/token"));
                return None;
            }
            if all.iter().any(|other| other.template == template) {
                problems.error(key, format!("`{path}` is sessions.refresh_path already"));
                return None;
            }
            all.push(Self { kind, key, open, template });
        }
        Some(all)
    }

    /// A configured route that is this endpoint and nothing else is answered by it.
    pub(super) fn claim(&self, template: &Template, route: Route) -> Route {
        if *template == self.template { self.answering(route) } else { route }
    }

    fn answering(&self, route: Route) -> Route {
        Route {
            open: self.open,
            credentials: [CredentialType::ApiKey].into(),
            // A refresh token is what says whether it was used before; what is asked once more is answered for its grace.
            idempotency_off: true,
            tokens: Some(self.kind),
            template: self.template.to_string().into(),
            rank: self.template.rank(),
            ..route
        }
    }

    /// Adds it where no configured route is it; `false` after an error.
    pub(super) fn add(
        self,
        entries: &[(Template, Arc<Route>)],
        table: &mut Table<Arc<Route>>,
        problems: &mut Problems,
    ) -> Option<Arc<Route>> {
        let here =
            |(template, _): &&(Template, Arc<Route>)| template.steps == self.template.steps && template.methods.contain(&Method::POST);
        let route = match entries.iter().find(here) {
            Some((template, route)) if *template == self.template => return Some(Arc::clone(route)),
            Some((template, route)) if template.methods != Methods::Any => {
                problems
                    .error(format!("{}.match", route.path), format!("`{}`: POST there is what [sessions] answers", route.template))
                    .help("POST as a route of its own, the other methods as another");
                return None;
            }
            Some((_, route)) => self.answering(Route::clone(route)),
            None => {
                let name = if self.kind == TokenEndpoint::Refresh { "refresh" } else { "token" };
                self.answering(Route { path: self.key.to_owned(), ..implied(name, true, Encoded::default()) })
            }
        };
        let route = Arc::new(route);
        if let Err(there) = table.insert(&self.template, Arc::clone(&route)) {
            problems.error(format!("{}.match", there.path), format!("`{}` is what [sessions] answers", there.template));
            return None;
        }
        Some(route)
    }
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;

    use super::*;
    use crate::facts::path::CanonicalPath;
    use crate::route::Routes;

    const SESSIONS: &str =
        "[sessions]\nsigning_key_files = [\"key.pem\"]\nrefresh_path = \"/auth/refresh\"\ntoken_path = \"/oauth/token\"\n";

    fn compile(toml: &str) -> (Option<Routes>, Vec<String>) {
        let mut problems = Problems::default();
        let routes = Routes::compile(&toml::from_str(toml).unwrap(), &mut problems);
        (routes, problems.list().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect())
    }

    #[expect(clippy::needless_pass_by_value, reason = "it reads better so")]
    fn found(toml: &str, method: Method, target: &'static str) -> (String, Option<TokenEndpoint>, bool) {
        let (routes, problems) = compile(toml);
        let routes = routes.unwrap_or_else(|| panic!("{problems:?}"));
        let path = CanonicalPath::parse(PathAndQuery::from_static(target)).unwrap();
        let (route, _) = routes.find(&method, &path);
        (route.name.to_string(), route.tokens, route.open)
    }

    #[test]
    fn without_a_route_a_key_may_refresh_and_any_client_may_ask_for_a_token() {
        assert_eq!(found(SESSIONS, Method::POST, "/auth/refresh"), ("refresh".into(), Some(TokenEndpoint::Refresh), false));
        assert_eq!(found(SESSIONS, Method::POST, "/oauth/token"), ("token".into(), Some(TokenEndpoint::Token), true));
        assert_eq!(found(SESSIONS, Method::GET, "/auth/refresh").1, None);
        let unsigned = SESSIONS.replace("[\"key.pem\"]", "[]");
        assert_eq!(found(&unsigned, Method::POST, "/auth/refresh").1, None);
        assert!(compile(&unsigned).1[0].contains("without signing_key_files"));
    }

    #[test]
    fn a_route_at_the_same_place_says_what_else_is_demanded() {
        let own = format!("{SESSIONS}[[routes]]\nname = \"own\"\nmatch = \"POST /auth/refresh\"\nip_allowlist = [\"10.0.0.0/8\"]\n");
        assert_eq!(found(&own, Method::POST, "/auth/refresh"), ("own".into(), Some(TokenEndpoint::Refresh), false));
        let browser = own.replace("token_path", "refresh_auth = \"none\"\ntoken_path");
        assert_eq!(found(&browser, Method::POST, "/auth/refresh"), ("own".into(), Some(TokenEndpoint::Refresh), true));
        let any = own.replace("POST /auth/refresh", "* /auth/refresh");
        assert_eq!(found(&any, Method::POST, "/auth/refresh"), ("own".into(), Some(TokenEndpoint::Refresh), false));
        assert_eq!(found(&any, Method::GET, "/auth/refresh"), ("own".into(), None, false));
        let (routes, _) = compile(&any);
        let path = CanonicalPath::parse(PathAndQuery::from_static("/auth/refresh")).unwrap();
        assert!(routes.unwrap().find(&Method::POST, &path).0.allowlist.is_some());
    }

    #[test]
    fn what_cannot_be_told_apart_is_an_error() {
        for (toml, path) in [
            (format!("{SESSIONS}[[routes]]\nname = \"own\"\nmatch = \"GET,POST /auth/refresh\"\n"), "routes[0].match"),
            (SESSIONS.replace("/oauth/token", "/auth/refresh"), "sessions.token_path"),
            (SESSIONS.replace("/auth/refresh", "/auth/{action}"), "sessions.refresh_path"),
            (SESSIONS.replace("/auth/refresh", "/auth/"), "sessions.refresh_path"),
            (SESSIONS.replace("/auth/refresh", "auth"), "sessions.refresh_path"),
        ] {
            let (routes, problems) = compile(&toml);
            assert!(routes.is_none() && problems.iter().any(|problem| problem.starts_with(path)), "{toml}: {problems:?}");
        }
    }
}
