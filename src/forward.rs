//! The request as the upstream gets it: rewritten under a permit ([`rewrite`]), sent over a worker's own connections ([`upstream`]).

mod fields;
pub mod headers;
pub mod upgrade;
pub mod upstream;

use std::time::Duration;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Uri, header};

use crate::gate::{Connection, Gate, Permit, Seen};
use crate::rejection::{Refusal, Rejection};
use headers::HeaderRules;
use upgrade::Handshake;
use upstream::Upstreams;

/// About as many fields as are set.
const HEADERS_ADDED: usize = 12;

/// A head that may be sent.
#[derive(Debug)]
pub struct Forward {
    /// Origin-form target, identity and forwarding headers set, hop-by-hop headers gone, no framing header.
    pub head: Parts,
    /// Index of the upstream in the configuration's order.
    pub upstream: usize,
    /// Instead of the upstream's.
    pub response_timeout: Option<Duration>,
    /// Opens a WebSocket, if the upstream agrees.
    pub handshake: Option<Handshake>,
}

/// A request of our own, for a path that the configuration names: nobody's credential, nobody's headers.
#[must_use]
pub fn probe(upstreams: &Upstreams, upstream: usize, target: PathAndQuery) -> Forward {
    let mut head = Request::new(()).into_parts().0;
    head.uri = Uri::from(target);
    upstreams.set_host(upstream, None, &mut head.headers);
    Forward { head, upstream, response_timeout: None, handshake: None }
}

/// Rewrites a head under a permit.
///
/// # Errors
/// `request_invalid` where Connection names a header it must not, or an odd name is refused.
pub fn rewrite(
    gate: &Gate,
    upstreams: &Upstreams,
    permit: &Permit,
    mut head: Parts,
    connection: &Connection,
    seen: &Seen,
) -> Result<Forward, Refusal> {
    let rules = gate.header_rules();
    let handshake = Handshake::of(&head).filter(|_| upstreams.switches_protocols(permit.upstream()));
    let trusted = gate.trusts(connection.peer);
    let mut headers = HeaderMap::with_capacity(head.headers.len() + HEADERS_ADDED);
    upstreams.set_host(permit.upstream(), head.headers.get(header::HOST), &mut headers);
    rules.pass_on(&head.headers, trusted, &mut headers)?;
    HeaderRules::set_forwarding(&head.headers, connection, trusted, &mut headers);
    rules.set_identity(permit, gate.environments(), seen, &mut headers);
    if handshake.is_some() {
        Handshake::ask(&mut headers);
    }
    head.headers = headers;
    // Absolute-form was checked against Host; upstreams get origin-form (RFC 9112 §3.2.1), the same bytes that were matched.
    let target = head.uri.path_and_query().cloned().ok_or_else(|| Rejection::RequestInvalid.because("no path in the target"))?;
    head.uri = Uri::from(target);
    Ok(Forward { head, upstream: permit.upstream(), response_timeout: permit.response_timeout(), handshake })
}
