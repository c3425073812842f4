//! TLS towards Redis: who is trusted and who we are, read from files at each dial, so that rotated certificates are picked up.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::sections::StoreTls;
use crate::tls;

/// Compiles `[store.tls]`.
pub(in crate::store) fn client_config(files: &StoreTls) -> Result<Arc<ClientConfig>, String> {
    let builder = tls::client(&files.ca_file).map_err(|why| format!("ca_file {why}"))?;
    let config = match (is_set(&files.cert_file), is_set(&files.key_file)) {
        (false, false) => builder.with_no_client_auth(),
        (true, true) => {
            let key = PrivateKeyDer::from_pem_file(&files.key_file);
            let key = key.map_err(|error| format!("key_file {}: {error}", files.key_file.display()))?;
            let chain = tls::certificates(&files.cert_file).map_err(|why| format!("cert_file {why}"))?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| format!("cert_file {}: {error}", files.cert_file.display()))?
        }
        _ => return Err("cert_file and key_file go together".into()),
    };
    Ok(Arc::new(config))
}

fn is_set(file: &Path) -> bool {
    !file.as_os_str().is_empty()
}
