//! The portions of a whole fleet over one bucket, by a clock that the test moves: what is admitted, and what it costs the store.

use std::time::Duration;

use super::gcra::Pace;
use super::lease::{Ask, Lease, Said, Terms};
use crate::clock::Timestamp;
use crate::config::sections::{OnUnavailable, QuotaPeriod};
use crate::store::draw::{Budget, Draw, Drawn, Kept};

const START: i64 = 1_780_000_000_000;

/// A sidecar: its portion, who waits, what is under way, and what was counted.
#[derive(Default)]
struct Sidecar {
    lease: Lease,
    waiting: u64,
    /// The store's answer, and when it arrives.
    under_way: Option<(i64, Option<Drawn>)>,
    offered: u64,
    admitted: u64,
    operations: u64,
}

/// All of them over one bucket.
struct Fleet {
    terms: Terms,
    sidecars: Vec<Sidecar>,
    kept: Kept,
    now: i64,
    /// How long the store takes.
    latency_ms: i64,
    is_away: bool,
    random: fastrand::Rng,
}

fn rate(requests: u64, per_ms: u64, burst: u64) -> Terms {
    let budget = Budget::Rate { requests, per_ms, capacity: burst.max(requests * 600 / per_ms) };
    Terms { budget, pace: Pace::new(requests, per_ms, burst), on_unavailable: OnUnavailable::Local }
}

impl Fleet {
    fn new(sidecars: usize, terms: Terms) -> Self {
        let sidecars = (0..sidecars).map(|_| Sidecar::default()).collect();
        Self { terms, sidecars, kept: Kept::default(), now: START, latency_ms: 2, is_away: false, random: fastrand::Rng::with_seed(7) }
    }

    /// So long, each sidecar with its requests per second.
    fn run(&mut self, duration: Duration, load: &[u64]) {
        for _ in 0..duration.as_millis() {
            self.now += 1;
            for (index, per_second) in load.iter().enumerate() {
                self.arrive(index);
                // Requests come as they like: as many as wanted on average.
                let mut left = *per_second;
                while left > 0 {
                    let chance = left.min(1000);
                    if self.random.u64(..1000) < chance {
                        self.sidecars[index].offered += 1;
                        self.request(index);
                    }
                    left -= chance;
                }
            }
            if self.now % 600 == 0 {
                for index in 0..self.sidecars.len() {
                    let count = self.sidecars.len() as u64;
                    let ask = self.sidecars[index].lease.look(&self.terms, count, Timestamp(self.now));
                    self.put(index, ask);
                }
            }
        }
    }

    fn request(&mut self, index: usize) -> Said {
        let count = self.sidecars.len() as u64;
        let (said, ask) = self.sidecars[index].lease.take(&self.terms, count, Timestamp(self.now));
        self.put(index, ask);
        match said {
            Said::Admitted => self.sidecars[index].admitted += 1,
            Said::Waits => self.sidecars[index].waiting += 1,
            Said::Refused(_) | Said::Unavailable => {}
        }
        said
    }

    /// The store answers when it gets the question, and the answer takes its time.
    fn put(&mut self, index: usize, ask: Option<Ask>) {
        let Some(ask) = ask else { return };
        assert!(self.sidecars[index].under_way.is_none(), "one question at a time");
        self.sidecars[index].operations += 1;
        let drawn = (!self.is_away).then(|| {
            let draw = Draw { name: "", budget: self.terms.budget, want: ask.want, back: ask.back, of: ask.of };
            let (kept, drawn, _) = draw.on(self.kept, self.now);
            self.kept = kept;
            drawn
        });
        self.sidecars[index].under_way = Some((self.now + self.latency_ms, drawn));
    }

