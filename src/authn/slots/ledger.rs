//! The versions of one record, as they were announced and read. Decides whether what a look-up found is believed.

use crate::clock::Timestamp;

/// What is known of a record's versions.
#[derive(Default)]
pub(super) struct Ledger {
    /// Newest that was announced or read.
    known: u64,
    /// Newest that was read: what is made of the record in its generation is made of this one.
    read: u64,
    /// Epoch of the last change of which no version is known.
    changed: u64,
    /// Since when the store shows an older record than is known.
    doubted_since: Option<Timestamp>,
}

/// Why what a look-up found is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::authn) enum Doubt {
    /// It is older than is known, for the first time: perhaps the look-up was overtaken. It is to be done again.
    Older,
    /// It is older than is known still: the store has lost something. It is not believed until then.
    Lost(Timestamp),
}

impl Ledger {
    /// Of a record that may have been changed up to `epoch`.
    pub(super) fn overtaken_until(epoch: u64) -> Self {
        Self { changed: epoch, ..Self::default() }
    }

    pub(super) const fn known(&self) -> u64 {
        self.known
    }

    /// A change was announced; answers whether what was read before is older than that.
    pub(super) fn announce(&mut self, version: u64, epoch: u64) -> bool {
        if version == 0 {
            self.changed = epoch;
        } else if version >= self.known {
            // Whoever has announced it just now has it: a store that does not is doubted from now on.
            (self.known, self.doubted_since) = (version, None);
        }
        version == 0 || version > self.read
    }

    /// Whether a look-up that began at `epoch` may have missed a change.
    pub(super) const fn is_overtaken(&self, epoch: u64) -> bool {
        epoch < self.changed
    }

    /// Takes note of what a look-up found; 0 = no record. Answers whether that is another version than was read before,
    /// although nobody told of it: what was made before is not to be used any more.
    pub(super) fn judge(&mut self, version: u64, now: Timestamp, stale_for_ms: i64) -> Result<bool, Doubt> {
        if version < self.known {
            let Some(since) = self.doubted_since else {
                self.doubted_since = Some(now);
                return Err(Doubt::Older);
            };
            // A clock that was set back makes no doubt last longer.
            let since = since.min(now);
            let end = since.plus_millis(stale_for_ms);
            if now < end {
                self.doubted_since = Some(since);
                return Err(Doubt::Lost(end));
            }
        }
        let is_another = version != self.read;
        (self.known, self.read, self.doubted_since) = (version, version, None);
        Ok(is_another)
    }
}
