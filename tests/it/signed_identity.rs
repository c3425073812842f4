//! What the upstream is told of a caller, signed: made once and sent until half of its life is over, ours alone under every spelling,
//! and nobody's where nobody is known. The time is the test's.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::support::client::{Request, once};
use crate::support::node::agreed;
use crate::support::process::{Serve, run, signal};
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::tokens::{SECRET, Signer};
use crate::support::upstream::Upstream;

fn new_key(file: &Path) {
    std::fs::write(file, KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem()).unwrap();
}

fn config(upstream: &Upstream, files: &tempfile::TempDir) -> String {
    let (key, secret) = (files.path().join("key.pem"), files.path().join("secret"));
    new_key(&key);
    std::fs::write(&secret, SECRET).unwrap();
    format!(
        "upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[runtime]\nworkers = 1\n\
         [identity]\nsigned = {{ header = \"X-Identity\", key_file = \"{}\", ttl = \"60s\" }}\n\
         [[issuers]]\nname = \"users\"\nalgorithms = [\"HS256\"]\nsecret_file = \"{}\"\n\
         [[routes]]\nname = \"open\"\nmatch = \"* /open\"\nauth = \"none\"\n[[routes]]\nname = \"all\"\nmatch = \"* /**\"\n",
        upstream.url(),
        key.display(),
        secret.display()
    )
}

fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

#[test]
fn one_is_made_of_a_caller_and_sent_until_half_of_its_life_is_over() {
    let (upstream, files) = (Upstream::echo(), tempfile::tempdir().unwrap());
    let sidecar = Sidecar::with_manual_clock(Kind::Embedded, &config(&upstream, &files));
    let key = sidecar.home.issue_with(&json!({ "scopes": ["read:a", "write:*"] }));
    let told = || {
        assert_eq!(once(sidecar.address(), &Request::get("/a").bearer(&key.secret)).status, 200);
        upstream.recorded().last().unwrap().header("x-identity").unwrap().to_owned()
    };
    let first = told();
    assert_eq!(told(), first);
    let (header, claims) = (part(&first, 0), part(&first, 1));
    let now = sidecar.clock.now().0 / 1000;
    assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("JWT")));
    let published: Value = serde_json::from_str(&once(sidecar.ops(), &Request::get("/.well-known/jwks.json")).text()).unwrap();
    assert_eq!((&published["keys"][0]["kid"], &published["keys"][0]["d"]), (&header["kid"], &Value::Null));
    let id = &key.record.id;
    let expected = json!({
        "iss": "sidegate", "sub": id, "tenant": "acme", "key_id": id, "scope": "read:a write:*", "environment": "live",
        "credential": "api_key", "iat": now, "exp": now + 60, "jti": claims["jti"],
    });
    assert_eq!(claims, expected);
    sidecar.clock.advance(30_000);
    let second = told();
    assert_ne!(second, first);
    assert_eq!(part(&second, 1)["exp"], json!(now + 90));

    // Of a token: whom it tells of, and no key.
    let exp = sidecar.clock.now().0 / 1000 + 3600;
    let token = Signer::secret(SECRET.as_bytes()).token(&json!({ "org_id": "acme", "sub": "ada", "exp": exp }));
    assert_eq!(once(sidecar.address(), &Request::get("/a").bearer(&token)).status, 200);
    let claims = part(upstream.recorded().last().unwrap().header("x-identity").unwrap(), 1);
    assert_eq!((&claims["sub"], &claims["credential"], &claims["key_id"]), (&json!("ada"), &json!("jwt"), &Value::Null));
}

#[test]
fn no_client_sends_it_in_any_spelling_and_nobody_has_one() {
    let (upstream, files) = (Upstream::echo(), tempfile::tempdir().unwrap());
    let sidecar = Sidecar::with_manual_clock(Kind::Embedded, &format!("{}[identity.headers]\n", config(&upstream, &files)));
    let key = sidecar.home.issue().secret;
    for name in ["X-Identity", "x_identity", "X.IDENTITY", "x!identity"] {
        for (target, credential) in [("/open", None), ("/a", Some(&key))] {
            let request = Request::get(target).header(name, "forged");
            let request = credential.map_or(request.clone(), |key| request.bearer(key));
            assert_eq!(once(sidecar.address(), &request).status, 200);
            let seen = upstream.recorded().pop().unwrap();
            let sent: Vec<&String> = seen.head.fields.iter().filter(|(_, value)| value == "forged").map(|(name, _)| name).collect();
            assert!(sent.is_empty(), "{name}: {sent:?}");
            assert_eq!(seen.head.all("x-identity").count(), usize::from(credential.is_some()), "{name} {target}");
        }
    }
    let named = Request::get("/a").bearer(&key).header("Connection", "X-Identity");
    assert_eq!(once(sidecar.address(), &named).status, 400);
}

#[test]
fn another_key_signs_from_the_reload_on_and_neither_log_nor_explain_shows_what_was_signed() {
    let (upstream, files) = (Upstream::echo(), tempfile::tempdir().unwrap());
    let home = Home::new(Kind::Embedded, &config(&upstream, &files));
    let key = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    let told = || {
        assert_eq!(once(serve.address, &Request::get("/a").bearer(&key)).status, 200);
        upstream.recorded().last().unwrap().header("x-identity").unwrap().to_owned()
    };
    let first = told();
    new_key(&files.path().join("key.pem"));
    signal(serve.id(), "HUP");
    agreed("the other key signs", || part(&told(), 0)["kid"] != part(&first, 0)["kid"]);
    let explained = run(&["explain", "-H", &format!("Authorization: Bearer {key}"), "/a"], &home.config_file());
    assert!(explained.stdout.contains("x-identity") && !explained.stdout.contains("eyJ"), "{}", explained.stdout);
    let written = format!("{}{}", serve.stdout.text(), serve.stderr.text());
    assert!(!written.contains("eyJ"), "{written}");
}
