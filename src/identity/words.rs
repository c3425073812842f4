//! Words that many callers have in common, kinds and lists of scopes: kept once for all of them, for as long as anybody has them.
//! Asked only where an identity is made.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// So many are known before the first look at which of them are still in use.
const SWEEP_FROM: usize = 1024;

/// The words in use.
#[derive(Debug, Default)]
pub(super) struct Words(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    words: HashSet<Arc<str>>,
    /// How many were in use when that was looked at last.
    used: usize,
}

impl Words {
    /// The word as everybody has it.
    pub(super) fn get(&self, word: &str) -> Arc<str> {
        let known = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(word) = known.words.get(word) {
            return Arc::clone(word);
        }
        if known.words.len() >= (known.used * 2).max(SWEEP_FROM) {
            known.words.retain(|word| Arc::strong_count(word) > 1);
            known.used = known.words.len();
        }
        let word: Arc<str> = word.into();
        known.words.insert(Arc::clone(&word));
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_kept_once_and_goes_when_nobody_has_it() {
        let words = Words::default();
        let read = words.get("read");
        assert!(Arc::ptr_eq(&read, &words.get("read")));
        (0..10 * SWEEP_FROM).for_each(|n| drop(words.get(&n.to_string())));
        assert!(words.0.lock().unwrap().words.len() <= SWEEP_FROM);
        assert!(Arc::ptr_eq(&read, &words.get("read")));
    }
}
