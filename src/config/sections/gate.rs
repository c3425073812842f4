//! Sections about the decision: credentials, key kinds, environments, routes, restrictions, identity, errors.

use std::path::PathBuf;

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
    /// Whether this deployment serves such keys; unset = by `deployment`.
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
#[allow(missing_docs, reason = "the words say it")]
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
#[allow(missing_docs, reason = "the words say it")]
pub struct Prefixes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
}

/// `key_kinds.legacy_prefixes`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the words say it")]
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
#[allow(missing_docs, reason = "the words say it")]
pub enum CredentialType {
    ApiKey,
    Jwt,
    Opaque,
}

/// An environment of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words say it")]
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

/// `[cors]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Origins whose pages may read answers; `*` = any.
    pub origins: Vec<String>,
    /// Request headers that pages may send.
    pub allow_headers: Vec<String>,
    /// Response headers that pages may read.
    pub expose_headers: Vec<String>,
    /// How long a browser keeps a preflight's answer.
    pub max_age: Span,
}

impl Default for Cors {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            origins: Vec::new(),
            allow_headers: list(&["Authorization", "Content-Type", "Idempotency-Key", "X-API-Key"]),
            expose_headers: list(&[
                "X-Request-Id",
                "Retry-After",
                "RateLimit",
                "RateLimit-Policy",
                "Idempotent-Replayed",
                "WWW-Authenticate",
            ]),
            max_age: Span::secs(600),
        }
    }
}

/// `[client_ip]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientIp {
    /// Peers whose forwarding header is believed.
    pub trusted_proxies: Vec<String>,
    /// The one header read.
    pub header: String,
}

impl Default for ClientIp {
    fn default() -> Self {
        Self { trusted_proxies: Vec::new(), header: "X-Forwarded-For".into() }
    }
}

/// `[restrictions]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restrictions {
    /// Networks of the whole deployment; unset = any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_allowlist: Option<Vec<String>>,
    /// What becomes of a secret key sent by a browser.
    pub secret_key_in_browser: BrowserRule,
    /// Bucket of uncached credentials per client address.
    pub guess_throttle: GuessThrottle,
    /// Checks that let through and record.
    pub observe: Vec<Observable>,
    /// End of `observe`, RFC 3339.
    pub observe_until: String,
}

impl Default for Restrictions {
    fn default() -> Self {
        Self {
            ip_allowlist: None,
            secret_key_in_browser: BrowserRule::Flag,
            guess_throttle: GuessThrottle::default(),
            observe: Vec::new(),
            observe_until: String::new(),
        }
    }
}

/// `restrictions.secret_key_in_browser`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BrowserRule {
    /// 403 `browser_denied`.
    Reject,
    /// Served; the record is marked `exposed`.
    Flag,
    /// Served.
    Ignore,
}

/// `restrictions.guess_throttle`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GuessThrottle {
    /// Failures that a client address may have.
    pub failures: u32,
    /// In this time.
    pub per: Span,
}

impl Default for GuessThrottle {
    fn default() -> Self {
        Self { failures: 20, per: Span::secs(10) }
    }
}

/// A check that can be observed instead of enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words say it")]
pub enum Observable {
    Ip,
    Referrer,
    Endpoint,
    Scope,
}

/// `[migration]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Migration {
    /// What becomes of keys that this table does not know.
    pub unknown_keys: UnknownKeys,
    /// End of `pass`, RFC 3339.
    pub until: String,
}

/// `migration.unknown_keys`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownKeys {
    /// 401.
    #[default]
    Reject,
    /// Forwarded untouched, without identity.
    Pass,
}

/// `[identity]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// Header name → template.
    pub headers: IndexMap<String, String>,
    /// Name prefixes under which nothing of the client passes.
    pub reserved_prefixes: Vec<String>,
    /// What becomes of other header names with odd characters.
    pub odd_names: OddNames,
    /// Signed identity.
    pub signed: SignedIdentity,
}

impl Default for Identity {
    fn default() -> Self {
        let headers = [
            ("X-Tenant-Id", "{tenant.id}"),
            ("X-Auth-Key-Id", "{key.id}"),
            ("X-Auth-Subject", "{subject}"),
            ("X-Auth-Scopes", "{scopes}"),
            ("X-Auth-Environment", "{environment}"),
            ("X-Auth-Credential", "{credential}"),
        ];
        Self {
            headers: headers.iter().map(|(name, template)| ((*name).to_owned(), (*template).to_owned())).collect(),
            reserved_prefixes: Vec::new(),
            odd_names: OddNames::Drop,
            signed: SignedIdentity::default(),
        }
    }
}

/// `identity.odd_names`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OddNames {
    /// Removed.
    Drop,
    /// 400 `request_invalid`.
    Reject,
    /// Forwarded, unless the name is an identity header's in another spelling.
    Keep,
}

/// `identity.signed`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignedIdentity {
    /// Header that carries it; empty = off.
    pub header: String,
    /// PEM signing key.
    pub key_file: PathBuf,
    /// Life of each token.
    pub ttl: Span,
}

impl Default for SignedIdentity {
    fn default() -> Self {
        Self { header: String::new(), key_file: PathBuf::new(), ttl: Span::secs(60) }
    }
}

/// `[errors]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Errors {
    /// Template of every refusal's body.
    pub body: String,
    /// Its media type.
    pub content_type: String,
    /// Case of codes that the map does not name.
    pub code_case: CodeCase,
    /// `realm` of challenges.
    pub realm: String,
    /// Make expired, inactive and suspended look like unknown.
    pub hide_key_state: bool,
    /// Reason, or `"401"`, `"403"`, `"400"` → what differs.
    pub map: IndexMap<String, ErrorEntry>,
}

impl Default for Errors {
    fn default() -> Self {
        Self {
            body: r#"{"success":false,"error":"{message}","code":"{code}"}"#.into(),
            content_type: "application/json".into(),
            code_case: CodeCase::Upper,
            realm: "api".into(),
            hide_key_state: false,
            map: IndexMap::new(),
        }
    }
}

/// `errors.code_case`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words say it")]
pub enum CodeCase {
    Upper,
    Lower,
}

/// `[errors.map]` entry.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorEntry {
    /// Only where the key is a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Code in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Message in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
