//! What others have signed verifies, at the level of signatures: the examples of RFC 7520 and RFC 8037. And what a token says,
//! second by second.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::algorithm::Key;
use super::*;
use crate::config::problem::Problems;

/// RFC 7520 §3.3.
const RSA: &str = r#"{"kty":"RSA","kid":"bilbo.baggins@hobbiton.example","use":"sig","n":"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw","e":"AQAB"}"#;
/// RFC 7520 §3.5.
const SECRET: &str = r#"{"kty":"oct","kid":"018c0ae5-4d9b-471b-bfd6-eef314bc7037","use":"sig","alg":"HS256","k":"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"}"#;
/// RFC 8037 A.2.
const EDWARDS: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// "It's a dangerous business, Frodo, …", of RFC 7520 §4.
const PAYLOAD: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";

fn examples() -> [(&'static str, &'static str, String); 4] {
    let of = |header: &str, signature: &str| format!("{header}.{PAYLOAD}.{signature}");
    [
        (
            "RFC 7520 §4.1",
            RSA,
            of(
                "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
                "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg",
            ),
        ),
        (
            "RFC 7520 §4.2",
            RSA,
            of(
                "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
                "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
            ),
        ),
        (
            "RFC 7520 §4.4",
            SECRET,
            of("eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9", "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"),
        ),
        (
            "RFC 8037 A.4",
            EDWARDS,
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg".into(),
        ),
    ]
}

#[test]
fn the_examples_of_the_standards_verify_and_nothing_almost_like_them_does() {
    for (name, jwk, token) in examples() {
        let parsed = Compact::parse(token.as_bytes()).unwrap();
        let algorithm = parsed.algorithm.unwrap();
        let keys = KeySet::parse_any(jwk.as_bytes(), algorithm).unwrap_or_else(|why| panic!("{name}: {why}"));
        let is_signed = |token: &str| {
            let token = Compact::parse(token.as_bytes()).ok()?;
            keys.have_signed(&token, token.algorithm?).ok()
        };
        assert_eq!(is_signed(&token), Some(true), "{name}");
        // Each character counts, but for the bits of the last one, which must be zero.
        for index in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            assert_ne!(is_signed(&String::from_utf8(bytes).unwrap()), Some(true), "{name}, character {index}");
        }
    }
}

#[test]
fn a_key_that_is_too_weak_or_of_another_kind_is_none() {
    let odd = [&[0x80][..], &[1; 255]].concat();
    assert!(Key::rsa(Algorithm::Rs256, &odd, &[1, 0, 1]).is_ok());
    assert!(Key::rsa(Algorithm::Rs256, &[&[0][..], &odd].concat(), &[0, 1, 0, 1]).is_ok());
    for (modulus, exponent) in [
        (&[0x7f; 256][..], &[1, 0, 1][..]),
        (&[0xff; 128], &[1, 0, 1]),
        (&odd, &[3]),
        (&odd, &[1, 0, 0]),
        (&odd, &[]),
        (&odd, &[0xff; 9]),
        (&[0xff; 1025], &[1, 0, 1]),
        (&[], &[1, 0, 1]),
    ] {
        assert!(Key::rsa(Algorithm::Rs256, modulus, exponent).is_err(), "{} {exponent:?}", modulus.len());
    }
    assert!(Key::rsa(Algorithm::Es256, &odd, &[1, 0, 1]).is_err());
    assert!(Key::point(Algorithm::Es256, &[1; 32], &[1; 32]).is_err());
    assert!(Key::point(Algorithm::Es384, &[1; 32], &[1; 32]).is_err());
    assert!(Key::edwards(&[1; 31]).is_err());
    assert!(Key::secret(Algorithm::Rs256, b"x").is_none());
    assert!(Key::from_spki(Algorithm::Rs256, b"\x30\x00").is_err());
}

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const SECS: u64 = 1_800_000_000;

fn issuers(more: &str) -> Arc<Issuers> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789abcdef0123456789abcdef").unwrap();
    let text = format!("[[issuers]]\nname = \"users\"\nalgorithms = [\"HS256\"]\nsecret_file = \"{}\"\n{more}", file.path().display());
    let mut problems = Problems::default();
    let issuers = Issuers::compile(&toml::from_str(&text).unwrap(), &mut problems);
    Arc::new(issuers.unwrap_or_else(|| panic!("{:?}", problems.list())))
}

fn judged(issuers: &Issuers, claims: &Value) -> Result<Verified, Rejection> {
    let claims = json::Json::object(claims.to_string().as_bytes()).unwrap();
    issuers.list[0].judge(&claims, 0, NOW).map_err(|refusal| refusal.rejection)
}