    fn arrive(&mut self, index: usize) {
        let count = self.sidecars.len() as u64;
        let sidecar = &mut self.sidecars[index];
        let Some((_, drawn)) = sidecar.under_way.take_if(|(at, _)| *at <= self.now) else { return };
        sidecar.lease.land(&self.terms, count, Timestamp(self.now), drawn);
        for _ in 0..std::mem::take(&mut sidecar.waiting) {
            self.request(index);
        }
    }

    fn admitted(&self) -> u64 {
        self.sidecars.iter().map(|sidecar| sidecar.admitted).sum()
    }

    /// Of those with at least so many requests: the fewest requests for one question.
    fn cheapest(&self, offered: u64) -> u64 {
        let hot = self.sidecars.iter().filter(|sidecar| sidecar.offered >= offered);
        hot.map(|sidecar| sidecar.offered / sidecar.operations.max(1)).min().unwrap_or(u64::MAX)
    }
}

/// The first has most of the load, the last next to nothing.
fn skewed(sidecars: usize, total: u64) -> Vec<u64> {
    let weights: Vec<u64> = (0..sidecars).map(|index| 1_000_000 / (index as u64 + 1).pow(2)).collect();
    let sum: u64 = weights.iter().sum();
    weights.iter().map(|weight| (weight * total / sum).max(1)).collect()
}

#[test]
fn twenty_sidecars_with_a_skewed_load_admit_the_limit_and_seldom_ask() {
    for (requests, offered) in [(1000, 5000), (1000, 2000), (1000, 1100), (200, 600), (5000, 20_000)] {
        let mut fleet = Fleet::new(20, rate(requests, 1000, requests));
        fleet.run(Duration::from_secs(30), &skewed(20, offered));
        let share = fleet.admitted() * 1000 / (requests * 30);
        let cheapest = fleet.cheapest(100 * 30);
        assert!((950..=1050).contains(&share), "{offered}/s of {requests}/s: {share} per mille are admitted");
        assert!(cheapest >= 50, "{offered}/s of {requests}/s: one question for {cheapest}");
    }
}

#[test]
fn long_periods_and_an_even_load_come_to_the_same() {
    for (requests, per_ms, sidecars, offered) in [(600, 60_000, 5, 50), (100, 10_000, 3, 30), (50, 1000, 2, 500)] {
        let mut fleet = Fleet::new(sidecars, rate(requests, per_ms, requests));
        let load = vec![offered / sidecars as u64; sidecars];
        fleet.run(Duration::from_millis(per_ms * 30), &load);
        let share = fleet.admitted() * 1000 / (requests * 30);
        assert!((950..=1050).contains(&share), "{requests} in {per_ms} ms: {share}");
    }
}

#[test]
fn nobody_is_refused_below_the_limit() {
    for (requests, offered, sidecars) in [(1000, 800, 20), (100, 70, 3), (1000, 800, 1), (20, 10, 10)] {
        let mut fleet = Fleet::new(sidecars, rate(requests, 1000, requests));
        fleet.run(Duration::from_secs(30), &skewed(sidecars, offered));
        let offered: u64 = fleet.sidecars.iter().map(|sidecar| sidecar.offered).sum();
        assert!(fleet.admitted() + offered / 100 >= offered, "{} of {offered}", fleet.admitted());
        assert!(fleet.cheapest(100 * 30) >= 50, "{}", fleet.cheapest(100 * 30));
    }
}

#[test]
fn a_load_that_moves_is_followed() {
    let mut fleet = Fleet::new(10, rate(1000, 1000, 1000));
    for turn in 0..30 {
        let mut load = vec![2; 10];
        load[turn % 10] = 1500;
        fleet.run(Duration::from_secs(1), &load);
    }
    let share = fleet.admitted() / 30;
    assert!((950..=1050).contains(&share), "{share}");
}

