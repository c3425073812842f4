//! Step 10: rate limits and quotas, and what `explain` says of them. What is counted, and how, is [`crate::limit`]'s.

use super::trace::{Note, Step, Trace};
use super::{Gate, Seen};
use crate::clock::Timestamp;
use crate::identity::Identity;
use crate::limit::{Attempt, Who};
use crate::rejection::Refusal;
use crate::route::Route;

impl Gate {
    /// Answered at once, but for a bucket of the fleet that nobody here has used yet.
    pub(super) async fn limit<T: Trace>(
        &self,
        identity: Option<&Identity>,
        route: &Route,
        now: Timestamp,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<(), Refusal> {
        let (limits, who) = (&self.rules.limits, Who { identity, client: seen.client.0, route });
        if T::THOROUGH {
            let mut verdict = Ok(());
            for look in Box::pin(limits.look(&self.counts, &who)).await {
                let said = trace.judge(Step::Limit, look.verdict, || Note::new(look.input).at(&look.path));
                verdict = verdict.and(said);
            }
            return verdict;
        }
        let (verdict, told) = match limits.admit(&self.counts, &who, now) {
            Attempt::Settled(verdict, told) => (verdict, told),
            Attempt::Waits(cold) => Box::pin(limits.admit_cold(&self.counts, &who, now, cold)).await,
        };
        seen.limits = told;
        verdict
    }
}
