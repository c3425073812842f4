//! What is done to tokens, as one table: every attack is refused for the right reason, none reaches the upstream, and what the
//! headers of a good token point to is neither believed nor asked.

mod said;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sidegate::clock::Clock;

use crate::support::client::{Client, Request};
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind};
use crate::support::tokens::{SECRET, Signer, base64url};
use crate::support::upstream::Upstream;

/// Three issuers: one with a secret, one with an RSA key in PEM, one with a document of keys.
struct Scene {
    upstream: Upstream,
    /// Where headers of tokens point to; nobody ever asks.
    stranger: Upstream,
    serve: Serve,
    keys: Keys,
    _home: Home,
}

struct Keys {
    secret: Signer,
    rsa: Signer,
    edwards: Signer,
    p256: Signer,
    p384: Signer,
    /// Another of the kind of `edwards`.
    twin: Signer,
    /// What `[sessions]` signs with.
    own: Signer,
    attacker: Signer,
}

impl Scene {
    fn new() -> Self {
        let upstream = Upstream::echo();
        let stranger = Upstream::echo();
        let keys = Keys {
            secret: Signer::secret(SECRET.as_bytes()),
            rsa: Signer::generate("RS256"),
            edwards: Signer::generate("EdDSA"),
            p256: Signer::generate("ES256"),
            p384: Signer::generate("ES384"),
            twin: Signer::generate("EdDSA"),
            own: Signer::generate("EdDSA"),
            attacker: Signer::generate("RS256"),
        };
        let files = tempfile::tempdir().unwrap();
        let jwks = json!({ "keys": [keys.edwards.jwk("ed"), keys.twin.jwk("twin"), keys.p256.jwk("p256"), keys.p384.jwk("p384")] });
        for (name, text) in [
            ("secret", SECRET.to_owned()),
            ("rsa.pem", keys.rsa.public_pem()),
            ("jwks.json", jwks.to_string()),
            ("own.pem", keys.own.private_pem()),
        ] {
            std::fs::write(files.path().join(name), text).unwrap();
        }
        let at = files.path().display();
        let issuer = |name: &str, more: &str| {
            format!(
                "[[issuers]]\nname = \"{name}\"\nissuer = \"https://{name}.example\"\naudiences = [\"api\", \"other-api\"]\ntenant = \"acme\"\n{more}\n"
            )
        };
        let text = [
            format!("upstream = \"{}\"\n[restrictions]\nguess_throttle = {{ failures = 10000, per = \"1s\" }}", upstream.url()),
            issuer("shared", &format!("algorithms = [\"HS256\"]\nsecret_file = \"{at}/secret\"")),
            issuer("rsa", &format!("algorithms = [\"RS256\"]\npublic_key_file = \"{at}/rsa.pem\"")),
            issuer("set", &format!("algorithms = [\"ES256\", \"ES384\", \"EdDSA\"]\njwks_file = \"{at}/jwks.json\"")),
            format!("[sessions]\nsigning_key_files = [\"{at}/own.pem\"]"),
        ]
        .join("\n");
        let home = Home::new(Kind::Embedded, &text);
        home.issue();
        let serve = Serve::start(&home.config_file());
        Self { upstream, stranger, serve, keys, _home: home }
    }
}

static NOW: LazyLock<i64> = LazyLock::new(|| Clock::System.now().0 / 1000);

