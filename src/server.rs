//! Listeners, per-core workers, TLS, the framing guard: bytes in, bytes out. What a request may do is judged elsewhere.

pub mod bind;
pub mod body;
pub mod connection;
pub mod descriptors;
pub mod door;
pub mod exchange;
pub mod framing;
pub mod generation;
mod http1;
mod http2;
pub mod life;
pub mod proxy_protocol;
pub mod quota;
pub mod record;
pub mod socket;
pub mod tls;
pub mod tunnel;
pub mod worker;
