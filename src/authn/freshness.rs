//! Until when what was read may be used: without asking again while it is young and the change log is heard; although it should be
//! read again while the store cannot say otherwise. Rules and times only; nothing here reads or remembers a record.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::clock::Timestamp;
use crate::config::sections;

/// How long the change log may be silent before nothing older than this is used without asking, and how long nobody asks again
/// after asking was in vain.
pub(super) const SILENCE_MS: i64 = 1_000;

/// How far a request's time may lie before the look-up that answers it. More means that the clock was set back.
const CLOCK_SLACK_MS: i64 = 1_000;

/// "It never happened."
const NEVER: i64 = i64::MIN;

/// When something began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began {
    pub(super) at: Timestamp,
    /// Changes that were known then.
    pub(super) epoch: u64,
}

/// When something was read, and until when it may be used although it should be read again.
pub(super) struct Reading {
    began: AtomicI64,
    epoch: AtomicU64,
    excused_until: AtomicI64,
}

impl Reading {
    pub(super) const fn new(began: Began) -> Self {
        Self { began: AtomicI64::new(began.at.0), epoch: AtomicU64::new(began.epoch), excused_until: AtomicI64::new(NEVER) }
    }

    /// Of what was not read yet.
    pub(super) const fn none() -> Self {
        Self::new(Began { at: Timestamp(NEVER), epoch: 0 })
    }

    /// It was read again.
    pub(super) fn renew(&self, began: Began) {
        self.excused_until.store(NEVER, Ordering::Release);
        self.epoch.store(began.epoch, Ordering::Release);
        self.began.store(began.at.0, Ordering::Release);
    }

    /// Asking was in vain: nobody needs to ask again for a second, if it may be used for so long.
    pub(super) fn excuse(&self, now: Timestamp, end: Timestamp) {
        self.excused_until.store(now.plus_millis(SILENCE_MS).min(end).0, Ordering::Release);
    }
}

/// The rules as they stand when a request comes.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    now: Timestamp,
    /// Up to then, no change was missed.
    heard_at: i64,
    /// What was read in an earlier epoch is to be read again.
    floor: u64,
    /// Age from which on it is.
    limit_ms: i64,
}

impl Moment {
    /// How old it is, if it may be used without asking.
    pub(super) fn age(self, reading: &Reading) -> Option<i64> {
        let age = self.now.0.saturating_sub(reading.began.load(Ordering::Acquire));
        (age < self.limit_ms && age >= -CLOCK_SLACK_MS && reading.epoch.load(Ordering::Acquire) >= self.floor).then_some(age)
    }

    /// Whether somebody has just asked in vain.
    pub(super) fn excuses(self, reading: &Reading) -> bool {
        let left = reading.excused_until.load(Ordering::Acquire).saturating_sub(self.now.0);
        left > 0 && left <= SILENCE_MS + CLOCK_SLACK_MS
    }

    /// When it was certain last: because it was read then, or because the change log was heard then and told nothing of it.
    pub(super) fn certain_at(self, reading: &Reading) -> Timestamp {
        let read_at = reading.began.load(Ordering::Acquire);
        let is_behind_a_gap = reading.epoch.load(Ordering::Acquire) < self.floor;
        Timestamp(if is_behind_a_gap { read_at } else { read_at.max(self.heard_at) })
    }

    /// The same rule for a refusal: it has a time of its own, and its epoch was looked at already.
    pub(super) fn allows(self, began: Timestamp, ttl_ms: i64) -> bool {
        let age = self.now.0.saturating_sub(began.0);
        age < ttl_ms.min(self.limit_ms) && age >= -CLOCK_SLACK_MS
    }
}

fn is_heard(heard_at: i64, now: Timestamp) -> bool {
    (-CLOCK_SLACK_MS..SILENCE_MS).contains(&now.0.saturating_sub(heard_at))
}

