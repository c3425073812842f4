//! Traces: what is told of a sampled request ([`Span`]) waits here until the office sends it ([`crate::app`]'s traces). A worker adds
//! an id and pushes; it never waits for a collector, and what finds no room is dropped and counted. No credential is ever in it.

pub mod context;
mod otlp;
mod sampler;
mod span;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

pub use context::Context;
pub use otlp::encode;
pub use sampler::Sampler;
pub use span::{Asked, Span};

/// Requests that may wait.
const ROOM: usize = 2048;
/// Requests that are sent together.
const BATCH: usize = 512;

/// What waits to be sent, and what became of the rest.
#[derive(Debug, Default)]
pub struct Spans {
    waiting: Mutex<Vec<Span>>,
    enough: Notify,
    /// What became of them.
    pub counts: Counts,
}

/// Requests, by what became of their spans.
#[derive(Debug, Default)]
pub struct Counts {
    /// The collector has them.
    pub sent: AtomicU64,
    /// There was no room, or nobody to send them to.
    pub dropped: AtomicU64,
    /// The collector did not want them.
    pub refused: AtomicU64,
}

impl Counts {
    /// So many more.
    pub fn count(counter: &AtomicU64, spans: usize) {
        counter.fetch_add(spans as u64, Ordering::Relaxed);
    }
}

impl Spans {
    /// Adds one, if there is room.
    pub fn push(&self, span: Span) {
        let mut waiting = self.lock();
        if waiting.len() == ROOM {
            drop(waiting);
            return Counts::count(&self.counts.dropped, 1);
        }
        waiting.push(span);
        if waiting.len() == BATCH {
            self.enough.notify_one();
        }
    }

    /// Waits until a batch has gathered, but no longer than `patience`.
    pub async fn gather(&self, patience: Duration) {
        let _ = timeout(patience, self.enough.notified()).await;
    }

    /// The next batch; it may be empty.
    pub fn take(&self) -> Vec<Span> {
        let mut waiting = self.lock();
        let batch = waiting.len().min(BATCH);
        waiting.drain(..batch).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Span>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let spans = Spans::default();
        for _ in 0..ROOM + 3 {
            spans.push(span::example());
        }
        assert_eq!(spans.counts.dropped.load(Ordering::Relaxed), 3);
        let batches: Vec<usize> = std::iter::repeat_with(|| spans.take().len()).take_while(|len| *len > 0).collect();
        assert_eq!(batches, [BATCH; ROOM / BATCH]);
    }
}