#[test]
fn times_count_to_the_second_with_the_tolerance_on_the_right_side() {
    let issuers = issuers("tenant = \"acme\"\nleeway = \"30s\"\nmax_age = \"1h\"\n");
    let verdict =
        |exp: u64, nbf: u64, iat: u64| judged(&issuers, &json!({ "exp": exp, "nbf": nbf, "iat": iat })).map(|good| good.end.0 / 1000);
    assert_eq!(verdict(SECS + 1, SECS, SECS), Ok(i64::try_from(SECS).unwrap() + 31));
    assert_eq!(verdict(SECS - 29, SECS, SECS), Ok(i64::try_from(SECS).unwrap() + 1));
    assert_eq!(verdict(SECS - 30, SECS, SECS), Err(Rejection::JwtExpired));
    assert!(verdict(SECS + 1, SECS + 30, SECS).is_ok());
    assert_eq!(verdict(SECS + 1, SECS + 31, SECS), Err(Rejection::JwtNotYet));
    assert_eq!(verdict(SECS + 1, SECS, SECS + 31), Err(Rejection::JwtNotYet));
    // Its age ends it before its own end does.
    assert_eq!(verdict(SECS + 9000, SECS, SECS - 3000), Ok(i64::try_from(SECS).unwrap() + 630));
    assert_eq!(verdict(SECS + 9000, SECS, SECS - 3630), Err(Rejection::JwtExpired));
    assert_eq!(judged(&issuers, &json!({ "exp": SECS + 1 })).unwrap_err(), Rejection::JwtMalformed);
    // A hundred years are enough for all.
    let century = 36_525 * 86_400;
    assert!(judged(&issuers, &json!({ "exp": SECS + century, "iat": SECS })).is_ok());
    assert_eq!(judged(&issuers, &json!({ "exp": SECS + century + 1, "iat": SECS })).unwrap_err(), Rejection::JwtMalformed);
}

#[test]
fn claims_are_named_by_the_configuration() {
    let named = "claims = { subject = \"uid\", tenant = \"https://example.com/tenant\", scopes = \"scp\", environment = \"env\" }\nenvironment = \"test\"\n";
    let issuers_of = issuers(named);
    let good = judged(
        &issuers_of,
        &json!({ "exp": SECS + 1, "uid": "ada", "https://example.com/tenant": "acme", "scp": ["read:a", "write:b"], "env": "live", "sub": 7 }),
    )
    .unwrap();
    assert_eq!((good.subject.as_str(), good.tenant.as_str(), good.environment), ("ada", "acme", EnvironmentName::Live));
    assert_eq!(good.scopes.unwrap().to_string(), "read:a write:b");
    let plain = judged(&issuers_of, &json!({ "exp": SECS + 1, "https://example.com/tenant": "acme", "scp": " a  b " })).unwrap();
    assert_eq!((plain.subject.as_str(), plain.environment), ("", EnvironmentName::Test));
    assert_eq!(plain.scopes.unwrap().to_string(), "a b");
    for (claims, rejection) in [
        (json!({ "exp": SECS + 1 }), Rejection::TenantUnknown),
        (json!({ "exp": SECS + 1, "https://example.com/tenant": "" }), Rejection::TenantUnknown),
        (json!({ "exp": SECS + 1, "https://example.com/tenant": 7 }), Rejection::JwtMalformed),
        (json!({ "exp": SECS + 1, "https://example.com/tenant": "acme", "env": "prod" }), Rejection::IdentityInvalid),
        (json!({ "exp": SECS + 1, "https://example.com/tenant": "acme", "scp": "a,b" }), Rejection::IdentityInvalid),
    ] {
        assert_eq!(judged(&issuers_of, &claims).unwrap_err(), rejection, "{claims}");
    }
    let without_scopes = issuers("tenant = \"acme\"\nclaims = { scopes = \"\" }\n");
    assert!(judged(&without_scopes, &json!({ "exp": SECS + 1, "scope": 7 })).unwrap().scopes.is_none());
}

