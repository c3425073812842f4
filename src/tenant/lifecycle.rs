//! What may become of a tenant: made, changed, suspended, resumed, removed. The same rules as for keys: all mistakes at once, writes
//! by version, audited.

use std::collections::BTreeMap;

use super::{TenantRecord, TenantStatus};
use crate::audit::{Action, Event};
use crate::key::lifecycle::{Lifecycle, LifecycleError, Listed, PAGE, Step};
use crate::key::record::{FORMAT, KeyRecord, KeyStatus};
use crate::session::lifecycle::SessionLifecycle;
use crate::store::change::Changed;
use crate::store::{Audited, StoreError, Written};

/// Attempts of a change that others get in the way of. Each is lost to another that was made: a revocation comes through a crowd.
const ATTEMPTS: usize = 64;

/// What a new tenant is to be.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the fields of the record")]
pub struct NewTenant {
    pub id: String,
    pub name: String,
    pub ip_allowlist: Option<Vec<String>>,
    pub scopes: Option<Vec<String>>,
    pub rate_limit: Option<serde_json::Value>,
    pub metadata: BTreeMap<String, String>,
}

impl Lifecycle {
    /// Makes a tenant.
    ///
    /// # Errors
    /// Everything that is wrong with it; the id is taken; the store's.
    pub async fn create_tenant(&self, new: NewTenant) -> Result<TenantRecord, LifecycleError> {
        self.new_tenant(new, false).await
    }

    /// The same; in a dry run it is only checked.
    pub(crate) async fn new_tenant(&self, new: NewTenant, dry_run: bool) -> Result<TenantRecord, LifecycleError> {
        let record = TenantRecord {
            format: FORMAT,
            name: if new.name.is_empty() { new.id.clone() } else { new.name },
            id: new.id,
            status: TenantStatus::Active,
            ip_allowlist: new.ip_allowlist,
            scopes: new.scopes,
            rate_limit: new.rate_limit,
            metadata: new.metadata,
            created_at: self.clock.now(),
            version: 1,
            unknown: BTreeMap::new(),
        };
        let wrong = self.rules.check_tenant(&record);
        if !wrong.is_empty() {
            return Err(LifecycleError::Invalid(wrong));
        }
        if dry_run {
            return Ok(record);
        }
        match self.store.put_tenant(self.audited(Action::Create, None, &record)).await {
            Ok(position) => {
                self.made(position);
                Ok(record)
            }
            Err(StoreError::Conflict { .. }) => Err(LifecycleError::State(format!("tenant {} is there already", record.id))),
            Err(error) => Err(error.into()),
        }
    }

    /// Suspends or resumes a tenant; doing it twice is as good as once.
    ///
    /// # Errors
    /// No such tenant; the store's.
    pub async fn set_tenant_status(&self, id: &str, status: TenantStatus) -> Result<TenantRecord, LifecycleError> {
        let action = if status == TenantStatus::Suspended { Action::Suspend } else { Action::Resume };
        let change = self.change_tenant(id, action, |record| {
            if record.status == status {
                return Ok(Step::Nothing);
            }
            record.status = status;
            Ok(Step::Write)
        });
        let record = change.await?;
        if status == TenantStatus::Suspended {
            self.replicate(Written::Tenant(&record)).await?;
        }
        Ok(record)
    }

    /// Changes what an update may: all but id and status. Otherwise as [`Lifecycle::update`].
    ///
    /// # Errors
    /// Everything that is wrong with what it would be; no such tenant; of another version; the store's.
    pub async fn update_tenant(
        &self,
        id: &str,
        version: Option<u64>,
        modify: impl Fn(&mut TenantRecord) -> Result<(), LifecycleError> + Send + Sync,
    ) -> Result<TenantRecord, LifecycleError> {
        let change = self.change_tenant(id, Action::Update, |record| {
            if version.is_some_and(|asked| asked != record.version) {
                return Err(LifecycleError::Version { id: id.to_owned(), found: record.version });
            }
            let before = record.clone();
            modify(record)?;
            if *record == before {
                return Ok(Step::Nothing);
            }
            let wrong = self.rules.check_tenant(record);
            if wrong.is_empty() { Ok(Step::Write) } else { Err(LifecycleError::Invalid(wrong)) }
        });
        let record = change.await?;
        self.replicate(Written::Tenant(&record)).await?;
        Ok(record)
    }

