//! What may become of a tenant: made, suspended, resumed. The same rules as for keys: all mistakes at once, writes by version.

use std::collections::BTreeMap;

use super::{TenantRecord, TenantStatus};
use crate::key::lifecycle::{Lifecycle, LifecycleError, PAGE};
use crate::key::record::FORMAT;
use crate::store::change::Changed;
use crate::store::{StoreError, Written};

/// Attempts of a change that others get in the way of.
const ATTEMPTS: usize = 8;

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
        match self.store.put_tenant(&record).await {
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
        let record = self.change_tenant_status(id, status).await?;
        if status == TenantStatus::Suspended {
            self.replicate(Written::Tenant(&record)).await?;
        }
        Ok(record)
    }

    async fn change_tenant_status(&self, id: &str, status: TenantStatus) -> Result<TenantRecord, LifecycleError> {
        let mut conflict = StoreError::Conflict { found: 0 };
        for _ in 0..ATTEMPTS {
            let mut record = self.find_tenant(id).await?;
            if record.status == status {
                // As for keys: the sidecars were perhaps not told.
                self.made(self.store.announce(&[Changed::of_tenant(&record)]).await?);
                return Ok(record);
            }
            record.status = status;
            record.version += 1;
            match self.store.put_tenant(&record).await {
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
