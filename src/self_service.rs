//! Customers manage their keys with their own keys, on the public listener (product.md §10). What is asked has passed the gate, or no
//! [`Order`] would be there; what it may come to is judged here, by the caller's record as the store has it now. A secret is in the
//! answer that shows it and nowhere else; of what is another's nothing is told, not even that it is there.

mod body;
mod bounds;
mod shapes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::audit::Actor;
use crate::authn::Authenticator;
use crate::clock::Timestamp;
use crate::config::problem::Problems;
use crate::config::sections::{Config, SelfServiceAction, SelfServiceList};
use crate::fleet;
use crate::gate::Order;
use crate::identity::Identity;
use crate::key::lifecycle::{Issued, Lifecycle, LifecycleError, Rotation};
use crate::key::record::{KeyRecord, KeyStatus};
use crate::key::rules::check_id;
use crate::management::Management;
use crate::rejection::{Refusal, Rejection};
use crate::store::StoreError;
use crate::store::usage::Usages;
use crate::usage::show_last_use;
pub(crate) use body::BODY_MAX;
use bounds::{Beyond, Rights};
use shapes::Shapes;

/// How long an answer waits for the sidecars that still know what it has ended.
const CONFIRM_FOR: Duration = Duration::from_secs(1);

/// `[self_service]`, compiled.
#[derive(Debug)]
pub struct SelfService {
    list: SelfServiceList,
    shapes: Shapes,
}

/// What was done.
pub struct Done {
    status: StatusCode,
    body: Bytes,
    /// Whose last change took something away; `None` = nothing did.
    ended: Option<Lifecycle>,
}

/// An order in hand.
struct Work {
    rules: Arc<SelfService>,
    authenticator: Arc<Authenticator>,
    lifecycle: Lifecycle,
    usages: Arc<dyn Usages>,
    order: Box<Order>,
    body: Vec<u8>,
}

/// Who is calling, as the store says now.
struct Caller {
    record: KeyRecord,
    identity: Arc<Identity>,
}

impl SelfService {
    /// Compiles the section; `None` after an error. The routes are compiled with the others.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        Some(Self { list: config.self_service.list, shapes: Shapes::compile(config, problems)? })
    }

    /// Does what is asked, in the caller's name, to its end whether or not the client waits for it.
    ///
    /// # Errors
    /// Why it is not done; `unsent` where it is certain that nothing was changed.
    pub async fn perform(
        self: &Arc<Self>,
        management: &Management,
        authenticator: &Arc<Authenticator>,
        order: Box<Order>,
        actor: Actor,
        body: Vec<u8>,
    ) -> Result<Done, Refusal> {
        let lifecycle = management.on_behalf_of(actor);
        let usages = Arc::clone(management.usages());
        let work = Work { rules: Arc::clone(self), authenticator: Arc::clone(authenticator), lifecycle, usages, order, body };
        let done = management.run(async move {
            match work.order.action() {
                SelfServiceAction::List => work.list().await,
                SelfServiceAction::Create => work.create().await,
                SelfServiceAction::Rotate => work.rotate().await,
                SelfServiceAction::Revoke => work.revoke().await,
            }
        });
        done.await.unwrap_or_else(|cut_off| Err(Rejection::Internal.because(cut_off.to_string())))
    }
}

impl Done {
    const fn new(status: StatusCode, body: Bytes) -> Self {
        Self { status, body, ended: None }
    }

    /// Waits until every live sidecar has taken note of what was ended, or long enough. It is done all the same.
    pub async fn confirmed(&mut self, management: &Management) {
        let Some(lifecycle) = self.ended.take() else { return };
        let receipt = management.run(async move { fleet::confirm(&*lifecycle.store, lifecycle.position(), CONFIRM_FOR).await }).await;
        if let Ok(Ok(receipt)) = receipt
            && !receipt.missing.is_empty()
        {
            tracing::warn!(late = receipt.missing.len(), "sidecars have not confirmed a change that self-service has answered");
        }
    }

