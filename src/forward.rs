//! The request as the upstream gets it: rewritten under a permit ([`Rewrite`]), sent over a worker's own connections ([`upstream`]).

mod head;
pub mod headers;
pub mod upgrade;
pub mod upstream;

use std::time::Duration;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use crate::clock::Timestamp;
use crate::gate::{Connection, Gate, Permit, Seen};
use crate::rejection::{Refusal, Rejection};
use head::Fields;
pub use head::{Encoded, Head};
use headers::HeaderRules;
use upgrade::Handshake;
use upstream::Upstreams;

/// About as many fields as are set.
const HEADERS_ADDED: usize = 12;

/// A request that may be sent, content apart.
#[derive(Debug)]
pub struct Forward {
    /// Origin-form target, identity and forwarding headers set, hop-by-hop headers gone, no framing header.
    pub head: Head,
    /// Index of the upstream in the configuration's order.
    pub upstream: usize,
    /// Instead of the upstream's.
    pub response_timeout: Option<Duration>,
    /// Opens a WebSocket, if the upstream agrees.
    pub handshake: Option<Handshake>,
}

/// Everything that decides what the upstream is told.
#[derive(Debug, Clone, Copy)]
pub struct Rewrite<'a> {
    /// The rules.
    pub gate: &'a Gate,
    /// Where the request may go.
    pub upstreams: &'a Upstreams,
    /// Why it may go there.
    pub permit: &'a Permit,
    /// What it came on.
    pub connection: &'a Connection,
    /// What was learnt of it.
    pub seen: &'a Seen,
    /// When it came.
    pub now: Timestamp,
}

/// A request of our own, for a path that the configuration names: nobody's credential, nobody's headers.
#[must_use]
pub fn probe(upstreams: &Upstreams, upstream: usize, target: PathAndQuery) -> Forward {
    own(upstreams, upstream, Method::GET, target, &[])
}

/// The same to a service of the operator's, with content of this type.
#[must_use]
pub fn post(upstreams: &Upstreams, target: PathAndQuery, content_type: &HeaderValue) -> Forward {
    let agent = HeaderValue::from_static(concat!("sidegate/", env!("CARGO_PKG_VERSION")));
    own(upstreams, 0, Method::POST, target, &[(header::CONTENT_TYPE, content_type), (header::USER_AGENT, &agent)])
}

fn own(upstreams: &Upstreams, upstream: usize, method: Method, target: PathAndQuery, fields: &[(HeaderName, &HeaderValue)]) -> Forward {
    let head = if upstreams.speaks_http1(upstream) {
        let mut head = Encoded::new(method, target.as_str());
        upstreams.set_host(upstream, None, &mut head);
        for (name, value) in fields {
            head.field(name, value);
        }
        Head::Http1(head)
    } else {
        let mut parts = Request::new(()).into_parts().0;
        parts.method = method;
        parts.uri = Uri::from(target);
        upstreams.set_host(upstream, None, &mut parts.headers);
        for (name, value) in fields {
            parts.headers.field(name, value);
        }
        Head::Http2(Box::new(parts))
    };
    Forward { head, upstream, response_timeout: None, handshake: None }
}

impl Rewrite<'_> {
    /// Rewrites a head under the permit.
    ///
    /// # Errors
    /// `request_invalid` where Connection names a header it must not, or an odd name is refused.
    pub fn apply(self, head: &Parts) -> Result<Forward, Refusal> {
        let upstream = self.permit.upstream();
        let speaks_http1 = self.upstreams.speaks_http1(upstream);
        let handshake = Handshake::of(head).filter(|_| speaks_http1);
        let head = if speaks_http1 {
            let mut encoded = Encoded::new(head.method.clone(), target(head)?.as_str());
            self.fields(&head.headers, handshake.is_some(), &mut encoded)?;
            Head::Http1(encoded)
        } else {
            Head::Http2(Box::new(self.parts(head)?))
        };
        Ok(Forward { head, upstream, response_timeout: self.permit.response_timeout(), handshake })
    }

    /// The same, as parts.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn parts(self, head: &Parts) -> Result<Parts, Refusal> {
        let mut parts = Request::new(()).into_parts().0;
        parts.method = head.method.clone();
        parts.uri = Uri::from(target(head)?.clone());
        parts.headers.reserve(head.headers.len() + HEADERS_ADDED);
        let asks = self.upstreams.speaks_http1(self.permit.upstream()) && Handshake::of(head).is_some();
        self.fields(&head.headers, asks, &mut parts.headers)?;
        Ok(parts)
    }

    fn fields(self, sent: &HeaderMap, asks_to_switch: bool, out: &mut impl Fields) -> Result<(), Refusal> {
        let Self { gate, upstreams, permit, connection, seen, now } = self;
        let rules = gate.header_rules();
        let trusted = gate.trusts(connection.peer);
        let host = sent.get(header::HOST);
        upstreams.set_host(permit.upstream(), host, out);
        rules.pass_on(sent, trusted, out)?;
        HeaderRules::set_forwarding(sent, host, connection, trusted, out);
        rules.set_identity(permit, gate.environments(), (seen, now), out)?;
        if let Some(context) = &seen.trace {
            HeaderRules::set_trace(context, sent, out);
        }
        if asks_to_switch {
            Handshake::ask(out);
        }
        Ok(())
    }
}

/// Absolute-form was checked against Host; upstreams get origin-form (RFC 9112 §3.2.1), the same bytes that were matched.
fn target(head: &Parts) -> Result<&PathAndQuery, Refusal> {
    head.uri.path_and_query().ok_or_else(|| Rejection::RequestInvalid.because("no path in the target"))
}
