//! What Sidegate signs, of callers to upstreams and as access tokens of sessions: other libraries, `PyJWT` and jose, verify it by what
//! is published.

use serde_json::{Value, json};
use sidegate::clock::Clock;
use sidegate::config::sections::EnvironmentName;
use sidegate::session::authority::NewSession;

use super::script::{run, script};
use crate::support::client::{Request, once};
use crate::support::logins::Logins;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;

const SECRET: &str = "a secret that an upstream has as well";

/// One token by each kind of key, and the published keys.
fn told() -> (Vec<String>, String) {
    let files = tempfile::tempdir().unwrap();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut tokens = Vec::new();
    let mut published = String::new();
    for (name, key) in [("secret", SECRET.to_owned()), ("key.pem", pair.serialize_pem())] {
        let file = files.path().join(name);
        std::fs::write(&file, key).unwrap();
        let upstream = Upstream::echo();
        let text = format!(
            "upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[identity]\nsigned = {{ header = \"X-Identity\", key_file = \"{}\" }}\n",
            upstream.url(),
            file.display()
        );
        let home = Home::new(Kind::Embedded, &text);
        let key = home.issue().secret;
        let sidecar = Sidecar::in_home(home, Clock::System);
        assert_eq!(once(sidecar.address(), &Request::get("/a").bearer(&key)).status, 200);
        tokens.push(upstream.only().header("x-identity").unwrap().to_owned());
        let keys = once(sidecar.ops(), &Request::get("/.well-known/jwks.json"));
        assert_eq!((keys.status, keys.header("Content-Type")), (200, Some("application/jwk-set+json")));
        published = keys.text();
    }
    (tokens, published)
}

fn is_verified_by(name: &str) {
    let (tokens, published) = told();
    let mut verifier = script(name);
    verifier.env("TOKENS", tokens.join(" ")).env("SECRET", SECRET).env("JWKS", &published);
    let (printed, _) = run(&mut verifier);
    let claims: Vec<Value> = serde_json::from_str(&printed).unwrap();
    assert_eq!(claims.len(), 2);
    for claims in claims {
        assert_eq!((&claims["tenant"], &claims["environment"], &claims["credential"]), (&json!("acme"), &json!("live"), &json!("api_key")));
        assert_eq!(claims["sub"], claims["key_id"]);
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    }
}

#[test]
fn what_upstreams_are_told_verifies_with_pyjwt() {
    is_verified_by("verify.py");
}

#[test]
fn what_upstreams_are_told_verifies_with_jose() {
    is_verified_by("verify.js");
}

/// An access token of a session and one of a client by each kind of key, and the published keys.
fn issued() -> (Vec<String>, String) {
    let files = tempfile::tempdir().unwrap();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let (mut tokens, mut published) = (Vec::new(), String::new());
    for (name, key) in [("secret", SECRET.to_owned()), ("key.pem", pair.serialize_pem())] {
        let file = files.path().join(name);
        std::fs::write(&file, key).unwrap();
        let upstream = Upstream::echo();
        let text = format!(
            "upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[sessions]\nsigning_key_files = [\"{}\"]\ntoken_path = \"/oauth/token\"\n",
            upstream.url(),
            file.display()
        );
        let home = Home::new(Kind::Embedded, &text);
        let key = home.issue_with(&json!({ "scopes": ["read:a"] }));
        let (tenant, subject, environment) = ("acme".into(), "ada".into(), EnvironmentName::Live);
        let session = NewSession { tenant, subject, environment, scopes: vec!["read:a".into()] };
        tokens.push(Logins::open(&home.config, Clock::System).begin(session).access);
        let sidecar = Sidecar::in_home(home, Clock::System);
        let form = format!("grant_type=client_credentials&client_id={}&client_secret={}", key.record.id, key.secret);
        let asked = Request::new("POST", "/oauth/token").header("Content-Type", "application/x-www-form-urlencoded").body(form);
        tokens.push(once(sidecar.address(), &asked).json()["access_token"].as_str().unwrap().to_owned());
        published = once(sidecar.ops(), &Request::get("/.well-known/jwks.json")).text();
    }
    (tokens, published)
}

fn access_tokens_are_verified_by(name: &str) {
    let (tokens, published) = issued();
    let mut verifier = script(name);
    verifier.env("TOKENS", tokens.join(" ")).env("SECRET", SECRET).env("JWKS", &published).env("AUDIENCE", "sidegate");
    let (printed, _) = run(&mut verifier);
    let claims: Vec<Value> = serde_json::from_str(&printed).unwrap();
    assert_eq!(claims.len(), 4);
    for claims in claims {
        assert_eq!((&claims["tenant"], &claims["environment"], &claims["scope"]), (&json!("acme"), &json!("live"), &json!("read:a")));
        assert_ne!(claims.get("sid").is_some(), claims.get("client_id").is_some());
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
    }
}

#[test]
fn access_tokens_of_sessions_and_clients_verify_with_pyjwt() {
    access_tokens_are_verified_by("verify.py");
}

#[test]
fn access_tokens_of_sessions_and_clients_verify_with_jose() {
    access_tokens_are_verified_by("verify.js");
}
