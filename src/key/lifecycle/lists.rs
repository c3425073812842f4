//! Keys of a tenant or of all, page by page: what nobody asked for is never held, however much of it there is, and what cannot be
//! read is told, so that nobody takes the rest for all of them.

use super::{Lifecycle, LifecycleError, PAGE};
use crate::audit::Actor;
use crate::key::record::{KeyRecord, KeyStatus};
use crate::store::{Page, StoreError};

/// Revoked keys of a tenant that are kept for `keys.purge_after`, where it may not have more keys than that at once.
pub(super) const REVOKED_KEPT: usize = 1000;
/// Revoked keys that one creation clears away: a store full of them is clear after a few.
const CLEARED_AT_ONCE: usize = 100;

/// Keys that were asked for.
#[derive(Debug, Default)]
pub struct Listed {
    /// In the order of creation.
    pub keys: Vec<KeyRecord>,
    /// Why others may be missing.
    pub unreadable: Vec<StoreError>,
}

/// What a tenant has.
#[derive(Default)]
pub(super) struct Stock {
    /// Keys that count against `max_per_tenant`, no further than to the first that is too many.
    pub(super) alive: usize,
    /// The oldest of its revoked keys, as many as are too many.
    pub(super) surplus: Vec<String>,
}

impl Lifecycle {
    /// Every key, of one tenant or of all, in the order of creation.
    ///
    /// # Errors
    /// The store's.
    pub async fn list_keys(&self, tenant: Option<&str>) -> Result<Listed, LifecycleError> {
        self.select_keys(tenant, |_| true).await
    }

    /// Those of them that are wanted.
    ///
    /// # Errors
    /// The store's.
    pub async fn select_keys(
        &self,
        tenant: Option<&str>,
        mut is_wanted: impl FnMut(&KeyRecord) -> bool + Send,
    ) -> Result<Listed, LifecycleError> {
        let mut listed = Listed::default();
        let mut take = |page: Page<KeyRecord>| {
            listed.keys.extend(page.items.into_iter().filter(|key| is_wanted(key)));
            listed.unreadable.extend(page.unreadable);
            true
        };
        self.each_page(tenant, &mut take).await?;
        Ok(listed)
    }

    /// How many keys of a tenant count against `max_per_tenant`, no further than to the first that is too many.
    pub(crate) async fn keys_of(&self, tenant: &str) -> Result<usize, LifecycleError> {
        Ok(self.stock(tenant).await?.alive)
    }

    pub(super) async fn stock(&self, tenant: &str) -> Result<Stock, LifecycleError> {
        let (mut stock, mut revoked, max) = (Stock::default(), 0_usize, self.rules.max_per_tenant);
        let mut take = |page: Page<KeyRecord>| {
            for key in page.items {
                if key.status == KeyStatus::Revoked {
                    revoked += 1;
                    if stock.surplus.len() < CLEARED_AT_ONCE {
                        stock.surplus.push(key.id);
                    }
                } else {
                    stock.alive += 1;
                }
            }
            stock.alive <= max
        };
        self.each_page(Some(tenant), &mut take).await?;
        stock.surplus.truncate(revoked.saturating_sub(REVOKED_KEPT.max(max)));
        Ok(stock)
    }

    /// Takes away what is left of revoked keys, as their time would. Who makes and revokes keys without end fills no store with them.
    pub(super) async fn clear(&self, surplus: &[String]) -> Result<(), LifecycleError> {
        let sidegate = self.on_behalf_of(Actor::local("sidegate"));
        for id in surplus {
            // Any other is gone already, or cannot be judged.
            if let Err(error @ LifecycleError::Store(StoreError::Unavailable(_))) = sidegate.purge(id).await {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Hands over page after page, until `take` has enough.
    async fn each_page(&self, tenant: Option<&str>, take: &mut (dyn FnMut(Page<KeyRecord>) -> bool + Send)) -> Result<(), LifecycleError> {
        let mut cursor = None;
        loop {
            let mut page = self.store.list_keys(tenant, cursor.as_deref(), PAGE).await?;
            cursor = page.next.take();
            if !take(page) || cursor.is_none() {
                return Ok(());
            }
        }
    }
}
