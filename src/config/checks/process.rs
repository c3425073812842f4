//! Listeners, the store of a pod, secrets in the file, and what is only one key's own business.

use std::net::IpAddr;

use http::HeaderName;

use crate::config::path::{self, join};
use crate::config::problem::Problems;
use crate::config::sections::Config;
use crate::config::tree::{SourceKind, Tree};
use crate::config::units::Span;
use crate::server::bind::Address;

pub(super) fn check(config: &Config, tree: &Tree, in_pod: bool, problems: &mut Problems) {
    if config.version != 1 {
        problems.error("version", format!("version {} of this file is not known to this release", config.version)).help("version = 1");
    }
    if in_pod && !tree.is_written("store.url") {
        problems
            .error("store.url", "in a pod the store must be named: an embedded one would be lost with the pod, and no other would see it")
            .help("add to proxy.toml:\n\n    [store]\n    url = \"redis://redis:6379/0\"\n\n  or, on a persistent volume:\n\n    [store]\n    url = \"embedded:/var/lib/sidegate\"");
    }
    listeners(config, tree, problems);
    admin(config, problems);
    secrets(config, tree, problems);
    values(config, problems);
}

fn listeners(config: &Config, tree: &Tree, problems: &mut Problems) {
    let is_for_management = config.upstreams.is_empty() && !config.admin.listen.is_empty();
    if config.listeners.is_empty() && !is_for_management {
        // Where the only ones were wrong, that was told.
        let at = if tree.root.lost(&path::parse("listeners")) { "listeners" } else { "listen" };
        problems.error(at, "there is no listener").help("listen = \"[::]:8080\"");
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        let at = |key: &str| format!("listeners[{index}].{key}");
        if listener.address.is_empty() {
            problems.error(at("address"), format!("the listener `{}` has no address", listener.name)).help("address = \"[::]:8443\"");
        }
        if listener.protocols.is_empty() {
            problems.error(at("protocols"), "a listener speaks at least one protocol").help("protocols = [\"http1\", \"http2\"]");
        }
        let Some(tls) = &listener.tls else { continue };
        for (key, file) in [("tls.cert_file", &tls.cert_file), ("tls.key_file", &tls.key_file)] {
            if file.as_os_str().is_empty() {
                problems.error(at(key), "[listeners.tls] needs cert_file and key_file");
            }
        }
    }
}

fn admin(config: &Config, problems: &mut Problems) {
    let admin = &config.admin;
    if admin.listen.is_empty() {
        return;
    }
    if admin.tokens.is_empty() {
        problems
            .error("admin.listen", "the management API needs a token")
            .help("[[admin.tokens]] name = \"console\", file = \"/run/secrets/admin-token\", allow = [\"*\"]");
    }
    // A name may lead anywhere, but for localhost. What is no address is told where it is read.
    let is_local = admin.listen.parse::<Address>().map_or(true, |address| match &address {
        Address::Unix(_) => true,
        Address::Tcp(..) => !address.ips().is_empty() && address.ips().iter().all(IpAddr::is_loopback),
    });
    if !is_local && (admin.tls.cert_file.as_os_str().is_empty() || admin.tls.key_file.as_os_str().is_empty()) {
        problems
            .error("admin.listen", "the management API on another address than loopback needs TLS")
            .help("add [admin.tls] cert_file and key_file, or listen on 127.0.0.1 or a Unix socket");
    }
}

fn secrets(config: &Config, tree: &Tree, problems: &mut Problems) {
    for (path, url, file) in [
        ("store.url", &config.store.url, "[store] password_file"),
        ("idempotency.store_url", &config.idempotency.store_url, "a file of its own and a variable"),
        ("introspection.url", &config.introspection.url, "[introspection] client_secret_file"),
    ] {
        let authority = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user_info, _)| user_info);
        if authority.is_some_and(|user_info| user_info.contains(':')) && tree.kind(path) == SourceKind::File {
            problems
                .warn(path, "a password is written in the file: who may read the configuration has it")
                .help(format!("put it into {file}"));
        }
    }
}

fn values(config: &Config, problems: &mut Problems) {
    for (path, span) in [("keys.default_expires_in", &config.keys.default_expires_in), ("keys.max_expires_in", &config.keys.max_expires_in)]
    {
        if !span.is_empty() {
            problems.parse::<Span>(path, span);
        }
    }
    let mut header = |path: String, name: &str| {
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            problems.error(path, format!("`{}` is not a header name", name.escape_debug()));
        }
    };
    header("client_ip.header".into(), &config.client_ip.header);
    header("idempotency.header".into(), &config.idempotency.header);
    for (index, source) in config.credentials.sources.iter().enumerate() {
        header(format!("credentials.sources[{index}].header"), &source.header);
    }
    for (environment, rule) in [("live", &config.environments.live), ("test", &config.environments.test)] {
        for name in rule.add_headers.keys() {
            header(join(&format!("environments.{environment}.add_headers"), name), name);
        }
    }
    if !(0.0..=1.0).contains(&config.tracing.sample_ratio) {
        problems.error("tracing.sample_ratio", "a ratio is 0 to 1");
    }
    if !config.cache.snapshot_file.as_os_str().is_empty() {
        if config.store.pepper_file.as_os_str().is_empty() {
            problems
                .error(
                    "cache.snapshot_file",
                    "the snapshot needs [store] pepper_file: it is sealed under a key that is derived from the pepper",
                )
                .help("add [store] pepper_file, or leave snapshot_file out");
        }
        if config.cache.stale_for.nonzero().is_none() {
            problems.warn(
                "cache.snapshot_file",
                "a snapshot is only read while the store is away, and with stale_for = \"0s\" nothing of it may be served",
            );
        }
    }
    if config.shutdown.drain_delay >= config.shutdown.drain_timeout {
        problems.warn("shutdown.drain_delay", "drain_delay leaves no time to drain: drain_timeout counts from the signal, delay included");
    }
}
