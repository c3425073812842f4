//! The portion of a fleet's bucket that this sidecar holds, pure: what becomes of a request, when the store is to be asked and for how
//! much, what is handed back, and what is admitted while the store does not answer. It asks nobody itself.
//!
//! Whoever has requests in hand is answered from them. A portion begins as clamp(requests / (4 × sidecars), 1, 100) and follows the load:
//! the requests of 600 ms, so that a busy sidecar asks at most once for 50 of them and one that is not keeps nothing from the others.

use super::gcra::Pace;
use crate::clock::Timestamp;
use crate::config::sections::OnUnavailable;
use crate::store::draw::{Budget, Drawn, period_of};

/// The largest portion.
const PORTION_MAX: u64 = 100;
/// Between two questions lie so many requests, or so much time, unless there is nothing to answer from: a fifth more than is promised,
/// for load comes unevenly.
const GAP_REQUESTS: u64 = 60;
pub(super) const GAP_MS: i64 = 600;
/// A quota that is used up has seldom anything again before its period ends.
const GAP_USED_UP_MS: i64 = 2000;
/// How long after a question that was not answered the next one is put.
const RETRY_MS: i64 = 500;
/// Looks of the keeper without a request, after which everything is handed back.
const IDLE_LOOKS: u8 = 2;

/// What a bucket is counted by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) budget: Budget,
    /// Of a rate: what a sidecar counts by alone, shared by all, while the store is away.
    pub(super) pace: Option<Pace>,
    pub(super) on_unavailable: OnUnavailable,
}

/// A question to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) want: u64,
    /// Handed back, or less than nothing: used without being asked for.
    pub(super) back: i64,
    pub(super) of: i64,
    /// How many of a debt are told with it.
    owed: u64,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Admitted,
    /// For so many milliseconds there is nothing.
    Refused(u64),
    /// Nobody can tell, and that is to be a refusal.
    Unavailable,
    /// The store's answer decides.
    Waits,
}

/// The portion.
#[derive(Debug, Default)]
pub(super) struct Lease {
    held: u64,
    portion: u64,
    /// Requests since the store was asked.
    since: u64,
    /// Requests since the keeper looked.
    seen: u64,
    idle: u8,
    asked_at: Option<Timestamp>,
    flying: Option<Ask>,
    /// The store had less than was asked for.
    dry: bool,
    /// What the store had left, and when it was to have some where it had none.
    left: u64,
    more_at: i64,
    /// Of a quota: its period, and when that ends.
    period: i64,
    ends_at: Option<Timestamp>,
    away: Option<Away>,
    /// Of a quota: admitted while the store was away, and not told to it yet.
    owed: u64,
    used_at: i64,
}

/// What is counted by while the store does not answer.
#[derive(Debug, Clone, Copy)]
struct Away {
    retry_at: Timestamp,
    /// Of a rate: the bucket of this sidecar's share.
    bucket: i64,
    /// Of a quota: what is left of this sidecar's share.
    spare: u64,
}

impl Terms {
    /// What a sidecar asks for that knows nothing of its load.
    fn base(&self, sidecars: u64) -> u64 {
        (self.requests() / sidecars.max(1).saturating_mul(4)).clamp(1, PORTION_MAX)
    }

    const fn requests(&self) -> u64 {
        match self.budget {
            Budget::Rate { requests, .. } | Budget::Quota { requests, .. } => requests,
        }
    }

    const fn gap_used_up_ms(&self) -> Option<i64> {
        match self.budget {
            Budget::Rate { .. } => None,
            Budget::Quota { .. } => Some(GAP_USED_UP_MS),
        }
    }
}

impl Lease {
    /// One more request; and what to ask the store for now.
    pub(super) fn take(&mut self, terms: &Terms, sidecars: u64, now: Timestamp) -> (Said, Option<Ask>) {
        self.roll(terms, sidecars, now);
        let (said, ask) = self.judge(terms, sidecars, now);
        // Who waits comes again.
        if said != Said::Waits {
            (self.since, self.seen, self.used_at) = (self.since.saturating_add(1), self.seen.saturating_add(1), now.0);
        }
        (said, ask)
    }

