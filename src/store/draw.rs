//! Buckets that a fleet counts in together: what a sidecar asks of one, and what it gets. How a bucket is reckoned stands here once
//! for stores that run our code; Redis runs the same in `redis/scripts.rs`. The store's clock decides, never a sidecar's.

use jiff::tz::TimeZone;

use crate::config::sections::QuotaPeriod;

/// Two moments that differ by less are one: whole nanoseconds do not divide every period.
const SLACK_NS: i128 = 1000;
const NS_PER_MS: i64 = 1_000_000;

/// What a bucket gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// So many requests in this time, and `capacity` of them at once.
    Rate {
        /// Requests.
        requests: u64,
        /// In this time, in milliseconds.
        per_ms: u64,
        /// What gathers while nobody asks.
        capacity: u64,
    },
    /// So many requests in each day or month, UTC.
    Quota {
        /// Requests.
        requests: u64,
        /// In each of these.
        period: QuotaPeriod,
    },
}

/// What is asked of a bucket.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    /// Its name: hexadecimal digits.
    pub name: &'a str,
    /// What it gives.
    pub budget: Budget,
    /// How many are wanted; 0 = only to look.
    pub want: u64,
    /// How many are given back first; less than nothing = were used without being asked for.
    pub back: i64,
    /// The period that those were of, as [`Drawn::period`] told it.
    pub of: i64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drawn {
    /// How many may be used.
    pub granted: u64,
    /// How many are there still.
    pub left: u64,
    /// Where none is: how long until there is one, in milliseconds.
    pub wait_ms: u64,
    /// The period of a quota: its first millisecond since the epoch; 0 for a rate.
    pub period: i64,
    /// How long it lasts yet, in milliseconds; 0 for a rate.
    pub ends_in_ms: u64,
}

/// What a store keeps of a bucket. Nothing kept is a full one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Of a rate, when it will be full, in nanoseconds; of a quota, its period.
    pub(crate) at: i64,
    /// Of a quota, how many of the period were used.
    pub(crate) used: i64,
}

impl Draw<'_> {
    /// Whether the bucket stays as it is.
    pub(super) const fn only_looks(&self) -> bool {
        self.want == 0 && self.back == 0
    }

    /// What is kept from now on, what came of it, and when what is kept says nothing any more (milliseconds).
    pub(crate) fn on(&self, kept: Kept, now_ms: i64) -> (Kept, Drawn, i64) {
        match self.budget {
            Budget::Rate { requests, per_ms, capacity } => self.of_rate(kept, now_ms, requests.max(1), per_ms, capacity),
            Budget::Quota { requests, period } => self.of_quota(kept, now_ms, requests, period),
        }
    }

    fn of_rate(&self, kept: Kept, now_ms: i64, requests: u64, per_ms: u64, capacity: u64) -> (Kept, Drawn, i64) {
        let (requests, per) = (i128::from(requests), i128::from(per_ms.max(1)) * i128::from(NS_PER_MS));
        let (now, capacity) = (i128::from(now_ms) * i128::from(NS_PER_MS), i128::from(capacity));
        let ceiling = now + capacity * per / requests;
        // What lies beyond was written by a clock that has been set back, or under a more generous limit.
        let full_at = (i128::from(kept.at).min(ceiling) - i128::from(self.back) * per / requests).max(now);
        let free = ((ceiling - full_at + SLACK_NS).max(0) * requests / per).min(capacity);
        let granted = i128::from(self.want).min(free);
        let full_at = full_at + granted * per / requests;
        let left = free - granted;
        let wait = if left == 0 { (full_at + per / requests - ceiling).max(1) } else { 0 };
        let whole = |value: i128| u64::try_from(value).unwrap_or(0);
        let drawn = Drawn {
            granted: whole(granted),
            left: whole(left),
            wait_ms: whole(wait).div_ceil(NS_PER_MS.unsigned_abs()),
            ..Drawn::default()
        };
        let kept = Kept { at: i64::try_from(full_at).unwrap_or(i64::MAX), used: 0 };
        (kept, drawn, kept.at / NS_PER_MS + 1000)
    }

    fn of_quota(&self, kept: Kept, now_ms: i64, requests: u64, period: QuotaPeriod) -> (Kept, Drawn, i64) {
        let (start, end) = period_of(now_ms, period);
        let used = if kept.at == start { kept.used } else { 0 };
        let used = if self.of == start { used.saturating_sub(self.back).max(0) } else { used };
        let free = requests.saturating_sub(used.unsigned_abs());
        let granted = self.want.min(free);
        let used = used.saturating_add(i64::try_from(granted).unwrap_or(i64::MAX));
        let ends_in_ms = end.saturating_sub(now_ms).unsigned_abs();
        let left = free - granted;
        let wait_ms = if left == 0 { ends_in_ms } else { 0 };
        (Kept { at: start, used }, Drawn { granted, left, wait_ms, period: start, ends_in_ms }, end)
    }
}

