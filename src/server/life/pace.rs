//! How fast the content of a request comes (`body_min_rate`), in sweeps. Only those count in which it is the client who is
//! waited for, so that a slow upstream is never held against it, and only those before the answer begins.

use std::cell::Cell;

use super::{Life, Phase};

/// The least that must come of a request's content in so many sweeps of waiting for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Least {
    pub(super) sweeps: u32,
    pub(super) bytes: u64,
}

/// What is counted of one exchange.
#[derive(Debug, Default)]
pub(super) struct Pace {
    judged: Cell<bool>,
    awaited: Cell<bool>,
    /// Sweeps that found it awaited, and what had come before the first of them.
    waits: Cell<u32>,
    before: Cell<u64>,
    slow: Cell<bool>,
}

impl Pace {
    /// Another exchange: nothing of it is judged yet.
    pub(super) fn reset(&self) {
        self.judged.set(false);
        self.awaited.set(false);
        self.restart(0);
    }

    /// What has come until now is enough.
    pub(super) fn restart(&self, uploaded: u64) {
        self.waits.set(0);
        self.before.set(uploaded);
    }

    fn is_below(&self, least: Least, uploaded: u64) -> bool {
        self.waits.set(self.waits.get().saturating_add(1));
        if self.waits.get() < least.sweeps {
            return false;
        }
        let is_below = uploaded.saturating_sub(self.before.get()) < least.bytes;
        self.restart(uploaded);
        is_below
    }
}

impl Life {
    /// From now on the exchange's content may not come too slowly.
    pub fn judge_pace(&self) {
        self.pace.judged.set(true);
    }

    /// Whether the next piece of it is waited for.
    pub fn content_awaited(&self, is_awaited: bool) {
        self.pace.awaited.set(is_awaited);
    }

    /// Whether it expired because its content came too slowly.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.pace.slow.get()
    }

    /// One sweep: the same, found out.
    pub(super) fn sweep_pace(&self, least: Option<Least>) -> bool {
        let Some(least) = least else { return false };
        let counts = self.pace.judged.get() && self.pace.awaited.get() && self.phase.get() == Phase::Busy && self.moved.get().is_none();
        if counts && self.pace.is_below(least, self.uploaded.get()) {
            self.pace.slow.set(true);
        }
        self.is_slow()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::{Pulse, Timeouts};
    use super::*;
    use crate::config::sections::ListenerLimits;
    use crate::config::units::Rate;

    /// Bytes a second; sweeps come once a second.
    const RATE: u64 = 10;

    struct Case {
        pulse: Rc<Pulse>,
        life: Rc<Life>,
        timeouts: Timeouts,
    }

    impl Case {
        /// An upload that was admitted.
        fn new() -> Self {
            let limits = ListenerLimits { body_min_rate: Rate(RATE), ..ListenerLimits::default() };
            let pulse = Rc::new(Pulse::default());
            let life = Life::new(Rc::clone(&pulse));
            life.exchange_began();
            life.judge_pace();
            Self { life, pulse, timeouts: Timeouts::new(&limits, Timeouts::period([&limits])) }
        }

        /// So many bytes come each second; the client is waited for when it is looked at, or the upstream is.
        fn upload(&self, seconds: u32, bytes: u64, is_awaited: bool) {
            for _ in 0..seconds {
                self.life.uploaded().set(self.life.uploaded().get() + bytes);
                self.life.content_awaited(is_awaited);
                self.pulse.beat();
                self.life.sweep(&self.timeouts);
            }
        }

        fn is_ended(&self) -> bool {
            assert_eq!(self.life.expired(), self.life.is_slow());
            self.life.expired()
        }
    }

    #[test]
    fn half_a_minute_below_the_least_ends_it_and_at_the_least_it_may_take_for_ever() {
        let case = Case::new();
        case.upload(10_000, RATE, true);
        assert!(!case.is_ended());
        case.upload(100, RATE / 2, true);
        assert!(case.is_ended());
        let stalled = Case::new();
        stalled.upload(30, 0, true);
        assert!(!stalled.is_ended());
        stalled.upload(1, 0, true);
        assert!(stalled.is_ended());
    }

    #[test]
    fn an_upstream_that_takes_it_slowly_is_not_held_against_the_client() {
        let case = Case::new();
        case.upload(10_000, 1, false);
        assert!(!case.is_ended());
        // Waited for now and then, as it gives what it is asked for.
        for _ in 0..1000 {
            case.upload(20, 2 * RATE, false);
            case.upload(1, 0, true);
        }
        assert!(!case.is_ended());
    }

    #[test]
    fn nothing_is_judged_before_it_is_admitted_or_behind_the_answers_head() {
        let waiting = Case::new();
        waiting.life.exchange_began();
        waiting.upload(1000, 0, true);
        assert!(!waiting.is_ended());
        let answered = Case::new();
        answered.life.relay_began();
        answered.upload(1000, 0, true);
        assert!(!answered.is_ended());
        answered.life.answer_ended();
        answered.upload(10, 0, true);
        assert!(!answered.is_ended());
    }

    #[test]
    fn sweeps_at_another_pace_count_from_their_change() {
        let case = Case::new();
        case.upload(30, 0, true);
        case.life.restart();
        case.upload(30, 0, true);
        assert!(!case.is_ended());
        case.upload(1, 0, true);
        assert!(case.is_ended());
    }
}
