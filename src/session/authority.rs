//! Who issues tokens here: a session's first pair, the next one for a refresh token, and an access token for a key that stands for
//! itself. What may be refreshed is decided in [`super::refresh`]; of many who present one token at once, one writes and all get that.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::claims::{self, Bearer, Grant};
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
use crate::key::digest::{Digest, StoredDigest};
use crate::key::lifecycle::LifecycleError;
use crate::key::record::{FORMAT, KeyRecord};
use crate::key::rules::Fault;
use crate::net::IpSet;
use crate::net::client::ClientAddr;
use crate::policy::network;
use crate::policy::scope::{Grants, SCOPES_MAX};
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
    /// Nobody was asked: these environments are served, and from there it comes.
    Nobody(&'a [EnvironmentName], ClientAddr),
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
                    let pair = pair.ok_or_else(|| refuse("what was given for it cannot be read"))?;
                    check_covered(&pair, &record, scopes)?;
                    return Ok(pair);
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
        let narrowed = scopes.map(|scopes| narrow(scopes, &granted(&record)?)).transpose()?;
        let mut next = SessionRecord { version: record.version + 1, ..record.clone() };
        let pair = self.give(&mut next, narrowed.as_deref(), now).map_err(internal)?;
        let sealed = pair.seal(&self.seals, holder, now).ok_or_else(|| Rejection::Internal.because("a pair cannot be sealed"))?;
        spend(&mut record, holder.caller, sealed, self.terms.grace, now);
        let record = SessionRecord { spent: record.spent, refreshed_at: Some(now), ..next };
        match self.sessions.write(&record, None, now).await {
            Ok(()) => {}
            Err(StoreError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(unavailable(&error)),
        }
        self.sessions.lifecycle.replicate(Written::Session(&record)).await.map_err(internal)?;
        Ok(Some(pair))
    }

    /// An access token for a key that stands for itself (RFC 6749 §4.4), by the secret with this digest: it may do what the key may, or
    /// less, and ends with the key and with that secret.
    ///
    /// # Errors
    /// `scope_missing` where `scopes` has more than the key; `key_unknown` where the secret was replaced meanwhile; what the store says.
    pub async fn stand_in(&self, caller: Caller<'_>, secret: &Digest, granted: &Grants, scopes: Option<&str>) -> Result<Pair, Refusal> {
        let narrowed = scopes.map(|scopes| narrow(scopes, granted)).transpose()?;
        let scope = narrowed.unwrap_or_else(|| granted.to_string());
        let Caller { key, tenant, environment } = caller;
        let lifecycle = &self.sessions.lifecycle;
        // Not what is cached: a token names a secret that the record has.
        let record = lifecycle.store.find_key(key).await.map_err(|error| unavailable(&error))?;
        let now = lifecycle.clock.now();
        let mark = record.and_then(|record| self.mark(&record, secret, now));
        let mark = mark.ok_or_else(|| Rejection::KeyUnknown.because("of a secret that a rotation has replaced"))?;
        let bearer = Bearer { tenant, subject: key, environment, scope: Some(&scope), grant: Grant::Client(&mark) };
        let access = claims::sign(&self.signing, &bearer, now, self.life()).map_err(internal)?;
        Ok(Pair { access, refresh: None, expires_in: self.life(), scope })
    }

    /// What the secret with this digest is called in tokens; `None` = it does not open the key.
    fn mark(&self, record: &KeyRecord, secret: &Digest, now: Timestamp) -> Option<String> {
        let previous = record.previous.as_ref().filter(|previous| now < previous.until).map(|previous| &previous.digest);
        let opening = [Some(&record.digest), previous].into_iter().flatten().filter_map(|hex| StoredDigest::from_hex(hex));
        let candidates: Vec<StoredDigest> = self.sessions.lifecycle.peppers.candidates(secret).collect();
        opening.into_iter().find(|stored| candidates.contains(stored)).map(|stored| stored.mark(&record.id))
    }

    /// Who presents a token of a session must be of its tenant and environment; where nobody is asked, the tenant must be in good standing
    /// and allow the address.
    async fn check_presenter(&self, record: &SessionRecord, by: Presenter<'_>) -> Result<(), Refusal> {
        let client = match by {
            Presenter::Key(caller) if caller.tenant == record.tenant && caller.environment == record.environment => return Ok(()),
            Presenter::Key(_) => return Err(Rejection::RefreshInvalid.because("of another tenant or environment")),
            Presenter::Nobody(served, client) if served.contains(&record.environment) => client,
            Presenter::Nobody(..) => return Err(Rejection::RefreshInvalid.because("of an environment that is not served here")),
        };
        let tenant = self.sessions.lifecycle.store.find_tenant(&record.tenant).await.map_err(|error| unavailable(&error))?;
        let tenant = tenant.ok_or_else(|| Rejection::RefreshInvalid.because("its tenant has no record"))?;
        if tenant.status == TenantStatus::Suspended {
            return Err(Rejection::TenantSuspended.into());
        }
        let allowlist = tenant.ip_allowlist.as_deref().map(IpSet::parse).transpose();
        let allowlist = allowlist.map_err(|why| Rejection::IdentityInvalid.because(format!("tenant ip_allowlist: {why}")))?;
        network::contains(allowlist.as_ref(), client, "tenant")
    }

    /// A new pair, and the record that knows its refresh token.
    fn give(&self, record: &mut SessionRecord, scope: Option<&str>, now: Timestamp) -> Result<Pair, LifecycleError> {
        let refresh = token::generate(&record.id, &record.family, record.version)?;
        let stored = self.sessions.lifecycle.peppers.store(&Digest::of(refresh.expose_secret().as_bytes()));
        record.digest = stored.to_hex();
        let in_range = |ms: i64| now.plus_millis(ms).in_range().map_err(LifecycleError::State);
        (record.expires_at, record.access_expires_at) = (in_range(self.terms.refresh)?, in_range(self.terms.access)?);
        let scope = scope.map_or_else(|| record.scopes.join(" "), ToOwned::to_owned);
        let SessionRecord { id, tenant, subject, environment, scopes, .. } = &*record;
        let claimed = Some(&*scope).filter(|_| !scopes.is_empty());
        let bearer = Bearer { tenant, subject, environment: *environment, scope: claimed, grant: Grant::Session(id) };
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
    // Counted first: each is compared with all.
    if words_of(asked).nth(SCOPES_MAX).is_some() {
        return Err(beyond(format!("more than {SCOPES_MAX} scopes are asked for")));
    }
    let mut words: Vec<&str> = Vec::new();
    words_of(asked).for_each(|word| {
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

/// What a session may do.
fn granted(record: &SessionRecord) -> Result<Grants, Refusal> {
    Grants::parse(&record.scopes).map_err(|why| Rejection::IdentityInvalid.because(why))
}

/// Whether what was given a moment ago is no more than is asked for now.
fn check_covered(pair: &Pair, record: &SessionRecord, scopes: Option<&str>) -> Result<(), Refusal> {
    let Some(scopes) = scopes else { return Ok(()) };
    let grants = |text: &str| Grants::parse(&words_of(text).collect::<Vec<_>>());
    match (grants(&narrow(scopes, &granted(record)?)?), grants(&pair.scope)) {
        (Ok(asked), Ok(given)) if asked.cover(&given) => Ok(()),
        _ => Err(Rejection::ScopeMissing.because("more was given a moment ago than is asked for now")),
    }
}

fn words_of(scopes: &str) -> impl Iterator<Item = &str> {
    scopes.split(' ').filter(|word| !word.is_empty())
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
    // Of all that is said of a session only its scopes are asked for anew.
    let rejection = if matches!(error, LifecycleError::Invalid(_)) { Rejection::ScopeMissing } else { Rejection::Internal };
    if let LifecycleError::Store(error) = error { unavailable(&error) } else { rejection.because(error.to_string()) }
}