#[test]
fn what_could_be_meant_otherwise_is_a_mistake_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).unwrap();
        directory.path().join(name).display().to_string()
    };
    let (long, short, none) = (file("long", &"x".repeat(32)), file("short", "0123456789abcde"), file("none", "\n"));
    let jwks = file("jwks", &format!("{{\"keys\":[{EDWARDS}]}}"));
    let entry = |name: &str, rest: &str| format!("[[issuers]]\nname = \"{name}\"\ntenant = \"t\"\n{rest}\n");
    let named = |more: &str| entry("a", &format!("issuer = \"a\"\naudiences = [\"x\"]\n{more}"));
    let hs = |file: &str| format!("algorithms = [\"HS256\"]\nsecret_file = \"{file}\"\n");
    let verdict = |text: &str| {
        let mut problems = Problems::default();
        let compiled = Issuers::compile(&toml::from_str(text).unwrap(), &mut problems);
        assert_eq!(compiled.is_some(), !problems.has_errors(), "{text}");
        (compiled.is_some(), problems.list().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect::<Vec<_>>())
    };
    assert_eq!(verdict(""), (true, vec![]));
    assert_eq!(verdict(&named(&hs(&long))), (true, vec![]));
    assert_eq!(verdict(&entry("a", &hs(&long))).1.len(), 2, "two warnings");
    assert!(verdict(&named(&format!("algorithms = [\"EdDSA\"]\njwks_file = \"{jwks}\""))).0);
    assert!(verdict(&named("algorithms = [\"RS256\"]\njwks_url = \"http://127.0.0.1:1/\"")).0);
    for (text, path) in [
        (named("algorithms = [\"HS256\"]"), "issuers[0]"),
        (named(&format!("{}jwks_file = \"{jwks}\"", hs(&long))), "issuers[0].secret_file"),
        (named(&format!("algorithms = [\"RS256\"]\nsecret_file = \"{long}\"")), "issuers[0].algorithms[0]"),
        (named(&format!("algorithms = [\"HS256\"]\njwks_file = \"{jwks}\"")), "issuers[0].algorithms[0]"),
        (named(&format!("algorithms = [\"none\"]\nsecret_file = \"{long}\"")), "issuers[0].algorithms[0]"),
        (named(&format!("secret_file = \"{long}\"")), "issuers[0].algorithms"),
        (named(&hs(&short)), "issuers[0].secret_file"),
        (named(&hs(&none)), "issuers[0].secret_file"),
        (named(&format!("algorithms = [\"ES256\"]\njwks_file = \"{jwks}\"")), "issuers[0].jwks_file"),
        (named(&format!("algorithms = [\"EdDSA\"]\npublic_key_file = \"{jwks}\"")), "issuers[0].public_key_file"),
        (named("algorithms = [\"RS256\"]\njwks_url = \"http://auth.example/\""), "issuers[0].jwks_url"),
        (named("algorithms = [\"RS256\"]\njwks_refresh = \"5s\"\njwks_url = \"http://127.0.0.1/\""), "issuers[0].jwks_refresh"),
        (entry("a", &format!("algorithms = [\"EdDSA\"]\njwks_file = \"{jwks}\"")), "issuers[0].issuer"),
        (format!("{}{}", named(&hs(&long)), entry("b", &hs(&long))), "issuers[1].issuer"),
        (format!("{0}{0}", named(&hs(&long))), "issuers[1].issuer"),
        (format!("[[issuers]]\nname = \"a\"\nclaims = {{ tenant = \"\" }}\n{}", hs(&long)), "issuers[0].claims.tenant"),
    ] {
        let (is_sound, said) = verdict(&text);
        assert!(!is_sound && said.iter().any(|problem| problem.starts_with(&format!("{path}: "))), "{text}\n{said:?}");
    }
}

#[test]
fn several_secrets_and_several_public_keys_all_verify() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secrets");
    std::fs::write(&path, "new secret that is long enough..\n\nold secret that is long enough..\n").unwrap();
    let text = format!(
        "[[issuers]]\nname = \"users\"\ntenant = \"t\"\nalgorithms = [\"HS256\", \"HS512\"]\nsecret_file = \"{}\"\n",
        path.display()
    );
    let issuers = Issuers::compile(&toml::from_str(&text).unwrap(), &mut Problems::default()).unwrap();
    assert_eq!(issuers.list[0].keys.len(), 4);
}

proptest! {
    #[test]
    fn nothing_that_is_sent_panics_and_nothing_unsigned_is_taken(text in "[A-Za-z0-9_.-]{0,200}", header in ".{0,60}", payload in ".{0,60}") {
        let issuers = issuers("tenant = \"acme\"\n");
        let encode = |part: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, part);
        for token in [text.clone(), format!("{}.{}.{text}", encode(&header), encode(&payload)), format!("{}.{}.AAAA", encode("{\"alg\":\"HS256\"}"), encode(&payload))] {
            prop_assert!(issuers.verify(token.as_bytes(), NOW).is_err());
        }
    }
}
