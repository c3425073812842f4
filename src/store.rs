//! The key table: few primitives, one contract for every store. Features are written on top of these once.
//! A store knows records and stored digests; it never sees a secret, and what it holds is never trusted to parse.

use async_trait::async_trait;

use crate::key::digest::StoredDigest;
use crate::key::record::KeyRecord;
use crate::tenant::TenantRecord;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It could not be asked, or did not answer in time: says nothing about the record.
    #[error("the store is unreachable: {0}")]
    Unavailable(String),
    /// Another change came first (or, on creation, the id is taken).
    #[error("changed meanwhile: the store has version {found}")]
    Conflict {
        /// The version that is there; 0 = none.
        found: u64,
    },
    /// What is there cannot be read as a record of this release.
    #[error("unreadable record {id}: {why}")]
    Corrupt {
        /// Which.
        id: String,
        /// Why.
        why: String,
    },
}

/// One page of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// In the order of creation.
    pub items: Vec<T>,
    /// Where the next page begins; `None` = this was the last.
    pub next: Option<String>,
}

/// Primitives of the key table.
#[async_trait]
pub trait Store: Send + Sync {
    /// The key that a secret with this stored digest opens. The digest index proves nothing by itself:
    /// only a record that names the digest (current or previous) is returned.
    async fn find_key_by_digest(&self, digest: &StoredDigest) -> Result<Option<KeyRecord>, StoreError>;

    /// The key with this id.
    async fn find_key(&self, id: &str) -> Result<Option<KeyRecord>, StoreError>;

    /// Writes a key: `record.version` must be the version found plus one, 1 creates. Indexes the record's digests first;
    /// the record itself is the commit.
    async fn put_key(&self, record: &KeyRecord) -> Result<(), StoreError>;

    /// Keys, of one tenant or of all, from a cursor on.
    async fn list_keys(&self, tenant: Option<&str>, cursor: Option<&str>, limit: usize) -> Result<Page<KeyRecord>, StoreError>;

    /// The tenant with this id.
    async fn find_tenant(&self, id: &str) -> Result<Option<TenantRecord>, StoreError>;

    /// Writes a tenant, as [`Self::put_key`] does a key.
    async fn put_tenant(&self, record: &TenantRecord) -> Result<(), StoreError>;

    /// Tenants, from a cursor on.
    async fn list_tenants(&self, cursor: Option<&str>, limit: usize) -> Result<Page<TenantRecord>, StoreError>;

    /// Whether the store answers now.
    async fn ping(&self) -> Result<(), StoreError>;
}
