//! Listeners, per-core workers, TLS, the framing guard: bytes in, bytes out. What a request may do is judged elsewhere.

pub mod bind;
pub mod body;
pub mod connection;
pub mod descriptors;
pub mod exchange;
pub mod framing;
pub mod guard;
mod http2;
pub mod life;
pub mod quota;
pub mod record;
pub mod socket;
pub mod tls;
pub mod tunnel;
pub mod worker;
