//! What is asked at the endpoints of `[sessions]`, and the bytes of their answers: JSON in the shape of the profile, or OAuth 2.0
//! (RFC 6749 §5) for whoever asks in a form. Pure; nothing of a token or a secret is in a message.

mod form;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::pair::Pair;
use crate::config::sections::Sessions as Section;
use crate::rejection::{Refusal, Rejection};
use crate::route::TokenEndpoint;
use form::Form;

/// Longest body.
pub const BODY_MAX: u64 = 16 << 10;

/// What is asked for.
#[derive(Debug)]
pub enum Grant {
    /// The next pair for this refresh token; of these scopes, if they are said.
    Refresh(SecretString, Option<String>),
    /// A token for the client itself; of these scopes, if they are said.
    Client(Option<String>),
}

/// What stands in a body.
#[derive(Debug)]
pub struct Asked {
    /// What is asked for.
    pub grant: Grant,
    /// Who says it is: its id and its secret.
    pub client: Option<(String, SecretString)>,
}

/// How an answer is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As the profile says it.
    Profile,
    /// As RFC 6749 says it.
    OAuth,
}

/// Why there is nothing to answer: an error of RFC 6749 §5.2, and in our words.
#[derive(Debug)]
pub struct Wrong {
    error: &'static str,
    /// The same, for the log, and for who did not ask in a form.
    pub refusal: Refusal,
}

impl Style {
    /// Of a request with these headers.
    #[must_use]
    pub fn of(endpoint: TokenEndpoint, headers: &HeaderMap) -> Self {
        let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is_form = kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded");
        if is_form || endpoint == TokenEndpoint::Token { Self::OAuth } else { Self::Profile }
    }
}

impl Wrong {
    fn new(error: &'static str, why: &'static str) -> Self {
        Self { error, refusal: Rejection::BodyInvalid.because(why) }
    }

    /// A client that shows who it is in two ways (RFC 6749 §5.2).
    #[must_use]
    pub fn of_two_clients() -> Self {
        let refusal = Rejection::CredentialConflict.because("another credential beside the client's own");
        Self { error: "invalid_request", refusal }
    }

    /// Why a client is not who it says: nobody is told more than that it is not.
    #[must_use]
    pub fn of_client(refusal: Refusal) -> Self {
        let error = if refusal.rejection.row().status == 401 { "invalid_client" } else { "unauthorized_client" };
        Self { error, refusal }
    }
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        // A client's secret that was replaced between two looks.
        if refusal.rejection == Rejection::KeyUnknown {
            return Self::of_client(refusal);
        }
        let error = if refusal.rejection == Rejection::ScopeMissing { "invalid_scope" } else { "invalid_grant" };
        Self { error, refusal }
    }
}

/// Reads a body.
///
/// # Errors
/// What is wrong with it.
pub fn read(endpoint: TokenEndpoint, style: Style, body: &[u8], basic: Option<&HeaderValue>) -> Result<Asked, Wrong> {
    if style == Style::Profile {
        return json(body);
    }
    let mut form = Form::parse(body).map_err(|why| Wrong::new("invalid_request", why))?;
    let client = client(&mut form, basic)?;
    let scope = form.take("scope").map(|scope| scope.to_string());
    let grant = match (form.take("grant_type").as_deref().map(String::as_str), endpoint) {
        (Some("refresh_token"), _) => {
            let token = form.take("refresh_token").ok_or_else(|| Wrong::new("invalid_request", "refresh_token is missing"))?;
            Grant::Refresh(SecretString::from(token.as_str()), scope)
        }
        (Some("client_credentials"), TokenEndpoint::Token) => Grant::Client(scope),
        (Some(_), _) => return Err(Wrong::new("unsupported_grant_type", "grant_type")),
        (None, _) => return Err(Wrong::new("invalid_request", "grant_type is missing")),
    };
    Ok(Asked { grant, client })
}

