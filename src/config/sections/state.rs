//! Sections about what is kept or asked elsewhere: store, cache, idempotency, limits, management.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::gate::EnvironmentName;
use crate::config::units::{Size, Span};

/// `[store]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Where keys and tenants are: `embedded:path`, `redis://…`, `redis+unix:///path`.
    pub url: String,
    /// ACL user; empty = the default user.
    pub username: String,
    /// File with the password.
    pub password_file: PathBuf,
    /// File with the pepper, newest first.
    pub pepper_file: PathBuf,
    /// What every Redis key begins with.
    pub key_prefix: String,
    /// Replicas that must acknowledge a change that takes rights away.
    pub write_replicas: u32,
    /// To reach the server.
    pub connect_timeout: Span,
    /// For each command.
    pub command_timeout: Span,
    /// TLS towards the store.
    pub tls: StoreTls,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "embedded:./sidegate-data".into(),
            username: String::new(),
            password_file: PathBuf::new(),
            pepper_file: PathBuf::new(),
            key_prefix: "sidegate:".into(),
            write_replicas: 0,
            connect_timeout: Span::secs(1),
            command_timeout: Span(std::time::Duration::from_millis(250)),
            tls: StoreTls::default(),
        }
    }
}

/// `[store.tls]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the words say it")]
pub struct StoreTls {
    pub ca_file: PathBuf,
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// `[cache]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Keys held.
    pub max_entries: u64,
    /// How long an entry is served without asking again.
    pub ttl: Span,
    /// The same for "no such key".
    pub negative_ttl: Span,
    /// How long entries are served while the store is unreachable.
    pub stale_for: Span,
    /// Encrypted warm start; empty = off.
    pub snapshot_file: PathBuf,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            max_entries: 100_000,
            ttl: Span::secs(30),
            negative_ttl: Span::secs(2),
            stale_for: Span::secs(600),
            snapshot_file: PathBuf::new(),
        }
    }
}

/// `[idempotency]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Idempotency {
    /// Off, optional or required.
    pub mode: IdempotencyMode,
    /// Methods it applies to.
    pub methods: Vec<String>,
    /// Header that carries the key.
    pub header: String,
    /// Life of a stored answer, from the claim.
    pub ttl: Span,
    /// Largest body and answer.
    pub max_body: Size,
    /// Lease of a running request.
    pub lock_timeout: Span,
    /// Bytes stored per tenant.
    pub max_stored_per_tenant: Size,
    /// Another Redis than the key table's.
    pub store_url: String,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self {
            mode: IdempotencyMode::Off,
            methods: vec!["POST".into()],
            header: "Idempotency-Key".into(),
            ttl: Span::secs(72 * 3600),
            max_body: Size(1 << 20),
            lock_timeout: Span::secs(60),
            max_stored_per_tenant: Size(64 << 20),
            store_url: String::new(),
        }
    }
}

/// `idempotency.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum IdempotencyMode {
    Off,
    Optional,
    Required,
}

/// `[rate_limits.NAME]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// What is counted apart.
    pub by: Vec<LimitBy>,
    /// Requests admitted.
    pub requests: u64,
    /// In this time.
    pub per: Span,
    /// Requests admitted at once; unset = `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Where it is counted.
    #[serde(default)]
    pub counted: Counted,
    /// What happens without the store.
    #[serde(default)]
    pub on_unavailable: OnUnavailable,
    /// Applies to every authenticated route that names no other.
    #[serde(default)]
    pub default: bool,
}

/// `rate_limits.by`, `quotas.by`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum LimitBy {
    Key,
    Tenant,
    Subject,
    Ip,
    Route,
}

/// `rate_limits.counted`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Counted {
    #[default]
    Local,
    Fleet,
}

/// `rate_limits.on_unavailable`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum OnUnavailable {
    #[default]
    Local,
    Deny,
}

/// `[quotas.NAME]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// What is counted apart.
    pub by: Vec<LimitBy>,
    /// Environments it applies to; unset = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environments: Option<Vec<EnvironmentName>>,
    /// Requests admitted.
    pub requests: u64,
    /// In each calendar day or month, UTC.
    pub per: QuotaPeriod,
}

/// `quotas.per`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum QuotaPeriod {
    Day,
    Month,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address of the management API; empty = off.
    pub listen: String,
    /// Whether the dashboard is served.
    pub dashboard: bool,
    /// Values of Host that are answered.
    pub allowed_hosts: Vec<String>,
    /// TLS; required on other addresses than loopback.
    pub tls: AdminTls,
    /// `[[admin.tokens]]`
    pub tokens: Vec<AdminToken>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: String::new(),
            dashboard: true,
            allowed_hosts: vec!["localhost".into(), "127.0.0.1".into(), "[::1]".into()],
            tls: AdminTls::default(),
            tokens: Vec::new(),
        }
    }
}

/// `[admin.tls]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the words say it")]
pub struct AdminTls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// `[[admin.tokens]]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AdminToken {
    /// The actor in the audit.
    pub name: String,
    /// File with the token.
    pub file: PathBuf,
    /// Permissions.
    pub allow: Vec<String>,
}

/// `[self_service]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelfService {
    /// Path on the public listener; empty = off.
    pub path: String,
    /// What customers may do.
    pub actions: Vec<SelfServiceAction>,
    /// Which keys a caller sees.
    pub list: SelfServiceList,
    /// Scope that the calling key must hold; empty = none.
    pub required_scope: String,
    /// Fields of a list entry.
    pub list_fields: Vec<String>,
    /// Template of the list.
    pub list_body: String,
    /// Template of the answer to DELETE.
    pub revoke_body: String,
}

impl Default for SelfService {
    fn default() -> Self {
        let fields = ["id", "name", "prefix", "last4", "kind", "environment", "scopes", "status", "created_at", "expires_at", "last_used"];
        Self {
            path: String::new(),
            actions: vec![SelfServiceAction::List, SelfServiceAction::Create, SelfServiceAction::Rotate, SelfServiceAction::Revoke],
            list: SelfServiceList::Environment,
            required_scope: String::new(),
            list_fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            list_body: r#"{"data":{keys}}"#.into(),
            revoke_body: r#"{"id":"{id}","revoked":true}"#.into(),
        }
    }
}

/// `self_service.actions`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum SelfServiceAction {
    List,
    Create,
    Rotate,
    Revoke,
}

impl SelfServiceAction {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Create => "create",
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
        }
    }
}

/// `self_service.list`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum SelfServiceList {
    Environment,
    Tenant,
}

/// `[audit]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// How long events are kept.
    pub retention: Span,
}

impl Default for Audit {
    fn default() -> Self {
        Self { retention: Span::secs(400 * 86_400) }
    }
}
