//! TLS of a listener: a static certificate, optionally a required client certificate. ALPN offers what the listener speaks.

pub mod expiry;

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ALL_VERSIONS, Error, RootCertStore, ServerConfig};

use crate::config::problem::Problems;
use crate::config::sections::{ListenerTls, Protocol, TlsVersion};

/// Compiles `listeners.tls`; `path` is the listener's, `listeners[0]`.
pub fn compile(tls: &ListenerTls, protocols: &[Protocol], path: &str, problems: &mut Problems) -> Option<Arc<ServerConfig>> {
    let chain = read_chain(&tls.cert_file, &format!("{path}.tls.cert_file"), problems);
    let key = match PrivateKeyDer::from_pem_file(&tls.key_file) {
        Ok(key) => Some(key),
        Err(error) => {
            problems.error(format!("{path}.tls.key_file"), unread(&tls.key_file, "private key", &error));
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
            let offers = [(Protocol::Http2, &b"h2"[..]), (Protocol::Http1, b"http/1.1")];
            let spoken = offers.iter().filter(|(protocol, _)| protocols.contains(protocol));
            config.alpn_protocols = spoken.map(|(_, name)| name.to_vec()).collect();
            Some(Arc::new(config))
        }
        Err(Error::InconsistentKeys(_)) => {
            let (cert, key) = (tls.cert_file.display(), tls.key_file.display());
            problems
                .error(format!("{path}.tls.key_file"), format!("the key in {key} does not belong to the certificate in {cert}"))
                .help("the first certificate of cert_file must be the one made with this key");
            None
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
            problems.error(path, unread(file, "certificate", &pem::Error::NoItemsFound));
            None
        }
        Err(error) => {
            problems.error(path, unread(file, "certificate", &error));
            None
        }
    }
}

fn unread(file: &Path, what: &str, error: &pem::Error) -> String {
    if matches!(error, pem::Error::NoItemsFound) {
        format!("{} holds no {what} in PEM", file.display())
    } else {
        format!("{}: {error}", file.display())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Files {
        directory: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let files = Self { directory };
            for name in ["a", "b"] {
                let signed = rcgen::generate_simple_self_signed(vec![format!("{name}.example")]).unwrap();
                std::fs::write(files.path(&format!("{name}.crt")), signed.cert.pem()).unwrap();
                std::fs::write(files.path(&format!("{name}.key")), signed.signing_key.serialize_pem()).unwrap();
            }
            std::fs::write(files.path("empty"), "").unwrap();
            files
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn problems(&self, cert: &str, key: &str, client_ca: Option<&str>) -> (bool, Vec<String>) {
            let (compiled, problems) = self.compile(cert, key, client_ca);
            (compiled, problems.list().iter().map(|problem| problem.path.clone()).collect())
        }

        fn compile(&self, cert: &str, key: &str, client_ca: Option<&str>) -> (bool, Problems) {
            let tls = ListenerTls {
                cert_file: self.path(cert),
                key_file: self.path(key),
                min_version: TlsVersion::V1_2,
                client_ca_file: client_ca.map(|name| self.path(name)).unwrap_or_default(),
            };
            let mut problems = Problems::default();
            let compiled = compile(&tls, &[Protocol::Http1], "listeners[1]", &mut problems).is_some();
            (compiled, problems)
        }
    }

    #[test]
    fn the_words_name_the_files_and_what_they_lack() {
        let files = Files::new();
        let file = |name: &str| files.path(name).display().to_string();
        for (cert, key, words) in [
            ("a.crt", "b.key", format!("the key in {} does not belong to the certificate in {}", file("b.key"), file("a.crt"))),
            ("a.crt", "a.crt", format!("{} holds no private key", file("a.crt"))),
            ("a.crt", "empty", format!("{} holds no private key", file("empty"))),
            ("empty", "a.key", format!("{} holds no certificate", file("empty"))),
        ] {
            let (_, problems) = files.compile(cert, key, None);
            assert!(problems.list().iter().all(|problem| problem.message.starts_with(&words)), "{:?}", problems.list());
        }
    }

    #[test]
    fn good_files_compile_and_each_bad_one_is_reported_at_its_key() {
        let files = Files::new();
        assert_eq!(files.problems("a.crt", "a.key", None), (true, vec![]));
        assert_eq!(files.problems("a.crt", "a.key", Some("b.crt")), (true, vec![]));
        let at = |key: &str| format!("listeners[1].tls.{key}");
        for (cert, key, client_ca, paths) in [
            ("none", "a.key", None, vec![at("cert_file")]),
            ("empty", "a.key", None, vec![at("cert_file")]),
            ("a.key", "a.key", None, vec![at("cert_file")]),
            ("a.crt", "none", None, vec![at("key_file")]),
            ("a.crt", "a.crt", None, vec![at("key_file")]),
            ("a.crt", "b.key", None, vec![at("key_file")]),
            ("a.crt", "a.key", Some("empty"), vec![at("client_ca_file")]),
            ("none", "none", Some("none"), vec![at("cert_file"), at("key_file"), at("client_ca_file")]),
        ] {
            assert_eq!(files.problems(cert, key, client_ca), (false, paths), "{cert} {key} {client_ca:?}");
        }
    }
}
