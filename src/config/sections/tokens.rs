//! Sections about tokens: issuers, introspection, metadata, sessions.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::gate::EnvironmentName;
use crate::config::units::Span;

/// `[[issuers]]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Issuer {
    /// Name in routes and logs.
    pub name: String,
    /// Expected `iss`.
    pub issuer: String,
    /// Algorithms accepted.
    pub algorithms: Vec<String>,
    /// JWKS by URL.
    pub jwks_url: String,
    /// JWKS by file.
    pub jwks_file: PathBuf,
    /// PEM public key.
    pub public_key_file: PathBuf,
    /// Shared secret (HS*).
    pub secret_file: PathBuf,
    /// How often the URL is asked again.
    pub jwks_refresh: Span,
    /// Accepted `aud`.
    pub audiences: Vec<String>,
    /// Tolerance of clocks.
    pub leeway: Span,
    /// Greatest `now - iat`; 0 = not checked.
    pub max_age: Span,
    /// Claim names.
    pub claims: Claims,
    /// Literal tenant instead of a claim.
    pub tenant: String,
    /// Where no claim says it.
    pub environment: EnvironmentName,
    /// A tenant without a record.
    pub unknown_tenant: UnknownTenant,
    /// `false` drops an entry of this name from a lower layer.
    pub enabled: bool,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            name: String::new(),
            issuer: String::new(),
            algorithms: Vec::new(),
            jwks_url: String::new(),
            jwks_file: PathBuf::new(),
            public_key_file: PathBuf::new(),
            secret_file: PathBuf::new(),
            jwks_refresh: Span::secs(300),
            audiences: Vec::new(),
            leeway: Span::secs(30),
            max_age: Span::secs(0),
            claims: Claims::default(),
            tenant: String::new(),
            environment: EnvironmentName::Live,
            unknown_tenant: UnknownTenant::Reject,
            enabled: true,
        }
    }
}

/// `issuers.claims`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the words say it")]
pub struct Claims {
    pub subject: String,
    pub tenant: String,
    pub scopes: String,
    pub environment: String,
}

impl Default for Claims {
    fn default() -> Self {
        Self { subject: "sub".into(), tenant: "org_id".into(), scopes: "scope".into(), environment: String::new() }
    }
}

/// `issuers.unknown_tenant`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum UnknownTenant {
    Reject,
    Allow,
}

/// `[introspection]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Introspection {
    /// RFC 7662 endpoint; empty = off.
    pub url: String,
    /// Our client id there.
    pub client_id: String,
    /// Our client secret there.
    pub client_secret_file: PathBuf,
    /// Expected `iss` of an active token; empty = none is.
    pub issuer: String,
    /// Of which `aud` of an active token must name one; empty = it need not.
    pub audiences: Vec<String>,
    /// Longest time an answer is kept.
    pub cache_ttl: Span,
}

impl Default for Introspection {
    fn default() -> Self {
        Self {
            url: String::new(),
            client_id: String::new(),
            client_secret_file: PathBuf::new(),
            issuer: String::new(),
            audiences: Vec::new(),
            cache_ttl: Span::secs(30),
        }
    }
}

/// `[oauth_metadata]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OauthMetadata {
    /// Absolute URL of the resource; empty = no document (RFC 9728).
    pub resource: String,
    /// Its authorization servers.
    pub authorization_servers: Vec<String>,
}

/// `[sessions]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// Ed25519 PEM or HS256 secret; the first signs, all verify; empty = off.
    pub signing_key_files: Vec<PathBuf>,
    /// `iss` of issued tokens.
    pub issuer: String,
    /// Life of an access token.
    pub access_ttl: Span,
    /// Life of a refresh token.
    pub refresh_ttl: Span,
    /// How long a used refresh token gets the same answer.
    pub refresh_grace: Span,
    /// Path of the refresh endpoint; empty = off.
    pub refresh_path: String,
    /// What the refresh endpoint asks of its caller.
    pub refresh_auth: RefreshAuth,
    /// Template of its answer.
    pub refresh_body: String,
    /// OAuth 2.0 token endpoint; empty = off.
    pub token_path: String,
    /// What a session may do that was begun without scopes.
    pub unscoped: Unscoped,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            signing_key_files: Vec::new(),
            issuer: "sidegate".into(),
            access_ttl: Span::secs(3600),
            refresh_ttl: Span::secs(7 * 86_400),
            refresh_grace: Span::secs(10),
            refresh_path: String::new(),
            refresh_auth: RefreshAuth::ApiKey,
            refresh_body:
                r#"{"access_token":"{access_token}","token_type":"Bearer","expires_in":{expires_in},"refresh_token":"{refresh_token}"}"#
                    .into(),
            token_path: String::new(),
            unscoped: Unscoped::Deny,
        }
    }
}

/// `sessions.unscoped`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Unscoped {
    Deny,
    Pass,
}

/// `sessions.refresh_auth`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum RefreshAuth {
    ApiKey,
    None,
}
