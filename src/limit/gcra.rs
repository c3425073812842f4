//! The generic cell rate algorithm, pure: one number a bucket, the time at which it will be full again. Whole numbers alone: time is
//! counted in ticks that divide the period, so that nothing drifts. It never admits more than burst + rate × time.

use crate::clock::Timestamp;

/// Ticks of a millisecond at most. More would not fit into a bucket; such a rate is rounded down.
const TICKS_MAX: u64 = 1_000_000;

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pace {
    /// Ticks of a millisecond.
    ticks: i64,
    /// Ticks that a request costs.
    cost: i64,
    /// Requests that a full bucket holds.
    burst: i64,
}

impl Pace {
    /// So many requests in so many milliseconds, `burst` of them at once. `None` = a number is 0, or all of them are too large.
    #[must_use]
    pub fn new(requests: u64, per_ms: u64, burst: u64) -> Option<Self> {
        if requests == 0 || per_ms == 0 || burst == 0 {
            return None;
        }
        let common = gcd(requests, per_ms);
        let (mut ticks, mut cost) = (requests / common, per_ms / common);
        if ticks > TICKS_MAX {
            let scaled = (u128::from(cost) * u128::from(TICKS_MAX)).div_ceil(u128::from(ticks));
            (ticks, cost) = (TICKS_MAX, u64::try_from(scaled).ok()?);
        }
        let pace = Self { ticks: ticks.try_into().ok()?, cost: cost.try_into().ok()?, burst: burst.try_into().ok()? };
        // Room for what a bucket may lie ahead of the time.
        (pace.cost.checked_mul(pace.burst)? < i64::MAX / 4).then_some(pace)
    }

    /// The share of one among `sharers`.
    #[must_use]
    pub fn shared(self, sharers: u64) -> Self {
        let sharers = i64::try_from(sharers).unwrap_or(i64::MAX).max(1);
        let cost = self.cost.saturating_mul(sharers);
        let burst = (self.burst / sharers).max(1);
        // At worst it admits one at a time, in centuries.
        Self { ticks: self.ticks, cost: cost.min(i64::MAX / 4 / burst), burst }
    }

    /// Requests that a full bucket holds.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst.unsigned_abs()
    }

    /// One more request: the bucket from now on, and, if there is no room, how long until there is, in milliseconds. The bucket is
    /// to be kept either way: it is brought into its bounds.
    #[must_use = "the bucket is to be kept"]
    pub fn take(&self, bucket: i64, now: Timestamp) -> (i64, Result<(), u64>) {
        let (now, bucket) = self.at(bucket, now);
        let next = bucket.saturating_add(self.cost);
        let over = next.saturating_sub(now.saturating_add(self.span()));
        if over <= 0 { (next, Ok(())) } else { (bucket, Err(self.millis(over))) }
    }

    /// The bucket without a request that it took.
    #[must_use]
    pub const fn give_back(&self, bucket: i64) -> i64 {
        bucket.saturating_sub(self.cost)
    }

    /// Requests that would be admitted now.
    #[must_use]
    pub fn left(&self, bucket: i64, now: Timestamp) -> u64 {
        let (now, bucket) = self.at(bucket, now);
        (now.saturating_add(self.span()).saturating_sub(bucket) / self.cost).unsigned_abs()
    }

    /// Milliseconds until it is full.
    #[must_use]
    pub fn full_in_ms(&self, bucket: i64, now: Timestamp) -> u64 {
        let (now, bucket) = self.at(bucket, now);
        self.millis(bucket.saturating_sub(now))
    }

    /// Ticks that a bucket may lie ahead of the time.
    const fn span(&self) -> i64 {
        self.cost.saturating_mul(self.burst)
    }

    /// The time in ticks, and the bucket in its bounds: before now it is full, and what lies further ahead than it can was written
    /// before the clock was set back.
    fn at(&self, bucket: i64, now: Timestamp) -> (i64, i64) {
        let now = now.0.clamp(0, i64::MAX / 2 / self.ticks) * self.ticks;
        (now, bucket.clamp(now, now.saturating_add(self.span())))
    }

    fn millis(&self, ticks: i64) -> u64 {
        ticks.max(0).unsigned_abs().div_ceil(self.ticks.unsigned_abs())
    }
}

const fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp(1_780_000_000_000);

    /// Requests at these distances in milliseconds: how many are admitted, and the end.
    fn run(pace: Pace, steps: impl IntoIterator<Item = i64>) -> (u64, i64) {
        let (mut bucket, mut now, mut admitted) = (0, START, 0);
        for step in steps {
            now = now.plus_millis(step);
            let (kept, verdict) = pace.take(bucket, now);
            (bucket, admitted) = (kept, admitted + u64::from(verdict.is_ok()));
        }
        (admitted, now.0 - START.0)
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_are_admitted(
            requests in 1_u64..100_000, per_ms in 1_u64..10_000_000, burst in 1_u64..1000,
            steps in proptest::collection::vec(0_i64..20_000, 1..300),
        ) {
            let (admitted, took) = run(Pace::new(requests, per_ms, burst).unwrap(), steps);
            let gathered = u128::from(took.unsigned_abs()) * u128::from(requests) / u128::from(per_ms);
            prop_assert!(u128::from(admitted) <= u128::from(burst) + gathered, "{admitted} in {took} ms");
        }

        #[test]
        fn whoever_asks_without_end_gets_all_of_it(requests in 1_u64..1000, slower in 0_u64..50_000, burst in 2_u64..100) {
            let per_ms = requests + slower;
            let (admitted, _) = run(Pace::new(requests, per_ms, burst).unwrap(), std::iter::repeat_n(1, 20_000));
            prop_assert!(admitted + 2 >= (burst + 20_000 * requests / per_ms).min(20_000), "{admitted}");
        }

        #[test]
        fn whoever_waits_as_long_as_he_is_told_is_admitted(requests in 1_u64..100_000, per_ms in 1_u64..10_000_000, burst in 1_u64..1000) {
            let pace = Pace::new(requests, per_ms, burst).unwrap();
            let mut bucket = 0;
            let wait = loop {
                let (kept, verdict) = pace.take(bucket, START);
                bucket = kept;
                if let Err(wait) = verdict {
                    break wait;
                }
            };
            prop_assert!(wait >= 1 && pace.left(bucket, START) == 0);
            let then = START.plus_millis(i64::try_from(wait).unwrap());
            prop_assert!(pace.take(bucket, then).1.is_ok() && pace.left(bucket, then) >= 1);
            prop_assert!(pace.take(bucket, then.plus_millis(-1)).1.is_err());
            prop_assert_eq!(pace.left(pace.give_back(bucket), START), 1);
        }

        #[test]
        fn no_numbers_overflow(requests: u64, per_ms: u64, burst: u64, bucket: i64, now: i64, sharers: u64) {
            let Some(pace) = Pace::new(requests, per_ms, burst) else { return Ok(()) };
            for pace in [pace, pace.shared(sharers)] {
                let _ = (pace.take(bucket, Timestamp(now)), pace.give_back(bucket), pace.full_in_ms(bucket, Timestamp(now)));
                prop_assert!(pace.left(bucket, Timestamp(now)) <= pace.burst());
            }
        }

        #[test]
        fn shares_come_to_no_more_than_the_whole(requests in 1_u64..10_000, sharers in 1_u64..50, burst in 1_u64..1000) {
            let share = Pace::new(requests, 1000, burst).unwrap().shared(sharers);
            let (admitted, took) = run(share, std::iter::repeat_n(1, 20_000));
            let gathered = took.unsigned_abs() * requests / 1000 / sharers;
            prop_assert!(admitted <= (burst / sharers).max(1) + gathered + 1);
        }
    }

    #[test]
    fn a_rate_of_thirds_does_not_drift() {
        let (admitted, took) = run(Pace::new(3, 1000, 2).unwrap(), (0..100_000).flat_map(|_| [334, 333, 333]));
        assert_eq!((admitted, took), (300_000, 100_000_000));
    }

    #[test]
    fn a_clock_that_is_set_back_empties_a_bucket_at_most() {
        let pace = Pace::new(10, 1000, 10).unwrap();
        let (bucket, _) = pace.take(0, START);
        let back = START.plus_millis(-300_000);
        let (bucket, verdict) = pace.take(bucket, back);
        assert_eq!((pace.left(bucket, back), verdict), (0, Err(100)));
        assert!(pace.take(bucket, back.plus_millis(100)).1.is_ok());
    }

    #[test]
    fn what_is_nothing_or_too_much_is_no_pace() {
        for (requests, per_ms, burst) in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, u64::MAX, 1), (1, 1 << 40, u64::MAX)] {
            assert_eq!(Pace::new(requests, per_ms, burst), None);
        }
        assert!(Pace::new(1_000_000_000, 1000, 1_000_000_000).is_some());
    }
}
