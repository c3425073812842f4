//! What a token whose signature is good says: whether it is for now and for us (RFC 7519 §4.1), and of whom it tells. A claim of
//! another JSON type than it has to have refuses the token, as does a time that no calendar has.

use std::sync::Arc;

use super::Issuer;
use super::json::{Json, Members};
use super::jwk::shown;
use crate::authn::introspection::Asked;
use crate::clock::Timestamp;
use crate::config::sections::{CredentialType, EnvironmentName};
use crate::policy::scope::Grants;
use crate::rejection::{Refusal, Rejection};

/// The last second of the year 9999.
const TIME_MAX: u64 = 253_402_300_799;
/// Longest that a token may go on, 100 years: beyond it no end is meant, or other units are.
const LIFE_MAX_MS: i64 = 36_525 * 86_400_000;

/// A token that is good: who calls, until when.
#[derive(Debug)]
pub struct Verified {
    /// By whose keys.
    pub issuer: Arc<Issuer>,
    /// On whose behalf.
    pub tenant: String,
    /// Who; empty where it does not say.
    pub subject: String,
    /// What was granted; `None` where the issuer does not use scopes.
    pub scopes: Option<Grants>,
    /// Environment.
    pub environment: EnvironmentName,
    /// When it is over, the tolerance of clocks included.
    pub end: Timestamp,
    /// The issuers' when its signature was checked.
    pub version: u64,
    /// What it rests on beside its tenant, if we have issued it.
    pub grant: Option<Grant>,
    /// Who was asked about it, if it says nothing itself.
    pub asked: Option<Asked>,
}

impl Verified {
    /// What kind of token it is.
    #[must_use]
    pub const fn credential(&self) -> CredentialType {
        if self.asked.is_some() { CredentialType::Opaque } else { CredentialType::Jwt }
    }
}

/// What we have issued a token for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// A session, by its id.
    Session(Box<str>),
    /// A key, by its id, that stood for itself, and the mark of the secret it did that with.
    Client(Box<str>, Box<str>),
}

fn malformed(why: String) -> Refusal {
    Rejection::JwtMalformed.because(why)
}

/// A text that may be missing.
pub(super) fn text<'c>(claims: &'c Members, name: &str) -> Result<Option<&'c str>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(other) => Err(malformed(format!("{name} is {}, not a string", other.kind()))),
    }
}

/// A time: milliseconds, of whole seconds (RFC 7519 allows fractions, and nobody needs them).
pub(in crate::authn) fn time(claims: &Members, name: &str) -> Result<Option<Timestamp>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::Whole(secs)) if *secs <= TIME_MAX => Ok(i64::try_from(*secs * 1000).ok().map(Timestamp)),
        Some(Json::Whole(_)) => Err(malformed(format!("{name} is beyond the year 9999"))),
        Some(other) => Err(malformed(format!("{name} is {}, not a time in whole seconds", other.kind()))),
    }
}

/// Words of an array, or of a text with spaces between them.
fn words<'c>(value: &'c Json, name: &str, separated: bool) -> Result<Vec<&'c str>, Refusal> {
    match value {
        Json::Text(text) if separated => Ok(text.split(' ').filter(|word| !word.is_empty()).collect()),
        Json::Text(text) => Ok(vec![text]),
        Json::List(list) => {
            let words = list.iter().map(|item| item.as_text().ok_or_else(|| malformed(format!("{name} holds {}", item.kind()))));
            words.collect()
        }
        other @ (Json::Null | Json::Bool(_) | Json::Whole(_) | Json::Number | Json::Object(_)) => {
            Err(malformed(format!("{name} is {}, neither a string nor an array of them", other.kind())))
        }
    }
}

