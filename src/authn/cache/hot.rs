//! The entries that this thread uses, at hand: one look into a small table instead of a walk through what all threads share.
//! It decides nothing: an entry that was superseded is asked for again, and whether one may be used is judged as ever.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::LocalKey;

use super::DigestHash;
use crate::key::digest::Digest;

/// Entries at hand, at most.
pub(super) const ENTRIES: u64 = 4096;
/// Of so many uses one is told to the shared cache, which drops what nobody uses.
const TOLD: u32 = 32;

/// What is kept at hand.
pub(in crate::authn) trait AtHand: Send + Sync + Sized + 'static {
    /// Whether a newer answer has taken its place.
    fn superseded(&self) -> &AtomicBool;
    /// This thread's table.
    fn table() -> &'static LocalKey<RefCell<Hot<Self>>>;
}

/// A thread's entries of one kind.
pub(in crate::authn) struct Hot<E> {
    /// Whose entries they are.
    owner: u64,
    entries: HashMap<Digest, Arc<E>, DigestHash>,
    uses: u32,
}

impl<E> Hot<E> {
    pub(in crate::authn) fn new() -> RefCell<Self> {
        RefCell::new(Self { owner: 0, entries: HashMap::with_hasher(DigestHash::new()), uses: 0 })
    }
}

/// The entry of a digest in the cache with the id `owner`, which `shared` looks into. At most `max` are kept at hand; one more,
/// and the table begins anew.
pub(super) fn entry<E: AtHand>(owner: u64, max: usize, digest: &Digest, shared: impl FnOnce() -> Option<Arc<E>>) -> Option<Arc<E>> {
    E::table().with_borrow_mut(|hot| {
        if hot.owner != owner {
            (hot.owner, hot.entries) = (owner, HashMap::with_hasher(DigestHash::new()));
        }
        hot.uses = hot.uses.wrapping_add(1);
        let at_hand = hot.entries.get(digest).filter(|entry| !entry.superseded().load(Ordering::Acquire));
        if let Some(entry) = at_hand.filter(|_| !hot.uses.is_multiple_of(TOLD)) {
            return Some(Arc::clone(entry));
        }
        let entry = shared();
        match &entry {
            Some(entry) => {
                if hot.entries.len() >= max {
                    hot.entries.clear();
                }
                hot.entries.insert(*digest, Arc::clone(entry));
            }
            None => drop(hot.entries.remove(digest)),
        }
        entry
    })
}
