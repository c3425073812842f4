//! Clients that people use, unchanged, through the real binary: what they rely on holds, the API learns who is calling and
//! never sees a key. The scripts that drive them are in `tests/clients`; `tests/run` installs what they need, and what is
//! missing fails its test.

mod api;
mod browser;
mod command_line;
mod issuers;
mod node;
mod python;
mod script;
mod verifiers;

use std::net::SocketAddr;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

use crate::support::client::{Request, once};
use crate::support::process::Serve;
use crate::support::seed::Issued;
use crate::support::sidecar::{Home, Kind};
use crate::support::upstream::{Recorded, Upstream};

/// Every path for every key, but for what its name says.
const ROUTES: &str = r#"
[[routes]]
name = "all"
match = "* /**"
[[routes]]
name = "scoped"
match = "* /refused/scope/**"
scopes = ["read:secrets"]
"#;

/// A sidecar that listens in the clear and with TLS, and a key.
struct Front {
    certificates: TempDir,
    home: Home,
    serve: Serve,
    https: SocketAddr,
    metrics: SocketAddr,
    issued: Issued,
}

impl Front {
    /// In front of a URL; `more` is configuration behind the listeners and the upstream.
    fn of(url: &str, more: &str) -> Self {
        let certificates = certify();
        let at = certificates.path().display();
        let home = Home::new(
            Kind::Embedded,
            &format!(
                r#"
                [upstreams.main]
                url = "{url}"
                [[listeners]]
                name = "clear"
                address = "127.0.0.1:0"
                [[listeners]]
                name = "tls"
                address = "127.0.0.1:0"
                tls = {{ cert_file = "{at}/tls.crt", key_file = "{at}/tls.key" }}
                [ops]
                listen = "127.0.0.1:0"
                {more}"#
            ),
        );
        let issued = home.issue();
        let serve = Serve::start(&home.config_file());
        let said = serve.stderr.wait(3, |line| line.strip_prefix("listening on ").map(str::to_owned));
        let [clear, https, metrics] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!(clear.parse(), Ok(serve.address));
        Self { https: https.parse().unwrap(), metrics: metrics.parse().unwrap(), certificates, home, serve, issued }
    }

    fn key(&self) -> &str {
        &self.issued.secret
    }

    /// The file to trust it by.
    fn ca_file(&self) -> PathBuf {
        self.certificates.path().join("ca.pem")
    }

    /// Connections that clients have opened so far.
    fn connections(&self) -> usize {
        let text = once(self.metrics, &Request::get("/metrics")).text();
        let counts = text.lines().filter(|line| line.starts_with("sidegate_connections_accepted_total{listener="));
        counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum()
    }
}

/// An authority of one's own and a certificate for this machine, as strict clients want them.
fn certify() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    for (name, text) in [("ca.pem", ca.pem()), ("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// A sidecar before the API of [`api`], which records what it is sent.
struct Scene {
    upstream: Upstream,
    front: Front,
}

impl Scene {
    fn new() -> Self {
        let upstream = api::start();
        let front = Front::of(&upstream.url(), ROUTES);
        upstream.must_never_see(front.key());
        Self { upstream, front }
    }

    /// What came, all of it on behalf of the key and nothing that was to be refused.
    fn identified(&self) -> Vec<Recorded> {
        let all = self.upstream.recorded();
        assert!(!all.is_empty());
        for request in &all {
            assert!(!request.target.starts_with("/refused"), "{} came through", request.target);
            let told = ["x-tenant-id", "x-auth-key-id", "x-auth-environment", "x-auth-credential"].map(|name| request.header(name));
            assert_eq!(told, [Some("acme"), Some("key_main"), Some("live"), Some("api_key")], "{request:?}");
            assert_eq!((request.header("authorization"), request.header("x-api-key")), (None, None), "{request:?}");
        }
        all
    }
}

/// Bytes that every language makes in a line.
fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}
