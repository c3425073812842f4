//! Steps 6 and 7 for tokens: one that is remembered is answered here and now; others pay for the check of their signature.

use std::sync::Arc;

use http::request::Parts;

use super::trace::{Note, Step, Trace};
use super::{Connection, Gate, Seen, throttled};
use crate::clock::Timestamp;
use crate::config::sections::CredentialType;
use crate::credential::BearerToken;
use crate::identity::Identity;
use crate::policy::guess_guard::Token as Stake;
use crate::rejection::{Refusal, Rejection};

impl Gate {
    pub(super) async fn verify<T: Trace>(
        &self,
        token: &BearerToken,
        connection: &Connection,
        head: &Parts,
        now: Timestamp,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<Arc<Identity>, Refusal> {
        seen.presented_token(token);
        let cached = self.authenticator.cached_token(&token.digest, &self.rules.issuers, now);
        seen.cached = Some(cached.is_some());
        let verified = if let Some(verified) = cached {
            verified
        } else {
            // A thousand requests that bring a new token at once are one guess, if it is one.
            // Who only asks how it would be judged is no guess.
            let pays = !T::THOROUGH && self.guard_applies(connection, head) && !self.authenticator.is_verifying(&token.digest);
            let paid = if pays { self.rules.guard.take(throttled(connection, seen), now) } else { Ok(Stake::free()) };
            let stake = trace.judge(Step::GuessGuard, paid, || Note::new("uncached token").at("restrictions.guess_throttle"))?;
            let loaded = match self.rules.issuers.introspection().filter(|_| token.kind == CredentialType::Opaque) {
                Some(introspection) => Box::pin(self.authenticator.load_opaque(token.text(), &token.digest, introspection, now)).await,
                None => Box::pin(self.authenticator.load_token(token.text(), &token.digest, &self.rules.issuers, now)).await,
            };
            if !matches!(&loaded, Err(refusal) if is_guess(refusal.rejection)) {
                self.rules.guard.give_back(&stake);
            }
            loaded
        };
        let verdict = verified.and_then(|token| {
            let identity = token.judge(now)?;
            seen.environment = Some(identity.environment);
            seen.token = Some(token);
            Ok(identity)
        });
        trace.judged(Step::Authentication, &verdict, || self.note_of(token, verdict.as_deref().ok()));
        verdict
    }

    fn note_of(&self, token: &BearerToken, identity: Option<&Identity>) -> Note {
        let presented = format!("{}…/{}", token.kind.name(), token.digest.fingerprint());
        let whose = if token.kind == CredentialType::Opaque { "introspection" } else { "issuers" };
        let Some((identity, (issuer, subject))) = identity.and_then(|identity| Some((identity, identity.subject()?))) else {
            return Note::new(presented).at(whose);
        };
        let at = self.rules.issuers.iter().find(|known| known.name == *issuer).map_or(whose, |issuer| &issuer.path);
        Note::new(format!("{presented} of issuer {issuer} is {subject} of tenant {}", identity.tenant_id)).at(at)
    }
}

/// Only what nobody has signed, or vouches for, is a guess: what a good token is refused for, or our own outage, costs the client nothing.
const fn is_guess(rejection: Rejection) -> bool {
    matches!(rejection, Rejection::JwtMalformed | Rejection::JwtSignature | Rejection::JwtIssuer | Rejection::TokenInactive)
}
