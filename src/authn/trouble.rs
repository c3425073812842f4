//! Look-ups that yield nothing new, and what is answered in their stead: what was known before, for as long as the rules of
//! staleness allow; else a refusal that says whose fault it is.

use std::sync::Arc;

use super::Counters;
use super::cache::Entry;
use super::freshness::Moment;
use super::load::{Answer, Shared};
use super::slots::Doubt;
use crate::clock::Timestamp;
use crate::key::digest::Digest;
use crate::rejection::{Refusal, Rejection};
use crate::store::StoreError;

/// Why a look-up yields no entry.
pub(super) enum Trouble {
    /// It was overtaken by a change, and is to be done again.
    Overtaken,
    /// The store says no.
    Refused(Refusal),
    /// The store says nothing.
    Silent(String),
    /// The store has lost what it had, and is not believed until then.
    Lost(Timestamp),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => Self::Silent(why),
            StoreError::Corrupt { .. } | StoreError::Conflict { .. } | StoreError::DigestTaken { .. } => {
                Self::Refused(Rejection::IdentityInvalid.because(error.to_string()))
            }
        }
    }
}

impl From<Doubt> for Trouble {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Older => Self::Overtaken,
            Doubt::Lost(until) => Self::Lost(until),
        }
    }
}

impl Shared {
    /// What a caller may be told whom a look-up did not answer in time.
    pub(super) fn overdue(&self, digest: &Digest, why: String) -> Answer {
        self.fall_back(self.caches.entry(digest), &Trouble::Silent(why))
    }

    /// What was known before, if that may still be used.
    pub(super) fn fall_back(&self, known: Option<Arc<Entry>>, trouble: &Trouble) -> Answer {
        let now = self.clock.now();
        if let Some(entry) = known.filter(|entry| entry.is_current())
            && let moment = self.freshness.moment(now, self.slots.floor())
            && let Some(end) = self.excused_until(trouble, now, || self.stale_until(&entry, moment))
        {
            entry.reading.excuse(now, end);
            if matches!(trouble, Trouble::Silent(_)) {
                entry.tenant.reading.excuse(now, end);
            }
            Counters::count(&self.counters.stale);
            return Ok(entry);
        }
        Err(match trouble {
            Trouble::Silent(why) => Rejection::StoreUnavailable.because(why.clone()),
            Trouble::Refused(refusal) => refusal.clone(),
            Trouble::Overtaken | Trouble::Lost(_) => Rejection::StoreUnavailable.because("the store has an older record than was known"),
        })
    }

    /// Until when what was known before may be used in its stead; `None` = not at all. Counts the trouble.
    pub(super) fn excused_until(&self, trouble: &Trouble, now: Timestamp, stale_until: impl FnOnce() -> Timestamp) -> Option<Timestamp> {
        let end = match trouble {
            Trouble::Silent(_) => {
                Counters::count(&self.counters.unanswered);
                stale_until()
            }
            Trouble::Lost(end) => {
                self.counters.count_fault();
                *end
            }
            Trouble::Overtaken | Trouble::Refused(_) => return None,
        };
        Some(end).filter(|end| now < *end)
    }

    /// Until when an entry may be used while the store does not answer.
    pub(super) fn stale_until(&self, entry: &Entry, moment: Moment) -> Timestamp {
        let end = |reading| self.freshness.stale_until(moment, reading);
        end(&entry.reading).min(end(&entry.tenant.reading))
    }
}
