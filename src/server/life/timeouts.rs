//! Timeouts of a listener, counted in sweeps: how often to sweep so that they are kept, and which phase has which.

use std::time::Duration;

use super::Phase;
use super::pace::Least;
use crate::config::sections::ListenerLimits;

/// From accept to the first byte.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// The same once the worker drains.
const FIRST_BYTE_DRAINING: Duration = Duration::from_secs(1);
/// What `body_min_rate` is averaged over.
const PACE_WINDOW: Duration = Duration::from_secs(30);
/// Longest time between two sweeps.
const COARSEST: Duration = Duration::from_secs(1);
/// Shortest.
const FINEST: Duration = Duration::from_millis(20);

/// Timeouts of a listener, in sweeps.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    first_byte: u32,
    first_byte_draining: u32,
    head: u32,
    idle: u32,
    request: Option<u32>,
    pub(super) silence: Option<u32>,
    pub(super) least: Option<Least>,
}

impl Timeouts {
    /// How often to sweep so that the shortest of these timeouts is kept to a quarter of itself, once a second as a rule.
    #[must_use]
    pub fn period<'a>(limits: impl IntoIterator<Item = &'a ListenerLimits>) -> Duration {
        let timeouts =
            |limits: &ListenerLimits| [limits.header_timeout, limits.idle_timeout, limits.request_timeout, limits.stream_idle_timeout];
        let shortest = limits.into_iter().flat_map(timeouts).filter_map(crate::config::units::Span::nonzero).min();
        shortest.map_or(COARSEST, |shortest| (shortest / 4).clamp(FINEST, COARSEST))
    }

    /// Compiles a listener's.
    #[must_use]
    pub fn new(limits: &ListenerLimits, period: Duration) -> Self {
        // One more than the quotient: what began just before a sweep has waited for none when that sweep counts.
        let sweeps =
            |time: Duration| u32::try_from(time.as_millis().div_ceil(period.as_millis().max(1))).unwrap_or(u32::MAX).saturating_add(1);
        Self {
            first_byte: sweeps(FIRST_BYTE),
            first_byte_draining: sweeps(FIRST_BYTE_DRAINING),
            head: sweeps(limits.header_timeout.0),
            idle: sweeps(limits.idle_timeout.0),
            request: limits.request_timeout.nonzero().map(sweeps),
            silence: limits.stream_idle_timeout.nonzero().map(sweeps),
            least: match limits.body_min_rate.0 {
                0 => None,
                rate => Some(Least { sweeps: sweeps(PACE_WINDOW), bytes: rate.saturating_mul(PACE_WINDOW.as_secs()) }),
            },
        }
    }

    /// How long this phase may last.
    pub(super) fn of(&self, phase: Phase, draining: bool) -> Option<u32> {
        match phase {
            Phase::Fresh if draining => Some(self.first_byte_draining),
            Phase::Leaving => Some(self.first_byte_draining),
            Phase::Fresh => Some(self.first_byte),
            Phase::Head => Some(self.head),
            Phase::Idle | Phase::Written => Some(self.idle),
            Phase::Busy => self.request,
            Phase::Tunnel | Phase::Streams => None,
        }
    }
}
