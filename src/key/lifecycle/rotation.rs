//! Another secret for a key: id, name and rights stay. The one before works on for a while or is dead at once, and the record names it
//! as long as anybody has to know which it was.

use std::time::Duration;

use super::{Issued, Lifecycle, LifecycleError, Step, not_revoked};
use crate::audit::Action;
use crate::clock::Timestamp;
use crate::config::units::Span;
use crate::key::format::{generate, last4};
use crate::key::record::{KeyRecord, PreviousSecret};
use crate::key::rules::Fault;
use crate::store::Written;

/// How a secret is replaced.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rotation {
    /// How much longer the old one works; unset = as configured.
    pub overlap: Option<Duration>,
    /// The version that the key must have; unset = any.
    pub version: Option<u64>,
    /// Whether the record names the old secret even if it is dead at once: who asked with it may ask for the answer again.
    pub names_old: bool,
}

impl Lifecycle {
    /// Replaces a key's secret; id, name and rights stay. The old secret works for `overlap` more (unset = as configured).
    ///
    /// # Errors
    /// No such key; revoked; its kind is not configured any more; the store's.
    pub async fn rotate(&self, id: &str, overlap: Option<Duration>) -> Result<Issued, LifecycleError> {
        self.rotate_by(id, Rotation { overlap, ..Rotation::default() }).await
    }

    /// The same, as `rotation` says.
    ///
    /// # Errors
    /// As [`Self::rotate`]; of another version.
    pub async fn rotate_by(&self, id: &str, rotation: Rotation) -> Result<Issued, LifecycleError> {
        let now = self.clock.now();
        let overlap = rotation.overlap.unwrap_or(self.rules.rotate_overlap);
        let found = self.find_key(id).await?;
        let prefix =
            self.rules.issue(&found.kind, found.environment).map_err(|why| LifecycleError::Invalid(vec![Fault::new("kind", why)]))?;
        let key = generate(&prefix.text)?;
        let until = now.plus_millis(Span(overlap).as_millis()).in_range();
        let until = until.map_err(|why| {
            LifecycleError::Invalid(vec![Fault::new("overlap", format!("an overlap of {} is too long: {why}", Span(overlap)))])
        })?;
        let mut ended = None;
        let record = self.change(id, Action::Rotate, |record| {
            if rotation.version.is_some_and(|asked| asked != record.version) {
                return Err(LifecycleError::Version { id: id.to_owned(), found: record.version });
            }
            not_revoked(record)?;
            ended = overlapping(record, now);
            let old = std::mem::replace(&mut record.digest, self.stored(&key).to_hex());
            record.previous = if overlap.is_zero() {
                rotation.names_old.then(|| PreviousSecret::dead(old))
            } else {
                Some(PreviousSecret { digest: old, until })
            };
            record.prefix = prefix.text.to_string();
            record.last4 = last4(&key);
            record.rotated_at = Some(now);
            Ok(Step::Write)
        });
        let record = record.await?;
        if overlap.is_zero() || ended.is_some() {
            self.replicate(Written::Key(&record)).await?;
        }
        Ok(Issued { record, key, ended })
    }

    /// Ends the time in which a replaced secret still works.
    ///
    /// # Errors
    /// No such key; the store's.
    pub async fn end_overlap(&self, id: &str) -> Result<KeyRecord, LifecycleError> {
        let record = self
            .change(id, Action::EndOverlap, |record| Ok(if record.previous.take().is_some() { Step::Write } else { Step::Nothing }))
            .await?;
        self.replicate(Written::Key(&record)).await?;
        Ok(record)
    }
}

/// Until when the secret that was replaced last still works, if it does.
fn overlapping(record: &KeyRecord, now: Timestamp) -> Option<Timestamp> {
    record.previous.as_ref().map(|previous| previous.until).filter(|until| *until > now)
}