    fn judge(&mut self, terms: &Terms, sidecars: u64, now: Timestamp) -> (Said, Option<Ask>) {
        if self.held > 0 {
            self.held -= 1;
            let is_due = self.held <= self.portion / 2 && self.flying.is_none() && self.away.is_none() && self.may_ask(terms, now);
            return (Said::Admitted, is_due.then(|| self.ask(terms, sidecars, now)));
        }
        if let Some(away) = &mut self.away {
            let said = away.take(terms, sidecars, now, &mut self.owed, self.ends_at);
            let is_due = self.flying.is_none() && (now >= away.retry_at || now.plus_millis(RETRY_MS) < away.retry_at);
            return (said, is_due.then(|| self.ask(terms, sidecars, now)));
        }
        if self.flying.is_some() {
            return (Said::Waits, None);
        }
        match self.dry_for(terms, now) {
            Some(wait_ms) => (Said::Refused(wait_ms), None),
            None => (Said::Waits, Some(self.ask(terms, sidecars, now))),
        }
    }

    /// A request that was admitted is refused after all.
    pub(super) const fn give_back(&mut self) {
        self.held += 1;
    }

    /// How long a request would be refused, as far as is known; `None` = it would not.
    pub(super) fn wait_ms(&self, terms: &Terms, now: Timestamp) -> Option<u64> {
        if self.held > 0 || self.away.is_some() || self.flying.is_some() { None } else { self.dry_for(terms, now) }
    }

    /// The store has answered, or has not.
    pub(super) fn land(&mut self, terms: &Terms, sidecars: u64, now: Timestamp, answer: Option<Drawn>) {
        let Some(ask) = self.flying.take() else { return };
        let Some(drawn) = answer else { return self.lose(terms, sidecars, now) };
        if drawn.period != self.period {
            (self.held, self.period) = (0, drawn.period);
        }
        self.away = None;
        // A debt of another period is told to nobody any more.
        self.owed = if ask.of == drawn.period { self.owed.saturating_sub(ask.owed) } else { 0 };
        self.held = self.held.saturating_add(drawn.granted);
        self.dry = drawn.granted < ask.want;
        self.left = drawn.left;
        let later = |ms: u64| now.plus_millis(i64::try_from(ms).unwrap_or(i64::MAX));
        self.more_at = later(drawn.wait_ms).0;
        self.ends_at = (drawn.ends_in_ms > 0).then(|| later(drawn.ends_in_ms));
    }

    /// The store does not answer: from now on this sidecar counts for itself.
    pub(super) fn lose(&mut self, terms: &Terms, sidecars: u64, now: Timestamp) {
        let retry_at = now.plus_millis(RETRY_MS);
        if let Some(away) = &mut self.away {
            away.retry_at = retry_at;
            return;
        }
        let known = self.ends_at.map(|_| self.left);
        // Of what is not known at all everybody has one at least.
        let spare = (known.unwrap_or_else(|| terms.requests()) / sidecars.max(1)).max(u64::from(known.is_none()));
        self.away = Some(Away { retry_at, bucket: 0, spare });
        if let (Budget::Quota { period, .. }, None) = (terms.budget, self.ends_at) {
            let (start, end) = period_of(now.0, period);
            (self.period, self.ends_at) = (start, Some(Timestamp(end)));
        }
        self.dry = false;
    }

    /// The keeper looks, every [`GAP_MS`]: what to hand back.
    pub(super) fn look(&mut self, terms: &Terms, sidecars: u64, now: Timestamp) -> Option<Ask> {
        self.roll(terms, sidecars, now);
        let seen = std::mem::take(&mut self.seen);
        self.idle = if seen == 0 { self.idle.saturating_add(1) } else { 0 };
        if self.flying.is_some() {
            return None;
        }
        if let Some(away) = &self.away {
            // Nobody comes any more who would find out that the store is back.
            return (self.idle >= IDLE_LOOKS && now >= away.retry_at).then(|| self.hand_back(0));
        }
        let keep = if self.idle >= IDLE_LOOKS { 0 } else { terms.base(sidecars).max(seen.saturating_mul(2)) };
        if self.held == 0 || (keep > 0 && self.held <= keep.saturating_mul(2)) {
            return None;
        }
        Some(self.hand_back(keep))
    }

    /// Everything but so many requests, for the store; nobody is answered from it any more.
    pub(super) fn hand_back(&mut self, keep: u64) -> Ask {
        let back = self.held.saturating_sub(keep);
        self.held -= back;
        self.fly(0, back)
    }

    /// Whether anything here must be told to the store.
    pub(super) const fn has_news(&self) -> bool {
        self.flying.is_none() && (self.held > 0 || self.owed > 0)
    }

    /// Whether nothing would be lost with it.
    pub(super) const fn is_spent(&self) -> bool {
        self.idle >= IDLE_LOOKS && self.held == 0 && self.owed == 0 && self.flying.is_none() && self.away.is_none()
    }

    pub(super) const fn is_flying(&self) -> bool {
        self.flying.is_some()
    }

