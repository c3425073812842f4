//! The request as the upstream gets it.

pub mod upstream;

use std::time::Duration;

use http::request::Parts;

use crate::gate::{Gate, Permit, Seen};
use crate::rejection::Refusal;

/// A head that may be sent: rewritten under a permit.
#[derive(Debug)]
pub struct Forward {
    /// Origin-form target, identity and forwarding headers set, hop-by-hop headers gone, no framing header.
    pub head: Parts,
    /// Index of the upstream in the configuration's order (see `upstream::Upstreams`).
    pub upstream: usize,
    /// Instead of the upstream's.
    pub response_timeout: Option<Duration>,
}

/// Rewrites a head under a permit.
///
/// # Errors
/// `request_invalid` where Connection names a header it must not; `identity_invalid`.
pub fn rewrite(
    _gate: &Gate,
    _permit: Permit,
    _head: Parts,
    _connection: &crate::gate::Connection,
    _seen: &Seen,
) -> Result<Forward, Refusal> {
    todo!()
}
