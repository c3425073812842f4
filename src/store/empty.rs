//! The key table that is not there yet: reads find nothing, writes are refused. So that a command that only looks
//! (perhaps in the wrong directory) leaves no file behind.

use std::time::Duration;

use async_trait::async_trait;

use super::change::{Changed, Position};
use super::draw::{Draw, Drawn};
use super::instance::{Instance, Seen};
use super::reservation::{Claim, Claimed, Fate, Owner, Place, Released, Reservations, Reserved, Settled};
use super::session::{SessionQuery, SessionWrite, Sessions};
use super::usage::{Denial, DenialFilter, Flush, Flushed, KeyUsage, LastUse, Usages};
use super::{Audited, Named, Page, Store, StoreError};
use crate::audit::{self, Event};
use crate::clock::Timestamp;
use crate::key::digest::StoredDigest;
use crate::key::record::KeyRecord;
use crate::session::record::SessionRecord;
use crate::tenant::TenantRecord;
use crate::usage::Day;

/// It.
pub(super) struct EmptyStore;

const fn nothing<T>() -> Page<T> {
    Page { items: Vec::new(), next: None, unreadable: Vec::new() }
}

fn refused() -> StoreError {
    StoreError::Unavailable("its file was not there when this command began".into())
}

#[async_trait]
impl Store for EmptyStore {
    async fn find_named(&self, _: &StoredDigest) -> Result<Named, StoreError> {
        Ok(Named::Nobody)
    }

    async fn find_key(&self, _: &str) -> Result<Option<KeyRecord>, StoreError> {
        Ok(None)
    }

    async fn put_key(&self, _: Audited<'_, KeyRecord>) -> Result<Position, StoreError> {
        Err(refused())
    }

    async fn list_keys(&self, _: Option<&str>, _: Option<&str>, _: usize) -> Result<Page<KeyRecord>, StoreError> {
        Ok(nothing())
    }

    async fn find_tenant(&self, _: &str) -> Result<Option<TenantRecord>, StoreError> {
        Ok(None)
    }

    async fn put_tenant(&self, _: Audited<'_, TenantRecord>) -> Result<Position, StoreError> {
        Err(refused())
    }

    async fn list_tenants(&self, _: Option<&str>, _: usize) -> Result<Page<TenantRecord>, StoreError> {
        Ok(nothing())
    }

    async fn remove_key(&self, _: Audited<'_, KeyRecord>) -> Result<Position, StoreError> {
        Err(refused())
    }

    async fn remove_tenant(&self, _: Audited<'_, TenantRecord>) -> Result<Position, StoreError> {
        Err(refused())
    }

    async fn append_event(&self, _: &Event) -> Result<(), StoreError> {
        Err(refused())
    }

    async fn list_events(&self, _: &audit::Query<'_>) -> Result<Page<Event>, StoreError> {
        Ok(nothing())
    }

    async fn forget_events(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn announce(&self, _: &[Changed]) -> Result<Position, StoreError> {
        Err(refused())
    }

    async fn position(&self) -> Result<Position, StoreError> {
        Ok(Position::default())
    }

    async fn beat(&self, _: &Instance, _: bool) -> Result<u64, StoreError> {
        Err(refused())
    }

    async fn leave(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn instances(&self) -> Result<Vec<Seen>, StoreError> {
        Ok(Vec::new())
    }

    async fn draw(&self, _: &Draw<'_>) -> Result<Drawn, StoreError> {
        Err(refused())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Reservations for EmptyStore {
    async fn claim(&self, _: &Place, _: &Claim) -> Result<Claimed, StoreError> {
        Err(refused())
    }

    async fn renew(&self, _: &Place, _: Owner, _: Duration) -> Result<bool, StoreError> {
        Err(refused())
    }

    async fn settle(&self, _: &Place, _: Owner, _: &Fate) -> Result<Settled, StoreError> {
        Err(refused())
    }

    async fn look(&self, _: &Place) -> Result<Option<Reserved>, StoreError> {
        Ok(None)
    }

    async fn release(&self, _: &Place) -> Result<Released, StoreError> {
        Ok(Released::Absent)
    }
}

#[async_trait]
impl Usages for EmptyStore {
    async fn flush(&self, flush: Flush) -> Flushed {
        Flushed { left: flush, error: Some(refused()), ..Flushed::default() }
    }

    async fn usage(&self, keys: &[&str], _: Day, _: Day) -> Result<Vec<KeyUsage>, StoreError> {
        Ok(vec![KeyUsage::default(); keys.len()])
    }

    async fn last_uses(&self, keys: &[&str]) -> Result<Vec<Option<LastUse>>, StoreError> {
        Ok(vec![None; keys.len()])
    }

    async fn denials(&self, _: &DenialFilter, _: Option<&str>, _: usize) -> Result<Page<Denial>, StoreError> {
        Ok(nothing())
    }
}

#[async_trait]
impl Sessions for EmptyStore {
    async fn find_session(&self, _: &str) -> Result<Option<SessionRecord>, StoreError> {
        Ok(None)
    }

    async fn put_session(&self, _: SessionWrite<'_>) -> Result<(), StoreError> {
        Err(refused())
    }

    async fn list_sessions(&self, _: &SessionQuery<'_>) -> Result<Page<SessionRecord>, StoreError> {
        Ok(nothing())
    }
}
