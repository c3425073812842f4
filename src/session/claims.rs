//! What our access tokens claim (RFC 9068 §2.2), signed. What they rest on is a claim too: a session, or the key they stand for.

use secrecy::SecretString;
use serde::Serialize;

use super::pair::seconds;
use crate::authn::jwt::Signing;
use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;
use crate::key::format::random_base62;
use crate::key::lifecycle::LifecycleError;

/// Base62 characters of a token's own id.
const JTI_LEN: usize = 20;

/// Of whom an access token tells.
pub(super) struct Bearer<'a> {
    pub(super) tenant: &'a str,
    pub(super) subject: &'a str,
    pub(super) environment: EnvironmentName,
    pub(super) scope: &'a str,
    /// `None` = it stands for the key that is its subject.
    pub(super) session: Option<&'a str>,
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
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
}

/// An access token of theirs, for so many seconds from now on.
pub(super) fn sign(signing: &Signing, bearer: &Bearer<'_>, now: Timestamp, life: i64) -> Result<SecretString, LifecycleError> {
    let (jti, iat) = (random_base62(JTI_LEN)?, seconds(now));
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
        sid: bearer.session,
        client_id: bearer.session.is_none().then_some(bearer.subject),
    };
    let signed = signing.sign(&claims).ok_or_else(|| LifecycleError::State("a token cannot be signed".into()))?;
    Ok(signed.into())
}
