//! Sections about credentials, key kinds, environments and routes.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::config::units::Span;

/// `[environments.*]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Environments {
    /// Keys for real data.
    pub live: EnvironmentRule,
    /// Keys for trying.
    pub test: EnvironmentRule,
}

impl Default for Environments {
    fn default() -> Self {
        Self { live: EnvironmentRule::labelled("Live"), test: EnvironmentRule::labelled("Test") }
    }
}

/// `[environments.NAME]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnvironmentRule {
    /// Whether this deployment serves such keys; unset = by `deployment`, which is written out once loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<bool>,
    /// Name of the upstream that serves them.
    pub upstream: String,
    /// Headers set on requests of such keys.
    pub add_headers: IndexMap<String, String>,
    /// What people call it.
    pub label: String,
    /// Hosts at which such keys are served; empty = any.
    pub hosts: Vec<String>,
}

impl EnvironmentRule {
    fn labelled(label: &str) -> Self {
        Self { label: label.into(), ..Self::default() }
    }
}

impl Default for EnvironmentRule {
    fn default() -> Self {
        Self { allow: None, upstream: "main".into(), add_headers: IndexMap::new(), label: String::new(), hosts: Vec::new() }
    }
}

/// `[credentials]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Credentials {
    /// Where a credential is looked for, in order.
    pub sources: Vec<Source>,
    /// What of a credential the upstream sees.
    pub forward: ForwardCredential,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            sources: vec![
                Source { header: "Authorization".into(), scheme: Some(Scheme::Bearer) },
                Source { header: "X-API-Key".into(), scheme: None },
            ],
            forward: ForwardCredential::default(),
        }
    }
}

/// One place of a credential: a header, with a scheme where the header has schemes.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Header name.
    pub header: String,
    /// Authentication scheme (RFC 9110 §11.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
}

/// An authentication scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum Scheme {
    /// RFC 6750.
    Bearer,
    /// RFC 7617, the key as user name, the password ignored.
    Basic,
}

/// `credentials.forward`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardCredential {
    /// Whether a JWT stays on the request.
    pub jwt: ForwardJwt,
}

/// `credentials.forward.jwt`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum ForwardJwt {
    #[default]
    Keep,
    Remove,
}

/// `[[key_kinds]]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyKind {
    /// `secret`, `publishable`.
    pub name: String,
    /// Prefix per environment.
    #[serde(default)]
    pub prefixes: Prefixes,
    /// Prefixes accepted but no longer issued.
    #[serde(default)]
    pub legacy_prefixes: LegacyPrefixes,
    /// Whether a key without our checksum is looked up at all.
    #[serde(default)]
    pub checksum: Checksum,
    /// `false` drops an entry of this name from a lower layer.
    #[serde(default = "crate::config::sections::yes")]
    pub enabled: bool,
}

impl KeyKind {
    pub(super) fn built_in() -> Vec<Self> {
        [("secret", "sk"), ("publishable", "pk")]
            .map(|(name, short)| Self {
                name: name.into(),
                prefixes: Prefixes { live: Some(format!("{short}_live_")), test: Some(format!("{short}_test_")) },
                legacy_prefixes: LegacyPrefixes::default(),
                checksum: Checksum::Required,
                enabled: true,
            })
            .into()
    }
}

/// `key_kinds.prefixes`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the words say it")]
pub struct Prefixes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
}

/// `key_kinds.legacy_prefixes`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the words say it")]
pub struct LegacyPrefixes {
    pub live: Vec<String>,
    pub test: Vec<String>,
}

/// `key_kinds.checksum`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    /// Only our own format.
    #[default]
    Required,
    /// Imported keys of this prefix too.
    Optional,
}

/// `[keys]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Life of a key that names none; empty = forever.
    pub default_expires_in: String,
    /// Longest life that may be asked for; empty = any.
    pub max_expires_in: String,
    /// How long the replaced secret still works.
    pub rotate_overlap: Span,
    /// Age of a secret from which lists mark it.
    pub rotate_reminder: Span,
    /// Keys a tenant may have.
    pub max_per_tenant: usize,
    /// How long revoked and expired records stay.
    pub purge_after: Span,
    /// How finely the last use is recorded.
    pub last_used_resolution: Span,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            default_expires_in: String::new(),
            max_expires_in: String::new(),
            rotate_overlap: Span::secs(0),
            rotate_reminder: Span::secs(90 * 86_400),
            max_per_tenant: 1000,
            purge_after: Span::secs(400 * 86_400),
            last_used_resolution: Span::secs(60),
        }
    }
}

/// `[routing]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Routing {
    /// What becomes of a path that no route matches.
    pub unmatched: Unmatched,
    /// Percent-encodings let through where the matched route has no list of its own.
    pub allow_encoded: Vec<String>,
}

/// `routing.unmatched`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// 404 `route_unmatched`.
    #[default]
    Reject,
    /// Any good credential may pass.
    Authenticated,
}

/// `[[routes]]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Name in logs; entries of several layers merge by it.
    pub name: String,
    /// Methods and path template: `GET,HEAD /api/v1/{resource}/**`.
    #[serde(rename = "match", default)]
    pub matches: String,
    /// Whether a credential is needed at all.
    #[serde(default)]
    pub auth: RouteAuth,
    /// Scopes that are all needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Scopes of which one is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any_scopes: Option<Vec<String>>,
    /// Kinds of keys that may call; unset = `["secret"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<String>>,
    /// Kinds of credentials that may call; unset = `["api_key", "jwt"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<CredentialType>>,
    /// Issuers whose tokens may call; unset = any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Vec<String>>,
    /// Networks that may call; unset = any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_allowlist: Option<Vec<String>>,
    /// Environments that may call; unset = any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<Vec<EnvironmentName>>,
    /// Upstream instead of the environment's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Instead of the upstream's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<Span>,
    /// Instead of `[routing]`'s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_encoded: Option<Vec<String>>,
    /// `"off"` exempts the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<RouteIdempotency>,
    /// Names of `[rate_limits]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<Vec<String>>,
    /// `false` drops an entry of this name from a lower layer.
    #[serde(default = "crate::config::sections::yes")]
    pub enabled: bool,
}

/// `routes.auth`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteAuth {
    /// A credential is needed.
    #[default]
    Required,
    /// Open to everybody.
    None,
}

/// `routes.idempotency`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteIdempotency {
    /// Exempt.
    Off,
}

/// A kind of credential, as routes name it and as `{credential}` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum CredentialType {
    ApiKey,
    Jwt,
    Opaque,
}

impl CredentialType {
    /// The word in routes and in `{credential}`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Jwt => "jwt",
            Self::Opaque => "opaque",
        }
    }
}

/// An environment of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum EnvironmentName {
    Live,
    Test,
}

impl EnvironmentName {
    /// The word in records, routes and `{environment}` headers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}
