//! The harness of tests/bench: its own tests pass, and Sidegate takes the configuration that it is measured with. It measures nothing
//! here: figures of a machine that runs other tests would mean nothing.

use std::path::Path;
use std::process::Command;

use crate::support::process;

const BENCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench");

#[test]
fn the_harness_passes_its_own_tests() {
    let tests = Command::new("python3")
        .args(["-m", "unittest", "discover", "-s", BENCH])
        .env("PYTHONPATH", BENCH)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stderr));
}

#[test]
fn the_configuration_that_is_measured_is_one_that_sidegate_takes() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().display().to_string();
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.path().join("tls.crt"), certificate.cert.pem()).unwrap();
    std::fs::write(dir.path().join("tls.key"), certificate.signing_key.serialize_pem()).unwrap();
    let template = std::fs::read_to_string(Path::new(BENCH).join("peers/sidegate.toml")).unwrap();
    for (rule, url, log) in [("scopes = [\"read\"]", "http://127.0.0.1:3000", "all"), ("auth = \"none\"", "unix:/run/api.sock", "off")] {
        let ports = [("H1", "18080"), ("TLS", "18443"), ("ADMIN", "19901"), ("REDIS", "16379")];
        let words = [("RULE", rule), ("URL", url), ("LOG", log), ("RUN", &*run)].into_iter().chain(ports);
        let text = words.fold(template.clone(), |text, (word, value)| text.replace(&format!("@{word}@"), value));
        let file = dir.path().join("sidegate.toml");
        std::fs::write(&file, text).unwrap();
        let said = process::run(&["check"], &file);
        assert!(said.code == 0 && said.stdout.contains("(no problems)"), "{said:?}");
    }
}
