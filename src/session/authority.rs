//! Who issues tokens here: a session's first pair, the next one for a refresh token, and an access token for a key that stands for
//! itself. What may be refreshed is decided in [`super::refresh`]; of many who present one token at once, one writes and all get that.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::claims::{self, Bearer};
use super::lifecycle::{ATTEMPTS, SessionLifecycle};
use super::pair::Pair;
use super::record::SessionRecord;
use super::refresh::{Presented, Verdict, judge, spend};
use super::seal::{Holder, Seals};
use super::token;
use crate::authn::jwt::Signing;
use crate::clock::Timestamp;
use crate::config::sections::{EnvironmentName, Sessions as Section};
use crate::identity::template::{VALUE_MAX, is_injectable};
use crate::key::digest::Digest;
use crate::key::lifecycle::LifecycleError;
use crate::key::record::FORMAT;
use crate::key::rules::Fault;
use crate::policy::scope::Grants;
use crate::rejection::{Refusal, Rejection};
use crate::store::{StoreError, Written};
use crate::tenant::TenantStatus;

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

/// For how long, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    access: i64,
    refresh: i64,
    grace: i64,
}

impl From<&Section> for Terms {
    fn from(section: &Section) -> Self {
        Self { access: section.access_ttl.as_millis(), refresh: section.refresh_ttl.as_millis(), grace: section.refresh_grace.as_millis() }
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

impl Authority {
    /// Over these sessions.
    #[must_use]
    pub fn new(sessions: SessionLifecycle, signing: Arc<Signing>, terms: Terms) -> Self {
        let seals = Seals::new(&sessions.lifecycle.peppers);
        Self { sessions, signing, terms, seals }
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
        lifecycle.active_tenant(&new.tenant).await?;
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
        // Who takes the tenant away ends the sessions that are there: this one is seen, or came too late.
        if let Err(error) = lifecycle.active_tenant(&record.tenant).await {
            self.sessions.revoke(&record.id).await?;
            return Err(error);
        }
        Ok(pair)
    }

    /// The next pair for a refresh token. `scopes` narrows what the access token grants.
    ///
    /// # Errors
    /// `refresh_invalid`; `scope_missing` where `scopes` has more than the session; what the store says.
    pub async fn refresh(&self, token: &SecretString, by: Presenter<'_>, scopes: Option<&str>) -> Result<Pair, Refusal> {
        let refuse = |why: &'static str| Rejection::RefreshInvalid.because(why);
        let id = token::session_of(token.expose_secret()).ok_or_else(|| refuse("no refresh token of ours"))?;
        let lifecycle = &self.sessions.lifecycle;
        let digests = lifecycle.peppers.candidates(&Digest::of(token.expose_secret().as_bytes())).collect();
        let caller = if let Presenter::Key(caller) = by { caller.key } else { "" };
        let shown = Presented { token, digests, caller };
        let holder = Holder { token, session: &id, caller };
        for _ in 0..ATTEMPTS {
            let record = self.sessions.sessions.find_session(&id).await.map_err(|error| unavailable(&error))?;
            let record = record.ok_or_else(|| refuse("there is no such session"))?;
            self.check_presenter(&record, by).await?;
            let now = lifecycle.clock.now();
            match judge(&record, &shown, self.terms.grace, now) {
                Verdict::Refused(why) => return Err(refuse(why)),
                Verdict::Again(spent) => {
                    let pair = Pair::open(&self.seals, holder, &spent.sealed, now);
                    return pair.ok_or_else(|| refuse("what was given for it cannot be read"));
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
        let sealed = pair.seal(&self.seals, holder, now).ok_or_else(|| Rejection::Internal.because("a pair cannot be sealed"))?;
        spend(&mut record, holder.caller, sealed, self.terms.grace, now);
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
        let Caller { key, tenant, environment } = caller;
        let bearer = Bearer { tenant, subject: key, environment, scope: &scope, session: None };
        let access = claims::sign(&self.signing, &bearer, now, self.life()).map_err(internal)?;
        Ok(Pair { access, refresh: None, expires_in: self.life(), scope })
    }

    /// Who presents a token of a session must be of its tenant and environment; where nobody is asked, the tenant must be in good standing.
    async fn check_presenter(&self, record: &SessionRecord, by: Presenter<'_>) -> Result<(), Refusal> {
        match by {
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
        (record.expires_at, record.access_expires_at) = (in_range(self.terms.refresh)?, in_range(self.terms.access)?);
        let scope = scope.map_or_else(|| record.scopes.join(" "), ToOwned::to_owned);
        let SessionRecord { id, tenant, subject, environment, .. } = &*record;
        let bearer = Bearer { tenant, subject, environment: *environment, scope: &scope, session: Some(id) };
        let access = claims::sign(&self.signing, &bearer, now, self.life())?;
        Ok(Pair { access, refresh: Some(refresh), expires_in: self.life(), scope })
    }

    /// Of an access token, in seconds.
    const fn life(&self) -> i64 {
        self.terms.access / 1000
    }
}

/// What of these scopes is asked for; asking for more is refused.
fn narrow(asked: &str, granted: &Grants) -> Result<String, Refusal> {
    let beyond = |why: String| Rejection::ScopeMissing.because(why);
    let mut words: Vec<&str> = Vec::new();
    asked.split(' ').filter(|word| !word.is_empty()).for_each(|word| {
        if !words.contains(&word) {
            words.push(word);
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

fn internal(error: LifecycleError) -> Refusal {
    if let LifecycleError::Store(error) = error { unavailable(&error) } else { Rejection::Internal.because(error.to_string()) }
}