    pub(super) const fn used_at(&self) -> i64 {
        self.used_at
    }

    /// How many are left, as far as is known here, and milliseconds until all are there again.
    pub(super) fn standing(&self, terms: &Terms, sidecars: u64, now: Timestamp) -> (u64, u64) {
        match (terms.budget, &self.away, terms.pace) {
            (Budget::Rate { .. }, Some(away), Some(pace)) => {
                let share = pace.shared(sidecars);
                (self.held + share.left(away.bucket, now), share.full_in_ms(away.bucket, now))
            }
            (Budget::Rate { requests, per_ms, capacity }, ..) => {
                let left = self.held.saturating_add(self.left).min(capacity);
                let full_in_ms = u128::from(capacity - left) * u128::from(per_ms) / u128::from(requests.max(1));
                (left, u64::try_from(full_in_ms).unwrap_or(u64::MAX))
            }
            (Budget::Quota { .. }, away, _) => {
                let ends_in = self.ends_at.map_or(0, |end| end.0.saturating_sub(now.0).max(0).unsigned_abs());
                (self.held.saturating_add(away.map_or(self.left, |away| away.spare)), ends_in)
            }
        }
    }

    /// Puts the question, and sets the portion by what came since the last one.
    fn ask(&mut self, terms: &Terms, sidecars: u64, now: Timestamp) -> Ask {
        let base = terms.base(sidecars);
        self.portion = match self.asked_at {
            None => base,
            // Nothing was left too early: there is more load than was thought.
            Some(_) if !self.may_ask(terms, now) => self.portion.saturating_mul(2),
            Some(at) => {
                let took = now.0.saturating_sub(at.0).clamp(GAP_MS / 10, i64::MAX).unsigned_abs();
                self.since.saturating_mul(GAP_MS.unsigned_abs()) / took
            }
        }
        .clamp(base, PORTION_MAX);
        (self.since, self.asked_at) = (0, Some(now));
        self.fly(self.portion, 0)
    }

    fn fly(&mut self, want: u64, back: u64) -> Ask {
        let ask = Ask { want, back: back.cast_signed().saturating_sub(self.owed.cast_signed()), of: self.period, owed: self.owed };
        self.flying = Some(ask);
        ask
    }

    /// Whether enough came, or enough time went by, since the store was asked.
    fn may_ask(&self, terms: &Terms, now: Timestamp) -> bool {
        let Some(at) = self.asked_at else { return true };
        let gap_ms = now.0.saturating_sub(at.0);
        let used_up = terms.gap_used_up_ms().filter(|_| self.dry && self.left == 0);
        gap_ms < 0 || used_up.map_or(self.since > GAP_REQUESTS || gap_ms >= GAP_MS, |gap| gap_ms >= gap)
    }

    /// How long there is nothing, if the store said so and is not to be asked again yet.
    fn dry_for(&self, terms: &Terms, now: Timestamp) -> Option<u64> {
        let asked_at = self.asked_at.filter(|_| self.dry && !self.may_ask(terms, now))?;
        let again = self.more_at.max(asked_at.0.saturating_add(GAP_MS));
        Some(again.saturating_sub(now.0).max(1).unsigned_abs())
    }

    /// A quota's period ends: what was of it is worth nothing.
    fn roll(&mut self, terms: &Terms, sidecars: u64, now: Timestamp) {
        if self.ends_at.is_none_or(|end| now < end) {
            return;
        }
        (self.held, self.left, self.owed, self.dry, self.ends_at) = (0, 0, 0, false, None);
        if let (Some(away), Budget::Quota { requests, period }) = (&mut self.away, terms.budget) {
            let (start, end) = period_of(now.0, period);
            away.spare = (requests / sidecars.max(1)).max(1);
            (self.period, self.ends_at) = (start, Some(Timestamp(end)));
        }
    }
}

impl Away {
    fn take(&mut self, terms: &Terms, sidecars: u64, now: Timestamp, owed: &mut u64, ends_at: Option<Timestamp>) -> Said {
        if terms.on_unavailable == OnUnavailable::Deny {
            return Said::Unavailable;
        }
        if let Some(pace) = terms.pace {
            let (bucket, verdict) = pace.shared(sidecars).take(self.bucket, now);
            self.bucket = bucket;
            return verdict.map_or_else(Said::Refused, |()| Said::Admitted);
        }
        if self.spare == 0 {
            let wait_ms = ends_at.map_or(1000, |end| end.0.saturating_sub(now.0).max(1).unsigned_abs());
            return Said::Refused(wait_ms);
        }
        self.spare -= 1;
        *owed += 1;
        Said::Admitted
    }
}
