//! The versions of one record, as they were announced and read. Decides whether what a look-up found is believed.

use crate::clock::Timestamp;

/// What is known of a record's versions.
///
/// The log is the authority for which version is the newest: a number says nothing by itself, since a store that has lost a version
/// gives its number out again. So a change that is announced always ends what was read before, whatever its number (that costs one
/// look-up), and a number below what is known is the newest from then on: nothing of the history that is lost is waited for. A log
/// that fell back itself does not tell of that by numbers; its reader sees a gap there, and what is known remains.
///
/// A reader that catches up tells of old changes, too: of 3, 4 and 5 when 5 was read here long ago. In between, 3 counts as the
/// newest, and a store that shows 3 is believed, if it has just lost 4 and 5, too: until 5 is told, which ends it. A store that is in
/// order shows 5 all the time, which is no older than what was announced.
#[derive(Default)]
pub(super) struct Ledger {
    /// Announced last, or newer and read since.
    known: u64,
    /// What was read last: what is made of the record in its generation is made of this one.
    read: u64,
    /// Epoch of the last change.
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

    /// A change was announced: nothing that was read before is to be used again. Version 0 = not known.
    pub(super) fn announce(&mut self, version: u64, epoch: u64) {
        self.changed = epoch;
        if version != 0 {
            // Whoever has announced it just now has it: a store that does not is doubted from now on.
            (self.known, self.doubted_since) = (version, None);
        }
    }

    /// Whether a look-up that began at `epoch` may have missed a change.
    pub(super) const fn is_overtaken(&self, epoch: u64) -> bool {
        epoch < self.changed
    }

    /// Takes note of what a look-up found; 0 = no record. What is for ever (a revocation) is believed whatever its version. Answers
    /// whether that is another version than was read before, although nobody told of it: what was made before is not to be used any more.
    pub(super) fn judge(&mut self, version: u64, is_for_ever: bool, now: Timestamp, stale_for_ms: i64) -> Result<bool, Doubt> {
        if version < self.known && !is_for_ever {
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
        // What is believed for being for ever makes nothing else that old believable.
        self.known = if is_for_ever { version.max(self.known) } else { version };
        (self.read, self.doubted_since) = (version, None);
        Ok(is_another)
    }
}
