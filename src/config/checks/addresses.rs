//! Sockets against each other: no two of one address, no upstream that is this sidecar itself, nobody shut out.
//! What is no address at all is told where it is compiled. No resolver is asked.

use std::net::IpAddr;

use http::Uri;

use crate::config::path::join;
use crate::config::problem::Problems;
use crate::config::sections::{Config, Role};
use crate::server::bind::Address;

pub(super) fn check(config: &Config, problems: &mut Problems) {
    taken(config, problems);
    loops(config, problems);
    introductions(config, problems);
    questions(config, problems);
}

/// No two sockets of one address; a wildcard address holds the others of its port.
fn taken(config: &Config, problems: &mut Problems) {
    let mut all: Vec<(String, &str)> = config
        .listeners
        .iter()
        .enumerate()
        .map(|(index, listener)| (format!("listeners[{index}].address"), listener.address.as_str()))
        .collect();
    all.push(("ops.listen".into(), &config.ops.listen));
    all.push(("admin.listen".into(), &config.admin.listen));
    let all: Vec<(String, &str, Address)> = all.into_iter().filter_map(|(path, text)| Some((path, text, text.parse().ok()?))).collect();
    for (index, (path, text, address)) in all.iter().enumerate() {
        if let Some((other_path, other, _)) = all.iter().take(index).find(|(_, _, other)| clash(address, other)) {
            problems.error(path.as_str(), format!("{text} is already taken by {other_path} ({other})"));
        }
    }
}

fn clash(one: &Address, other: &Address) -> bool {
    let holds = |a: &Address, b: &Address| a.ips().iter().any(|a| b.ips().iter().any(|b| covers(*a, *b)));
    match (one, other) {
        (Address::Tcp(_, port), Address::Tcp(_, other_port)) => {
            port == other_port && *port != 0 && (one == other || holds(one, other) || holds(other, one))
        }
        _ => one == other,
    }
}

/// Whether a socket at `bound` is also at `ip`.
fn covers(bound: IpAddr, ip: IpAddr) -> bool {
    bound == ip || (bound.is_unspecified() && (bound.is_ipv6() || ip.is_ipv4()))
}

/// The PROXY protocol is believed of trusted proxies only: without any, nobody could connect.
fn introductions(config: &Config, problems: &mut Problems) {
    for (index, listener) in config.listeners.iter().enumerate() {
        let is_tcp = matches!(listener.address.parse(), Ok(Address::Tcp(..)));
        if listener.proxy_protocol && is_tcp && config.client_ip.trusted_proxies.is_empty() {
            problems
                .error(format!("listeners[{index}].proxy_protocol"), "nobody is trusted to say whose connection it is")
                .help("name the balancer's networks in [client_ip] trusted_proxies");
        }
    }
}

/// What a gateway says of a request is believed of trusted proxies only: without any, nobody could ask.
fn questions(config: &Config, problems: &mut Problems) {
    for (index, _) in config.listeners.iter().enumerate().filter(|(_, listener)| listener.role == Role::AuthzHttp) {
        let path = format!("listeners[{index}].role");
        if config.client_ip.trusted_proxies.is_empty() {
            problems
                .error(path, "nobody is trusted to say which request is asked about")
                .help("name the gateway's networks in [client_ip] trusted_proxies, \"unix\" for a Unix socket");
        } else if config.upstreams.is_empty() {
            problems
                .warn(path, "there is no upstream, and keys of an environment without one are refused (environment_blocked)")
                .help("leave `upstream` as it is by default: a gateway forwards itself, and nothing is sent there");
        }
    }
}

/// A request sent to an own listener would go round until no connection is left.
fn loops(config: &Config, problems: &mut Problems) {
    for (name, upstream) in &config.upstreams {
        let Some(target) = target(&upstream.url) else { continue };
        let own = config.listeners.iter().find(|listener| listener.address.parse().is_ok_and(|address| reaches(&target, &address)));
        if let Some(listener) = own {
            problems
                .error(
                    join(&join("upstreams", name), "url"),
                    format!("{} is this sidecar's own listener `{}`: requests would go in a circle", upstream.url, listener.name),
                )
                .help("upstream is where the API listens, listen is where clients connect");
        }
    }
}

fn target(url: &str) -> Option<Address> {
    if url.starts_with("unix:") {
        return url.parse().ok();
    }
    let uri: Uri = url.parse().ok()?;
    let port = uri.port_u16().unwrap_or(80);
    format!("{}:{port}", uri.host()?).parse().ok()
}

/// Whether a connection to `target` certainly arrives at `listener`: an any-address holds the loopback ones, and of others
/// only this machine knows which are its own.
fn reaches(target: &Address, listener: &Address) -> bool {
    let (Address::Tcp(_, port), Address::Tcp(_, own_port)) = (target, listener) else { return target == listener };
    let arrives = |target: IpAddr, own: IpAddr| {
        let is_local = target.is_loopback() || target.is_unspecified();
        target == own || (is_local && covers(own, target)) || (target.is_unspecified() && own.is_loopback())
    };
    port == own_port && (target == listener || target.ips().iter().any(|target| listener.ips().iter().any(|own| arrives(*target, *own))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_loop(url: &str, listen: &str) -> bool {
        reaches(&target(url).unwrap(), &listen.parse().unwrap())
    }

    #[test]
    fn an_upstream_that_is_an_own_listener_is_found() {
        for (url, listen) in [
            ("http://127.0.0.1:8080", "[::]:8080"),
            ("http://127.0.0.1:8080", "0.0.0.0:8080"),
            ("http://127.0.0.1:8080", "localhost:8080"),
            ("http://localhost:8080/", "127.0.0.1:8080"),
            ("http://LOCALHOST", "[::]:80"),
            ("http://[::1]:8080", "[::]:8080"),
            ("http://0.0.0.0:8080", "127.0.0.1:8080"),
            ("http://192.0.2.1:8080", "192.0.2.1:8080"),
            ("http://sidecar:8080", "sidecar:8080"),
            ("unix:/run/s", "unix:/run/s"),
        ] {
            assert!(is_loop(url, listen), "{url} {listen}");
        }
        for (url, listen) in [
            ("http://127.0.0.1:3000", "[::]:8080"),
            ("http://127.0.0.1:8080", "192.0.2.1:8080"),
            ("http://127.0.0.2:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "0.0.0.0:8080"),
            ("http://192.0.2.1:8080", "[::]:8080"),
            ("http://api:8080", "[::]:8080"),
            ("unix:/run/a", "unix:/run/s"),
            ("unix:/run/a", "[::]:8080"),
        ] {
            assert!(!is_loop(url, listen), "{url} {listen}");
        }
    }
}