    /// The answer.
    #[must_use]
    pub fn response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.body.clone());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        response
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its body may show a secret.
        f.debug_struct("Done").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Work {
    async fn list(&self) -> Result<Done, Refusal> {
        let caller = self.order.caller();
        let unread = |error: LifecycleError| refuse(error).before_sending();
        let whole = self.rules.list == SelfServiceList::Tenant;
        let is_shown = |key: &KeyRecord| key.status != KeyStatus::Revoked && (whole || key.environment == caller.environment);
        let mut keys = self.lifecycle.select_keys(Some(&caller.tenant_id), is_shown).await.map_err(unread)?.keys;
        // The newest first.
        keys.reverse();
        if self.rules.shapes.show_use() {
            let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
            let uses = self.usages.last_uses(&ids).await.map_err(|error| unread(error.into()))?;
            keys.iter_mut().zip(&uses).for_each(|(key, used)| show_last_use(key, used.as_ref()));
        }
        Ok(Done::new(StatusCode::OK, self.rules.shapes.list(&keys, self.now())))
    }

    async fn create(&self) -> Result<Done, Refusal> {
        let asked = body::Create::parse(&self.body)?;
        let Caller { record, identity } = self.caller().await?;
        let expires_at = self.end_of(asked.expires_in, record.expires_at)?;
        let new = asked.completed_by(&record, expires_at);
        let inherits_scopes = new.scopes == record.scopes;
        let rights = Rights { expires_at, ..Rights::of_new(&new) };
        let granted = (!inherits_scopes).then_some(&identity.grants);
        bounds::check(&record, granted, &rights).map_err(|beyond| match beyond {
            Beyond::Rights(what) => Rejection::GrantExceeded.because(what).before_sending(),
            Beyond::Grammar(what) => Rejection::BodyInvalid.because(what).before_sending(),
        })?;
        let Issued { record, key, .. } = self.lifecycle.create(new).await.map_err(refuse)?;
        Ok(Done::new(StatusCode::CREATED, shapes::issued(&record, &key)))
    }

    async fn rotate(&self) -> Result<Done, Refusal> {
        body::nothing(&self.body)?;
        let Caller { record, .. } = self.caller().await?;
        let target = self.target(&record).await?;
        // It is in no list any more, whatever it could do.
        if target.status == KeyStatus::Revoked {
            return Err(Rejection::KeyNotFound.because("it is revoked").before_sending());
        }
        let is_own = target.id == record.id;
        // The answer shows a secret that may do what the key may.
        if !is_own {
            let within = bounds::check(&record, None, &Rights::of(&target)).is_ok() && self.lifecycle.rules.tells_alike(&record, &target);
            if !within {
                return Err(Rejection::GrantExceeded.because(format!("{} may do more", target.id)).before_sending());
            }
        }
        // Of the version that was judged: what it may do may have changed meanwhile.
        let rotation = Rotation { version: Some(target.version), names_old: is_own, ..Rotation::default() };
        let Issued { record, key, .. } = self.lifecycle.rotate_by(&target.id, rotation).await.map_err(refuse)?;
        let body = shapes::issued(&record, &key);
        Ok(Done { status: StatusCode::OK, body, ended: Some(self.lifecycle.clone()) })
    }

    /// Of a key that may do more too: it gives nobody anything.
    async fn revoke(&self) -> Result<Done, Refusal> {
        body::nothing(&self.body)?;
        let Caller { record, .. } = self.caller().await?;
        let target = self.target(&record).await?;
        let revoked = self.lifecycle.set_status(&target.id, KeyStatus::Revoked).await;
        // Done twice it is as good as once: nobody has to know what came of the first.
        let record = revoked.map_err(|error| refuse(error).before_sending())?;
        Ok(Done { status: StatusCode::OK, body: self.rules.shapes.revoked(&record.id), ended: Some(self.lifecycle.clone()) })
    }

    /// Who changes something. Read again: what the gate knew may be as old as its cache, and what is made here would outlive that. It
    /// would outlive a replaced secret too, which may be replaced because somebody has stolen it: that one may only look.
    async fn caller(&self) -> Result<Caller, Refusal> {
        let (order, now) = (&self.order, self.now());
        let found = self.lifecycle.find_by_digest(order.digest()).await.map_err(|error| refuse(error).before_sending())?;
        let is_theirs = |record: &KeyRecord| record.id == order.key_id() && self.lifecycle.opens(record, order.digest(), now);
        let record = found.filter(is_theirs).ok_or_else(|| Rejection::KeyUnknown.because("replaced meanwhile").before_sending())?;
        if !self.lifecycle.is_current(&record, order.digest()) {
            return Err(Rejection::CredentialDenied.because("a replaced secret manages no keys: use the current one").before_sending());
        }
        let identity = self.authenticator.of_record(&record, now).await.map_err(Refusal::before_sending)?;
        Ok(Caller { record, identity })
    }

    /// The key that is asked about. One of another tenant or environment is not there.
    async fn target(&self, caller: &KeyRecord) -> Result<KeyRecord, Refusal> {
        let not_found = || {
            Rejection::KeyNotFound.because(if check_id("key id", self.order.id()).is_ok() {
                self.order.id().to_owned()
            } else {
                "no id".to_owned()
            })
        };
        if *self.order.id() == *caller.id {
            return Ok(caller.clone());
        }
        check_id("key id", self.order.id()).map_err(|_| not_found().before_sending())?;
        let found = self.lifecycle.find_key(self.order.id()).await.map_err(|error| refuse(error).before_sending())?;
        let is_theirs = found.tenant == caller.tenant && found.environment == caller.environment;
        if is_theirs { Ok(found) } else { Err(not_found().before_sending()) }
    }

    /// When a new key ends: as asked, which must not be behind the caller's end; else as configured, but no later than the caller.
    fn end_of(&self, asked: Option<Duration>, latest: Option<Timestamp>) -> Result<Option<Timestamp>, Refusal> {
        let (now, invalid) = (self.now(), |_| Rejection::BodyInvalid.because("expires_in").before_sending());
        let Some(life) = asked else {
            let usual = self.lifecycle.rules.expiry(None, now).map_err(invalid)?;
            return Ok(usual.into_iter().chain(latest).min());
        };
        let end = now.plus_millis(i64::try_from(life.as_millis()).unwrap_or(i64::MAX)).in_range().map_err(invalid)?;
        Ok(Some(end))
    }

    fn now(&self) -> Timestamp {
        self.lifecycle.clock.now()
    }
}

