//! TLS towards Redis: who is trusted and who we are, read from files at each dial, so that rotated certificates are picked up.
//! Certificates and the names in them are always verified; there is no switch against that.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::sections::StoreTls;

/// Compiles `[store.tls]`.
pub(in crate::store) fn client_config(files: &StoreTls) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = builder.with_root_certificates(roots(&files.ca_file)?);
    let config = match (is_set(&files.cert_file), is_set(&files.key_file)) {
        (false, false) => builder.with_no_client_auth(),
        (true, true) => {
            let key = PrivateKeyDer::from_pem_file(&files.key_file).map_err(|error| unread("key_file", &files.key_file, &error))?;
            builder
                .with_client_auth_cert(certificates("cert_file", &files.cert_file)?, key)
                .map_err(|error| format!("cert_file {}: {error}", files.cert_file.display()))?
        }
        _ => return Err("cert_file and key_file go together".into()),
    };
    Ok(Arc::new(config))
}

/// The authorities of the file alone, or those of the system.
fn roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if is_set(file) {
        for certificate in certificates("ca_file", file)? {
            roots.add(certificate).map_err(|error| format!("ca_file {}: {error}", file.display()))?;
        }
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err("this system has no certificate authorities of its own: set ca_file".into()) } else { Ok(roots) }
}

fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read.map_err(|error| unread(key, file, &error))? {
        none if none.is_empty() => Err(format!("{key} {} holds no certificate in PEM", file.display())),
        certificates => Ok(certificates),
    }
}

fn unread(key: &str, file: &Path, error: &rustls::pki_types::pem::Error) -> String {
    format!("{key} {}: {error}", file.display())
}

fn is_set(file: &Path) -> bool {
    !file.as_os_str().is_empty()
}