/// `{"refresh_token": "…"}`; what else stands there is the client's business.
fn json(body: &[u8]) -> Result<Asked, Wrong> {
    #[derive(Deserialize)]
    struct Body {
        refresh_token: SecretString,
    }
    let body: Body = crate::json::read(body).map_err(|_| Wrong::new("invalid_request", "no JSON object with a refresh_token"))?;
    Ok(Asked { grant: Grant::Refresh(body.refresh_token, None), client: None })
}

/// The client's id and secret, by Basic or in the body, but not both (RFC 6749 §2.3.1).
fn client(form: &mut Form, basic: Option<&HeaderValue>) -> Result<Option<(String, SecretString)>, Wrong> {
    let (id, secret) = (form.take("client_id"), form.take("client_secret"));
    let Some(basic) = basic else {
        return match (id, secret) {
            (Some(id), Some(secret)) => Ok(Some((id.to_string(), SecretString::from(secret.as_str())))),
            (None, Some(_)) => Err(Wrong::new("invalid_request", "client_id is missing")),
            (_, None) => Ok(None),
        };
    };
    if secret.is_some() {
        return Err(Wrong::new("invalid_request", "the client shows its secret twice"));
    }
    let malformed = || Wrong::of_client(Rejection::CredentialMalformed.because("no client's Basic"));
    let (scheme, text) = basic.as_bytes().split_at_checked(6).ok_or_else(malformed)?;
    let decoded = STANDARD.decode(text.trim_ascii()).map(Zeroizing::new).ok().filter(|_| scheme.eq_ignore_ascii_case(b"basic "));
    let decoded = decoded.ok_or_else(malformed)?;
    let colon = decoded.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
    let part = |bytes: &[u8]| form::decode(bytes).ok_or_else(malformed);
    let (own_id, own_secret) = (part(decoded.get(..colon).unwrap_or_default())?, part(decoded.get(colon + 1..).unwrap_or_default())?);
    if id.is_some_and(|id| *id != *own_id) {
        return Err(Wrong::new("invalid_request", "two different client_id"));
    }
    Ok(Some((own_id.to_string(), SecretString::from(own_secret.as_str()))))
}

/// The answers, compiled.
#[derive(Debug)]
pub struct Answers {
    refresh_body: Box<str>,
    realm: Box<str>,
}

impl Answers {
    pub(super) fn new(section: &Section, realm: &str) -> Self {
        Self { refresh_body: section.refresh_body.as_str().into(), realm: realm.into() }
    }

    /// A pair, as it is given.
    #[must_use]
    pub fn given(&self, style: Style, pair: &Pair) -> Response<Bytes> {
        let refresh = pair.refresh.as_ref().map(ExposeSecret::expose_secret);
        let body = match style {
            Style::Profile => fill(&self.refresh_body, pair.access.expose_secret(), refresh.unwrap_or_default(), pair.expires_in),
            Style::OAuth => serde_json::to_string(&pair.told_with_scope()).unwrap_or_default(),
        };
        whole(StatusCode::OK, body)
    }

    /// What is wrong, as RFC 6749 says it; `None` = it is said as all refusals are.
    #[must_use]
    pub fn refused(&self, style: Style, wrong: &Wrong) -> Option<Response<Bytes>> {
        // Neither a limit nor our own outage is the client's fault.
        let status = wrong.refusal.rejection.row().status;
        if style == Style::Profile || status == 429 || status >= 500 {
            return None;
        }
        let is_client = wrong.error == "invalid_client";
        let mut response =
            whole(if is_client { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST }, json!({ "error": wrong.error }).to_string());
        if is_client && let Ok(value) = HeaderValue::try_from(format!("Basic realm=\"{}\"", self.realm)) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        Some(response)
    }
}

/// `refresh_body` with its words filled in. No token holds what would have to be escaped.
pub(super) fn fill(template: &str, access: &str, refresh: &str, expires_in: i64) -> String {
    let filled = template.replace("{expires_in}", &expires_in.to_string());
    filled.replace("{access_token}", access).replace("{refresh_token}", refresh)
}

fn whole(status: StatusCode, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests;