/// In the words of the contract. What was written may have been written all the same where the store fell silent.
fn refuse(error: LifecycleError) -> Refusal {
    let certain = |rejection: Rejection, why: String| rejection.because(why).before_sending();
    match error {
        // Which members, not what stands there.
        LifecycleError::Invalid(faults) => {
            certain(Rejection::BodyInvalid, faults.iter().map(|fault| fault.field.as_ref()).collect::<Vec<_>>().join(" "))
        }
        LifecycleError::NoKey(id) => certain(Rejection::KeyNotFound, id),
        LifecycleError::State(why) => certain(Rejection::KeyNotFound, why),
        LifecycleError::Limit { .. } => certain(Rejection::KeyLimit, error.to_string()),
        LifecycleError::Version { .. } | LifecycleError::Store(StoreError::Conflict { .. }) => {
            certain(Rejection::VersionConflict, error.to_string())
        }
        LifecycleError::Lost | LifecycleError::Store(StoreError::Unavailable(_)) => Rejection::StoreUnavailable.because(error.to_string()),
        LifecycleError::NoTenant(_)
        | LifecycleError::NoSession(_)
        | LifecycleError::Store(StoreError::DigestTaken { .. } | StoreError::Corrupt { .. })
        | LifecycleError::NoRandomness(_) => Rejection::Internal.because(error.to_string()),
    }
}
