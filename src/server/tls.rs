//! TLS of a listener: a static certificate, optionally a required client certificate. ALPN offers HTTP/1.1.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ALL_VERSIONS, RootCertStore, ServerConfig};

use crate::config::problem::Problems;
use crate::config::sections::{ListenerTls, TlsVersion};

/// Compiles `listeners.tls`; `path` is the listener's, `listeners[0]`.
pub fn compile(tls: &ListenerTls, path: &str, problems: &mut Problems) -> Option<Arc<ServerConfig>> {
    let chain = read_chain(&tls.cert_file, &format!("{path}.tls.cert_file"), problems);
    let key = match PrivateKeyDer::from_pem_file(&tls.key_file) {
        Ok(key) => Some(key),
        Err(error) => {
            problems.error(format!("{path}.tls.key_file"), format!("{}: {error}", tls.key_file.display()));
            None
        }
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = if tls.client_ca_file.as_os_str().is_empty() {
        Some(WebPkiClientVerifier::no_client_auth())
    } else {
        let ca_path = format!("{path}.tls.client_ca_file");
        read_chain(&tls.client_ca_file, &ca_path, problems).and_then(|authorities| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(authorities);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            verifier.map_err(|error| problems.error(ca_path, error.to_string()).path.clear()).ok()
        })
    };
    let versions = match tls.min_version {
        TlsVersion::V1_2 => ALL_VERSIONS,
        TlsVersion::V1_3 => &[&TLS13],
    };
    let (chain, key, clients) = (chain?, key?, clients?);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .and_then(|builder| builder.with_client_cert_verifier(clients).with_single_cert(chain, key));
    match config {
        Ok(mut config) => {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(Arc::new(config))
        }
        Err(error) => {
            problems.error(format!("{path}.tls.cert_file"), format!("{}: {error}", tls.cert_file.display()));
            None
        }
    }
}

fn read_chain(file: &Path, path: &str, problems: &mut Problems) -> Option<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        Ok(_) => {
            problems.error(path, format!("{} holds no certificate", file.display()));
            None
        }
        Err(error) => {
            problems.error(path, format!("{}: {error}", file.display()));
            None
        }
    }
}
