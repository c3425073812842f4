//! Which key table of this process keeps the snapshot: one at a time. It changes hands while none is writing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A table's number, and the number of the one whose turn it is.
#[derive(Clone)]
pub(in crate::authn) struct Turn {
    number: u64,
    current: Arc<Mutex<u64>>,
}

/// While it is held the turn does not change.
pub(super) struct Held<'a> {
    number: u64,
    current: MutexGuard<'a, u64>,
}

impl Turn {
    /// Of a table that is alone: it is its turn.
    pub(in crate::authn) fn first() -> Self {
        Self { number: 0, current: Arc::default() }
    }

    /// Of a table that is to follow this one.
    pub(in crate::authn) fn next(&self) -> Self {
        Self { number: self.number + 1, current: Arc::clone(&self.current) }
    }

    /// Waits until nobody writes.
    pub(in crate::authn) fn take(&self) {
        *self.hold().current = self.number;
    }

    /// Whether it is this one's.
    pub(in crate::authn) fn is_here(&self) -> bool {
        self.hold().is_here()
    }

    pub(super) fn hold(&self) -> Held<'_> {
        Held { number: self.number, current: self.current.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl Held<'_> {
    pub(super) fn is_here(&self) -> bool {
        *self.current == self.number
    }
}
