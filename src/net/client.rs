//! Whose address a request has.

use std::net::IpAddr;

/// The client's address: canonical, or none where a trusted proxy named none that parses; every allowlist refuses then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub Option<IpAddr>);
