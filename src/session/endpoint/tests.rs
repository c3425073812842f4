//! Bodies that are read and those that are not, and what is said to them.

use super::*;

fn asked(endpoint: TokenEndpoint, style: Style, body: &str, basic: Option<&str>) -> Result<Asked, &'static str> {
    let basic = basic.map(|text| HeaderValue::try_from(format!("Basic {}", STANDARD.encode(text))).unwrap());
    read(endpoint, style, body.as_bytes(), basic.as_ref()).map_err(|wrong| wrong.error)
}

fn form(body: &str, basic: Option<&str>) -> String {
    match asked(TokenEndpoint::Token, Style::OAuth, body, basic) {
        Err(error) => error.to_owned(),
        Ok(Asked { grant, client }) => {
            let client = client.map_or_else(|| "nobody".to_owned(), |(id, secret)| format!("{id}:{}", secret.expose_secret()));
            match grant {
                Grant::Refresh(token, scope) => format!("refresh {} {scope:?} by {client}", token.expose_secret()),
                Grant::Client(scope) => format!("client {scope:?} by {client}"),
            }
        }
    }
}

#[test]
fn a_json_body_is_an_object_with_a_refresh_token() {
    let json = |body: &str| asked(TokenEndpoint::Refresh, Style::Profile, body, None);
    for good in [r#"{"refresh_token":"rt_x"}"#, r#" {"grant_type":"refresh_token","refresh_token":"rt_x"}"#] {
        let asked = json(good).unwrap();
        assert!(matches!(asked.grant, Grant::Refresh(token, None) if token.expose_secret() == "rt_x"), "{good}");
    }
    for bad in ["", "{}", "null", r#"["rt_x"]"#, r#""rt_x""#, r#"{"refresh_token":1}"#, r#"{"refresh_token":"a","refresh_token":"b"}"#] {
        assert_eq!(json(bad).unwrap_err(), "invalid_request", "{bad}");
    }
}

#[test]
fn a_form_says_what_is_asked_and_by_whom() {
    for (body, basic, read) in [
        ("grant_type=refresh_token&refresh_token=rt_x", None, "refresh rt_x None by nobody"),
        ("grant_type=refresh_token&refresh_token=rt%5Fx&scope=read%3Aa+b", None, "refresh rt_x Some(\"read:a b\") by nobody"),
        ("grant_type=client_credentials&client_id=key_1&client_secret=sk", None, "client None by key_1:sk"),
        ("grant_type=client_credentials&scope=", Some("key_1:sk%2B"), "client Some(\"\") by key_1:sk+"),
        ("grant_type=client_credentials&client_id=key_1", Some("key_1:sk"), "client None by key_1:sk"),
        ("", None, "invalid_request"),
        ("grant_type=password&username=a&password=b", None, "unsupported_grant_type"),
        ("grant_type=refresh_token", None, "invalid_request"),
        ("grant_type=refresh_token&refresh_token=", None, "invalid_request"),
        ("grant_type=refresh_token&refresh_token=a&refresh_token=b", None, "invalid_request"),
        ("grant_type=client_credentials&client_secret=sk", None, "invalid_request"),
        ("grant_type=client_credentials&client_id=key_2", Some("key_1:sk"), "invalid_request"),
        ("grant_type=client_credentials&client_id=key_1&client_secret=sk", Some("key_1:sk"), "invalid_request"),
        ("grant_type=client_credentials", Some("nothing"), "invalid_client"),
        ("grant_type=%ff", None, "invalid_request"),
    ] {
        assert_eq!(form(body, basic), read, "{body}");
    }
    // The refresh endpoint gives nobody a token who has none.
    let refused = asked(TokenEndpoint::Refresh, Style::OAuth, "grant_type=client_credentials&client_id=a&client_secret=b", None);
    assert_eq!(refused.unwrap_err(), "unsupported_grant_type");
}

#[test]
fn whoever_asks_in_a_form_is_answered_as_rfc_6749_has_it() {
    let answers = Answers::new(&Section::default(), "api");
    let said = |wrong: Wrong| answers.refused(Style::OAuth, &wrong).map(|answer| (answer.status().as_u16(), answer.into_body()));
    let invalid = |refusal: Rejection| Wrong::from(Refusal::from(refusal));
    assert_eq!(said(invalid(Rejection::RefreshInvalid)), Some((400, r#"{"error":"invalid_grant"}"#.into())));
    assert_eq!(said(invalid(Rejection::ScopeMissing)), Some((400, r#"{"error":"invalid_scope"}"#.into())));
    assert_eq!(said(Wrong::of_client(Rejection::KeyRevoked.into())), Some((401, r#"{"error":"invalid_client"}"#.into())));
    assert_eq!(said(Wrong::of_client(Rejection::KindRestricted.into())), Some((400, r#"{"error":"unauthorized_client"}"#.into())));
    assert!(said(invalid(Rejection::StoreUnavailable)).is_none() && said(Wrong::of_client(Rejection::RateLimited.into())).is_none());
    assert!(answers.refused(Style::Profile, &invalid(Rejection::RefreshInvalid)).is_none());
}

#[test]
fn a_pair_has_the_shape_of_the_profile() {
    let section = Section {
        refresh_body:
            r#"{"success":true,"session":{"access_token":"{access_token}","refresh_token":"{refresh_token}","expires_in":{expires_in}}}"#
                .into(),
        ..Section::default()
    };
    let pair = Pair { access: "a.b.c".into(), refresh: Some("rt_x".into()), expires_in: 3600, scope: "read:a".into() };
    let answers = Answers::new(&section, "api");
    assert_eq!(
        answers.given(Style::Profile, &pair).into_body(),
        r#"{"success":true,"session":{"access_token":"a.b.c","refresh_token":"rt_x","expires_in":3600}}"#
    );
    assert_eq!(
        answers.given(Style::OAuth, &pair).into_body(),
        r#"{"access_token":"a.b.c","refresh_token":"rt_x","token_type":"Bearer","expires_in":3600,"scope":"read:a"}"#
    );
}
