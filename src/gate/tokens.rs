//! The way of requests for tokens: one whose caller has shown a key where keys are shown has come the way of all requests; of others
//! the body tells who they are, and a client's secret is judged as any key is, by the route of its endpoint.

use std::sync::Arc;

use http::header;
use http::request::Parts;

use super::permit::Claim;
use super::trace::Trace;
use super::{Admitted, Connection, Gate, Seen};
use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;
use crate::facts::Facts;
use crate::identity::Identity;
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
            claim.basic = head.headers.remove(header::AUTHORIZATION);
            claim.basic.iter_mut().for_each(|value| value.set_sensitive(true));
        }
        Ok(Admitted::Issue(Box::new(claim)))
    }

    pub(super) fn claim(&self, endpoint: TokenEndpoint, caller: Option<Arc<Identity>>, facts: &Facts, route: &Arc<Route>) -> Claim {
        let served = |name: &EnvironmentName| self.rules.environments.check(*name, facts, route).is_ok();
        let environments = [EnvironmentName::Live, EnvironmentName::Test].into_iter().filter(served).collect();
        Claim { endpoint, caller, environments, facts: facts.clone(), route: Arc::clone(route), basic: None }
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