    /// The keys of a tenant, all of them.
    async fn all_keys(&self, id: &str) -> Result<Vec<KeyRecord>, LifecycleError> {
        let Listed { keys, unreadable } = self.list_keys(Some(id)).await?;
        // What cannot be read would be a key of whoever is called so next.
        unreadable.into_iter().next().map_or(Ok(keys), |error| Err(error.into()))
    }

    async fn change_tenant(
        &self,
        id: &str,
        action: Action,
        modify: impl Fn(&mut TenantRecord) -> Result<Step, LifecycleError>,
    ) -> Result<TenantRecord, LifecycleError> {
        let mut conflict = StoreError::Conflict { found: 0 };
        for _ in 0..ATTEMPTS {
            let before = self.find_tenant(id).await?;
            let mut record = before.clone();
            if let Step::Nothing = modify(&mut record)? {
                // As for keys: the sidecars were perhaps not told.
                self.made(self.store.announce(&[Changed::of_tenant(&record)]).await?);
                return Ok(record);
            }
            record.version += 1;
            match self.store.put_tenant(self.audited(action, Some(&before), &record)).await {
                Ok(position) => {
                    self.made(position);
                    return Ok(record);
                }
                Err(error @ StoreError::Conflict { .. }) => conflict = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(conflict.into())
    }

    /// The tenant with this id.
    ///
    /// # Errors
    /// There is none; the store's.
    pub async fn find_tenant(&self, id: &str) -> Result<TenantRecord, LifecycleError> {
        self.store.find_tenant(id).await?.ok_or_else(|| LifecycleError::NoTenant(id.to_owned()))
    }

    /// The same, if its credentials are accepted.
    pub(crate) async fn active_tenant(&self, id: &str) -> Result<TenantRecord, LifecycleError> {
        let tenant = self.find_tenant(id).await?;
        match tenant.status {
            TenantStatus::Active => Ok(tenant),
            TenantStatus::Suspended => Err(LifecycleError::State(format!("tenant {id} is suspended"))),
        }
    }

    /// Every tenant, in the order of creation.
    ///
    /// # Errors
    /// The store's.
    pub async fn list_tenants(&self) -> Result<Vec<TenantRecord>, LifecycleError> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.store.list_tenants(cursor.as_deref(), PAGE).await?;
            all.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }
}

impl SessionLifecycle {
    /// Takes a suspended tenant away, and before it its sessions and its keys, which must all be revoked. Their events are kept.
    ///
    /// # Errors
    /// No such tenant; it is active, or a key of it is not revoked or cannot be read; the store's.
    pub async fn delete_tenant(&self, id: &str) -> Result<(), LifecycleError> {
        let lifecycle = &self.lifecycle;
        let record = lifecycle.find_tenant(id).await?;
        if record.status != TenantStatus::Suspended {
            return Err(LifecycleError::State(format!("tenant {id} is not suspended")));
        }
        let keys = lifecycle.all_keys(id).await?;
        if let Some(key) = keys.iter().find(|key| key.status != KeyStatus::Revoked) {
            return Err(LifecycleError::State(format!("key {} of tenant {id} is not revoked", key.id)));
        }
        // They outlive the record, and would be good again for whoever is called so next.
        self.revoke_all(Some(id), None).await?;
        for key in &keys {
            lifecycle.purge(&key.id).await?;
        }
        let event = Event::of_removal(&lifecycle.actor, Action::Delete, lifecycle.clock.now(), &record);
        lifecycle.made(lifecycle.store.remove_tenant(Audited { record: &record, event }).await?);
        // What was made by who had seen the tenant active; whoever writes later sees that it is gone.
        self.revoke_all(Some(id), None).await?;
        for key in lifecycle.all_keys(id).await? {
            lifecycle.set_status(&key.id, KeyStatus::Revoked).await?;
            lifecycle.purge(&key.id).await?;
        }
        Ok(())
    }
}
