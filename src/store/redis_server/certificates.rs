//! Certificates for test servers and their clients, of an authority that nobody else knows.

use std::path::PathBuf;
use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::{RedisServer, end_with_this_process};
use crate::config::sections::{Store, StoreTls};

/// Files of an authority, a server and a client.
pub(crate) struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// The server is known by this name.
    pub(crate) fn new(name: &str) -> Self {
        let made = Self { dir: tempfile::tempdir().unwrap() };
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        made.write("ca.pem", &authority.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(authority, key);
        for (who, names) in [("server", vec![name.to_owned()]), ("client", vec!["sidegate".to_owned()])] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(names).unwrap();
            // Two certificates of one name would pass for self-signed.
            params.distinguished_name.push(DnType::CommonName, who);
            let certificate = params.signed_by(&key, &issuer).unwrap();
            made.write(&format!("{who}.pem"), &certificate.pem());
            made.write(&format!("{who}.key"), &key.serialize_pem());
        }
        made
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// The arguments of a server that listens with TLS alone.
    pub(super) fn server(&self, port: u16, clients: &str) -> Vec<String> {
        let path = |file| self.path(file).display().to_string();
        let pairs = [
            ("--bind", "127.0.0.1".to_owned()),
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", path("server.pem")),
            ("--tls-key-file", path("server.key")),
            ("--tls-ca-cert-file", path("ca.pem")),
            ("--tls-auth-clients", clients.to_owned()),
        ];
        pairs.into_iter().flat_map(|(key, value)| [key.to_owned(), value]).collect()
    }

    /// `[store]` of a server for all tests that only need one with TLS; it demands a certificate of its clients.
    pub(crate) fn shared_server() -> Store {
        static SHARED: LazyLock<(Certificates, RedisServer)> = LazyLock::new(|| {
            let certificates = Certificates::new("localhost");
            let server = RedisServer::start_with_tls(&certificates, "yes");
            end_with_this_process([server.process(), (server.process().0, certificates.dir.path().to_owned())].into_iter());
            (certificates, server)
        });
        let (certificates, server) = &*SHARED;
        Store { url: format!("rediss://localhost:{}", server.port()), tls: certificates.client(), ..Store::default() }
    }

    /// `[store.tls]` that trusts the authority and shows no certificate.
    pub(crate) fn trusted(&self) -> StoreTls {
        StoreTls { ca_file: self.path("ca.pem"), ..StoreTls::default() }
    }

    /// `[store.tls]` with the client's certificate too.
    pub(crate) fn client(&self) -> StoreTls {
        StoreTls { cert_file: self.path("client.pem"), key_file: self.path("client.key"), ..self.trusted() }
    }
}
