//! Sections about the process: listeners, upstreams, ops, shutdown, logs, runtime.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::config::units::{Rate, Size, Span};

/// `[[listeners]]`: one address.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Name in logs; entries of several layers merge by it.
    pub name: String,
    /// `host:port` or `unix:/path`.
    #[serde(default)]
    pub address: String,
    /// `http1`, `http2`.
    #[serde(default = "Listener::all_protocols")]
    pub protocols: Vec<Protocol>,
    /// What is answered there.
    #[serde(default)]
    pub role: Role,
    /// Require PROXY protocol on each connection.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// TLS with a certificate from files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Bounds of this listener.
    #[serde(default)]
    pub limits: ListenerLimits,
    /// `false` drops an entry of this name from a lower layer.
    #[serde(default = "crate::config::sections::yes")]
    pub enabled: bool,
}

impl Listener {
    fn all_protocols() -> Vec<Protocol> {
        vec![Protocol::Http1, Protocol::Http2]
    }

    /// The listener that the shorthand `listen` stands for.
    #[must_use]
    pub fn public(address: &str) -> Self {
        Self {
            name: "public".into(),
            address: address.into(),
            protocols: Self::all_protocols(),
            role: Role::Proxy,
            proxy_protocol: false,
            tls: None,
            limits: ListenerLimits::default(),
            enabled: true,
        }
    }
}

/// A protocol that a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/1.0.
    Http1,
    /// HTTP/2, by ALPN or prior knowledge.
    Http2,
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Requests are forwarded to the upstream.
    #[default]
    Proxy,
    /// Decisions only, for a gateway that asks.
    AuthzHttp,
}

/// `[listeners.tls]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// PEM chain, leaf first.
    pub cert_file: PathBuf,
    /// PEM private key.
    pub key_file: PathBuf,
    /// `"1.2"` or `"1.3"`.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// PEM of the CA whose client certificates are required; empty = none asked.
    #[serde(default)]
    pub client_ca_file: PathBuf,
}

/// Lowest TLS version offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 only.
    #[serde(rename = "1.3")]
    V1_3,
}

/// `[listeners.limits]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerLimits {
    /// Open connections, per process.
    pub connections: usize,
    /// Bytes of a request head.
    pub header_bytes: Size,
    /// Header lines of a request.
    pub headers: usize,
    /// Bytes of a request body; 0 = no limit.
    pub body_bytes: Size,
    /// From the first byte of a head to its end.
    pub header_timeout: Span,
    /// Between requests of one connection.
    pub idle_timeout: Span,
    /// For a whole request; 0 = none.
    pub request_timeout: Span,
    /// Concurrent HTTP/2 streams per connection.
    pub streams: u32,
    /// For the TLS handshake.
    pub handshake_timeout: Span,
    /// Least rate of a request body before the response head.
    pub body_min_rate: Rate,
    /// Connections of one peer address; 0 = no limit.
    pub connections_per_ip: usize,
    /// Silence on a stream; 0 = no limit.
    pub stream_idle_timeout: Span,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: Size(32 << 10),
            headers: 100,
            body_bytes: Size(0),
            header_timeout: Span::secs(10),
            idle_timeout: Span::secs(75),
            request_timeout: Span::secs(0),
            streams: 128,
            handshake_timeout: Span::secs(5),
            body_min_rate: Rate(1 << 10),
            connections_per_ip: 0,
            stream_idle_timeout: Span::secs(0),
        }
    }
}

/// `[upstreams.NAME]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// `http://host:port` or `unix:/path`.
    pub url: String,
    /// Until a connection stands, refused attempts retried within it.
    pub connect_timeout: Span,
    /// Until the response head.
    pub response_timeout: Span,
    /// Open connections, per process.
    pub connections: usize,
    /// Idle connections kept, per process.
    pub idle_connections: usize,
    /// How long an idle connection is kept; below the upstream's keep-alive.
    pub idle_timeout: Span,
    /// `preserve`, `upstream` or a literal authority.
    pub host_header: String,
    /// TLS towards the upstream.
    pub tls: UpstreamTls,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            url: String::new(),
            connect_timeout: Span::secs(2),
            response_timeout: Span::secs(60),
            connections: 1024,
            idle_connections: 128,
            idle_timeout: Span::secs(4),
            host_header: "preserve".into(),
            tls: UpstreamTls::default(),
        }
    }
}

/// `[upstreams.NAME.tls]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// PEM of the CAs trusted for this upstream.
    pub ca_file: PathBuf,
    /// Name expected in the certificate.
    pub server_name: String,
}

/// `[ops]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ops {
    /// Address of `/livez`, `/readyz`; empty = off.
    pub listen: String,
    /// Control socket; empty = off.
    pub socket: String,
    /// Name → path of the upstream.
    pub probes: IndexMap<String, String>,
}

impl Default for Ops {
    fn default() -> Self {
        Self { listen: "[::]:9901".into(), socket: "/run/sidegate/sidegate.sock".into(), probes: IndexMap::new() }
    }
}

/// `[shutdown]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// Unready this long before listeners close.
    pub drain_delay: Span,
    /// From the signal to the exit, delay included.
    pub drain_timeout: Span,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { drain_delay: Span::secs(5), drain_timeout: Span::secs(25) }
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Level of the process log (not of the access log).
    pub level: LogLevel,
    /// Shape of both logs.
    pub format: LogFormat,
    /// Which requests get a line.
    pub access: AccessLog,
    /// What of the query is logged.
    pub query: QueryLog,
    /// What of the client's address is logged.
    pub client_address: AddressLog,
    /// How a subject is logged.
    pub subject: SubjectLog,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Auto,
            access: AccessLog::All,
            query: QueryLog::Names,
            client_address: AddressLog::Full,
            subject: SubjectLog::Hash,
        }
    }
}

/// `log.level`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words are the levels")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
    /// Text on a terminal, else JSON.
    Auto,
}

/// `log.access`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// Every request.
    All,
    /// Refused requests only.
    Denied,
    /// None.
    Off,
}

/// `log.query`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryLog {
    /// Nothing.
    Off,
    /// Names without values.
    Names,
    /// As sent.
    Full,
}

/// `log.client_address`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressLog {
    /// The address.
    Full,
    /// Its /24 or /48.
    Network,
    /// Nothing.
    Off,
}

/// `log.subject`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectLog {
    /// A digest of it.
    Hash,
    /// As it is.
    Plain,
    /// Nothing.
    Off,
}

/// `[tracing]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tracing {
    /// OTLP/HTTP endpoint; empty = off.
    pub otlp_endpoint: String,
    /// Share of traces begun here that are sampled, 0 to 1.
    pub sample_ratio: f64,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { otlp_endpoint: String::new(), sample_ratio: 0.05 }
    }
}

/// `[runtime]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    /// Worker threads; 0 = the cgroup's CPU quota rounded up, at most 4; without a quota 2.
    pub workers: usize,
}
