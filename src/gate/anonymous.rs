//! The ways through the gate without a credential: open routes, our own documents, and CORS preflights. Nothing is said of anybody to the upstream.

use bytes::Bytes;
use http::request::Parts;

use super::trace::{Note, Step, Trace};
use super::{Admitted, Caller, Gate, Permit, Seen};
use crate::clock::Timestamp;
use crate::facts::Facts;
use crate::policy::network;
use crate::rejection::{Refusal, Rejection};
use crate::route::Route;

impl Gate {
    /// A route that asks nobody: keys are still taken off, and networks still count.
    pub(super) async fn open<T: Trace>(
        &self,
        head: &mut Parts,
        route: &Route,
        caller: Caller,
        now: Timestamp,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<Admitted, Refusal> {
        self.rules.credentials.strip(&mut head.headers);
        self.check_networks_of_nobody(route, seen, trace)?;
        if route.open {
            self.limit(None, route, now, seen, trace).await?;
        }
        let upstream = route.upstream.or(self.rules.environments.of(crate::config::sections::EnvironmentName::Live).upstream);
        let upstream = upstream.ok_or_else(|| Rejection::UpstreamUnavailable.because("no upstream is defined"))?;
        Ok(Admitted::Forward(Permit::new(caller, upstream, route.response_timeout)))
    }

    /// A document of our own, for anybody: networks and limits count as on any open route.
    pub(super) async fn tell<T: Trace>(
        &self,
        document: &Bytes,
        route: &Route,
        now: Timestamp,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<Admitted, Refusal> {
        self.check_networks_of_nobody(route, seen, trace)?;
        self.limit(None, route, now, seen, trace).await?;
        Ok(Admitted::Tell(document.clone()))
    }

    /// Networks are all that holds anybody back where nobody is known: they are never only observed.
    pub(super) fn check_networks_of_nobody<T: Trace>(&self, route: &Route, seen: &Seen, trace: &mut T) -> Result<(), Refusal> {
        let networks = network::contains(self.rules.deployment_allowlist.as_ref(), seen.client, "deployment")
            .and_then(|()| network::contains(route.allowlist.as_ref(), seen.client, "route"));
        trace.judge(Step::Check("network"), networks, || Note::new(format!("{}; nobody is authenticated", seen.client)).at(&route.path))
    }

    /// A preflight carries no credential. With `[cors]` it is answered here; else it passes, anonymous, where a route takes the method it asks for.
    pub(super) async fn preflight<T: Trace>(
        &self,
        head: &mut Parts,
        facts: &Facts,
        now: Timestamp,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<Admitted, Refusal> {
        if let Some(cors) = &self.rules.cors {
            trace.pass(Step::Route, || Note::new("CORS preflight").at("cors"));
            return Ok(Admitted::Preflight(cors.preflight(&head.headers)));
        }
        let asked = head
            .headers
            .get(http::header::ACCESS_CONTROL_REQUEST_METHOD)
            .and_then(|method| http::Method::from_bytes(method.as_bytes()).ok());
        let asked = asked.ok_or_else(|| Rejection::RequestInvalid.because("Access-Control-Request-Method is no method"))?;
        let asked = Facts { method: asked, host: facts.host.clone(), path: facts.path.clone() };
        let (route, _) = self.route(&asked, seen, trace)?;
        // No page has business with the keys themselves.
        if !route.matched || route.own.is_some() {
            return trace.judge(
                Step::Route,
                Err(Rejection::CredentialMissing.because("preflight of a path that no route matches")),
                || Note::new("CORS preflight"),
            );
        }
        self.rules.credentials.strip_all(&mut head.headers);
        self.open(head, route, Caller::Preflight, now, seen, trace).await
    }
}
