//! Tokens that other libraries make, `PyJWT` and jose: of every algorithm, by keys as they export them.

use serde_json::Value;

use super::script::{run, script};
use crate::support::client::{Request, once};
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind};
use crate::support::tokens::SECRET;
use crate::support::upstream::Upstream;

fn tokens_of_every_algorithm_verify(name: &str) {
    let (printed, _) = run(script(name).env("SECRET", SECRET));
    let issued: Value = serde_json::from_str(&printed).unwrap();
    let files = tempfile::tempdir().unwrap();
    let at = files.path().display();
    std::fs::write(files.path().join("jwks.json"), issued["jwks"].to_string()).unwrap();
    std::fs::write(files.path().join("secret"), SECRET).unwrap();
    let upstream = Upstream::echo();
    let home = Home::new(
        Kind::Embedded,
        &format!(
            r#"
            upstream = "{}"
            [[issuers]]
            name = "set"
            issuer = "https://auth.example"
            audiences = ["api"]
            algorithms = ["RS256", "RS512", "PS384", "ES256", "ES384", "EdDSA"]
            jwks_file = "{at}/jwks.json"
            [[issuers]]
            name = "shared"
            issuer = "https://shared.example"
            audiences = ["api"]
            algorithms = ["HS256", "HS384", "HS512"]
            secret_file = "{at}/secret"
            "#,
            upstream.url()
        ),
    );
    home.issue();
    let serve = Serve::start(&home.config_file());
    let tokens = issued["tokens"].as_object().unwrap();
    assert_eq!(tokens.len(), 9);
    for (algorithm, token) in tokens {
        let answer = once(serve.address, &Request::get(&format!("/{algorithm}")).bearer(token.as_str().unwrap()));
        assert_eq!(answer.status, 200, "{algorithm}: {}", serve.stdout.text());
    }
    for request in upstream.recorded() {
        let told = ["x-tenant-id", "x-auth-subject", "x-auth-scopes", "x-auth-credential"].map(|name| request.header(name));
        assert_eq!(told, [Some("acme"), Some("ada"), Some("read:a write:b"), Some("jwt")], "{}", request.target);
    }
}

#[test]
fn what_pyjwt_makes_verifies() {
    tokens_of_every_algorithm_verify("issue.py");
}

#[test]
fn what_jose_makes_verifies() {
    tokens_of_every_algorithm_verify("issue.js");
}
