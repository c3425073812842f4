//! What both test binaries stand on: real redis-servers, a recording upstream that parses strictly, a raw client,
//! the real binary and the sidecar in this process. Nothing here knows what is tested with it.

pub(crate) mod admin;
pub(crate) mod callers;
pub(crate) mod chaos;
pub(crate) mod client;
pub(crate) mod desk;
pub(crate) mod endpoint;
pub(crate) mod fleet;
pub(crate) mod http2;
pub(crate) mod logins;
pub(crate) mod memory;
pub(crate) mod node;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod redis_cluster;
pub(crate) mod redis_sentinel;
pub(crate) mod seed;
pub(crate) mod sidecar;
pub(crate) mod stream;
pub(crate) mod terminator;
pub(crate) mod tokens;
pub(crate) mod upstream;
pub(crate) mod wire;

use std::time::Duration;

/// How long anything may take before the test is a failure. Never a measure: what works ends long before.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