/// The day or month that holds this millisecond: its first, and the next one's.
#[must_use]
pub fn period_of(now_ms: i64, period: QuotaPeriod) -> (i64, i64) {
    let month = || {
        let date = jiff::Timestamp::from_millisecond(now_ms).ok()?.to_zoned(TimeZone::UTC).date();
        let at = |date: jiff::civil::Date| Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond());
        Some((at(date.first_of_month())?, at(date.last_of_month().tomorrow().ok()?)?))
    };
    let day = || {
        let start = now_ms.div_euclid(DAY_MS).saturating_mul(DAY_MS);
        (start, start.saturating_add(DAY_MS))
    };
    match period {
        QuotaPeriod::Day => day(),
        QuotaPeriod::Month => month().unwrap_or_else(day),
    }
}

const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_780_000_000_000;

    fn draw(budget: Budget, want: u64, back: i64, of: i64) -> Draw<'static> {
        Draw { name: "00", budget, want, back, of }
    }

    #[test]
    fn periods_are_days_and_months_of_utc() {
        let at = |text: &str| text.parse::<crate::clock::Timestamp>().unwrap().0;
        for (now, period, start, end) in [
            ("2026-06-15T12:00:00Z", QuotaPeriod::Day, "2026-06-15T00:00:00Z", "2026-06-16T00:00:00Z"),
            ("2028-02-29T23:59:59.999Z", QuotaPeriod::Month, "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            ("2026-12-01T00:00:00Z", QuotaPeriod::Month, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(period_of(at(now), period), (at(start), at(end)), "{now}");
        }
    }

    #[test]
    fn a_quota_begins_anew_with_its_period_and_takes_back_only_what_was_of_it() {
        let budget = Budget::Quota { requests: 10, period: QuotaPeriod::Day };
        let (kept, drawn, end) = draw(budget, 8, 0, 0).on(Kept::default(), NOW);
        assert_eq!((drawn.granted, drawn.left), (8, 2));
        let (kept, drawn, _) = draw(budget, 8, 0, 0).on(kept, NOW);
        assert_eq!((drawn.granted, drawn.left, drawn.wait_ms), (2, 0, drawn.ends_in_ms));
        let (kept, drawn, _) = draw(budget, 0, 3, drawn.period).on(kept, NOW);
        assert_eq!(drawn.left, 3);
        // Used while nobody could be asked.
        let (kept, owing, _) = draw(budget, 5, -2, drawn.period).on(kept, NOW);
        assert_eq!((owing.granted, owing.left), (1, 0));
        let (_, next, _) = draw(budget, 0, 3, drawn.period).on(kept, end);
        assert_eq!((next.left, next.period), (10, end));
    }

    #[test]
    fn a_clock_that_is_set_back_empties_a_bucket_at_most() {
        let budget = Budget::Rate { requests: 10, per_ms: 1000, capacity: 10 };
        let (kept, ..) = draw(budget, 10, 0, 0).on(Kept::default(), NOW);
        let (kept, drawn, _) = draw(budget, 1, 0, 0).on(kept, NOW - 300_000);
        assert_eq!((drawn.granted, drawn.wait_ms), (0, 100));
        assert_eq!(draw(budget, 9, 0, 0).on(kept, NOW - 299_000).1.granted, 9);
    }

    proptest! {
        #[test]
        fn a_rate_gives_never_more_than_capacity_and_what_gathered(
            requests in 1_u64..5000, per_ms in 1_u64..100_000, capacity in 1_u64..5000,
            steps in proptest::collection::vec((0_i64..5000, 0_u64..200), 1..100),
        ) {
            let budget = Budget::Rate { requests, per_ms, capacity };
            let (mut kept, mut now, mut granted) = (Kept::default(), NOW, 0);
            for (step, want) in steps {
                now += step;
                let (after, drawn, _) = draw(budget, want, 0, 0).on(kept, now);
                (kept, granted) = (after, granted + drawn.granted);
                let gathered = u128::from((now - NOW).unsigned_abs()) * u128::from(requests) / u128::from(per_ms);
                prop_assert!(u128::from(granted) <= u128::from(capacity) + gathered + 1);
                prop_assert!(drawn.left == 0 || drawn.granted == want);
            }
        }

        #[test]
        fn whoever_comes_when_he_is_told_gets_one(requests in 1_u64..5000, per_ms in 1_u64..100_000) {
            let budget = Budget::Rate { requests, per_ms, capacity: requests };
            let (kept, all, _) = draw(budget, u64::MAX >> 1, 0, 0).on(Kept::default(), NOW);
            prop_assert_eq!(all.granted, requests);
            let at = NOW + i64::try_from(all.wait_ms).unwrap();
            prop_assert!(draw(budget, 1, 0, 0).on(kept, at).1.granted == 1);
        }
    }
}
