//! Adds to the store what the workers have gathered: on the store's runtime, every few seconds and at the end, one exchange a flush.
//! What was certainly not sent waits for the store, within bounds; what may have been added is never sent again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use indexmap::map::Entry;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Sheet;
use crate::config::units::Span;
use crate::store::usage::{Denial, Flush, KeyUse, Usages};

/// How often is flushed: what a process that is killed may lose.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Of one flush: few enough not to keep the store from others. More follow at once.
const KEYS_AT_ONCE: usize = 2_000;
const DENIALS_AT_ONCE: usize = 256;
/// What waits while the store is away.
const KEYS_WAITING: usize = 50_000;
const DENIALS_WAITING: usize = 1_000;

/// The usage of a process, on its way to the store.
pub struct Collector {
    usages: Arc<dyn Usages>,
    sheets: Mutex<Vec<Arc<Sheet>>>,
    counters: Counters,
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Flushes that the store took.
    pub written: AtomicU64,
    /// Flushes of which something waits for the store.
    pub deferred: AtomicU64,
    /// Flushes of which nobody knows whether the store took them.
    pub unknown: AtomicU64,
    /// Requests that found no room.
    pub requests_over: AtomicU64,
    /// Requests of flushes whose outcome is not known.
    pub requests_unknown: AtomicU64,
    /// Denials that were written.
    pub denials_written: AtomicU64,
    /// Denials that were only counted, there being so many.
    pub denials_over: AtomicU64,
    /// Denials of flushes whose outcome is not known.
    pub denials_unknown: AtomicU64,
}

/// What waits to be flushed.
#[derive(Default)]
struct Backlog {
    keys: IndexMap<Arc<str>, Box<KeyUse>>,
    denials: Vec<Denial>,
}

impl Collector {
    /// For a store.
    #[must_use]
    pub fn new(usages: Arc<dyn Usages>) -> Arc<Self> {
        Arc::new(Self { usages, sheets: Mutex::default(), counters: Counters::default() })
    }

    /// A table for a worker, which tells last uses in steps of `resolution`. What it holds when the worker drops it is not lost.
    #[must_use]
    pub fn open(&self, resolution: Span) -> Arc<Sheet> {
        let sheet = Arc::new(Sheet::new(resolution));
        self.sheets.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&sheet));
        sheet
    }

    /// The store, as it keeps usage; its calls run on the store's runtime.
    #[must_use]
    pub fn usages(&self) -> &Arc<dyn Usages> {
        &self.usages
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Flushes until it is told to stop, and then once more.
    pub async fn run(self: Arc<Self>, mut stop: oneshot::Receiver<()>) {
        let mut backlog = Backlog::default();
        loop {
            let stops = tokio::select! {
                () = sleep(INTERVAL) => false,
                _ = &mut stop => true,
            };
            self.gather(&mut backlog);
            self.flush(&mut backlog).await;
            if stops {
                return backlog.give_up();
            }
        }
    }

    /// Takes what the workers have. A sheet that nobody else holds is written to by nobody any more.
    fn gather(&self, backlog: &mut Backlog) {
        let sheets = {
            let mut open = self.sheets.lock().unwrap_or_else(PoisonError::into_inner);
            let sheets = open.clone();
            // One for this list, one for the copy of it.
            open.retain(|sheet| Arc::strong_count(sheet) > 2);
            sheets
        };
        for sheet in sheets {
            let page = sheet.take();
            self.counters.requests_over.fetch_add(page.lost_requests, Ordering::Relaxed);
            self.counters.denials_over.fetch_add(page.left_out_denials, Ordering::Relaxed);
            let (keys, denials) = page.into_parts();
            self.add(backlog, keys, denials);
        }
        // Each worker's are in order.
        backlog.denials.sort_by_key(|denial| denial.time);
    }

    fn add(&self, backlog: &mut Backlog, keys: impl ExactSizeIterator<Item = Box<KeyUse>>, denials: Vec<Denial>) {
        backlog.keys.reserve(keys.len());
        for of_key in keys {
            let is_full = backlog.keys.len() >= KEYS_WAITING;
            match backlog.keys.entry(Arc::clone(&of_key.key)) {
                Entry::Occupied(mut known) => known.get_mut().absorb(*of_key),
                Entry::Vacant(_) if is_full => drop(self.counters.requests_over.fetch_add(of_key.requests(), Ordering::Relaxed)),
                Entry::Vacant(free) => drop(free.insert(of_key)),
            }
        }
        let room = DENIALS_WAITING.saturating_sub(backlog.denials.len());
        let over = denials.len().saturating_sub(room);
        self.counters.denials_over.fetch_add(over as u64, Ordering::Relaxed);
        backlog.denials.extend(denials.into_iter().take(room));
    }

    /// One exchange a flush; another one follows where there is more than one takes, as long as the store takes them.
    async fn flush(&self, backlog: &mut Backlog) {
        while let Some(flush) = backlog.next() {
            let (requests, denials) = (flush.keys.len(), flush.denials.len() as u64);
            let flushed = self.usages.flush(flush).await;
            let counters = &self.counters;
            let written = denials.saturating_sub(flushed.unknown_denials + flushed.left.denials.len() as u64);
            counters.denials_written.fetch_add(written, Ordering::Relaxed);
            counters.requests_unknown.fetch_add(flushed.unknown_requests, Ordering::Relaxed);
            counters.denials_unknown.fetch_add(flushed.unknown_denials, Ordering::Relaxed);
            let outcome = match (flushed.unknown_requests + flushed.unknown_denials, flushed.left.is_empty()) {
                (0, true) => &counters.written,
                (0, false) => &counters.deferred,
                (1.., _) => &counters.unknown,
            };
            outcome.fetch_add(1, Ordering::Relaxed);
            self.add(backlog, flushed.left.keys.into_iter().map(Box::new), flushed.left.denials);
            if let Some(error) = flushed.error {
                tracing::debug!(%error, keys = requests, "usage could not be written");
                return;
            }
        }
    }
}

impl Backlog {
    /// The process ends.
    fn give_up(&self) {
        let requests: u64 = self.keys.values().map(|of_key| of_key.requests()).sum();
        if requests > 0 || !self.denials.is_empty() {
            let denials = self.denials.len();
            tracing::warn!(requests, denials, "the store does not take the usage of these requests: it is lost");
        }
    }

    fn next(&mut self) -> Option<Flush> {
        let keys = self.keys.split_off(self.keys.len().saturating_sub(KEYS_AT_ONCE)).into_values().map(|of_key| *of_key).collect();
        if self.keys.is_empty() {
            // After a rush its room is not kept.
            self.keys = IndexMap::new();
        }
        let denials = self.denials.drain(..self.denials.len().min(DENIALS_AT_ONCE)).collect();
        Some(Flush { keys, denials }).filter(|flush| !flush.is_empty())
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("counters", &self.counters).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