#[test]
fn what_nobody_uses_is_handed_back() {
    let mut fleet = Fleet::new(4, rate(100, 3_600_000, 100));
    fleet.run(Duration::from_secs(1), &[5, 5, 5, 5]);
    fleet.run(Duration::from_secs(3), &[0; 4]);
    assert!(fleet.sidecars.iter().all(|sidecar| sidecar.lease.is_spent()));
    let used = fleet.admitted();
    // One alone gets all the rest.
    fleet.run(Duration::from_mins(1), &[100, 0, 0, 0]);
    assert!((100..=102).contains(&fleet.admitted()), "{used}, then {}", fleet.admitted());
}

#[test]
fn while_the_store_is_away_each_admits_its_share_and_then_all_is_well() {
    let mut fleet = Fleet::new(4, rate(1000, 1000, 1000));
    fleet.run(Duration::from_secs(2), &[500; 4]);
    fleet.is_away = true;
    let before: Vec<u64> = fleet.sidecars.iter().map(|sidecar| sidecar.admitted).collect();
    fleet.run(Duration::from_secs(10), &[2000, 2000, 100, 0]);
    let during: Vec<u64> = fleet.sidecars.iter().zip(&before).map(|(sidecar, before)| sidecar.admitted - before).collect();
    assert!((2400..=3000).contains(&during[0]) && (2400..=3000).contains(&during[1]), "{during:?}");
    assert!((950..=1100).contains(&during[2]) && during[3] == 0, "{during:?}");
    fleet.is_away = false;
    fleet.run(Duration::from_secs(1), &[2000; 4]);
    let before = fleet.admitted();
    fleet.run(Duration::from_secs(10), &[2000, 1, 1, 1]);
    let share = (fleet.admitted() - before) / 10;
    assert!((950..=1050).contains(&share), "{share}");
}

#[test]
fn where_it_is_to_be_denied_it_is_once_nothing_is_held() {
    let mut fleet = Fleet::new(2, Terms { on_unavailable: OnUnavailable::Deny, ..rate(1000, 1000, 1000) });
    fleet.is_away = true;
    assert_eq!(fleet.request(0), Said::Waits);
    fleet.run(Duration::from_millis(10), &[0, 0]);
    assert_eq!((fleet.request(0), fleet.admitted()), (Said::Unavailable, 0));
    fleet.is_away = false;
    fleet.run(Duration::from_secs(2), &[100, 0]);
    assert_eq!(fleet.request(0), Said::Admitted);
}

#[test]
fn a_quota_is_used_up_by_all_together_and_never_twice() {
    let budget = Budget::Quota { requests: 1000, period: QuotaPeriod::Day };
    let mut fleet = Fleet::new(5, Terms { budget, pace: None, on_unavailable: OnUnavailable::Local });
    fleet.run(Duration::from_secs(10), &[100, 50, 20, 5, 1]);
    fleet.run(Duration::from_mins(1), &[1, 1, 1, 50, 50]);
    assert_eq!(fleet.admitted(), 1000);
    // The next day.
    let (_, end) = crate::store::draw::period_of(fleet.now, QuotaPeriod::Day);
    fleet.now = end;
    fleet.run(Duration::from_secs(2), &[10; 5]);
    assert!(fleet.admitted() > 1050);
}

#[test]
fn a_quota_that_was_used_while_the_store_was_away_is_charged() {
    let budget = Budget::Quota { requests: 1000, period: QuotaPeriod::Month };
    let mut fleet = Fleet::new(2, Terms { budget, pace: None, on_unavailable: OnUnavailable::Local });
    fleet.run(Duration::from_secs(1), &[100, 100]);
    fleet.is_away = true;
    // Each may use its half of what was left when it looked last, and no more.
    fleet.run(Duration::from_secs(30), &[100, 10]);
    let during = fleet.admitted();
    assert!((600..=1100).contains(&during), "{during}");
    fleet.is_away = false;
    fleet.run(Duration::from_mins(1), &[100, 100]);
    // Nor afterwards, but for what one is granted before the other has told what it owes.
    assert!(fleet.admitted() <= 1100, "{during}, then {}", fleet.admitted());
}
