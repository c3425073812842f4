//! Sidegate: a reverse-proxy authentication sidecar. This page is the map; [`gate`] is the code to read first.
//!
//! # The way of a request
//!
//! ```text
//! bytes ─▶ server::http1       framing: a head that cannot be read in one way only is refused before it is a request
//!          (server::framing::fields: the same of HTTP/2, behind its parser)
//!       ─▶ gate::Gate::decide  one page, in the order of the contract; each step is pure and a file of its own
//!            net::client       whose address it has
//!            facts             method, host, one canonical path
//!            route             what that demands
//!            credential        what is presented, taken off the request
//!            environment       live or test, of a key from the prefix alone, of a token once it is verified
//!            policy::guess_guard, authn   who that is: from the cache at once, or by one look-up for all who wait;
//!                              a token's signature is checked here, by keys that are kept fresh elsewhere (authn::jwt)
//!            policy            kind, network, referrer, browser, endpoint, scope
//!            limit             rate limits and quotas: from what is counted here at once, or by one answer of the store
//!            idempotency       whether it is to be run once
//!       ─▶ gate::Permit        only the gate makes one, and nothing is forwarded without
//!       ─▶ forward::Rewrite    the request as the upstream gets it
//!       ─▶ idempotency::Ledger what is to be run once: the first, or its answer again
//!       ─▶ forward::upstream   over a worker's own connections
//!          (self_service: instead of that, where customers manage their keys)
//!       ─▶ server::tunnel      bytes both ways, where the upstream agreed to a WebSocket
//!       ─▶ telemetry::access   exactly one line
//!       ─▶ telemetry::spans    and, if it is sampled, what its trace is told
//!       ─▶ usage::sheet        counted in the worker's own table, which the store's thread takes away every few seconds
//! ```
//!
//! Where a gateway asks and forwards itself (`server::exchange`'s decision), the way ends behind the gate.
//!
//! A refusal anywhere is one variant of [`rejection::Rejection`]; [`answer`] says it in the words of the profile.
//! [`explain`] runs the same gate with a trace.
//!
//! # Threads
//!
//! Each worker is a thread with a runtime of its own and never shares a connection: [`server`]. The key table lives on one more
//! thread ([`authn::KeyTable`]: store, look-ups, the change log, what [`fleet`] is told of it, issuers' keys, [`usage`] on its way to
//! the store, and the store's [`chores`]), the ops and the admin listener ([`admin`]), the control socket, spans on their way out
//! and the look at the files on another, the access log on a third. Workers share the cache and the compiled
//! configuration ([`app::Snapshot`]), both read without a lock; [`app::reload`] puts another in its place.
//!
//! # Configuration
//!
//! [`config`] reads and merges layers and reports all mistakes at once; every module compiles what concerns it, and the request path sees only that.
//! Time is read in [`clock`] alone.

pub mod admin;
pub mod answer;
pub mod app;
pub mod audit;
pub mod authn;
pub mod chores;
pub mod cli;
pub mod clock;
pub mod config;
pub mod cors;
pub mod credential;
pub mod environment;
pub mod explain;
pub mod facts;
pub mod fleet;
pub mod forward;
pub mod gate;
pub mod http1;
pub mod idempotency;
pub mod identity;
mod json;
pub mod key;
pub mod limit;
pub mod management;
pub mod net;
pub mod oauth_metadata;
pub mod policy;
pub mod rejection;
pub mod route;
pub mod self_service;
pub mod server;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod tenant;
mod tls;
pub mod usage;
