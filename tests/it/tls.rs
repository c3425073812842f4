//! A listener with a certificate from files.

use std::process::Command;

use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind};
use crate::support::upstream::Upstream;

#[test]
fn curl_speaks_tls_and_checks_the_certificate() {
    let certificates = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["api.example".to_owned()]).unwrap();
    let cert = certificates.path().join("tls.crt");
    let key = certificates.path().join("tls.key");
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let upstream = Upstream::echo();
    let home = Home::new(
        Kind::Embedded,
        &format!(
            "upstream = \"{}\"\n[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n\
             [listeners.tls]\ncert_file = \"{}\"\nkey_file = \"{}\"",
            upstream.url(),
            cert.display(),
            key.display()
        ),
    );
    let secret = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    let port = serve.address.port();
    let curl = |arguments: &[&str]| {
        Command::new("curl")
            .args(["-sS", "--resolve", &format!("api.example:{port}:127.0.0.1"), "-H", &format!("Authorization: Bearer {secret}")])
            .args(arguments)
            .arg(format!("https://api.example:{port}/v1/users"))
            .output()
            .unwrap()
    };
    let trusted = cert.to_str().unwrap();
    for version in [&["--tlsv1.2", "--tls-max", "1.2"][..], &["--tlsv1.3"][..]] {
        let output = curl(&[version, &["--cacert", trusted]].concat());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ok", "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(upstream.recorded().last().unwrap().header("x-forwarded-proto"), Some("https"));
    }
    for (offer, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let output = curl(&["--cacert", trusted, offer, "-w", " %{http_version}"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("ok {version}"), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(upstream.recorded().last().unwrap().header("x-forwarded-proto"), Some("https"));
    }
    assert!(!curl(&[]).status.success(), "a certificate that curl does not know");
    assert!(!curl(&["--cacert", trusted, "--tls-max", "1.1"]).status.success(), "TLS 1.1");
}
