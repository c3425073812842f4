//! The upstreams, compiled ([`Upstreams`]), and each worker's connections to them ([`pool::Pools`]).
//! Nothing here judges a request; what arrives was rewritten under a permit.

pub mod connect;
pub mod pool;
mod timeout;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri, header};

use crate::config::path::join;
use crate::config::problem::Problems;
use crate::config::sections::{Config, Upstream};

/// Where an upstream listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host, resolved at each new connection, and port.
    Tcp(String, u16),
    /// Path of a Unix socket.
    Unix(PathBuf),
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
    address: Address,
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

    /// Sets Host as the upstream with this index wants it.
    pub(super) fn set_host(&self, index: usize, headers: &mut HeaderMap) {
        let Some(target) = self.targets.get(index) else { return };
        match &target.host_header {
            HostHeader::Set(host) => drop(headers.insert(header::HOST, host.clone())),
            HostHeader::Preserve if headers.contains_key(header::HOST) => {}
            HostHeader::Preserve => drop(headers.insert(header::HOST, target.authority.clone())),
        }
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

    /// Names, in the order of the indexes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(|target| target.name.as_str())
    }
}

impl Target {
    fn compile(name: &str, upstream: &Upstream, problems: &mut Problems) -> Option<Self> {
        let path = join("upstreams", name);
        let (address, authority) = match parse_url(&upstream.url) {
            Ok(parsed) => parsed,
            Err(why) => {
                problems.error(join(&path, "url"), why).help("write \"http://host:port\" or \"unix:/path/to/socket\"");
                return None;
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
            address,
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

fn parse_url(url: &str) -> Result<(Address, HeaderValue), String> {
    if url.is_empty() {
        return Err("the upstream has no url".to_owned());
    }
    if let Some(path) = url.strip_prefix("unix:") {
        if !path.starts_with('/') {
            return Err(format!("`{url}`: the path of a Unix socket must be absolute"));
        }
        return Ok((Address::Unix(path.into()), HeaderValue::from_static("localhost")));
    }
    let uri: Uri = url.parse().map_err(|error| format!("`{url}` is not a URL: {error}"))?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let Some(authority) = authority else { return Err(format!("`{url}` is not an http:// URL")) };
    if uri.path() != "/" || uri.query().is_some() || url.ends_with('?') {
        return Err(format!("`{url}` has a path; requests keep their own"));
    }
    if authority.as_str().contains('@') {
        return Err("the url holds a user name".to_owned());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = match authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':')) {
        None => 80,
        Some(port) => port.parse().map_err(|_| format!("`{url}` has no valid port"))?,
    };
    let value = HeaderValue::from_str(authority.as_str()).map_err(|_| format!("`{url}` is not a URL"))?;
    Ok((Address::Tcp(host, port), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(toml: &str) -> (Option<Upstreams>, Problems) {
        let config: Config = toml::from_str(toml).unwrap();
        let mut problems = Problems::default();
        (Upstreams::compile(&config, &mut problems), problems)
    }

    #[test]
    fn urls_are_tcp_or_unix_addresses() {
        for (url, address, authority) in [
            ("http://127.0.0.1:3000", Address::Tcp("127.0.0.1".into(), 3000), "127.0.0.1:3000"),
            ("http://app.internal/", Address::Tcp("app.internal".into(), 80), "app.internal"),
            ("http://[::1]:8080", Address::Tcp("::1".into(), 8080), "[::1]:8080"),
            ("unix:/run/app.sock", Address::Unix("/run/app.sock".into()), "localhost"),
        ] {
            assert_eq!(parse_url(url), Ok((address, HeaderValue::from_static(authority))), "{url}");
        }
        for url in [
            "",
            "127.0.0.1:3000",
            "https://a",
            "h2c://a",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://u@a",
            "unix:app.sock",
            "http://a:99999",
        ] {
            assert!(parse_url(url).is_err(), "{url}");
        }
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
            if let Some(host) = sent {
                headers.insert(header::HOST, HeaderValue::from_static(host));
            }
            upstreams.unwrap().set_host(0, &mut headers);
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
}
