//! When a change that waits for its store is tried again: soon at first, then ever more seldom.

use std::time::{Duration, Instant};

use crate::clock::instant;

const FIRST: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(30);

/// The next attempt.
pub(super) struct Retry {
    due: Instant,
    pause: Duration,
}

impl Retry {
    /// After another attempt has failed; `None` = it was the first.
    pub(super) fn after(earlier: Option<Self>) -> Self {
        let pause = earlier.map_or(FIRST, |earlier| (earlier.pause * 2).min(MAX));
        Self { due: instant() + pause, pause }
    }

    /// Whether it is time.
    pub(super) fn is_due(&self) -> bool {
        instant() >= self.due
    }
}
