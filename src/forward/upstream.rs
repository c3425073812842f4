//! The upstreams, compiled ([`Upstreams`]), and each worker's connections to them ([`pool::Pools`]).
//! Nothing here judges a request; what arrives was rewritten under a permit.

mod answer;
mod connect;
mod http1;
mod http2;
mod parcel;
pub mod pool;
mod timeout;
mod tls;
mod url;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, header};

use super::head::Fields;
use crate::config::path::join;
use crate::config::problem::Problems;
use crate::config::sections::{Config, Upstream, UpstreamTls};
use crate::rejection::{Refusal, Rejection};
use tls::Tls;

/// Where an upstream listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host, resolved at each new connection, and port.
    Tcp(String, u16),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// What is spoken with an upstream; its url says it, nothing is negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// Its name in the TLS handshake.
    const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// What an upstream sees as Host.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HostHeader {
    Preserve,
    Set(HeaderValue),
}

/// One upstream, compiled.
#[derive(Debug)]
pub struct Target {
    /// Its name in the configuration.
    pub name: String,
    /// Its URL, as it is written there.
    pub url: String,
    address: Address,
    protocol: Protocol,
    tls: Option<Tls>,
    /// What stands for it in Host where the client sent none.
    authority: HeaderValue,
    host_header: HostHeader,
    connect_timeout: Duration,
    response_timeout: Duration,
    connections: usize,
    idle_connections: usize,
    idle_timeout: Duration,
    /// Open connections of all workers.
    open: AtomicUsize,
    counts: Counts,
}

/// What was counted of an upstream, by all workers: none of it happens with every request.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that were tried.
    pub connects: AtomicU64,
    /// Those that could not be made.
    pub failures: AtomicU64,
    /// Requests sent again on another connection.
    pub retries: AtomicU64,
}

impl Counts {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// All upstreams, in the configuration's order.
#[derive(Debug)]
pub struct Upstreams {
    targets: Vec<Arc<Target>>,
}

impl Upstreams {
    /// Compiles `[upstreams]`, which holds the shorthand's `main` too.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut targets = Vec::new();
        for (name, upstream) in &config.upstreams {
            targets.push(Target::compile(name, upstream, problems).map(Arc::new));
        }
        Some(Self { targets: targets.into_iter().collect::<Option<_>>()? })
    }

    /// One that no client's requests go to.
    pub(crate) fn one(path: &str, upstream: &Upstream, problems: &mut Problems) -> Option<Self> {
        Some(Self { targets: vec![Arc::new(Target::compile(path, upstream, problems)?)] })
    }

    /// All of them.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().map(|target| &**target)
    }

    /// The one with this index.
    #[must_use]
    pub fn target(&self, index: usize) -> Option<&Arc<Target>> {
        self.targets.get(index)
    }

    /// Sets Host as the upstream with this index wants it.
    pub(super) fn set_host(&self, index: usize, sent: Option<&HeaderValue>, out: &mut impl Fields) {
        let Some(target) = self.targets.get(index) else { return };
        out.field(
            &header::HOST,
            match (&target.host_header, sent) {
                (HostHeader::Set(host), _) => host,
                (HostHeader::Preserve, Some(sent)) => sent,
                (HostHeader::Preserve, None) => &target.authority,
            },
        );
    }

    /// Keeps those of the earlier ones that are still what they were, with what is counted of them.
    pub fn keep(&mut self, earlier: &Self, is_same: impl Fn(&str) -> bool) {
        for target in &mut self.targets {
            if let Some(known) = earlier.targets.iter().find(|known| known.name == target.name && is_same(&known.name)) {
                *target = Arc::clone(known);
            }
        }
    }

    /// Name, open connections and counts of each.
    pub fn counts(&self) -> impl Iterator<Item = (&str, usize, &Counts)> {
        self.targets.iter().map(|target| (target.name.as_str(), target.open.load(Ordering::Relaxed), &target.counts))
    }

    /// Whether HTTP/1.1 is spoken with the upstream with this index. HTTP/2 cannot be asked to switch protocols (RFC 9113 §8.6).
    pub(super) fn speaks_http1(&self, index: usize) -> bool {
        self.targets.get(index).is_some_and(|target| target.protocol == Protocol::Http1)
    }

    /// Names, in the order of the indexes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(|target| target.name.as_str())
    }
}

