//! The one change that brings back what was: a secret that a rotation had made and a restored store has lost. Its plaintext is with
//! its owner; only its digest is put in place.

use super::{Lifecycle, LifecycleError, Step, not_revoked};
use crate::audit::Action;
use crate::audit::replay::Secret;
use crate::key::digest::StoredDigest;
use crate::key::record::{KeyRecord, PreviousSecret};
use crate::key::rules::Fault;
use crate::store::Written;

impl Lifecycle {
    /// Puts the secret in place. The one that is there is dead, or works for what is left of the overlap.
    ///
    /// # Errors
    /// No such key; revoked; no digest; another key has this secret; the store's.
    pub async fn restore_secret(&self, id: &str, secret: &Secret) -> Result<KeyRecord, LifecycleError> {
        let is_digest = |hex: &str| StoredDigest::from_hex(hex).is_some();
        if !is_digest(&secret.digest) || !secret.replaced.as_deref().is_none_or(is_digest) {
            return Err(LifecycleError::Invalid(vec![Fault::new("digest", format!("the event of key {id} holds no digest"))]));
        }
        let now = self.clock.now();
        let change = self.change(id, Action::Rotate, |record| {
            not_revoked(record)?;
            if record.digest == secret.digest {
                return Ok(Step::Nothing);
            }
            let old = std::mem::replace(&mut record.digest, secret.digest.clone());
            let until = secret.overlap_until.filter(|until| *until > now);
            record.previous = until.map(|until| PreviousSecret { digest: secret.replaced.clone().unwrap_or(old), until });
            if let Some(prefix) = &secret.prefix {
                record.prefix.clone_from(prefix);
            }
            if let Some(last4) = &secret.last4 {
                record.last4.clone_from(last4);
            }
            record.rotated_at = Some(secret.rotated_at);
            Ok(Step::Write)
        });
        let record = change.await?;
        self.replicate(Written::Key(&record)).await?;
        Ok(record)
    }
}
