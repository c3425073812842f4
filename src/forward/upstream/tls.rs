//! TLS towards upstreams: whom to believe and under which name, compiled from `[upstreams.NAME.tls]`.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::Protocol;
use crate::config::path::join;
use crate::config::problem::Problems;
use crate::config::sections::UpstreamTls;
use crate::tls;

/// How to shake hands with one upstream.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

impl Tls {
    /// Compiles `tls` of the upstream at `path`, which is reached under `host`.
    pub(super) fn compile(tls: &UpstreamTls, host: &str, protocol: Protocol, path: &str, problems: &mut Problems) -> Option<Self> {
        let path = join(path, "tls");
        let name = if tls.server_name.is_empty() { host } else { &tls.server_name };
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| format!("`{name}` is neither a host name nor an address"));
        let server_name = problems.keep(join(&path, "server_name"), server_name);
        let builder = problems.keep(join(&path, "ca_file"), tls::client(&tls.ca_file));
        let mut config = builder?.with_no_client_auth();
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        Some(Self { config: Arc::new(config), server_name: server_name? })
    }
}