impl Issuer {
    /// Whether what an authorization server says of an active token makes it one for here. Servers call refresh tokens active too, and
    /// tokens that need a proof beside them.
    ///
    /// # Errors
    /// `jwt_malformed`, `token_inactive`, `jwt_not_yet`, `jwt_issuer`, `jwt_audience`.
    pub(in crate::authn) fn check_answer(&self, members: &Members, now: Timestamp) -> Result<(), Refusal> {
        let unfit = |name: &str, word: &str| Rejection::TokenInactive.because(format!("its {name} is `{}`", shown(word)));
        for name in ["token_use", "typ"] {
            if let Some(word) = text(members, name)?.filter(|word| !is_of_access(word)) {
                return Err(unfit(name, word));
            }
        }
        if let Some(kind) = text(members, "token_type")?.filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(unfit("token_type", kind));
        }
        if time(members, "nbf")?.is_some_and(|begin| now.plus_millis(self.leeway_ms) < begin) {
            return Err(Rejection::JwtNotYet.because("nbf is in the future"));
        }
        let iss = text(members, "iss")?;
        if self.iss.is_some() && self.iss.as_deref() != iss {
            return Err(
                Rejection::JwtIssuer.because(iss.map_or_else(|| "iss is missing".to_owned(), |iss| format!("iss is `{}`", shown(iss))))
            );
        }
        self.check_audience(members)
    }

    /// What the claims say, if they hold now.
    ///
    /// # Errors
    /// `jwt_malformed`, `jwt_expired`, `jwt_not_yet`, `jwt_audience`, `tenant_unknown`, `identity_invalid`.
    pub(super) fn judge(self: &Arc<Self>, claims: &Members, version: u64, now: Timestamp) -> Result<Verified, Refusal> {
        let end = self.check_times(claims, now)?;
        self.check_audience(claims)?;
        self.caller(claims, end, version)
    }

    /// Of whom the claims tell, once it is known that they hold, and until when.
    ///
    /// # Errors
    /// `jwt_malformed`, `tenant_unknown`, `identity_invalid`.
    pub(in crate::authn) fn caller(self: &Arc<Self>, claims: &Members, end: Timestamp, version: u64) -> Result<Verified, Refusal> {
        let tenant = match &self.tenant {
            Some(tenant) => tenant.clone(),
            None => text(claims, &self.claims.tenant)?.unwrap_or_default().to_owned(),
        };
        if tenant.is_empty() {
            return Err(Rejection::TenantUnknown.because(format!("the claim {} is missing or empty", self.claims.tenant)));
        }
        let subject = text(claims, &self.claims.subject)?.unwrap_or_default().to_owned();
        Ok(Verified {
            issuer: Arc::clone(self),
            tenant,
            subject,
            scopes: self.scopes(claims)?,
            environment: self.environment(claims)?,
            end,
            version,
            grant: self.is_own.then(|| grant(claims)).transpose()?,
            asked: None,
        })
    }

    fn check_times(&self, claims: &Members, now: Timestamp) -> Result<Timestamp, Refusal> {
        let (exp, nbf, iat) = (time(claims, "exp")?, time(claims, "nbf")?, time(claims, "iat")?);
        let mut end = exp.ok_or_else(|| malformed("exp is missing".into()))?;
        if end > now.plus_millis(LIFE_MAX_MS) {
            return Err(malformed("exp is more than 100 years ahead".into()));
        }
        let mut why = "exp";
        if let Some(max_age_ms) = self.max_age_ms {
            let oldest = iat.ok_or_else(|| malformed("iat is missing, and max_age asks for it".into()))?.plus_millis(max_age_ms);
            if oldest < end {
                (end, why) = (oldest, "max_age");
            }
        }
        let end = end.plus_millis(self.leeway_ms);
        if now >= end {
            return Err(Rejection::JwtExpired.because(format!("by {why}, since {end}")));
        }
        for (name, begin) in [("nbf", nbf), ("iat", iat)] {
            if begin.is_some_and(|begin| now.plus_millis(self.leeway_ms) < begin) {
                return Err(Rejection::JwtNotYet.because(format!("{name} is in the future")));
            }
        }
        Ok(end)
    }

    fn check_audience(&self, claims: &Members) -> Result<(), Refusal> {
        let aud = claims.get("aud").map(|aud| words(aud, "aud", false)).transpose()?;
        if self.audiences.is_empty() {
            return Ok(());
        }
        let aud = aud.ok_or_else(|| Rejection::JwtAudience.because("aud is missing"))?;
        if aud.iter().any(|aud| self.audiences.iter().any(|own| own == aud)) {
            return Ok(());
        }
        Err(Rejection::JwtAudience.because(format!("aud is `{}`", shown(&aud.join(" ")))))
    }

    fn scopes(&self, claims: &Members) -> Result<Option<Grants>, Refusal> {
        let name = &self.claims.scopes;
        if name.is_empty() || self.takes_unscoped && !claims.contains_key(name) {
            return Ok(None);
        }
        let scopes = claims.get(name).map(|scopes| words(scopes, name, true)).transpose()?.unwrap_or_default();
        Grants::parse(&scopes).map(Some).map_err(|why| Rejection::IdentityInvalid.because(format!("{name}: {why}")))
    }

    fn environment(&self, claims: &Members) -> Result<EnvironmentName, Refusal> {
        let name = &self.claims.environment;
        if name.is_empty() {
            return Ok(self.environment);
        }
        match text(claims, name)? {
            None => Ok(self.environment),
            Some("live") => Ok(EnvironmentName::Live),
            Some("test") => Ok(EnvironmentName::Test),
            Some(other) => Err(Rejection::IdentityInvalid.because(format!("{name} is `{}`, neither live nor test", shown(other)))),
        }
    }
}

/// Whether a word of a server's may be that of an access token: it is none of a refresh token's (also Keycloak's `Offline`) or an ID
/// token's.
fn is_of_access(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    !word.contains("refresh") && !matches!(&*word, "offline" | "id" | "id_token")
}

/// What a token of ours rests on. One that rests on nothing could not be taken back.
fn grant(claims: &Members) -> Result<Grant, Refusal> {
    match (text(claims, "sid")?, text(claims, "client_id")?, text(claims, "secret_mark")?) {
        (Some(session), None, None) => Ok(Grant::Session(session.into())),
        (None, Some(key), Some(mark)) => Ok(Grant::Client(key.into(), mark.into())),
        _ => Err(malformed("neither sid nor client_id and secret_mark".into())),
    }
}
