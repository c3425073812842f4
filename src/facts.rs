//! What a request is, parsed once: method, host, one canonical path, client address, request id.

use std::borrow::Cow;

use http::HeaderValue;

use crate::net::client::ClientAddr;
use crate::rejection::{Refusal, Rejection};

/// Longest request target, bytes.
pub const TARGET_MAX: usize = 8 << 10;

/// The path as it was judged.
#[derive(Debug, Clone)]
pub struct CanonicalPath {}

/// The id of a request: on every response, in the log line, sent to the upstream.
#[derive(Debug, Clone)]
pub enum RequestId {
    /// The client's, `[A-Za-z0-9._-]{8,128}`.
    Kept(HeaderValue),
    /// Ours, a UUIDv7.
    Made([u8; 36]),
}

impl RequestId {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Kept(value) => value.to_str().unwrap_or_default(),
            Self::Made(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
        }
    }

    /// As a header value.
    #[must_use]
    pub fn to_value(&self) -> HeaderValue {
        match self {
            Self::Kept(value) => value.clone(),
            Self::Made(bytes) => HeaderValue::from_bytes(bytes).unwrap_or(HeaderValue::from_static("")),
        }
    }
}

/// Checks the raw bytes of a request target for what hyper would hide or change: fragment, control and non-ASCII bytes, length.
/// Called by the framing guard before hyper sees the head, and by `explain`.
///
/// # Errors
/// `request_invalid` or `target_too_long`.
pub fn check_target(raw: &[u8]) -> Result<(), Refusal> {
    if raw.len() > TARGET_MAX {
        return Err(Rejection::TargetTooLong.because("more than 8 KiB"));
    }
    let rule = |byte: &u8| match byte {
        b'#' => Some("fragment in the target"),
        0..=0x20 | 0x7f => Some("control byte in the target"),
        0x80.. => Some("byte beyond ASCII in the target"),
        _ => None,
    };
    match raw.iter().find_map(rule) {
        Some(rule) => Err(Rejection::RequestInvalid.because(Cow::Borrowed(rule))),
        None if raw.is_empty() => Err(Rejection::RequestInvalid.because("empty target")),
        None => Ok(()),
    }
}

/// What is known of a request once it was parsed.
#[derive(Debug)]
pub struct Facts {
    /// Whose it is.
    pub client: ClientAddr,
}
