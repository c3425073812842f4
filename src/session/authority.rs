//! Who issues tokens here: a session's first pair, the next one for a refresh token, and an access token for a key that stands for
//! itself. What may be refreshed is decided in [`super::refresh`]; of many who present one token at once, one writes and all get that.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::lifecycle::{ATTEMPTS, SessionLifecycle};
use super::record::SessionRecord;
use super::refresh::{Presented, Verdict, judge, spend};
use super::seal::{Holder, Seals};
use super::token;
use crate::audit::Actor;
use crate::authn::jwt::Signing;
use crate::clock::Timestamp;
use crate::config::sections::{EnvironmentName, Sessions as Section};
use crate::identity::template::{VALUE_MAX, is_injectable};
use crate::key::digest::Digest;
use crate::key::format::random_base62;
use crate::key::lifecycle::LifecycleError;
use crate::key::record::FORMAT;
use crate::key::rules::Fault;
use crate::policy::scope::Grants;
use crate::rejection::{Refusal, Rejection};
use crate::store::{StoreError, Written};
use crate::tenant::TenantStatus;

/// Base62 characters of a token's own id.
const JTI_LEN: usize = 20;
/// Why a session is over whose used token came back.
const REUSE: &str = "reuse";

/// Issues tokens.
#[derive(Clone)]
pub struct Authority {
    sessions: SessionLifecycle,
    signing: Arc<Signing>,
    terms: Terms,
    seals: Seals,
}

/// For how long.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    access_ms: i64,
    refresh_ms: i64,
    grace_ms: i64,
}

impl From<&Section> for Terms {
    fn from(section: &Section) -> Self {
        Self {
            access_ms: section.access_ttl.as_millis(),
            refresh_ms: section.refresh_ttl.as_millis(),
            grace_ms: section.refresh_grace.as_millis(),
        }
    }
}

/// What a new session is to be.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the record")]
pub struct NewSession {
    pub tenant: String,
    pub subject: String,
    pub environment: EnvironmentName,
    pub scopes: Vec<String>,
}

/// Tokens, as they are given.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The access token.
    pub access: SecretString,
    /// The refresh token; `None` = there is nothing to refresh.
    pub refresh: Option<SecretString>,
    /// Seconds for which the access token is good.
    pub expires_in: i64,
    /// What it grants, where that is less than was asked for or asked about.
    pub scope: String,
}

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Id of the key.
    pub key: &'a str,
    /// Its tenant.
    pub tenant: &'a str,
    /// Its environment.
    pub environment: EnvironmentName,
}

/// Who it is that presents a refresh token.
#[derive(Debug, Clone, Copy)]
pub enum Presenter<'a> {
    /// A key.
    Key(Caller<'a>),
    /// Nobody was asked; these environments are served.
    Nobody(&'a [EnvironmentName]),
}

/// What a token claims (RFC 9068 §2.2).
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

/// Of whom an access token tells.
struct Bearer<'a> {
    tenant: &'a str,
    subject: &'a str,
    environment: EnvironmentName,
    session: Option<&'a str>,
}

/// A pair as it is sealed.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    access: T,
    refresh: T,
    expires_at: i64,
    scope: T,
}

impl Authority {
    /// Over these sessions.
    #[must_use]
    pub fn new(sessions: SessionLifecycle, signing: Arc<Signing>, terms: Terms) -> Self {
        let seals = Seals::new(&sessions.lifecycle.peppers);
        Self { sessions, signing, terms, seals }
    }

    /// The same for somebody else.
    #[must_use]
    pub fn on_behalf_of(&self, actor: Actor) -> Self {
        Self { sessions: self.sessions.on_behalf_of(actor), ..self.clone() }
    }

    /// Begins a session. Logins are many and are the API's own business: no event tells of them, the session itself does.
    ///
    /// # Errors
    /// Everything that is wrong with it; no such tenant; the tenant is suspended; the store's.
    pub async fn create(&self, new: NewSession) -> Result<Pair, LifecycleError> {
        let lifecycle = &self.sessions.lifecycle;
        let mut wrong = lifecycle.rules.check_scopes(&new.scopes);
        if new.subject.len() > VALUE_MAX || !is_injectable(&new.subject, false) {
            wrong.push(Fault::new("subject", format!("the subject must be 1 to {VALUE_MAX} visible ASCII characters without , ; \" \\")));
        }
        if !wrong.is_empty() {
            return Err(LifecycleError::Invalid(wrong));
        }
        let tenant = lifecycle.find_tenant(&new.tenant).await?;
        if tenant.status == TenantStatus::Suspended {
            return Err(LifecycleError::State(format!("tenant {} is suspended", tenant.id)));
        }
        let (id, family, now) = (token::new_id()?, token::new_family()?, lifecycle.clock.now());
        let mut record = SessionRecord {
            format: FORMAT,
            id,
            tenant: new.tenant,
            subject: new.subject,
            environment: new.environment,
            scopes: new.scopes,
            created_at: now,
            created_by: lifecycle.actor.name.clone(),
            refreshed_at: None,
            expires_at: now,
            access_expires_at: now,
            ended: None,
            family,
            digest: String::new(),
            spent: Vec::new(),
            version: 1,
            unknown: std::collections::BTreeMap::new(),
        };
        let pair = self.give(&mut record, None, now)?;
        self.sessions.write(&record, None, now).await?;
        Ok(pair)
    }

