//! The way of requests for tokens: one whose caller has shown a key where keys are shown has come the way of all requests; of others
//! the body tells who they are, and a client's secret is judged as any key is, by the route of its endpoint.

use std::sync::Arc;

use http::header;
use http::request::Parts;

use super::permit::Claim;
use super::trace::Trace;
use super::{Admitted, Connection, Gate, Seen, throttled};
use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;
use crate::facts::Facts;
use crate::identity::Identity;
use crate::policy::guess_guard::Token as Stake;
use crate::rejection::{Refusal, Rejection};
use crate::route::{Route, TokenEndpoint};

impl Gate {
    /// Networks and the limits of nobody are all that holds anybody back before the body is read.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) async fn open_endpoint<T: Trace>(
        &self,
        endpoint: TokenEndpoint,
        head: &mut Parts,
        facts: &Facts,
        route: &Arc<Route>,
        now: Timestamp,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<Admitted, Refusal> {
        self.check_networks_of_nobody(route, seen, trace)?;
        self.limit(None, route, now, seen, trace).await?;
        let mut claim = self.claim(endpoint, None, facts, route);
        if endpoint == TokenEndpoint::Token {
            if head.headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
                return Err(Rejection::CredentialConflict.because("two Authorization lines"));
            }
            claim.basic = head.headers.remove(header::AUTHORIZATION);
            claim.basic.iter_mut().for_each(|value| value.set_sensitive(true));
            claim.shows_another = self.rules.credentials.holder(&head.headers).is_some();
        }
        Ok(Admitted::Issue(Box::new(claim)))
    }

    pub(super) fn claim(&self, endpoint: TokenEndpoint, caller: Option<Arc<Identity>>, facts: &Facts, route: &Arc<Route>) -> Claim {
        let served = |name: &EnvironmentName| self.rules.environments.check(*name, facts, route).is_ok();
        let environments = [EnvironmentName::Live, EnvironmentName::Test].into_iter().filter(served).collect();
        Claim { endpoint, caller, environments, facts: facts.clone(), route: Arc::clone(route), basic: None, shows_another: false }
    }

    /// What a refresh token of nobody costs its client until it proves good.
    ///
    /// # Errors
    /// `guess_throttled`.
    pub fn stake(&self, connection: &Connection, head: &Parts, now: Timestamp, seen: &Seen) -> Result<Stake, Refusal> {
        let pays = self.guard_applies(connection, head);
        if pays { self.rules.guard.take(throttled(connection, seen), now) } else { Ok(Stake::free()) }
    }

    /// It has.
    pub fn give_back(&self, stake: &Stake) {
        self.rules.guard.give_back(stake);
    }

    /// Who the client is that has shown this id and secret.
    ///
    /// # Errors
    /// As [`Self::decide`], of a request with that secret as its credential.
    pub async fn client(
        &self,
        claim: &Claim,
        (id, secret): (&str, &[u8]),
        head: &Parts,
        connection: &Connection,
        now: Timestamp,
        seen: &mut Seen,
    ) -> Result<Arc<Identity>, Refusal> {
        seen.credential_sent = true;
        let key = self.rules.credentials.read(secret)?;
        seen.presented(&key);
        let (facts, route, trace) = (&claim.facts, &*claim.route, &mut ());
        self.environment(key.prefix.environment, String::new, facts, route, trace)?;
        let identity = self.authenticate(&key, connection, head, now, seen, trace).await?;
        if identity.key_id().is_none_or(|key| **key != *id) {
            return Err(Rejection::KeyUnknown.because("client_id is not the id of the key"));
        }
        seen.identity = Some(Arc::clone(&identity));
        self.authorize(&identity, facts, route, &[], head, now, seen, trace)?;
        self.limit(Some(&identity), route, now, seen, trace).await?;
        Ok(identity)
    }
}
