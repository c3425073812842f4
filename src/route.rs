//! Routes: what is demanded of the caller of a method and path. Compiled from `[[routes]]` and `[routing]`.

pub mod compile;
mod metadata;
mod own;
pub mod table;
pub mod template;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use smallvec::SmallVec;

use crate::config::sections::{CredentialType, EnvironmentName, SelfServiceAction};
use crate::facts::path::{CanonicalPath, Encoded};
use crate::net::IpSet;
use table::{Captures, Table};
pub use tokens::TokenEndpoint;

/// What a route demands.
#[derive(Debug, Clone)]
pub struct Route {
    /// Name in logs.
    pub name: Arc<str>,
    /// Where in the configuration it stands: `routes[2]`; empty for the implied ones.
    pub path: String,
    /// `METHODS /template`, as `sidegate routes` prints it.
    pub template: Arc<str>,
    /// Whether any `[[routes]]` entry matched; `false` only for the answer to what matches none.
    pub matched: bool,
    /// Whether no credential is needed.
    pub open: bool,
    /// Scopes that are all needed.
    pub scopes: Box<[Demand]>,
    /// Scopes of which one is needed; empty = none.
    pub any_scopes: Box<[Demand]>,
    /// Kinds of keys that may call; `None` = all.
    pub kinds: Option<Box<[Box<str>]>>,
    /// Kinds of credentials that may call.
    pub credentials: Box<[CredentialType]>,
    /// Names of the issuers whose tokens may call; `None` = all.
    pub issuers: Option<Box<[Box<str>]>>,
    /// Networks that may call.
    pub allowlist: Option<IpSet>,
    /// Environments that may call.
    pub environments: Option<Box<[EnvironmentName]>>,
    /// Upstream instead of the environment's.
    pub upstream: Option<usize>,
    /// Instead of the upstream's.
    pub response_timeout: Option<Duration>,
    /// Which of the compiled limits apply; `None` = none.
    pub limits: Option<usize>,
    /// Encoded delimiters let through.
    pub allow_encoded: Encoded,
    /// Whether its requests may run as often as they come, whatever their Idempotency-Key.
    pub idempotency_off: bool,
    /// What Sidegate itself does where it matches; `None` = the upstream is asked.
    pub own: Option<SelfServiceAction>,
    /// What Sidegate itself tells anybody where it matches, JSON.
    pub document: Option<Bytes>,
    /// Which tokens Sidegate itself gives where it matches.
    pub tokens: Option<TokenEndpoint>,
    /// What precedence compares.
    rank: template::Rank,
}

/// A demanded scope; captures of the path may stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand(Box<[Piece]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Capture(usize, Box<str>),
}

/// Demanded scopes with their captures filled in.
pub type Scope = SmallVec<[u8; 96]>;

/// Longest capture that may stand in a scope.
const CAPTURE_MAX: usize = 64;

impl Demand {
    /// Whether these captures may stand in it.
    fn fits(&self, captures: &[&str]) -> bool {
        self.0.iter().all(|piece| match piece {
            Piece::Text(_) => true,
            Piece::Capture(index, _) => captures.get(*index).is_some_and(|text| is_plain(text)),
        })
    }

    /// Shows the scope for these captures; `None` if one of them is not `[A-Za-z0-9._-]{1,64}`.
    pub fn with<T>(&self, captures: &[&str], look: impl FnOnce(&str) -> T) -> Option<T> {
        if let [Piece::Text(scope)] = &*self.0 {
            return Some(look(scope));
        }
        let mut scope = Scope::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => scope.extend_from_slice(text.as_bytes()),
                Piece::Capture(index, _) => scope.extend_from_slice(captures.get(*index).filter(|text| is_plain(text))?.as_bytes()),
            }
        }
        std::str::from_utf8(&scope).ok().map(look)
    }
}

/// As it is written in the configuration.
impl std::fmt::Display for Demand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Capture(_, name) => write!(f, "{{{name}}}"),
        })
    }
}

