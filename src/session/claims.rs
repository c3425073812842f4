//! What our access tokens claim (RFC 9068 §2.2), signed. What they rest on is a claim too: a session, or the key they stand for.

use secrecy::SecretString;
use serde::Serialize;

use super::pair::seconds;
use crate::authn::jwt::{Signing, TOKEN_MAX};
use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;
use crate::key::format::random_base62;
use crate::key::lifecycle::LifecycleError;
use crate::key::rules::Fault;

/// Base62 characters of a token's own id.
const JTI_LEN: usize = 20;

/// Of whom an access token tells.
pub(super) struct Bearer<'a> {
    pub(super) tenant: &'a str,
    pub(super) subject: &'a str,
    pub(super) environment: EnvironmentName,
    /// `None` = it was begun without.
    pub(super) scope: Option<&'a str>,
    pub(super) grant: Grant<'a>,
}

/// What it is given for.
#[derive(Clone, Copy)]
pub(super) enum Grant<'a> {
    /// This session.
    Session(&'a str),
    /// The key that is its subject, by the secret with this mark.
    Client(&'a str),
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: &'a str,
    tenant: &'a str,
    environment: EnvironmentName,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_mark: Option<&'a str>,
}

/// An access token of theirs, for so many seconds from now on.
pub(super) fn sign(signing: &Signing, bearer: &Bearer<'_>, now: Timestamp, life: i64) -> Result<SecretString, LifecycleError> {
    let (jti, iat) = (random_base62(JTI_LEN)?, seconds(now));
    let (sid, client_id, secret_mark) = match bearer.grant {
        Grant::Session(id) => (Some(id), None, None),
        Grant::Client(mark) => (None, Some(bearer.subject), Some(mark)),
    };
    let claims = Claims {
        iss: &signing.issuer,
        sub: bearer.subject,
        aud: &signing.issuer,
        iat,
        exp: iat.saturating_add(life),
        jti: &jti,
        tenant: bearer.tenant,
        environment: bearer.environment,
        scope: bearer.scope,
        sid,
        client_id,
        secret_mark,
    };
    let signed = signing.sign(&claims).ok_or_else(|| LifecycleError::State("a token cannot be signed".into()))?;
    // Nobody here would take it.
    if signed.len() > TOKEN_MAX {
        let why = format!("an access token with these scopes would be {} bytes long, and none over {TOKEN_MAX} is taken", signed.len());
        return Err(LifecycleError::Invalid(vec![Fault::new("scopes", why)]));
    }
    Ok(signed.into())
}