    /// The next pair for a refresh token. `scopes` narrows what the access token grants.
    ///
    /// # Errors
    /// `refresh_invalid`; `scope_missing` where `scopes` has more than the session; what the store says.
    pub async fn refresh(&self, token: &SecretString, presenter: Presenter<'_>, scopes: Option<&str>) -> Result<Pair, Refusal> {
        let refuse = |why: &'static str| Rejection::RefreshInvalid.because(why);
        let id = token::session_of(token.expose_secret()).ok_or_else(|| refuse("no refresh token of ours"))?;
        let lifecycle = &self.sessions.lifecycle;
        let digests = lifecycle.peppers.candidates(&Digest::of(token.expose_secret().as_bytes())).collect();
        let caller = if let Presenter::Key(caller) = presenter { caller.key } else { "" };
        let presented = Presented { token, digests, caller };
        let holder = Holder { token, session: &id, caller };
        for _ in 0..ATTEMPTS {
            let record = self.sessions.sessions.find_session(&id).await.map_err(|error| unavailable(&error))?;
            let record = record.ok_or_else(|| refuse("there is no such session"))?;
            self.check_presenter(&record, presenter).await?;
            let now = lifecycle.clock.now();
            match judge(&record, &presented, self.terms.grace_ms, now) {
                Verdict::Refused(why) => return Err(refuse(why)),
                Verdict::Again(spent) => {
                    let kept = self.seals.open(holder, &spent.sealed).map(Zeroizing::new);
                    let kept = kept.and_then(|content| serde_json::from_slice::<Kept<String>>(&content).ok());
                    return kept.map(|kept| kept.pair(now)).ok_or_else(|| refuse("what was given for it cannot be read"));
                }
                Verdict::Reused => {
                    tracing::warn!(session = %id, "a refresh token came back after it was used: its session is revoked");
                    self.sessions.end(&id, REUSE).await.map_err(internal)?;
                    return Err(refuse("used before"));
                }
                Verdict::Rotate => {}
            }
            if let Some(pair) = self.rotate(record, holder, scopes, now).await? {
                return Ok(pair);
            }
        }
        Err(Rejection::StoreUnavailable.because("others refresh it all the time"))
    }

