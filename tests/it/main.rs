//! Integration tests: real sockets, real redis-servers, the real binary; one file a promise.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]
#![expect(clippy::print_stdout, reason = "a drill prints its figures")]

mod admin;
mod around;
mod bench;
mod change_log;
mod cli;
mod client_address;
mod control;
mod crash_points;
mod credential_end;
mod crowds;
mod decisions;
mod deploy;
mod differential;
mod drain;
mod exposure;
mod failover;
mod for_a_time;
mod framing;
mod freshness;
mod grpc_refusals;
mod guess_flood;
mod health;
mod http2;
mod http2_abuse;
mod http2_streams;
mod idempotency;
mod idempotency_answers;
mod idempotency_faults;
mod import;
mod introspection;
mod key_management;
mod limits;
mod limits_fleet;
mod lookups;
mod metrics;
mod outage;
mod paths;
mod proxy_protocol;
mod rate_limits;
mod readme;
mod real_clients;
mod reload;
mod restarts;
mod retries;
mod runbook;
mod secrets;
mod self_service;
mod sessions;
mod signed_identity;
mod slow_bodies;
mod slow_readers;
mod spoofing;
mod store_faults;
#[allow(dead_code, reason = "each test binary uses its part of it")]
#[path = "../support/support.rs"]
mod support;
mod tls;
mod token_attacks;
mod token_keys;
mod tokens;
mod traces;
mod trailers;
mod transfers;
mod transparency;
mod upstream_answers;
mod upstream_h2;
mod upstream_tls;
mod usage;
mod websocket;
