//! `[migration] unknown_keys = "pass"`: a credential that is nobody's here goes on to the API as it came, for the older key system
//! there to judge. Of nobody: no record, no identity headers, and never what a record or an outage says no to.

use http::request::Parts;

use super::trace::{Note, Step, Trace};
use super::{Admitted, Caller, Gate, Permit, Seen};
use crate::clock::Timestamp;
use crate::config::sections::{CredentialType, EnvironmentName};
use crate::credential::Untouched;
use crate::facts::Facts;
use crate::key::kind::Prefix;
use crate::rejection::Refusal;
use crate::route::Route;

/// What is to be passed on, should the credential be nobody's here.
pub(super) struct Older<'c> {
    /// As it came.
    untouched: Untouched<'c>,
    /// Until when that is done.
    until: Timestamp,
    /// What it would be by its prefix, if it has one, and the upstream of that environment.
    claim: Option<(&'c Prefix, usize)>,
}

impl<'c> Older<'c> {
    /// It has a prefix of ours.
    pub(super) fn claim(&mut self, prefix: &'c Prefix, upstream: usize) {
        self.claim = Some((prefix, upstream));
    }
}

impl Gate {
    /// To be asked before the credential is taken off; `None` = what is nobody's here is refused.
    pub(super) fn older(&self, head: &Parts, now: Timestamp) -> Option<Box<Older<'_>>> {
        let until = self.rules.lenience.passes_until(now)?;
        Some(Box::new(Older { untouched: self.rules.credentials.untouched(&head.headers)?, until, claim: None }))
    }

    /// The last word on a refused credential: only one that is nobody's here may be an older system's.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) async fn pass_on<T: Trace>(
        &self,
        refusal: Refusal,
        older: Option<Box<Older<'_>>>,
        asked: (&Facts, &Route),
        head: &mut Parts,
        now: Timestamp,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<Admitted, Refusal> {
        match older.filter(|_| refusal.unclaimed) {
            Some(older) => Box::pin(self.pass(refusal, *older, asked, head, now, seen, trace)).await,
            None => Err(refusal),
        }
    }

    /// What the route demands of whoever calls still holds; who that is, and what they may do, is the older system's to say.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn pass<T: Trace>(
        &self,
        refusal: Refusal,
        older: Older<'_>,
        (facts, route): (&Facts, &Route),
        head: &mut Parts,
        now: Timestamp,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<Admitted, Refusal> {
        let (reason, taken) = (refusal.rejection.row().reason, self.takes_older(older.claim, facts, route));
        let note = || match taken {
            Ok(_) => Note::new(format!("{reason} is passed on as it came, until {}", older.until)),
            Err(why) => Note::new(format!("{reason} is not passed on: {why}")),
        };
        let upstream = trace.judge(Step::Migration, taken.map_err(|_| refusal.clone()), || note().at("migration.unknown_keys"))?;
        self.rules.credentials.put_back(older.untouched, &mut head.headers);
        self.check_networks_of_nobody(route, seen, trace)?;
        self.limit(None, route, now, seen, trace).await?;
        seen.would_refuse.add(refusal);
        Ok(Admitted::Forward(Permit::new(Caller::Older, upstream, route.response_timeout)))
    }

    /// The upstream of a key that is nobody's here, or why no such key is let through.
    fn takes_older(&self, claim: Option<(&Prefix, usize)>, facts: &Facts, route: &Route) -> Result<usize, &'static str> {
        if !route.matched {
            return Err("no route matches");
        }
        if !route.credentials.contains(&CredentialType::ApiKey) {
            return Err("the route takes no API keys");
        }
        match claim {
            Some((prefix, _)) if route.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&prefix.kind)) => {
                Err("the route takes other kinds of keys")
            }
            Some((_, upstream)) => Ok(upstream),
            // Without a prefix it is of whichever environment is served there, live first.
            None => [EnvironmentName::Live, EnvironmentName::Test]
                .into_iter()
                .find_map(|name| self.rules.environments.check(name, facts, route).ok())
                .ok_or("keys of no environment are served there"),
        }
    }
}
