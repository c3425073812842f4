//! Steps 6 and 7 for keys: one that is cached is answered here and now; others pay a token for their look-up.

use std::sync::Arc;

use http::request::Parts;

use super::trace::{Note, Step, Trace};
use super::{Connection, Gate, Seen, throttled};
use crate::clock::Timestamp;
use crate::credential::ApiKey;
use crate::identity::Identity;
use crate::policy::guess_guard::Token;
use crate::rejection::{Refusal, Rejection};

impl Gate {
    pub(super) async fn authenticate<T: Trace>(
        &self,
        key: &ApiKey<'_>,
        connection: &Connection,
        head: &Parts,
        now: Timestamp,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<Arc<Identity>, Refusal> {
        let presented = || format!("{}…/{}", key.prefix.text, key.digest.fingerprint());
        if !key.plausible {
            let verdict = Err(Rejection::KeyUnknown.because("checksum or length").of_nobody());
            return trace.judge(Step::Authentication, verdict, || Note::new(presented()).at("key_kinds"));
        }
        let cached = self.authenticator.cached(&key.digest, now);
        seen.cached = Some(cached.is_some());
        let verdict = if let Some(verdict) = cached {
            verdict
        } else {
            // Who joins a look-up pays nothing: a thousand requests that meet a cold key at once are one look-up, not a thousand guesses.
            // Who only asks how it would be judged is no guess.
            let pays = !T::THOROUGH && self.guard_applies(connection, head) && !self.authenticator.is_loading(&key.digest);
            let taken = if pays { self.rules.guard.take(throttled(connection, seen), now) } else { Ok(Token::free()) };
            let note = || Note::new("uncached credential").at("restrictions.guess_throttle");
            let stake = trace.judge(Step::GuessGuard, taken, note)?;
            // Boxed, as is every step that most requests never reach: it would be part of each request's future, and moved with it.
            let loaded = Box::pin(self.authenticator.load(&key.digest, now)).await;
            // Only a credential that opens nothing is a guess: a known key's own refusal, or our outage, costs the client nothing.
            if !matches!(&loaded, Err(refusal) if refusal.rejection == Rejection::KeyUnknown) {
                self.rules.guard.give_back(&stake);
            }
            loaded
        };
        let claims_hold = |identity: &Identity| identity.environment == key.prefix.environment && identity.kind() == Some(&key.prefix.kind);
        let verdict = match verdict {
            Ok(identity) if !claims_hold(&identity) => {
                let id = identity.key_id().map_or("", |id| id);
                Err(Rejection::KeyUnknown.because(format!("prefix and record of {id} disagree")))
            }
            verdict => verdict,
        };
        trace.judged(Step::Authentication, &verdict, || match &verdict {
            Ok(identity) => {
                let id = identity.key_id().map_or("", |id| id);
                Note::new(format!("{} is {id} of tenant {}", presented(), identity.tenant_id))
            }
            Err(_) => Note::new(presented()).at("store.url"),
        });
        verdict
    }
}
