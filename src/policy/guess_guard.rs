//! Guess guard: how many uncached credentials a client address may have looked up. Good ones give their token back,
//! cached ones never come here, so only guessing empties a bucket.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::clock::Timestamp;
use crate::config::problem::Problems;
use crate::config::sections::Config;
use crate::net::throttle_unit;
use crate::rejection::{Refusal, Rejection};

/// Client addresses remembered at once.
const ADDRESSES_MAX: u64 = 100_000;

/// Buckets by client address; one table per process.
#[derive(Debug)]
pub struct GuessGuard {
    /// Theoretical arrival time (GCRA) in microseconds.
    buckets: moka::sync::Cache<IpAddr, Arc<AtomicI64>>,
    interval_us: i64,
    burst_us: i64,
    undeclared_ingress: AtomicBool,
}

/// A token that was taken; given back when the credential proves good.
#[derive(Debug)]
pub struct Token(Option<Arc<AtomicI64>>);

impl Token {
    /// What costs nothing.
    #[must_use]
    pub const fn free() -> Self {
        Self(None)
    }
}

impl GuessGuard {
    /// Compiles `restrictions.guess_throttle`.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let rule = &config.restrictions.guess_throttle;
        let burst_us = rule.per.as_millis().saturating_mul(1000);
        if rule.failures == 0 || burst_us == 0 {
            problems
                .error("restrictions.guess_throttle", "failures and per must be more than 0")
                .help("{ failures = 20, per = \"10s\" } is the default");
            return None;
        }
        let buckets = moka::sync::Cache::new(ADDRESSES_MAX);
        Some(Self {
            buckets,
            interval_us: (burst_us / i64::from(rule.failures)).max(1),
            burst_us,
            undeclared_ingress: AtomicBool::new(false),
        })
    }

    /// Whether both go by the same rule.
    #[must_use]
    pub const fn has_rule_of(&self, other: &Self) -> bool {
        self.interval_us == other.interval_us && self.burst_us == other.burst_us
    }

    /// Takes a token for a look-up.
    ///
    /// # Errors
    /// `guess_throttled` where none is left.
    pub fn take(&self, client: Option<IpAddr>, now: Timestamp) -> Result<Token, Refusal> {
        let Some(ip) = client else { return Ok(Token::free()) };
        let bucket = self.buckets.get_with(throttle_unit(ip), || Arc::new(AtomicI64::new(0)));
        let now_us = now.0.saturating_mul(1000);
        let spent = bucket.fetch_update(Ordering::AcqRel, Ordering::Acquire, |arrival| {
            let next = arrival.max(now_us).saturating_add(self.interval_us);
            (next.saturating_sub(now_us) <= self.burst_us).then_some(next)
        });
        match spent {
            Ok(_) => Ok(Token(Some(bucket))),
            Err(_) => Err(Rejection::GuessThrottled.because(format!("too many unknown credentials from {}", throttle_unit(ip)))),
        }
    }

    /// Gives a token back: the credential was good.
    pub fn give_back(&self, token: &Token) {
        if let Some(bucket) = &token.0 {
            bucket.fetch_sub(self.interval_us, Ordering::AcqRel);
        }
    }

    /// Records that a private peer sent forwarding headers while nobody is trusted: an ingress that nobody declared,
    /// behind which all clients look like one. Says whether this was the first time.
    pub fn note_undeclared_ingress(&self) -> bool {
        !self.undeclared_ingress.swap(true, Ordering::Relaxed)
    }

    /// Whether that was ever seen.
    #[must_use]
    pub fn saw_undeclared_ingress(&self) -> bool {
        self.undeclared_ingress.load(Ordering::Relaxed)
    }

    /// Whole seconds until a token is there again, at most.
    #[must_use]
    pub fn retry_after_secs(&self) -> i64 {
        (self.interval_us + 999_999) / 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guard() -> GuessGuard {
        GuessGuard::compile(&Config::default(), &mut Problems::default()).unwrap()
    }

    #[test]
    fn failures_empty_the_bucket_and_good_credentials_do_not() {
        let (guard, ip, now) = (guard(), "192.0.2.1".parse().ok(), Timestamp(1_000_000));
        for _ in 0..1000 {
            let token = guard.take(ip, now).unwrap();
            guard.give_back(&token);
        }
        for _ in 0..20 {
            guard.take(ip, now).unwrap();
        }
        assert_eq!(guard.take(ip, now).unwrap_err().rejection, Rejection::GuessThrottled);
        assert!(guard.take("192.0.2.2".parse().ok(), now).is_ok());
        assert!(guard.take(ip, now.plus_millis(500)).is_ok());
        assert!(guard.take(ip, now.plus_millis(500)).is_err());
    }

    #[test]
    fn an_ipv6_64_is_one_client() {
        let (guard, now) = (guard(), Timestamp(1_000_000));
        for host in 0..20_u128 {
            guard.take(Some(IpAddr::from((0x2001_0db8_u128 << 96 | host).to_be_bytes())), now).unwrap();
        }
        assert!(guard.take("2001:db8::ffff".parse().ok(), now).is_err());
        assert!(guard.take("2001:db8:0:1::1".parse().ok(), now).is_ok());
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_are_looked_up(steps in proptest::collection::vec(0_i64..3000, 1..200)) {
            let guard = guard();
            let start = Timestamp(1_000_000);
            let (mut now, mut taken) = (start, 0_i64);
            for step in steps {
                now = now.plus_millis(step);
                taken += i64::from(guard.take("192.0.2.1".parse().ok(), now).is_ok());
                prop_assert!(taken <= 20 + (now.0 - start.0) * 20 / 10_000 + 1);
            }
        }
    }
}
