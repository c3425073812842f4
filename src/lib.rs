//! Sidegate: a reverse-proxy authentication sidecar.

pub mod answer;
pub mod app;
pub mod authn;
pub mod cli;
pub mod clock;
pub mod config;
pub mod cors;
pub mod credential;
pub mod environment;
pub mod explain;
pub mod facts;
pub mod forward;
pub mod gate;
pub mod identity;
pub mod key;
pub mod net;
pub mod policy;
pub mod rejection;
pub mod route;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod tenant;
