//! Signing keys: published, rotated without a failed request, and used for nothing but what they are for.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

use super::*;
use crate::support::node::agreed;
use crate::support::process::{self, Serve};

fn jwks(ops: std::net::SocketAddr) -> Value {
    let answer = once(ops, &Request::get("/.well-known/jwks.json"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/jwk-set+json")), "{}", answer.text());
    answer.json()
}

#[test]
fn another_library_verifies_our_tokens_by_what_is_published() {
    let scene = Scene::new(Kind::Embedded, "issuer = \"https://api.example\"\n");
    let login = scene.admin(LOGIN).post("/sessions", &json!({ "tenant": "acme", "subject": "ada", "scopes": ["read:a", "write:b"] }));
    let access = text(&login, "access_token");
    let published: JwkSet = serde_json::from_value(jwks(scene.sidecar.ops())).unwrap();
    let header = decode_header(&access).unwrap();
    assert_eq!((header.typ.as_deref(), header.alg), (Some("at+jwt"), Algorithm::EdDSA));
    let key = DecodingKey::from_jwk(published.find(header.kid.as_deref().unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&["https://api.example"]);
    validation.set_audience(&["https://api.example"]);
    // The clock of the sidecar is the test's.
    validation.validate_exp = false;
    let claims = decode::<Value>(&access, &key, &validation).unwrap().claims;
    let now = scene.sidecar.clock.now().0 / 1000;
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(now), &json!(now + 3600)));
    let said = ["sub", "tenant", "environment", "scope"].map(|name| text(&claims, name));
    assert_eq!(said, ["ada", "acme", "live", "read:a write:b"]);
    assert!(text(&claims, "sid").starts_with("ses_") && text(&claims, "jti").len() >= 20);
    // Nothing of the private half.
    assert!(jwks(scene.sidecar.ops())["keys"][0].get("d").is_none());
}

#[test]
fn a_secret_is_not_published_and_signs_all_the_same() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("secret");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    let upstream = Upstream::echo();
    let tokens = tokens();
    let text_of = format!(
        "profile = \"gately\"\nupstream = \"{}\"\n[sessions]\nsigning_key_files = [\"{}\"]\n{}[ops]\nlisten = \"127.0.0.1:0\"\n",
        upstream.url(),
        file.display(),
        tokens.config("127.0.0.1:0")
    );
    let sidecar = Sidecar::start(&text_of);
    sidecar.home.issue();
    let login = login(&Caller::new(sidecar.listener("admin"), LOGIN), &json!({ "tenant": "acme", "subject": "ada" }));
    assert_eq!(once(sidecar.address(), &Request::get("/api/v1/members").bearer(&login.access)).status, 200);
    let published = once(sidecar.ops(), &Request::get("/.well-known/jwks.json"));
    assert_eq!(published.json(), json!({ "keys": [] }));
}

#[test]
fn the_first_key_signs_and_all_verify_across_a_reload() {
    let (upstream, files, tokens) = (Upstream::echo(), tempfile::tempdir().unwrap(), tokens());
    let socket = files.path().join("admin.sock");
    let place = |name: &str| files.path().join(name).display().to_string();
    for name in ["old.pem", "new.pem"] {
        std::fs::write(place(name), Signer::generate("EdDSA").private_pem()).unwrap();
    }
    let text_of = |names: &[&str]| {
        let list: Vec<String> = names.iter().map(|name| place(name)).collect();
        format!("[sessions]\nsigning_key_files = {list:?}\n")
    };
    let base = format!("profile = \"gately\"\nupstream = \"{}\"\n{}", upstream.url(), tokens.config(&format!("unix:{}", socket.display())));
    let home = Home::new(
        Kind::Embedded,
        &format!("{base}{}[ops]\nlisten = \"127.0.0.1:0\"\nsocket = \"{}\"\n", text_of(&["old.pem"]), place("control.sock")),
    );
    home.issue();
    let serve = Serve::start(&home.config_file());
    let admin = Caller::new(crate::support::stream::Address::Unix(socket), LOGIN);
    let begin = || login(&admin, &json!({ "tenant": "acme", "subject": "ada" }));
    let is_good = |login: &Login| once(serve.address, &Request::get("/api/v1/members").bearer(&login.access)).status == 200;
    let reload = |names: &[&str]| {
        let written = std::fs::read_to_string(home.config_file()).unwrap();
        let line = written.lines().find(|line| line.starts_with("signing_key_files")).unwrap().to_owned();
        let new = text_of(names).lines().nth(1).unwrap().to_owned();
        std::fs::write(home.config_file(), written.replace(&line, &new)).unwrap();
        let ended = process::run(&["reload"], &home.config_file());
        assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    };
    let kid = |login: &Login| decode_header(&login.access).unwrap().kid.unwrap();
    let old = begin();
    assert!(is_good(&old));
    reload(&["new.pem", "old.pem"]);
    let new = begin();
    assert!(kid(&old) != kid(&new) && is_good(&old) && is_good(&new));
    reload(&["new.pem"]);
    agreed("the old key verifies nothing", || !is_good(&old));
    assert!(is_good(&new));
    drop(serve);
}
