//! TLS towards upstreams: whom to believe and under which name, compiled from `[upstreams.NAME.tls]`.
//! Certificates and the names in them are always verified; there is no switch against that.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::Protocol;
use crate::config::path::join;
use crate::config::problem::Problems;
use crate::config::sections::UpstreamTls;

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
        let roots = problems.keep(join(&path, "ca_file"), roots(&tls.ca_file));
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
        let builder = problems.keep(&path, config.map_err(|error| error.to_string()))?;
        let mut config = builder.with_root_certificates(roots?).with_no_client_auth();
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        Some(Self { config: Arc::new(config), server_name: server_name? })
    }
}

/// The authorities of the file alone, or those of the system.
fn roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if file.as_os_str().is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() { Err("this system has no certificate authorities of its own: set ca_file".into()) } else { Ok(roots) };
    }
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    for certificate in read.map_err(|error| format!("{}: {error}", file.display()))? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if roots.is_empty() { Err(format!("{} holds no certificate in PEM", file.display())) } else { Ok(roots) }
}