    /// `None` = another was faster.
    async fn rotate(
        &self,
        mut record: SessionRecord,
        holder: Holder<'_>,
        scopes: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Pair>, Refusal> {
        let granted = Grants::parse(&record.scopes).map_err(|why| Rejection::IdentityInvalid.because(why))?;
        let narrowed = scopes.map(|scopes| narrow(scopes, &granted)).transpose()?;
        let mut next = record.clone();
        let pair = self.give(&mut next, narrowed.as_deref(), now).map_err(internal)?;
        let sealed = serde_json::to_vec(&Kept::of(&pair, now)).ok().and_then(|content| self.seals.seal(holder, content));
        let sealed = sealed.ok_or_else(|| Rejection::Internal.because("a pair cannot be sealed"))?;
        spend(&mut record, holder.caller, sealed, self.terms.grace_ms, now);
        let record = SessionRecord { spent: record.spent, refreshed_at: Some(now), version: record.version + 1, ..next };
        match self.sessions.write(&record, None, now).await {
            Ok(()) => {}
            Err(StoreError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(unavailable(&error)),
        }
        self.sessions.lifecycle.replicate(Written::Session(&record)).await.map_err(internal)?;
        Ok(Some(pair))
    }

    /// An access token for a key that stands for itself (RFC 6749 §4.4): it may do what the key may, or less, and ends with it.
    ///
    /// # Errors
    /// `scope_missing` where `scopes` has more than the key.
    pub fn stand_in(&self, caller: Caller<'_>, granted: &Grants, scopes: Option<&str>, now: Timestamp) -> Result<Pair, Refusal> {
        let narrowed = scopes.map(|scopes| narrow(scopes, granted)).transpose()?;
        let scope = narrowed.unwrap_or_else(|| granted.to_string());
        let bearer = Bearer { tenant: caller.tenant, subject: caller.key, environment: caller.environment, session: None };
        let access = self.sign(&bearer, &scope, now).map_err(internal)?;
        Ok(Pair { access, refresh: None, expires_in: self.terms.access_ms / 1000, scope })
    }

    /// Who presents a token of a session must be of its tenant and environment; where nobody is asked, the tenant must be in good standing.
    async fn check_presenter(&self, record: &SessionRecord, presenter: Presenter<'_>) -> Result<(), Refusal> {
        match presenter {
            Presenter::Key(caller) if caller.tenant == record.tenant && caller.environment == record.environment => return Ok(()),
            Presenter::Key(_) => return Err(Rejection::RefreshInvalid.because("of another tenant or environment")),
            Presenter::Nobody(served) if served.contains(&record.environment) => {}
            Presenter::Nobody(_) => return Err(Rejection::RefreshInvalid.because("of an environment that is not served here")),
        }
        match self.sessions.lifecycle.store.find_tenant(&record.tenant).await.map_err(|error| unavailable(&error))? {
            Some(tenant) if tenant.status == TenantStatus::Suspended => Err(Rejection::TenantSuspended.into()),
            Some(_) => Ok(()),
            None => Err(Rejection::RefreshInvalid.because("its tenant has no record")),
        }
    }

    /// A new pair, and the record that knows its refresh token.
    fn give(&self, record: &mut SessionRecord, scope: Option<&str>, now: Timestamp) -> Result<Pair, LifecycleError> {
        let refresh = token::generate(&record.id, &record.family)?;
        let stored = self.sessions.lifecycle.peppers.store(&Digest::of(refresh.expose_secret().as_bytes()));
        record.digest = stored.to_hex();
        let in_range = |ms: i64| now.plus_millis(ms).in_range().map_err(LifecycleError::State);
        (record.expires_at, record.access_expires_at) = (in_range(self.terms.refresh_ms)?, in_range(self.terms.access_ms)?);
        let scope = scope.map_or_else(|| record.scopes.join(" "), ToOwned::to_owned);
        let bearer =
            Bearer { tenant: &record.tenant, subject: &record.subject, environment: record.environment, session: Some(&record.id) };
        let access = self.sign(&bearer, &scope, now)?;
        Ok(Pair { access, refresh: Some(refresh), expires_in: self.terms.access_ms / 1000, scope })
    }

    fn sign(&self, bearer: &Bearer<'_>, scope: &str, now: Timestamp) -> Result<SecretString, LifecycleError> {
        let (jti, iat) = (random_base62(JTI_LEN)?, now.0.div_euclid(1000));
        let claims = Claims {
            iss: &self.signing.issuer,
            sub: bearer.subject,
            aud: &self.signing.issuer,
            iat,
            exp: iat.saturating_add(self.terms.access_ms / 1000),
            jti: &jti,
            tenant: bearer.tenant,
            environment: bearer.environment,
            scope,
            sid: bearer.session,
            client_id: bearer.session.is_none().then_some(bearer.subject),
        };
        let signed = self.signing.sign(&claims).ok_or_else(|| LifecycleError::State("a token cannot be signed".into()))?;
        Ok(SecretString::from(signed))
    }
}

impl<'p> Kept<&'p str> {
    fn of(pair: &'p Pair, now: Timestamp) -> Self {
        Self {
            access: pair.access.expose_secret(),
            refresh: pair.refresh.as_ref().map(|refresh| refresh.expose_secret()).unwrap_or_default(),
            expires_at: now.0.div_euclid(1000).saturating_add(pair.expires_in),
            scope: &pair.scope,
        }
    }
}

impl Kept<String> {
    fn pair(self, now: Timestamp) -> Pair {
        Pair {
            access: SecretString::from(self.access),
            refresh: Some(SecretString::from(self.refresh)),
            expires_in: self.expires_at.saturating_sub(now.0.div_euclid(1000)).max(0),
            scope: self.scope,
        }
    }
}

/// What of these scopes is asked for; asking for more is refused.
fn narrow(asked: &str, granted: &Grants) -> Result<String, Refusal> {
    let beyond = |why: String| Rejection::ScopeMissing.because(why);
    let mut words: Vec<&str> = Vec::new();
    asked.split(' ').filter(|word| !word.is_empty()).for_each(|word| {
        if !words.contains(&word) {
            words.push(word)
        }
    });
    let wanted = Grants::parse(&words).map_err(beyond)?;
    if wanted.intersect(granted) != wanted {
        return Err(beyond("more than was granted is asked for".into()));
    }
    Ok(words.join(" "))
}

fn unavailable(error: &StoreError) -> Refusal {
    match error {
        StoreError::Unavailable(_) => Rejection::StoreUnavailable.because(error.to_string()),
        StoreError::Corrupt { .. } | StoreError::Conflict { .. } | StoreError::DigestTaken { .. } => {
            Rejection::RefreshInvalid.because(error.to_string())
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn internal(error: LifecycleError) -> Refusal {
    match error {
        LifecycleError::Store(error) => unavailable(&error),
        error => Rejection::Internal.because(error.to_string()),
    }
}