/// Claims of a good token of an issuer, but for what `over` says; null takes one away.
fn claims(issuer: &str, over: &Value) -> Value {
    let mut claims = json!({ "iss": format!("https://{issuer}.example"), "aud": "api", "sub": "ada", "exp": *NOW + 3600, "iat": *NOW });
    for (name, value) in over.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

struct Attack {
    name: String,
    token: String,
    reason: &'static str,
    detail: &'static str,
}

/// The table, while it is written.
#[derive(Default)]
struct Table(Vec<Attack>);

impl Table {
    fn add(&mut self, name: &str, token: String, reason: &'static str, detail: &'static str) {
        self.0.push(Attack { name: name.to_owned(), token, reason, detail });
    }
}

fn attacks(keys: &Keys, stranger: &str) -> Vec<Attack> {
    let mut table = Table::default();
    algorithms(&mut table, keys);
    keys_from_elsewhere(&mut table, keys, stranger);
    headers_and_payloads(&mut table, keys);
    signatures(&mut table, keys);
    said::times(&mut table, keys);
    said::names(&mut table, keys);
    said::ours(&mut table, keys);
    table.0
}

/// The algorithm is not the token's to choose, and no key is another's.
fn algorithms(table: &mut Table, keys: &Keys) {
    let good = keys.secret.token(&claims("shared", &json!({})));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (_, payload) = signed.split_once('.').unwrap();
    for none in ["none", "None", "NONE", "nOnE", "", " none", "HS256 ", "hs256", "HS257", "HS512", "RS256"] {
        let header = base64url(json!({ "alg": none, "typ": "JWT" }).to_string());
        table.add(&format!("alg {none:?}, unsigned"), format!("{header}.{payload}."), "jwt_signature", "algorithm");
        table.add(&format!("alg {none:?}, signature of another"), format!("{header}.{payload}.{signature}"), "jwt_signature", "algorithm");
    }
    let confused = Signer::secret(keys.rsa.public_pem().as_bytes());
    table.add("HS256 with the RSA public key as secret", confused.token(&claims("rsa", &json!({}))), "jwt_signature", "algorithm");
    let confused = Signer::secret(keys.rsa.public_pem().trim().as_bytes());
    table.add("the same, trimmed", confused.token(&claims("rsa", &json!({}))), "jwt_signature", "algorithm");
    table.add("a key of another issuer", keys.secret.token(&claims("rsa", &json!({}))), "jwt_signature", "algorithm");
    table.add(
        "a key of another curve",
        keys.p384.over(r#"{"alg":"ES256","kid":"p256"}"#, claims("set", &json!({})).to_string()),
        "jwt_signature",
        "no key",
    );
    table.add(
        "the key of another curve by its name",
        keys.p384.over(r#"{"alg":"ES256","kid":"p384"}"#, claims("set", &json!({})).to_string()),
        "jwt_signature",
        "not for ES256",
    );
    table.add("no kid where several keys could be meant", keys.twin.token(&claims("set", &json!({}))), "jwt_signature", "kid");
    for (name, token) in [("ES256", "ES256"), ("ES384", "ES384")] {
        let zeros = base64url(vec![0_u8; if name == "ES256" { 64 } else { 96 }]);
        let header = base64url(json!({ "alg": token, "kid": if name == "ES256" { "p256" } else { "p384" } }).to_string());
        let payload = base64url(claims("set", &json!({})).to_string());
        table.add(&format!("a signature of zeros, {name}"), format!("{header}.{payload}.{zeros}"), "jwt_signature", "no key");
    }
}

/// Where a header says the key is.
fn keys_from_elsewhere(table: &mut Table, keys: &Keys, stranger: &str) {
    let mut jwk = keys.attacker.jwk("evil");
    jwk["use"] = json!("sig");
    for (name, value) in [
        ("jwk", jwk.clone()),
        ("jku", json!(format!("{stranger}/jwks"))),
        ("x5u", json!(format!("{stranger}/cert"))),
        ("x5c", json!([base64url("certificate")])),
    ] {
        let header = json!({ "alg": "RS256", name: value });
        table.add(
            &format!("signed with the key that {name} carries"),
            keys.attacker.over(header.to_string(), claims("rsa", &json!({})).to_string()),
            "jwt_signature",
            "no key",
        );
    }
    for kid in [
        "../../../../dev/null",
        "/proc/self/environ",
        "file:///etc/passwd",
        "https://evil.example/jwks",
        "ed' OR '1'='1",
        "ed\0",
        "ED",
        "ed ",
        "",
    ] {
        let token = keys.attacker.over(json!({ "alg": "EdDSA", "kid": kid }).to_string(), claims("set", &json!({})).to_string());
        table.add(&format!("kid {kid:?}"), token, "jwt_signature", "kid");
        let empty = Signer::secret(b"").over(json!({ "alg": "HS256", "kid": kid }).to_string(), claims("shared", &json!({})).to_string());
        table.add(&format!("kid {kid:?}, signed with nothing"), empty, "jwt_signature", "no key");
    }
}

/// What could be read in two ways, or means what is not known here.
fn headers_and_payloads(table: &mut Table, keys: &Keys) {
    let good = keys.secret.token(&claims("shared", &json!({})));
    for (name, header) in [
        ("crit with a registered name", json!({ "alg": "HS256", "crit": ["alg"] })),
        ("crit with an unknown name", json!({ "alg": "HS256", "crit": ["exp2"], "exp2": 1 })),
        ("crit that is empty", json!({ "alg": "HS256", "crit": [] })),
        ("crit that is null", json!({ "alg": "HS256", "crit": null })),
        ("b64 by crit", json!({ "alg": "HS256", "crit": ["b64"], "b64": false })),
        ("another typ", json!({ "alg": "HS256", "typ": "dpop+jwt" })),
        ("typ of a logout token", json!({ "alg": "HS256", "typ": "logout+jwt" })),
        ("typ that is a number", json!({ "alg": "HS256", "typ": 1 })),
        ("no alg", json!({ "typ": "JWT" })),
        ("alg that is a list", json!({ "alg": ["HS256"] })),
        ("alg that is null", json!({ "alg": null })),
        ("kid that is a number", json!({ "alg": "HS256", "kid": 7 })),
        ("kid that is too long", json!({ "alg": "HS256", "kid": "k".repeat(257) })),
        ("a header that is nested", json!({ "alg": "HS256", "a": [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]] })),
    ] {
        table.add(name, keys.secret.over(header.to_string(), claims("shared", &json!({})).to_string()), "jwt_malformed", "header");
    }
    let body = claims("shared", &json!({})).to_string();
    for (name, header) in [
        ("two alg members", r#"{"alg":"HS256","alg":"none"}"#),
        ("two alg members, the other way round", r#"{"alg":"none","alg":"HS256"}"#),
        ("two alg members, one escaped", r#"{"alg":"HS256","\u0061lg":"none"}"#),
        ("a header that is a list", r#"["HS256"]"#),
        ("a header that is no JSON", "alg=HS256"),
        ("a header with something behind it", r#"{"alg":"HS256"}{}"#),
        ("a header with a mark before it", "\u{feff}{\"alg\":\"HS256\"}"),
        ("a header that is not UTF-8", "{\"alg\":\"HS256\",\"a\":\"\\ud800\"}"),
    ] {
        table.add(name, keys.secret.over(header, &body), "jwt_malformed", "header");
    }
    for (name, payload) in [
        ("two exp claims", body.replacen('{', "{\"exp\":9999999999,", 1)),
        ("two claims of one name, nested", body.replacen('{', "{\"a\":[{\"b\":{\"c\":1,\"c\":2}}],", 1)),
        ("a payload that is a token", good.clone()),
        ("a payload that is a list", "[]".into()),
        ("an empty payload behind the header", " ".into()),
        ("a number beyond all", body.replacen('{', "{\"a\":1e999,", 1)),
    ] {
        table.add(name, keys.secret.over(r#"{"alg":"HS256","cty":"JWT"}"#, payload), "jwt_malformed", "payload");
    }
}

/// The three segments.
fn signatures(table: &mut Table, keys: &Keys) {
    let plain = |over: Value| keys.secret.token(&claims("shared", &over));
    let good = keys.secret.token(&claims("shared", &json!({})));
    let body = claims("shared", &json!({})).to_string();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    table.add("the signature stripped", format!("{signed}."), "jwt_signature", "no key");
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let with = |signature: &[u8]| format!("{signed}.{}", base64url(signature));
    table.add("the signature cut short", with(&bytes[..31]), "jwt_signature", "no key");
    table.add("the signature doubled", with(&[&bytes[..], &bytes[..]].concat()), "jwt_signature", "no key");
    table.add("a byte behind the signature", with(&[&bytes[..], &[0]].concat()), "jwt_signature", "no key");
    table.add("characters behind the signature", format!("{good}AA"), "jwt_malformed", "signature");
    table.add("a fourth segment", format!("{good}.{signature}"), "credential_malformed", "");
    table.add("the signature twice", format!("{good}.."), "credential_malformed", "");
    table.add("padding", format!("{good}="), "credential_malformed", "");
    table.add("the other alphabet of base64", format!("{header}.{payload}.++//"), "credential_malformed", "");
    table.add("two segments", signed.to_owned(), "credential_malformed", "");
    // 32 bytes leave two bits of the last character unused: they must be zero.
    let last = signature.chars().last().unwrap();
    let twin = char::from_u32(last as u32 + 1).filter(char::is_ascii_alphanumeric).unwrap_or('B');
    table.add(
        "the signature spelled otherwise",
        format!("{signed}.{}{twin}", signature.strip_suffix(last).unwrap()),
        "jwt_malformed",
        "signature",
    );
    table.add(
        "the payload of another",
        format!("{header}.{}.{signature}", base64url(claims("shared", &json!({ "sub": "eve" })).to_string())),
        "jwt_signature",
        "no key",
    );
    table.add("a token that is too long", plain(json!({ "pad": "x".repeat(7000) })), "jwt_malformed", "8 KiB");
    table.add(
        "a header that is too long",
        keys.secret.over(json!({ "alg": "HS256", "x5c": ["x".repeat(7000)] }).to_string(), &body),
        "jwt_malformed",
        "8 KiB",
    );
}

#[test]
fn every_attack_on_a_token_is_refused_for_the_right_reason_and_none_reaches_the_upstream() {
    let scene = Scene::new();
    let mut client = Client::connect(scene.serve.address);
    let all = attacks(&scene.keys, &scene.stranger.url());
    let mut wrong = Vec::new();
    for attack in &all {
        client.send(Request::get("/v1/users").bearer(&attack.token).bytes());
        let answer = client.answer("GET");
        let id = answer.header("X-Request-Id").unwrap().to_owned();
        let line = scene.serve.stdout.find(|line| line.contains(&id).then(|| serde_json::from_str::<Value>(line).unwrap())).unwrap();
        let (reason, detail) = (line["reason"].as_str().unwrap(), line["detail"].as_str().unwrap_or_default());
        let status = if attack.reason == "identity_invalid" { 403 } else { 401 };
        if reason != attack.reason || !detail.contains(attack.detail) || answer.status != status {
            wrong.push(format!("{}: {} {reason} ({detail}), not {} ({})", attack.name, answer.status, attack.reason, attack.detail));
        }
        if status == 401 {
            let challenge = answer.header("WWW-Authenticate").unwrap();
            assert_eq!(challenge, "Bearer realm=\"api\", error=\"invalid_token\"", "{}", attack.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(all.len() > 100, "{}", all.len());
    // Where keys may stand too, they fare no better.
    for attack in all.iter().filter(|attack| attack.reason != "credential_malformed").step_by(7) {
        client.send(Request::get("/v1/users").header("X-API-Key", &attack.token).bytes());
        assert_eq!(client.answer("GET").status, if attack.reason == "identity_invalid" { 403 } else { 401 }, "{}", attack.name);
    }
    assert_eq!(scene.upstream.recorded().len(), 0, "an attack came through");
    assert_eq!(scene.stranger.recorded().len(), 0, "somebody was asked");
    let written = format!("{}{}", scene.serve.stdout.text(), scene.serve.stderr.text());
    for attack in &all {
        assert!(attack.token.len() < 40 || !written.contains(&attack.token), "{} was logged", attack.name);
    }

    // What headers point to is not believed, and not held against a token that is signed well either.
    let keys = &scene.keys;
    let pointing = json!({
        "alg": "RS256", "typ": "application/AT+JWT", "kid": "whatever", "jwk": keys.attacker.jwk("evil"), "x5c": ["AAAA"],
        "jku": format!("{}/jwks", scene.stranger.url()), "x5u": format!("{}/cert", scene.stranger.url()),
    });
    let good = [
        keys.rsa.over(pointing.to_string(), claims("rsa", &json!({})).to_string()),
        keys.secret.token(&claims("shared", &json!({ "aud": ["web", "other-api"] }))),
        keys.secret.token(&claims("shared", &json!({ "exp": *NOW - 5, "nbf": *NOW + 5, "sub": null }))),
        keys.edwards.token_by("ed", &claims("set", &json!({}))),
        keys.p256.token_by("p256", &claims("set", &json!({}))),
        keys.twin.token_by("twin", &claims("set", &json!({ "exp": *NOW + 99 * 365 * 86_400 }))),
        keys.p384.over(r#"{"alg":"ES384"}"#, claims("set", &json!({ "scope": ["read:a", "write:b"] })).to_string()),
    ];
    for token in &good {
        client.send(Request::get("/v1/users").bearer(token).bytes());
        assert_eq!(client.answer("GET").status, 200, "{token}");
    }
    assert_eq!(scene.upstream.recorded().len(), good.len());
    assert_eq!(scene.stranger.recorded().len(), 0, "somebody was asked");
}
