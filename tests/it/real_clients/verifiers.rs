//! What upstreams are told of callers, signed: other libraries, `PyJWT` and jose, verify it by what Sidegate publishes.

use serde_json::{Value, json};
use sidegate::clock::Clock;

use super::script::{run, script};
use crate::support::client::{Request, once};
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
