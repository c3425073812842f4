use super::*;

fn credentials(toml: &str) -> Credentials {
    Credentials::compile(&toml::from_str(toml).unwrap(), &mut Problems::default()).unwrap()
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    headers
}

fn digest(credential: Credential<'_>) -> Digest {
    match credential {
        Credential::Key(key) => key.digest,
        Credential::Token(token) => token.digest,
    }
}

fn verdict(lines: &[(&str, &str)]) -> Result<Digest, Rejection> {
    let mut headers = headers(lines);
    let taken = credentials("").take(&mut headers).map(digest).map_err(|refusal| refusal.rejection);
    if taken.is_ok() {
        assert!(headers.values().all(|value| !value.as_bytes().windows(3).any(|window| window == b"sk_")), "{headers:?}");
    }
    taken
}

#[test]
fn an_id_shows_a_key_or_a_token_wherever_a_key_stands_in_it() {
    let credentials = credentials("");
    for (id, shows) in [
        ("sk_live_0123456789abcdef", true),
        ("id.sk_live_0123456789abcdef", true),
        ("eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl", true),
        ("sk_live_short", false),
        ("0198d0a4-6b1e-7c3f-9a52-3f1c2d4e5b6a", false),
        ("service.span.7", false),
    ] {
        assert_eq!(credentials.in_id(id.as_bytes()), shows, "{id}");
    }
}

#[test]
fn one_credential_is_found_wherever_it_stands() {
    let expected = Ok(Digest::of(b"sk_live_x"));
    assert_eq!(verdict(&[("authorization", "Bearer sk_live_x")]), expected);
    assert_eq!(verdict(&[("authorization", "bEARER   sk_live_x")]), expected);
    assert_eq!(verdict(&[("x-api-key", "sk_live_x")]), expected);
    assert_eq!(verdict(&[("x-api-key", "sk_live_x"), ("x-api-key", "sk_live_x")]), expected);
    assert_eq!(verdict(&[("authorization", "Bearer sk_live_x"), ("x-api-key", "sk_live_x")]), expected);
    assert_eq!(verdict(&[("authorization", "Digest x=y"), ("x-api-key", "sk_live_x")]), expected);
}

