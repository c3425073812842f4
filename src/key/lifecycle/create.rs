//! A new key. What was true of its tenant before it was written may be true no more when it is there: it is looked at again then,
//! and a key that should not be is taken back before anybody has seen its secret.

use std::collections::BTreeMap;

use super::{ATTEMPTS, Issued, Lifecycle, LifecycleError, NewKey, new_id};
use crate::audit::{Action, Event};
use crate::key::format::{generate, last4};
use crate::key::record::{FORMAT, KeyRecord, KeyStatus};
use crate::key::rules::Fault;
use crate::store::{Audited, StoreError};

/// Keys of one tenant that may be made at once: only so near to its limit they are counted once more.
const CROWD: usize = 200;

impl Lifecycle {
    /// Makes a key.
    ///
    /// # Errors
    /// Everything that is wrong with it; no such tenant; the tenant is suspended; too many keys; the store's.
    pub async fn create(&self, new: NewKey) -> Result<Issued, LifecycleError> {
        let now = self.clock.now();
        let tenant = self.active_tenant(&new.tenant).await?;
        let (prefix, expires_at) = match (self.rules.issue(&new.kind, new.environment), self.rules.expiry(new.expires.as_deref(), now)) {
            (Ok(prefix), Ok(expires_at)) => (prefix, expires_at),
            (prefix, expires_at) => {
                let wrong = [prefix.err().map(|why| Fault::new("kind", why)), expires_at.err().map(|why| Fault::new("expires_at", why))];
                return Err(LifecycleError::Invalid(wrong.into_iter().flatten().collect()));
            }
        };
        let key = generate(&prefix.text)?;
        let mut record = KeyRecord {
            format: FORMAT,
            id: new_id()?,
            tenant: new.tenant,
            name: new.name,
            prefix: prefix.text.to_string(),
            last4: last4(&key),
            kind: new.kind,
            environment: new.environment,
            scopes: new.scopes,
            ip_allowlist: new.ip_allowlist,
            referrers: new.referrers,
            endpoints: new.endpoints,
            rate_limit: new.rate_limit,
            status: KeyStatus::Active,
            expires_at,
            created_at: now,
            created_by: self.actor.name.clone(),
            rotated_at: None,
            digest: self.stored(&key).to_hex(),
            previous: None,
            last_used: None,
            last_used_from: None,
            exposed: false,
            metadata: new.metadata,
            version: 1,
            unknown: BTreeMap::new(),
        };
        let wrong = self.rules.check_key(&record, &tenant);
        if !wrong.is_empty() {
            return Err(LifecycleError::Invalid(wrong));
        }
        let limit = self.rules.max_per_tenant;
        let stock = self.stock(&record.tenant).await?;
        if stock.alive >= limit {
            return Err(LifecycleError::Limit { tenant: record.tenant, limit });
        }
        self.clear(&stock.surplus).await?;
        for _ in 0..ATTEMPTS {
            match self.store.put_key(self.audited(Action::Create, None, &record)).await {
                Err(StoreError::Conflict { .. }) => record.id = new_id()?,
                Err(error) => return Err(error.into()),
                Ok(position) => {
                    self.made(position);
                    self.confirm(&record, stock.alive).await?;
                    return Ok(Issued { record, key, ended: None });
                }
            }
        }
        Err(LifecycleError::State("no free id was found".into()))
    }

    /// Takes a key back that others were faster than: too many were made at once, or the tenant went.
    pub(super) async fn confirm(&self, record: &KeyRecord, before: usize) -> Result<(), LifecycleError> {
        let limit = self.rules.max_per_tenant;
        let confirmed = match self.active_tenant(&record.tenant).await {
            // Whoever writes last sees all the others: of those that stay there are never too many.
            Ok(_) if before + CROWD >= limit && self.keys_of(&record.tenant).await? > limit => {
                Err(LifecycleError::Limit { tenant: record.tenant.clone(), limit })
            }
            confirmed => confirmed.map(drop),
        };
        if matches!(confirmed, Err(LifecycleError::Limit { .. } | LifecycleError::NoTenant(_) | LifecycleError::State(_))) {
            let event = Event::of_removal(&self.actor, Action::Purge, self.clock.now(), record);
            self.made(self.store.remove_key(Audited { record, event }).await?);
        }
        confirmed
    }
}
