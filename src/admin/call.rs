//! A request that was let in: who asks, with which permissions, over which snapshot. Handlers name the permission they need in their
//! signature, before anything of the request is read.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;

use super::bench::Bench;
use super::permission::Permission;
use super::problem::Refused;
use super::settings::Bearer;
use crate::app::Snapshot;
use crate::app::health::Health;
use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::key::lifecycle::LifecycleError;

/// A request that was let in.
pub(super) struct Call {
    pub(super) bearer: Bearer,
    /// The address it comes from; `None` = this machine.
    pub(super) from: Option<String>,
    pub(super) request_id: String,
    /// What it is answered by, to its end.
    pub(super) app: Arc<Snapshot>,
    pub(super) health: Arc<Health>,
}

/// The call, of a token that has this permission.
pub(super) struct By<const PERMISSION: Permission>(pub(super) Arc<Call>);

impl<S: Send + Sync, const PERMISSION: Permission> FromRequestParts<S> for By<PERMISSION> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        match parts.extensions.get::<Arc<Call>>() {
            Some(call) if call.bearer.allow.hold(PERMISSION) => Ok(Self(Arc::clone(call))),
            Some(_) => Err(Refused::lacks(PERMISSION)),
            None => Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "nobody has let this request in")),
        }
    }
}

impl Call {
    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.health.reloader.now()
    }

    /// As the audit calls who asks.
    pub(super) fn actor(&self) -> Actor {
        Actor { name: actor(&self.bearer.name), from: self.from.clone(), request_id: Some(self.request_id.clone()) }
    }

    /// Runs work on the key table, in the caller's name, to its end: whether or not the caller waits for it.
    pub(super) async fn run<T, F>(&self, work: impl FnOnce(Bench) -> F) -> Result<T, Refused>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, LifecycleError>> + Send + 'static,
    {
        let management = &self.app.management;
        let lifecycle = management.on_behalf_of(self.actor());
        let acts = lifecycle.clone();
        let bench = Bench {
            sessions: management.sessions(lifecycle.clone()),
            lifecycle,
            usages: Arc::clone(management.usages()),
            admin: Arc::clone(&self.app.admin),
            now: self.now(),
        };
        let done = management.run(work(bench)).await?;
        done.map_err(|error| if acts.has_begun() { error.into() } else { Refused::from(error).before_writing() })
    }
}

/// A token's name in the audit. No tenant and no key is called so.
pub(super) fn actor(token: &str) -> String {
    format!("admin:{token}")
}
