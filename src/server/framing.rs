//! The framing guard's rules: a pure state machine that follows the bytes of an HTTP/1 head and says what request they are
//! and where its content ends. What is ambiguous is refused, never repaired (security.md 1–3, 6, 7).
//! It does no I/O, knows no time and judges no path, method or credential: that is the gate's.

mod authority;
pub mod fields;
mod head;
#[cfg(test)]
mod tests;

pub(crate) use authority::is_valid as is_authority;
pub use head::{Head, Persistence};

use crate::config::sections::ListenerLimits;

/// Bounds of a request head.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, request line included.
    pub head_bytes: usize,
    /// Header lines.
    pub headers: usize,
}

impl From<&ListenerLimits> for Limits {
    fn from(limits: &ListenerLimits) -> Self {
        Self { head_bytes: usize::try_from(limits.header_bytes.0).unwrap_or(usize::MAX), headers: limits.headers }
    }
}
