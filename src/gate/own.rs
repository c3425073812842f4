//! Requests that Sidegate answers itself, at the end of their way through the gate; and the one request that a replaced secret is
//! still good for: the rotation that replaced it, asked once more by who never saw its answer. Nothing else is told to such a caller.

use std::sync::Arc;

use http::request::Parts;

use super::permit::Order;
use super::{Admitted, Gate, Seen};
use crate::clock::Timestamp;
use crate::config::sections::SelfServiceAction;
use crate::facts::Facts;
use crate::idempotency::{Asked, Holder};
use crate::identity::Identity;
use crate::rejection::{Refusal, Rejection};
use crate::route::Route;

/// How long the answer to a rotation is given again to the secret that it replaced.
const AGAIN_MS: i64 = 10 * 60 * 1000;

/// The parts of a request that are judged together.
pub(super) struct Request<'a> {
    pub(super) head: &'a Parts,
    pub(super) facts: &'a Facts,
    pub(super) route: &'a Route,
    pub(super) captures: &'a [&'a str],
}

impl Gate {
    /// What only the caller of a route whose answers show a secret can derive. Before its credential is taken off.
    pub(super) fn holder(&self, route: &Route, head: &Parts) -> Option<Holder> {
        match route.own {
            Some(SelfServiceAction::Create | SelfServiceAction::Rotate) => self.rules.credentials.holder(&head.headers),
            Some(SelfServiceAction::List | SelfServiceAction::Revoke) | None => None,
        }
    }

    /// What is refused because a rotation has replaced its secret may be that very rotation, asked again. Any other is refused as it was.
    pub(super) async fn ask_again(
        &self,
        holder: Option<Holder>,
        request: Request<'_>,
        refusal: Refusal,
        now: Timestamp,
        seen: &mut Seen,
    ) -> Result<Admitted, Refusal> {
        let Request { head, facts, route, captures } = request;
        let known = seen.key.as_ref().and_then(|(_, digest)| self.authenticator.replaced(digest, now));
        let Some(identity) = known.filter(|identity| is_rotated(identity, captures, now) && Some(identity.environment) == seen.environment)
        else {
            return Err(refusal);
        };
        let trace = &mut ();
        let asked = match self.authorize(&identity, facts, route, captures, head, now, seen, trace) {
            Ok(()) => self.ask_once(&identity, facts, route, head, seen, trace).ok().flatten(),
            Err(_) => None,
        };
        let Some(asked) = asked else { return Err(refusal) };
        if self.limit(Some(&identity), route, now, seen, trace).await.is_err() {
            seen.limits = None;
            return Err(refusal);
        }
        seen.identity = Some(Arc::clone(&identity));
        order(SelfServiceAction::Rotate, captures, identity, seen, Some(asked.only_for(holder)), Some(refusal))
    }
}

/// Whether a request that is refused so may be a rotation that is asked again.
pub(super) fn may_be_again(route: &Route, refusal: &Refusal) -> bool {
    route.own == Some(SelfServiceAction::Rotate) && refusal.rejection == Rejection::KeyUnknown && !refusal.unclaimed
}

/// Whether the secret was the one of the key that is asked about, and was replaced just now.
fn is_rotated(identity: &Identity, captures: &[&str], now: Timestamp) -> bool {
    identity.key_id().is_some_and(|id| captures.first() == Some(&&**id))
        && identity.particulars().replaced.as_ref().is_some_and(|replaced| now < replaced.at.plus_millis(AGAIN_MS))
}

/// An admitted request. Its route takes keys only.
pub(super) fn order(
    action: SelfServiceAction,
    captures: &[&str],
    caller: Arc<Identity>,
    seen: &Seen,
    asked: Option<Box<Asked>>,
    again: Option<Refusal>,
) -> Result<Admitted, Refusal> {
    let id = captures.first().map(|id| Box::from(*id)).unwrap_or_default();
    let (Some((_, digest)), Some(key_id)) = (&seen.key, caller.key_id().cloned()) else { return Err(Rejection::CredentialDenied.into()) };
    Ok(Admitted::Manage(Box::new(Order { action, id, caller, key_id, digest: *digest, asked, again })))
}
