//! The page to read first: the order in which a request is judged. The order is a security property and lives here, not in configuration.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;
use crate::facts::RequestId;
use crate::identity::Identity;
use crate::net::Peer;
use crate::net::client::ClientAddr;
use crate::rejection::Refusal;

/// What the gate knows of the connection a request came on.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// The other end.
    pub peer: Peer,
    /// Whether it is TLS (`X-Forwarded-Proto`).
    pub tls: bool,
}

/// What was learnt on the way, refused or not: for the answer, the log line and `explain`.
#[derive(Debug)]
pub struct Seen {
    /// Id of the request.
    pub request_id: RequestId,
    /// Whose request it is.
    pub client: ClientAddr,
    /// Name of the matched route.
    pub route: Option<Arc<str>>,
    /// Environment of the presented key, by its prefix.
    pub environment: Option<EnvironmentName>,
    /// `prefix + fingerprint` of a presented key that is not known: `sk_live_…/1a2b3c4d`.
    pub fingerprint: Option<String>,
    /// Who is calling, once authenticated.
    pub identity: Option<Arc<Identity>>,
    /// Whether any credential was presented (RFC 6750 §3.1: no `error` in the challenge when none was).
    pub credential_sent: bool,
    /// Scopes the route demands, for the challenge of `scope_missing`.
    pub scopes_demanded: String,
    /// `Origin` of the request, for CORS.
    pub origin: Option<HeaderValue>,
    /// Whether the client speaks gRPC.
    pub grpc: bool,
}

impl Seen {
    /// Before anything is known; also what a refused head, which never became a request, is answered with.
    #[must_use]
    pub fn new(_headers: Option<&HeaderMap>) -> Self {
        todo!()
    }
}

/// What the gate decided, other than a refusal.
#[derive(Debug)]
pub enum Admitted {
    /// Forward it; only `forward::rewrite` can use the permit.
    Forward(Permit),
    /// A CORS preflight that Sidegate answers itself: 204 with these headers.
    Preflight(HeaderMap),
}

/// Proof that a request passed the gate. Fields are private to the crate's gate: ungated traffic does not compile.
#[derive(Debug)]
pub struct Permit {
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) upstream: usize,
    pub(crate) response_timeout: Option<Duration>,
}

/// The gate, compiled from the configuration.
#[derive(Debug)]
pub struct Gate {}

impl Gate {
    /// Judges a request. Ready on the first poll for a cached credential.
    ///
    /// # Errors
    /// The refusal; what is known of the caller is in `seen`.
    pub async fn decide(
        &self,
        _head: &mut Parts,
        _connection: &Connection,
        _now: Timestamp,
        _seen: &mut Seen,
    ) -> Result<Admitted, Refusal> {
        todo!()
    }
}
