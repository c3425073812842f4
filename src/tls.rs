//! TLS as a client speaks it, towards upstreams and the store: whom to believe. Certificates and the names in them are always
//! verified; there is no switch against that.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

/// A configuration that believes the authorities of the file alone, or, where there is none, those of the system.
pub(crate) fn client(ca_file: &Path) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
    Ok(builder.map_err(|error| error.to_string())?.with_root_certificates(roots(ca_file)?))
}

fn roots(ca_file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if ca_file.as_os_str().is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() { Err("this system has no certificate authorities of its own: set ca_file".into()) } else { Ok(roots) };
    }
    for certificate in certificates(ca_file)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", ca_file.display()))?;
    }
    Ok(roots)
}

/// The certificates of a PEM file; there must be one.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| format!("{}: {error}", file.display()))?;
    if certificates.is_empty() { Err(format!("{} holds no certificate in PEM", file.display())) } else { Ok(certificates) }
}