impl Target {
    fn compile(name: &str, upstream: &Upstream, problems: &mut Problems) -> Option<Self> {
        let path = join("upstreams", name);
        let place = match url::parse(&upstream.url) {
            Ok(place) => place,
            Err(why) => {
                problems
                    .error(join(&path, "url"), why)
                    .help("write \"http://host:port\", \"https://…\", \"h2c://…\" or \"unix:/path/to/socket\"");
                return None;
            }
        };
        let url::Place { address, authority, protocol, .. } = place;
        let tls = match &address {
            Address::Tcp(host, _) if place.encrypted => Some(Tls::compile(&upstream.tls, host, protocol, &path, problems)?),
            Address::Tcp(..) | Address::Unix(_) => {
                if upstream.tls != UpstreamTls::default() {
                    problems
                        .warn(join(&path, "tls"), format!("the connection to {} is not encrypted", upstream.url))
                        .help("write \"https://…\"");
                }
                None
            }
        };
        let host_header = match upstream.host_header.as_str() {
            "preserve" => HostHeader::Preserve,
            "upstream" => HostHeader::Set(authority.clone()),
            literal => {
                let Some(value) = literal.parse::<Authority>().ok().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) else {
                    problems
                        .error(join(&path, "host_header"), format!("`{literal}` is not a host"))
                        .help("write \"preserve\", \"upstream\" or a host, such as \"api.internal:8080\"");
                    return None;
                };
                HostHeader::Set(value)
            }
        };
        Some(Self {
            name: name.to_owned(),
            url: upstream.url.clone(),
            address,
            protocol,
            tls,
            authority,
            host_header,
            connect_timeout: upstream.connect_timeout.0,
            response_timeout: upstream.response_timeout.0,
            connections: upstream.connections.max(1),
            idle_connections: upstream.idle_connections,
            idle_timeout: upstream.idle_timeout.0,
            open: AtomicUsize::new(0),
            counts: Counts::default(),
        })
    }

    fn unavailable(&self, why: &str) -> Refusal {
        Rejection::UpstreamUnavailable.because(format!("{}: {why}", self.name))
    }

    /// Host and port; `None` = a Unix socket.
    #[must_use]
    pub fn place(&self) -> Option<(&str, u16)> {
        match &self.address {
            Address::Tcp(host, port) => Some((host, *port)),
            Address::Unix(_) => None,
        }
    }

    /// What stands before the path in its URLs.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority.to_str().unwrap_or_default())
    }

    /// What its requests say they were made by.
    fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// A place among the open connections, given back when it is dropped; `None` = all are taken.
    fn reserve(self: &Arc<Self>) -> Option<Reserved> {
        let reserved = Reserved(Arc::clone(self));
        (self.open.fetch_add(1, Ordering::AcqRel) < self.connections).then_some(reserved)
    }
}

/// One of the open connections.
#[derive(Debug)]
struct Reserved(Arc<Target>);

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn compile(toml: &str) -> (Option<Upstreams>, Problems) {
        let config: Config = toml::from_str(toml).unwrap();
        let mut problems = Problems::default();
        (Upstreams::compile(&config, &mut problems), problems)
    }

    #[test]
    fn indexes_follow_the_configuration() {
        let (upstreams, _) = compile("[upstreams.sandbox]\nurl = \"http://b\"\n[upstreams.main]\nurl = \"unix:/a\"");
        assert_eq!(upstreams.unwrap().names().collect::<Vec<_>>(), ["sandbox", "main"]);
    }

    #[test]
    fn the_host_is_the_clients_the_upstreams_or_a_literal() {
        for (setting, sent, expected) in [
            ("preserve", Some("api.example"), "api.example"),
            ("preserve", None, "app:3000"),
            ("upstream", Some("api.example"), "app:3000"),
            ("in.example:8", Some("api.example"), "in.example:8"),
            ("in.example:8", None, "in.example:8"),
        ] {
            let (upstreams, _) = compile(&format!("[upstreams.main]\nurl = \"http://app:3000\"\nhost_header = \"{setting}\""));
            let mut headers = HeaderMap::new();
            upstreams.unwrap().set_host(0, sent.map(HeaderValue::from_static).as_ref(), &mut headers);
            assert_eq!(headers.get_all(header::HOST).iter().collect::<Vec<_>>(), [expected], "{setting}, {sent:?}");
        }
    }

    #[test]
    fn every_bad_upstream_is_reported_at_its_key() {
        let (upstreams, problems) =
            compile("[upstreams.main]\nurl = \"ftp://a\"\n[upstreams.b]\nurl = \"http://b\"\nhost_header = \"a b\"");
        assert!(upstreams.is_none());
        assert_eq!(
            problems.list().iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(),
            ["upstreams.main.url", "upstreams.b.host_header"]
        );
    }

    #[test]
    fn who_is_believed_is_read_from_its_file_and_checked_at_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let (good, empty) = (dir.path().join("ca.pem"), dir.path().join("empty.pem"));
        std::fs::write(&good, rcgen::generate_simple_self_signed(vec!["app".to_owned()]).unwrap().cert.pem()).unwrap();
        std::fs::write(&empty, "").unwrap();
        let compiled = |url: &str, tls: &str| {
            let (upstreams, problems) = compile(&format!("[upstreams.main]\nurl = \"{url}\"\n[upstreams.main.tls]\n{tls}"));
            (upstreams.is_some(), problems.list().iter().map(|problem| problem.path.clone()).collect::<Vec<_>>())
        };
        let ca = |file: &std::path::Path| format!("ca_file = \"{}\"", file.display());
        assert_eq!(compiled("https://app", &ca(&good)), (true, vec![]));
        assert_eq!(compiled("h2://10.0.0.1", &format!("{}\nserver_name = \"app\"", ca(&good))), (true, vec![]));
        for tls in [ca(&empty), ca(&dir.path().join("none.pem"))] {
            assert_eq!(compiled("https://app", &tls), (false, vec!["upstreams.main.tls.ca_file".to_owned()]));
        }
        let bad_name = format!("{}\nserver_name = \"a b\"", ca(&good));
        assert_eq!(compiled("https://app", &bad_name), (false, vec!["upstreams.main.tls.server_name".to_owned()]));
        assert_eq!(compiled("http://app", &ca(&good)), (true, vec!["upstreams.main.tls".to_owned()]), "it would not be encrypted");
    }
}
