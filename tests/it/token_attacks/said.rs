//! Attacks by what a token claims: its times, whose it is and for whom, and what one of `[sessions]` rests on.

use super::*;

/// When it is good.
pub(super) fn times(table: &mut Table, keys: &Keys) {
    let plain = |over: Value| keys.secret.token(&claims("shared", &over));
    let body = claims("shared", &json!({})).to_string();
    for (name, exp) in [
        ("negative", json!(-1)),
        ("negative zero point", json!(-0.5)),
        ("a fraction", json!(4_000_000_000.5)),
        ("a whole float", json!(4_000_000_000.0_f64)),
        ("a string", json!("4000000000")),
        ("a list", json!([4_000_000_000_u64])),
        ("in milliseconds", json!(*NOW * 1000 + 3_600_000)),
        ("beyond the calendar", json!(253_402_300_800_u64)),
        ("in the year 9000", json!(221_845_392_000_u64)),
        ("in 101 years", json!(*NOW + 101 * 366 * 86_400)),
        ("the greatest of 64 bits", json!(u64::MAX)),
        ("missing", Value::Null),
    ] {
        table.add(&format!("exp {name}"), plain(json!({ "exp": exp })), "jwt_malformed", "exp");
    }
    table.add("exp null", keys.secret.over(r#"{"alg":"HS256"}"#, body.replace(&(*NOW + 3600).to_string(), "null")), "jwt_malformed", "exp");
    for (name, over) in
        [("nbf", json!({ "nbf": "0" })), ("nbf", json!({ "nbf": -1 })), ("iat", json!({ "iat": true })), ("iat", json!({ "iat": 1.5 }))]
    {
        table.add(&format!("{name} {over}"), plain(over), "jwt_malformed", name);
    }
    table.add("exp long past", plain(json!({ "exp": 0 })), "jwt_expired", "exp");
    table.add("exp past by more than the tolerance", plain(json!({ "exp": *NOW - 40 })), "jwt_expired", "exp");
    table.add("nbf in the future", plain(json!({ "nbf": *NOW + 600 })), "jwt_not_yet", "nbf");
    table.add("iat in the future", plain(json!({ "iat": *NOW + 600 })), "jwt_not_yet", "iat");
}

/// Whose it is, for whom, and of whom it tells.
pub(super) fn names(table: &mut Table, keys: &Keys) {
    let plain = |over: Value| keys.secret.token(&claims("shared", &over));
    for (name, iss, reason, detail) in [
        ("missing", Value::Null, "jwt_issuer", "missing"),
        ("a stranger's", json!("https://evil.example"), "jwt_issuer", "evil"),
        ("almost ours", json!("https://shared.example/"), "jwt_issuer", "shared"),
        ("in another case", json!("https://SHARED.example"), "jwt_issuer", "SHARED"),
        ("a list with ours", json!(["https://shared.example"]), "jwt_malformed", "iss"),
        ("another issuer of ours", json!("https://rsa.example"), "jwt_signature", "algorithm"),
    ] {
        table.add(&format!("iss {name}"), plain(json!({ "iss": iss })), reason, detail);
    }
    for (name, aud, reason) in [
        ("missing", Value::Null, "jwt_audience"),
        ("another's", json!("web"), "jwt_audience"),
        ("in another case", json!("API"), "jwt_audience"),
        ("a list without ours", json!(["web", "app"]), "jwt_audience"),
        ("an empty list", json!([]), "jwt_audience"),
        ("ours in a text of several", json!("api web"), "jwt_audience"),
        ("an object with ours", json!({ "api": 1 }), "jwt_malformed"),
        ("a list with a number", json!(["api", 1]), "jwt_malformed"),
        ("null in a list", json!(["api", null]), "jwt_malformed"),
    ] {
        table.add(&format!("aud {name}"), plain(json!({ "aud": aud })), reason, "aud");
    }
    table.add("sub is a number", plain(json!({ "sub": 7 })), "jwt_malformed", "sub");
    table.add("sub ends the header", plain(json!({ "sub": "ada\r\nX-Tenant-Id: evil" })), "identity_invalid", "subject");
    table.add("sub is a list of header values", plain(json!({ "sub": "ada,eve" })), "identity_invalid", "subject");
    table.add("sub is no ASCII", plain(json!({ "sub": "adä" })), "identity_invalid", "subject");
    table.add("scope is a number", plain(json!({ "scope": 1 })), "jwt_malformed", "scope");
    table.add("scope holds a number", plain(json!({ "scope": ["read:a", 1] })), "jwt_malformed", "scope");
    table.add("scope ends the header", plain(json!({ "scope": "read:a\r\nX-Evil:1" })), "identity_invalid", "scope");
}

/// Those that `[sessions]` would have issued.
pub(super) fn ours(table: &mut Table, keys: &Keys) {
    let own = |over: Value| {
        let mut all = json!({ "iss": "sidegate", "aud": "sidegate", "tenant": "acme", "environment": "live", "sid": "ses_nobody" });
        all.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
        all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims("any", &all)
    };
    let good = own(json!({}));
    let of_pem = Signer::secret(keys.own.public_pem().as_bytes()).over(r#"{"alg":"HS256"}"#, good.to_string());
    table.add("HS256 with the public key of [sessions] as secret", of_pem, "jwt_signature", "no key");
    let of_jwk = Signer::secret(keys.own.jwk("own")["x"].as_str().unwrap().as_bytes()).token(&good);
    table.add("the same, as it is published", of_jwk, "jwt_signature", "no key");
    let none = format!("{}.{}.", base64url(r#"{"alg":"none"}"#), base64url(good.to_string()));
    table.add("alg none, of [sessions]", none, "jwt_signature", "algorithm");
    table.add("a key of an issuer for a token of ours", keys.edwards.token(&good), "jwt_signature", "no key");
    table.add("a secret of an issuer for a token of ours", keys.secret.token(&good), "jwt_signature", "no key");
    table.add("our key for a token of an issuer", keys.own.token(&claims("set", &json!({}))), "jwt_signature", "kid");
    table.add("a session that nobody has begun", keys.own.token(&good), "token_inactive", "session");
    table.add("a token of ours that rests on nothing", keys.own.token(&own(json!({ "sid": null }))), "jwt_malformed", "sid");
    table.add("a key without its secret", keys.own.token(&own(json!({ "sid": null, "client_id": "key_main" }))), "jwt_malformed", "sid");
    let forged = own(json!({ "sid": null, "client_id": "key_main", "secret_mark": "0000000000000000" }));
    table.add("a key by a secret that it never had", keys.own.token(&forged), "key_unknown", "rotation");
    table.add("aud of another API, of ours", keys.own.token(&own(json!({ "aud": "api" }))), "jwt_audience", "aud");
}