#[test]
fn nothing_usable_is_missing_and_two_are_a_conflict() {
    for lines in [
        &[][..],
        &[("authorization", "")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Basic eDp5")],
        &[("authorization", "Bearersk_live_x")],
        &[("x-api-key", " ")],
        &[("authorization", "sk_live_x")],
    ] {
        assert_eq!(verdict(lines), Err(Rejection::CredentialMissing), "{lines:?}");
    }
    for lines in [
        &[("authorization", "Bearer sk_live_x"), ("authorization", "Bearer sk_live_x")][..],
        &[("authorization", "Bearer sk_live_x"), ("x-api-key", "sk_live_y")],
        &[("x-api-key", "sk_live_x"), ("x-api-key", "sk_live_y")],
        &[("authorization", "Bearer sk_live_x"), ("authorization", "Digest x")],
    ] {
        assert_eq!(verdict(lines), Err(Rejection::CredentialConflict), "{lines:?}");
    }
    assert_eq!(verdict(&[("authorization", "Bearer whatever")]), Err(Rejection::CredentialMalformed));
}

#[test]
fn another_scheme_stays_when_another_source_authenticates() {
    let mut headers = headers(&[("authorization", "Digest x=y"), ("x-api-key", "sk_live_x")]);
    credentials("").take(&mut headers).unwrap();
    assert_eq!(headers.get("authorization").unwrap(), "Digest x=y");
    assert!(!headers.contains_key("x-api-key"));
}

#[test]
fn a_key_in_another_form_beside_the_credential_goes_too() {
    for other in ["Token sk_live_x", "sk_live_y", "Basic c2tfbGl2ZV94Og=="] {
        let mut headers = headers(&[("authorization", other), ("x-api-key", "sk_live_x")]);
        credentials("").take(&mut headers).unwrap();
        assert!(headers.is_empty(), "{other}");
    }
}

const ISSUER: &str = "[[issuers]]\nname = \"users\"\nsecret_file = \"x\"\n";

#[test]
fn a_token_is_told_by_its_form_where_anybody_can_verify_it_and_stays_unless_it_is_not_to() {
    for (more, stays) in [("", true), ("[credentials]\nforward = { jwt = \"remove\" }\n", false)] {
        for (header, value) in [("authorization", "Bearer e30.e30.x-_"), ("x-api-key", "e30.e30.x-_"), ("x-api-key", "e30.e30.")] {
            let credentials = credentials(&format!("{more}{ISSUER}"));
            let mut lines = headers(&[(header, value), ("cookie", "a=b")]);
            assert!(matches!(credentials.take(&mut lines), Ok(Credential::Token(_))), "{value}");
            assert_eq!(lines.contains_key(header), stays, "{value}");
        }
        // The same in two places is one; a key beside it never stays.
        let mut both = headers(&[("authorization", "Bearer e30.e30.x"), ("x-api-key", "e30.e30.x")]);
        assert!(matches!(credentials(&format!("{more}{ISSUER}")).take(&mut both), Ok(Credential::Token(_))));
        assert_eq!(both.len(), if stays { 2 } else { 0 });
        let mut beside = headers(&[("authorization", "Token sk_live_x"), ("x-api-key", "e30.e30.x")]);
        assert!(credentials(&format!("{more}{ISSUER}")).take(&mut beside).is_ok());
        assert!(!beside.contains_key("authorization"));
    }
    let bad = |config: &str, text: &str| credentials(config).take(&mut headers(&[("x-api-key", text)])).unwrap_err().rejection;
    assert_eq!(bad("", "e30.e30.x"), Rejection::CredentialMalformed);
    for text in ["e30.e30", "e30.e30.x.x", ".e30.x", "e30..x", "e30.e30.x=", "e30.e3+.x", "e30.e30.x/"] {
        assert_eq!(bad(ISSUER, text), Rejection::CredentialMalformed, "{text}");
    }
}

#[test]
fn a_prefix_of_keys_goes_before_the_form_of_a_token_and_the_empty_one_behind_it() {
    let kinds = "[[key_kinds]]\nname = \"a\"\nprefixes = { live = \"e30_\" }\n[[key_kinds]]\nname = \"b\"\nprefixes = { live = \"\" }\n";
    let credentials = credentials(&format!("{kinds}{ISSUER}"));
    let is_key = |text: &str| matches!(credentials.take(&mut headers(&[("x-api-key", text)])), Ok(Credential::Key(_)));
    assert!(is_key("e30_.e30.x") && is_key("whatever") && !is_key("e3.e30.x"));
    // Its own header is not one that shows a key, although to the empty prefix anything is one.
    let mut lines = headers(&[("authorization", "Bearer e3.e30.x")]);
    assert!(credentials.take(&mut lines).is_ok() && lines.len() == 1);
}

#[test]
fn basic_carries_the_key_as_user_name() {
    let both = credentials(
        "[credentials]\nsources = [{ header = \"Authorization\", scheme = \"Bearer\" }, { header = \"Authorization\", scheme = \"Basic\" }]",
    );
    let mut lines = headers(&[("authorization", "basic c2tfbGl2ZV94Og==")]);
    assert_eq!(digest(both.take(&mut lines).unwrap()), Digest::of(b"sk_live_x"));
    assert!(lines.is_empty());
    assert_eq!(both.take(&mut headers(&[("authorization", "Basic !!!")])).unwrap_err().rejection, Rejection::CredentialMissing);
}

#[test]
fn an_open_route_loses_keys_and_nothing_else() {
    for (name, value) in [
        ("x-api-key", "sk_live_x"),
        ("x-api-key", "Bearer sk_live_x"),
        ("authorization", "Bearer\tsk_live_x"),
        ("authorization", "sk_live_x"),
        ("authorization", "Token sk_live_x"),
        ("authorization", "Token token=\"sk_live_x\""),
        ("authorization", "Basic c2tfbGl2ZV94Og=="),
    ] {
        let mut lines = headers(&[(name, value), ("cookie", "a=b")]);
        credentials("").strip(&mut lines);
        assert!(lines.len() == 1 && lines.contains_key("cookie"), "{name}: {value}");
    }
    let mut lines = headers(&[("authorization", "Bearer eyJ.x.y"), ("x-api-key", "other")]);
    credentials("").strip(&mut lines);
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_key_in_the_query_is_seen_through_its_encoding() {
    let credentials = credentials("");
    let key = "sk_live_abcdef";
    for query in [
        "a=1&api_key=KEY",
        "KEY",
        "a=Bearer%20KEY",
        "a=Bearer+KEY",
        "a=1;k=KEY",
        "a[KEY]=1",
        "a=%5BKEY",
        "k=%73k_live_abcdef",
        "k=%2573k_live_abcdef",
    ] {
        assert!(credentials.in_query(&query.replace("KEY", key)), "{query}");
    }
    assert!(credentials.in_query("x=1.sk_live_0123456789abcdef"));
    assert!(!credentials.in_query("q=how+do+sk_live_keys+work&prefix=sk_live_"));
}
