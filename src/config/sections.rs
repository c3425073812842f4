//! Every section of proxy.toml as it is written: names, types, defaults. No meaning is given here;
//! each module compiles what concerns it from these (`compile(&Config, &mut Problems)`).
//! `Config::default()` is the built-in layer; the file `proxy.toml` of the repository states the same values.

pub mod gate;
pub mod process;
pub mod rules;
pub mod state;
pub mod tokens;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use gate::*;
pub use process::*;
pub use rules::*;
pub use state::*;
pub use tokens::*;

/// The whole of proxy.toml, all layers merged.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Version of the file's grammar; 1.
    pub version: u32,
    /// What this sidecar is: decides which environments of keys it serves.
    pub deployment: Deployment,
    /// Name of an embedded profile, or empty.
    pub profile: String,
    /// Shorthand for one listener named `public`; once loaded, that listener's address.
    pub listen: String,
    /// Shorthand for `[upstreams.main] url`, which it equals once loaded; empty = no proxying.
    pub upstream: String,
    /// `[[listeners]]`
    pub listeners: Vec<Listener>,
    /// `[upstreams.NAME]`
    pub upstreams: IndexMap<String, Upstream>,
    /// `[environments.live]`, `[environments.test]`
    pub environments: Environments,
    /// `[credentials]`
    pub credentials: Credentials,
    /// `[[key_kinds]]`
    pub key_kinds: Vec<KeyKind>,
    /// `[keys]`
    pub keys: Keys,
    /// `[scopes]`: the vocabulary, or empty for none.
    pub scopes: IndexMap<String, String>,
    /// `[store]`
    pub store: Store,
    /// `[cache]`
    pub cache: Cache,
    /// `[routing]`
    pub routing: Routing,
    /// `[[routes]]`
    pub routes: Vec<Route>,
    /// `[cors]`
    pub cors: Option<Cors>,
    /// `[client_ip]`
    pub client_ip: ClientIp,
    /// `[restrictions]`
    pub restrictions: Restrictions,
    /// `[migration]`
    pub migration: Migration,
    /// `[[issuers]]`
    pub issuers: Vec<Issuer>,
    /// `[introspection]`
    pub introspection: Introspection,
    /// `[oauth_metadata]`
    pub oauth_metadata: OauthMetadata,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[identity]`
    pub identity: Identity,
    /// `[errors]`
    pub errors: Errors,
    /// `[idempotency]`
    pub idempotency: Idempotency,
    /// `[rate_limits.NAME]`
    pub rate_limits: IndexMap<String, RateLimit>,
    /// `[quotas.NAME]`
    pub quotas: IndexMap<String, Quota>,
    /// `[admin]`
    pub admin: Admin,
    /// `[self_service]`
    pub self_service: SelfService,
    /// `[audit]`
    pub audit: Audit,
    /// `[ops]`
    pub ops: Ops,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[log]`
    pub log: Log,
    /// `[tracing]`
    pub tracing: Tracing,
    /// `[runtime]`
    pub runtime: Runtime,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: 1,
            deployment: Deployment::Production,
            profile: String::new(),
            listen: "[::]:8080".into(),
            upstream: "http://127.0.0.1:3000".into(),
            listeners: Vec::new(),
            upstreams: IndexMap::new(),
            environments: Environments::default(),
            credentials: Credentials::default(),
            key_kinds: KeyKind::built_in(),
            keys: Keys::default(),
            scopes: IndexMap::new(),
            store: Store::default(),
            cache: Cache::default(),
            routing: Routing::default(),
            routes: Vec::new(),
            cors: None,
            client_ip: ClientIp::default(),
            restrictions: Restrictions::default(),
            migration: Migration::default(),
            issuers: Vec::new(),
            introspection: Introspection::default(),
            oauth_metadata: OauthMetadata::default(),
            sessions: Sessions::default(),
            identity: Identity::default(),
            errors: Errors::default(),
            idempotency: Idempotency::default(),
            rate_limits: IndexMap::new(),
            quotas: IndexMap::new(),
            admin: Admin::default(),
            self_service: SelfService::default(),
            audit: Audit::default(),
            ops: Ops::default(),
            shutdown: Shutdown::default(),
            log: Log::default(),
            tracing: Tracing::default(),
            runtime: Runtime::default(),
        }
    }
}

/// Environment of this sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Deployment {
    /// Serves live keys only, unless said otherwise.
    Production,
    /// Serves test keys only, unless said otherwise.
    Staging,
    /// Serves both.
    Development,
}

impl Deployment {
    /// The word in proxy.toml and in `{deployment}`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
        }
    }
}

pub(crate) const fn yes() -> bool {
    true
}
