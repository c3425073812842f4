//! Sections about what is checked beside the route, what the upstream is told and what refusals say.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::config::units::Span;

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
    /// Peers whose forwarding header is believed; `unix` = whoever may open a Unix socket.
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
    /// End of `observe`: RFC 3339, or a day.
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
#[expect(missing_docs, reason = "the words say it")]
pub enum Observable {
    Ip,
    Referrer,
    Endpoint,
    Scope,
}

impl Observable {
    /// The word in `restrictions.observe`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Referrer => "referrer",
            Self::Endpoint => "endpoint",
            Self::Scope => "scope",
        }
    }
}

/// `[migration]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Migration {
    /// What becomes of keys that this table does not know.
    pub unknown_keys: UnknownKeys,
    /// End of `pass`: RFC 3339, or a day.
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
#[expect(missing_docs, reason = "the words say it")]
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
