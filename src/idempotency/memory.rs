//! How much of a kind this process holds in memory at once: what would be too much is not taken, whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A budget.
#[derive(Debug)]
pub struct Memory {
    taken: AtomicU64,
    limit: u64,
}

/// A part of it, given back when it is dropped.
#[derive(Debug)]
pub struct Taken {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    /// So many bytes.
    #[must_use]
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { taken: AtomicU64::new(0), limit })
    }

    /// Nothing of it yet.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Taken {
        Taken { memory: Arc::clone(self), bytes: 0 }
    }
}

impl Taken {
    /// Takes more; `false` = there is no more.
    #[must_use]
    pub fn more(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let before = self.memory.taken.fetch_add(bytes, Ordering::AcqRel);
        if before.saturating_add(bytes) > self.memory.limit {
            self.memory.taken.fetch_sub(bytes, Ordering::AcqRel);
            return false;
        }
        self.bytes += bytes;
        true
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.memory.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_and_more_is_refused() {
        let memory = Memory::new(10);
        let (mut one, mut other) = (memory.begin(), memory.begin());
        assert!(one.more(6) && other.more(4));
        assert!(!one.more(1) && !other.more(usize::MAX));
        drop(one);
        assert!(other.more(6) && !other.more(1));
        drop(other);
        assert_eq!(memory.taken.load(Ordering::Relaxed), 0);
    }
}
