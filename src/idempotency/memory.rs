//! How much of a kind this process holds in memory at once: what would be too much is not taken, whoever asks; and no tenant takes so
//! much that nothing is left for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A budget.
#[derive(Debug)]
pub struct Memory {
    taken: Mutex<Shares>,
    limit: u64,
    /// Of one tenant.
    share: u64,
}

#[derive(Debug, Default)]
struct Shares {
    all: u64,
    tenants: HashMap<Box<str>, u64>,
}

/// A tenant's part of it, given back when it is dropped.
#[derive(Debug)]
pub struct Taken {
    memory: Arc<Memory>,
    tenant: Box<str>,
    bytes: u64,
}

impl Memory {
    /// So many bytes, and half of them for each tenant.
    #[must_use]
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), limit, share: limit / 2 })
    }

    /// Nothing of it yet.
    #[must_use]
    pub fn begin(self: &Arc<Self>, tenant: &str) -> Taken {
        Taken { memory: Arc::clone(self), tenant: tenant.into(), bytes: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Takes more; `false` = there is no more.
    #[must_use]
    pub fn more(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let mut taken = self.memory.lock();
        let all = taken.all.saturating_add(bytes);
        let own = taken.tenants.get(&self.tenant).copied().unwrap_or(0).saturating_add(bytes);
        if all > self.memory.limit || own > self.memory.share {
            return false;
        }
        taken.all = all;
        taken.tenants.insert(self.tenant.clone(), own);
        self.bytes += bytes;
        true
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut taken = self.memory.lock();
        taken.all -= self.bytes;
        let own = taken.tenants.get(&self.tenant).map_or(0, |own| own - self.bytes);
        if own == 0 {
            taken.tenants.remove(&self.tenant);
        } else {
            taken.tenants.insert(self.tenant.clone(), own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_and_more_is_refused() {
        let memory = Memory::new(10);
        let (mut one, mut other, mut third) = (memory.begin("a"), memory.begin("b"), memory.begin("c"));
        assert!(one.more(5) && other.more(4));
        assert!(!third.more(2) && third.more(1) && !third.more(usize::MAX));
        drop(one);
        assert!(other.more(1) && third.more(4));
        drop((other, third));
        let taken = memory.lock();
        assert!(taken.all == 0 && taken.tenants.is_empty());
    }

    #[test]
    fn no_tenant_takes_what_the_others_need() {
        let memory = Memory::new(10);
        let mut held: Vec<Taken> = (0..10).map(|_| memory.begin("a")).collect();
        assert_eq!(held.iter_mut().filter_map(|taken| taken.more(1).then_some(())).count(), 5);
        assert!(memory.begin("b").more(5));
    }
}