fn is_plain(capture: &str) -> bool {
    (1..=CAPTURE_MAX).contains(&capture.len())
        && capture.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

impl Route {
    fn accepts(&self, captures: &[&str]) -> bool {
        self.scopes.iter().chain(&self.any_scopes).all(|demand| demand.fits(captures))
    }

    /// What it demands beyond a good credential, in the words of the configuration.
    #[must_use]
    pub fn demands(&self) -> String {
        let mut parts = Vec::new();
        let scopes = |demands: &[Demand], separator: &str| demands.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator);
        if !self.scopes.is_empty() {
            parts.push(scopes(&self.scopes, " and "));
        }
        if !self.any_scopes.is_empty() {
            parts.push(scopes(&self.any_scopes, " or "));
        }
        if let Some(kinds) = self.kinds.as_deref().filter(|kinds| !self.open && !matches!(kinds, [only] if **only == *"secret")) {
            parts.push(format!("kind {}", kinds.join(" or ")));
        }
        if let Some(environments) = &self.environments {
            parts.push(environments.iter().map(|environment| environment.name()).collect::<Vec<_>>().join(" or "));
        }
        if self.allowlist.is_some() {
            parts.push("its networks".to_owned());
        }
        parts.join(", ")
    }

    /// Whether it demands anything that `other` does not.
    fn is_stricter_than(&self, other: &Self) -> bool {
        fn lacks<T: PartialEq>(own: &[T], other: &[T]) -> bool {
            other.iter().any(|entry| !own.contains(entry))
        }
        /// `None` allows everything.
        fn narrower<T: PartialEq>(own: Option<&[T]>, other: Option<&[T]>) -> bool {
            own.is_some_and(|own| other.is_none_or(|other| lacks(own, other)))
        }
        if self.open {
            return self.allowlist.is_some() && self.allowlist != other.allowlist;
        }
        other.open
            || lacks(&other.scopes, &self.scopes)
            || (!self.any_scopes.is_empty() && self.any_scopes != other.any_scopes)
            || narrower(self.kinds.as_deref(), other.kinds.as_deref())
            || lacks(&self.credentials, &other.credentials)
            || (self.allowlist.is_some() && self.allowlist != other.allowlist)
            || narrower(self.environments.as_deref(), other.environments.as_deref())
    }
}

/// All routes.
#[derive(Debug)]
pub struct Routes {
    table: Table<Arc<Route>>,
    /// In the order of the configuration.
    list: Vec<Arc<Route>>,
    /// What applies where no route matches.
    fallback: Arc<Route>,
    /// What refuses a path as matched by no route.
    unmatched: Arc<Route>,
}

impl Routes {
    /// The route of a request, and its captures. What differs from a stricter route only by case or a trailing slash is unmatched:
    /// the upstream may not tell the two paths apart.
    #[must_use]
    pub fn find<'p>(&self, method: &Method, path: &'p CanonicalPath) -> (&Arc<Route>, Captures<'p>) {
        let segments = path.segments();
        let (found, captures) = self.lookup(method, &segments);
        if let Some(folded) = folded(&segments) {
            let folded: SmallVec<[&str; 16]> = folded.iter().map(String::as_str).collect();
            let (stricter, _) = self.lookup(method, &folded);
            if !Arc::ptr_eq(stricter, found) && stricter.matched && stricter.is_stricter_than(found) {
                return (&self.unmatched, Captures::new());
            }
        }
        (found, captures)
    }

    /// Why a path that no route matches nearly matched one.
    #[must_use]
    pub fn near_miss(&self, method: &Method, path: &CanonicalPath) -> Option<String> {
        let segments = path.segments();
        if let Some((route, captures)) = self.table.find(method, &segments, &|_, _| true) {
            if !route.matched {
                return Some(": below self_service.path there is nothing but its actions".to_owned());
            }
            return Some(if route.accepts(&captures) {
                format!(": in lower case and without a final slash it would be stricter than {}", route.template)
            } else {
                format!(": a capture of {} stands in its scopes and is not [A-Za-z0-9._-]{{1,64}}", route.template)
            });
        }
        let others = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let other = others.iter().find_map(|other| self.table.find(other, &segments, &|_, _| true));
        other.map(|(route, _)| format!(" {method}; {} takes other methods", route.template))
    }

    fn lookup<'p>(&self, method: &Method, segments: &[&'p str]) -> (&Arc<Route>, Captures<'p>) {
        self.table.find(method, segments, &|route, captures| route.accepts(captures)).unwrap_or_else(|| (&self.fallback, Captures::new()))
    }

    /// All routes, most specific first; last what applies where none matches.
    pub fn by_precedence(&self) -> impl Iterator<Item = &Arc<Route>> {
        let mut list: Vec<&Arc<Route>> = self.list.iter().collect();
        list.sort_by_cached_key(|route| route.rank.clone());
        list.into_iter().chain(self.fallback.matched.then_some(&self.fallback))
    }
}

/// The segments as a careless upstream may read them, if that is another path: in lower case, without path parameters (`;v=1`),
/// without one trailing slash.
fn folded(segments: &[&str]) -> Option<Vec<String>> {
    let kept = match segments {
        [front @ .., _, ""] => segments.get(..=front.len()).unwrap_or(segments),
        all => all,
    };
    let may_fold = |byte: u8| byte.is_ascii_uppercase() || !byte.is_ascii() || byte == b';';
    let folds = kept.iter().any(|segment| segment.bytes().any(may_fold) && segment.chars().any(|c| c.is_uppercase() || c == ';'));
    let bare = |segment: &str| segment.split(';').next().unwrap_or_default().to_lowercase();
    (folds || kept.len() < segments.len()).then(|| kept.iter().map(|segment| bare(segment)).filter(|segment| !segment.is_empty()).collect())
}
