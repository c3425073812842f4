//! Listeners, per-core workers, TLS, the framing guard.

pub mod framing;
