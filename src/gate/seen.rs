//! What was learnt of a request on its way, refused or not: for the answer, the log line and `explain`. Never a credential.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};

use crate::authn::Token;
use crate::config::sections::{CredentialType, EnvironmentName};
use crate::credential::{ApiKey, BearerToken};
use crate::facts::{RequestId, is_grpc};
use crate::gate::Spared;
use crate::identity::Identity;
use crate::key::digest::Digest;
use crate::limit::Told;
use crate::net::client::ClientAddr;
use crate::route::{Route, Scope};
use crate::telemetry::spans::Context;

/// What was learnt.
#[derive(Debug)]
pub struct Seen {
    /// Id of the request.
    pub request_id: RequestId,
    /// Whose request it is.
    pub client: ClientAddr,
    /// The matched route.
    pub route: Option<Arc<Route>>,
    /// Environment of the presented key, by its prefix.
    pub environment: Option<EnvironmentName>,
    /// Prefix and digest of the presented key; the log names unknown keys by prefix and fingerprint.
    pub key: Option<(Arc<str>, Digest)>,
    /// Kind and digest of the presented token.
    pub presented_token: Option<(CredentialType, Digest)>,
    /// The token that says who is calling, once it is verified.
    pub token: Option<Arc<Token>>,
    /// Who is calling, once authenticated.
    pub identity: Option<Arc<Identity>>,
    /// Whether the credential's answer was in the cache; `None` where nobody asked.
    pub cached: Option<bool>,
    /// Whether any credential was presented (RFC 6750 §3.1: no `error` in the challenge when none was).
    pub credential_sent: bool,
    /// Scopes the route demands, for the challenge of `scope_missing`.
    pub scopes_demanded: String,
    /// Scopes that the route demands of an admitted request and that were granted, with spaces between them: what the key is used for.
    pub scopes_used: Scope,
    /// What the client is told of its limits.
    pub limits: Option<Told>,
    /// What the request was let through in spite of, for a time only.
    pub would_refuse: Spared,
    /// Whether a secret key was shown by a browser.
    pub exposed: bool,
    /// `Origin` of the request, for CORS.
    pub origin: Option<HeaderValue>,
    /// Whether the client speaks gRPC.
    pub grpc: bool,
    /// Its place in its trace, once it is let through; nothing without `[tracing]`.
    pub trace: Option<Context>,
}

impl Seen {
    /// Before anything is known but the headers; an empty map for a head that never became a request.
    #[must_use]
    pub fn new(request_id: RequestId, headers: &HeaderMap) -> Self {
        Self {
            request_id,
            client: ClientAddr(None),
            route: None,
            environment: None,
            key: None,
            presented_token: None,
            token: None,
            identity: None,
            cached: None,
            credential_sent: false,
            scopes_demanded: String::new(),
            scopes_used: Scope::new(),
            limits: None,
            would_refuse: Spared::default(),
            exposed: false,
            origin: headers.get(header::ORIGIN).cloned(),
            grpc: is_grpc(headers),
            trace: None,
        }
    }

    pub(super) fn presented(&mut self, key: &ApiKey<'_>) {
        self.environment = Some(key.prefix.environment);
        self.key = Some((Arc::clone(&key.prefix.text), key.digest));
    }

    pub(super) fn presented_token(&mut self, token: &BearerToken) {
        self.presented_token = Some((token.kind, token.digest));
    }

    /// `sk_live_…/1a2b3c4d`, `jwt…/1a2b3c4d`, `opaque…/1a2b3c4d`: what stands for the presented credential in logs.
    #[must_use]
    pub fn fingerprint(&self) -> Option<String> {
        let of_key = self.key.as_ref().map(|(prefix, digest)| (&**prefix, digest));
        let of_token = || self.presented_token.as_ref().map(|(kind, digest)| (kind.name(), digest));
        let (prefix, digest) = of_key.or_else(of_token)?;
        Some(format!("{prefix}…/{}", digest.fingerprint()))
    }

    /// What was presented, in a word.
    #[must_use]
    pub fn credential_name(&self) -> &'static str {
        match (self.credential_sent, &self.presented_token) {
            (false, _) => "none",
            (true, Some((kind, _))) => kind.name(),
            (true, None) => CredentialType::ApiKey.name(),
        }
    }
}
