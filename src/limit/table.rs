//! A bounded table of buckets in shards, so that workers seldom meet: who finds a bucket shares its shard's lock, who makes one has it
//! alone. A bucket that is full again is as good as none, so it is those that go where there is no room.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const SHARDS: usize = 64;

/// Name of a bucket: a keyed hash of its limit and of whom it counts.
pub(super) type Name = u128;

/// What buckets are kept by: who goes first where there is no room.
pub(super) trait Bucket {
    /// The less, the sooner it may go.
    fn worth(&self) -> i64;
}

type Shard<B> = HashMap<Name, B, BuildHasherDefault<NameHasher>>;

/// The table.
pub(super) struct Table<B> {
    shards: Box<[RwLock<Shard<B>>]>,
    per_shard: usize,
}

impl<B: Bucket> Table<B> {
    pub(super) fn new(max: usize) -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), per_shard: (max / SHARDS).max(8) }
    }

    /// What `of` says of the bucket, which is made if it is not there.
    pub(super) fn with<T>(&self, name: Name, make: impl FnOnce() -> B, of: impl FnOnce(&B) -> T) -> T {
        if let Some(bucket) = self.read(name).get(&name) {
            return of(bucket);
        }
        let mut shard = self.write(name);
        if shard.len() >= self.per_shard && !shard.contains_key(&name) {
            make_room(&mut shard, self.per_shard);
        }
        of(shard.entry(name).or_insert_with(make))
    }

    /// The same of one that is there.
    pub(super) fn find<T>(&self, name: Name, of: impl FnOnce(&B) -> T) -> Option<T> {
        self.read(name).get(&name).map(of)
    }

    /// Keeps those of which `keep` says so.
    pub(super) fn retain(&self, mut keep: impl FnMut(&B) -> bool) {
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).retain(|_, bucket| keep(bucket));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn read(&self, name: Name) -> RwLockReadGuard<'_, Shard<B>> {
        self.shard(name).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, name: Name) -> RwLockWriteGuard<'_, Shard<B>> {
        self.shard(name).write().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder of the length")]
    fn shard(&self, name: Name) -> &RwLock<Shard<B>> {
        // The upper half: the map takes the lower one.
        let upper = usize::try_from(name >> 96).unwrap_or(0);
        &self.shards[upper % self.shards.len()]
    }
}

/// The half of a full shard that is worth least goes: seldom enough to cost little each time.
fn make_room<B: Bucket>(shard: &mut Shard<B>, per_shard: usize) {
    let mut worth: Vec<i64> = shard.values().map(Bucket::worth).collect();
    let (_, median, _) = worth.select_nth_unstable(per_shard / 2);
    let (median, mut surplus) = (*median, per_shard / 2);
    shard.retain(|_, bucket| {
        let goes = surplus > 0 && bucket.worth() <= median;
        surplus -= usize::from(goes);
        !goes
    });
}

/// Names are hashes already.
#[derive(Default)]
pub(super) struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    #[expect(clippy::cast_possible_truncation, reason = "its lower half")]
    fn write_u128(&mut self, name: u128) {
        self.0 = name as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Bucket for i64 {
        fn worth(&self) -> i64 {
            *self
        }
    }

    #[test]
    fn a_table_stays_in_its_bounds_and_keeps_what_is_worth_most() {
        let table = Table::new(SHARDS * 16);
        let name = |n: u64| (u128::from(n) << 100) | u128::from(n);
        for n in 0..100_000_u64 {
            table.with(name(n), || i64::try_from(n % 1000).unwrap(), |_| ());
        }
        assert!(table.len() <= SHARDS * 16);
        let (mut good, mut bad) = (0, 0);
        table.retain(|worth| {
            *if *worth >= 500 { &mut good } else { &mut bad } += 1;
            true
        });
        assert!(good > bad * 2, "{good} {bad}");
    }

    #[test]
    fn a_bucket_is_made_once() {
        let table = Table::new(1000);
        assert_eq!(table.find(7, |bucket: &i64| *bucket), None);
        assert_eq!(table.with(7, || 1, |bucket| *bucket), 1);
        assert_eq!(table.with(7, || 2, |bucket| *bucket), 1);
        table.retain(|_| false);
        assert_eq!((table.len(), table.with(7, || 3, |bucket| *bucket)), (0, 3));
    }
}