/// When the store was heard of.
pub(super) struct Freshness {
    ttl_ms: i64,
    /// Age from which on what is used is read again, without anybody waiting for that.
    due_ms: i64,
    stale_for_ms: i64,
    /// Of the change log: up to then, nothing was missed.
    heard_at: AtomicI64,
    /// Of anything.
    contact_at: AtomicI64,
    /// How often.
    contacts: AtomicU64,
    /// End of what a snapshot held.
    warm_until: AtomicI64,
}

impl Freshness {
    pub(super) fn new(config: &sections::Cache) -> Self {
        let ttl_ms = config.ttl.as_millis();
        Self {
            ttl_ms,
            due_ms: ttl_ms.saturating_sub(ttl_ms / 5),
            stale_for_ms: config.stale_for.as_millis(),
            heard_at: AtomicI64::new(NEVER),
            contact_at: AtomicI64::new(NEVER),
            contacts: AtomicU64::new(0),
            warm_until: AtomicI64::new(NEVER),
        }
    }

    pub(super) fn moment(&self, now: Timestamp, floor: u64) -> Moment {
        let heard_at = self.heard_at.load(Ordering::Acquire);
        let heard = is_heard(heard_at, now);
        Moment { now, heard_at, floor, limit_ms: if heard { self.ttl_ms } else { self.ttl_ms.min(SILENCE_MS) } }
    }

    pub(super) fn is_heard(&self, now: Timestamp) -> bool {
        is_heard(self.heard_at.load(Ordering::Acquire), now)
    }

    /// Whether something of this age is to be read again ahead of its end: in the last fifth of its time.
    pub(super) const fn is_due(&self, age_ms: i64) -> bool {
        age_ms >= self.due_ms
    }

    /// All that had happened at `at` is known.
    pub(super) fn heard(&self, at: Timestamp) {
        self.heard_at.store(at.0, Ordering::Release);
        self.answered(at);
    }

    /// The store answered something that was asked at `at`.
    pub(super) fn answered(&self, at: Timestamp) {
        self.contact_at.fetch_max(at.0, Ordering::AcqRel);
        self.contacts.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn heard_at(&self) -> Option<Timestamp> {
        time(&self.heard_at)
    }

    pub(super) fn contact_at(&self) -> Option<Timestamp> {
        time(&self.contact_at)
    }

    /// How often the store answered.
    pub(super) fn contacts(&self) -> u64 {
        self.contacts.load(Ordering::Acquire)
    }

    pub(super) fn stale_for_ms(&self) -> i64 {
        self.stale_for_ms
    }

    /// Until when this may be used while the store does not answer: counted from when it was certain last.
    pub(super) fn stale_until(&self, moment: Moment, reading: &Reading) -> Timestamp {
        let mut certain_at = moment.certain_at(reading);
        let latest = moment.now.plus_millis(CLOCK_SLACK_MS);
        if certain_at > latest {
            // Before the clock was set back: that must not make this longer than it can be.
            certain_at = moment.now.plus_millis(-SILENCE_MS);
            for at in [&self.heard_at, &reading.began] {
                if at.load(Ordering::Acquire) > latest.0 {
                    at.store(certain_at.0, Ordering::Release);
                }
            }
        }
        certain_at.plus_millis(self.stale_for_ms)
    }

    /// Something was restored that was certain then.
    pub(super) fn warmed_up(&self, certain_at: Timestamp) {
        self.warm_until.fetch_max(certain_at.plus_millis(self.stale_for_ms).0, Ordering::AcqRel);
    }

    /// Whether anything that was restored may still be used.
    pub(super) fn is_warm(&self, now: Timestamp) -> bool {
        now.0 < self.warm_until.load(Ordering::Acquire)
    }
}

fn time(at: &AtomicI64) -> Option<Timestamp> {
    Some(Timestamp(at.load(Ordering::Acquire))).filter(|at| at.0 != NEVER)
}
