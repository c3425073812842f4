//! What a worker counts of a listener's requests. Only that worker writes it, and only the scrape reads it otherwise: no
//! contention, no allocation, plain stores. Names and labels are given where it is told ([`crate::app`]'s metrics).

use std::array;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::rejection::Rejection;

/// A number that only goes up. One thread writes it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// So many more.
    pub fn add(&self, n: u64) {
        // One writer: no other addition can come between.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// How many.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations, counted by their upper bounds in microseconds.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds_us: &'static [u64; N],
    buckets: [Counter; N],
    /// Those over the last bound.
    over: Counter,
    sum_us: Counter,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds_us: &'static [u64; N]) -> Self {
        Self { bounds_us, buckets: array::from_fn(|_| Counter::default()), over: Counter::default(), sum_us: Counter::default() }
    }

    /// One more.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let within = self.bounds_us.iter().zip(&self.buckets).find(|(bound, _)| us <= **bound);
        within.map_or(&self.over, |(_, bucket)| bucket).add(1);
        self.sum_us.add(us);
    }

    /// Upper bounds in seconds.
    #[expect(clippy::cast_precision_loss, reason = "bounds are small")]
    pub fn bounds(&self) -> impl Iterator<Item = f64> {
        self.bounds_us.iter().map(|us| *us as f64 / 1e6)
    }

    /// Counts by bucket, those over the last bound at the end, and the sum in microseconds.
    #[must_use]
    pub fn read(&self) -> (Vec<u64>, u64) {
        (self.buckets.iter().chain([&self.over]).map(Counter::get).collect(), self.sum_us.get())
    }
}

/// Bounds of the time until a request is judged, and sent on.
const OVERHEAD_US: [u64; 9] = [50, 100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000];
/// Bounds of the time until the upstream's head.
const UPSTREAM_US: [u64; 11] = [1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// The counts. Aligned, so that no two workers share a line of the processor's cache.
#[derive(Debug)]
#[repr(align(128))]
pub struct Tally {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections turned away for want of room.
    pub turned_away: Counter,
    /// Connections that ended before a request because of what they began with: a handshake, a preamble.
    pub unusable: Counter,
    /// Requests that began.
    pub began: Counter,
    /// Requests that ended.
    pub ended: Counter,
    /// Those by the class of their status; 0 = the client left before there was one.
    pub by_class: [Counter; 6],
    /// Those that were forwarded or answered without a refusal.
    pub admitted: Counter,
    /// Those by why they were refused, in the order of [`Rejection::ALL`].
    pub by_rejection: [Counter; Rejection::ALL.len()],
    /// Those that ended early because what admitted them had, in the order of [`Rejection::ALL`].
    pub cut_short: [Counter; Rejection::ALL.len()],
    /// Those that were let through in spite of it for a time only, in the order of [`Rejection::ALL`].
    pub would_refuse: [Counter; Rejection::ALL.len()],
    /// Those whose credential was in the cache.
    pub cache_hits: Counter,
    /// Those whose credential had to be asked of the store.
    pub cache_misses: Counter,
    /// From a request's head to the gate's verdict on it.
    pub auth: Histogram<9>,
    /// From a request's head to its being sent on.
    pub overhead: Histogram<9>,
    /// From a request's being sent on to the upstream's head.
    pub upstream: Histogram<11>,
}

/// All tallies, by listener and worker. A listener that goes and comes again counts on.
#[derive(Debug, Default)]
pub struct Tallies(Mutex<ByListenerAndWorker>);

type ByListenerAndWorker = BTreeMap<(Arc<str>, usize), Arc<Tally>>;

impl Tallies {
    /// What this worker counts of the listener with this name.
    #[must_use]
    pub fn of(&self, listener: &Arc<str>, worker: usize) -> Arc<Tally> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((Arc::clone(listener), worker)).or_default())
    }

    /// All of them with the listener's name, in the order of names.
    #[must_use]
    pub fn all(&self) -> Vec<(Arc<str>, Arc<Tally>)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|((listener, _), tally)| (Arc::clone(listener), Arc::clone(tally))).collect()
    }

    /// Requests that have begun and not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.all().iter().map(|(_, tally)| tally.in_flight()).sum()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            accepted: Counter::default(),
            turned_away: Counter::default(),
            unusable: Counter::default(),
            began: Counter::default(),
            ended: Counter::default(),
            by_class: array::from_fn(|_| Counter::default()),
            admitted: Counter::default(),
            by_rejection: array::from_fn(|_| Counter::default()),
            cut_short: array::from_fn(|_| Counter::default()),
            would_refuse: array::from_fn(|_| Counter::default()),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            auth: Histogram::new(&OVERHEAD_US),
            overhead: Histogram::new(&OVERHEAD_US),
            upstream: Histogram::new(&UPSTREAM_US),
        }
    }
}

impl Tally {
    /// A request ended.
    pub fn end(&self, status: Option<u16>, rejection: Option<Rejection>) {
        self.ended.add(1);
        let class = status.map_or(0, |status| usize::from(status / 100));
        if let Some(counter) = self.by_class.get(class) {
            counter.add(1);
        }
        match rejection {
            None => self.admitted.add(1),
            Some(rejection) => {
                if let Some(counter) = self.by_rejection.get(rejection as usize) {
                    counter.add(1);
                }
            }
        }
    }

    /// A request ended early because of this.
    pub fn cut_short(&self, rejection: Rejection) {
        if let Some(counter) = self.cut_short.get(rejection as usize) {
            counter.add(1);
        }
    }

    /// A request was let through in spite of this.
    pub fn would_refuse(&self, rejection: Rejection) {
        if let Some(counter) = self.would_refuse.get(rejection as usize) {
            counter.add(1);
        }
    }

    /// Requests that have begun and not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        // Read in this order, one that ends meanwhile is counted rather than missed.
        let ended = self.ended.get();
        self.began.get().saturating_sub(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rejection_has_a_counter_of_its_own() {
        let tally = Tally::default();
        for rejection in Rejection::ALL {
            tally.end(Some(rejection.row().status), Some(*rejection));
        }
        assert!(tally.by_rejection.iter().all(|counter| counter.get() == 1));
        for (index, rejection) in Rejection::ALL.iter().enumerate() {
            assert_eq!(*rejection as usize, index);
        }
        assert_eq!(tally.ended.get(), tally.by_class.iter().map(Counter::get).sum::<u64>());
    }

    #[test]
    fn a_duration_is_counted_once_at_the_first_bound_that_holds_it() {
        let histogram = Histogram::new(&[10, 100]);
        for us in [0, 10, 11, 100, 101, 5000] {
            histogram.observe(Duration::from_micros(us));
        }
        assert_eq!(histogram.read(), (vec![2, 2, 2], 5222));
    }
}
