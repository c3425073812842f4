//! Sessions: few primitives, one contract for every store. A session is one record, changed by compare-and-set on its version, and
//! gone by itself some time after its last token; what may become of it is decided in [`crate::session`].

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

use super::{Page, StoreError};
use crate::audit::Event;
use crate::clock::Timestamp;
use crate::session::record::SessionRecord;

/// Sessions that are over and leave the lists with each new one.
pub(super) const SWEPT: usize = 16;

/// A session to be written.
#[derive(Debug, Clone)]
pub struct SessionWrite<'a> {
    /// The record.
    pub record: &'a SessionRecord,
    /// What the audit says of that, if it is told: neither is written without the other.
    pub event: Option<Event>,
    /// Now.
    pub at: Timestamp,
    /// From when on nobody misses it.
    pub until: Timestamp,
}

/// Which sessions are asked for; what is unset allows all.
#[derive(Debug, Clone, Copy, Default)]
pub struct SessionQuery<'a> {
    /// Of this tenant.
    pub tenant: Option<&'a str>,
    /// Of this subject.
    pub subject: Option<&'a str>,
    /// Behind this place.
    pub cursor: Option<&'a str>,
    /// At most so many.
    pub limit: usize,
}

impl SessionQuery<'_> {
    /// Whether it is asked for.
    pub(super) fn takes(&self, record: &SessionRecord) -> bool {
        self.tenant.is_none_or(|tenant| record.tenant == tenant) && self.subject.is_none_or(|subject| record.subject == subject)
    }
}

/// Primitives of sessions.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// The session with this id.
    async fn find_session(&self, id: &str) -> Result<Option<SessionRecord>, StoreError>;

    /// Writes a session: `record.version` must be the version found plus one, 1 creates. One atomic step. Nothing is announced.
    async fn put_session(&self, write: SessionWrite<'_>) -> Result<(), StoreError>;

    /// Sessions in the order of creation, from a cursor on.
    async fn list_sessions(&self, query: &SessionQuery<'_>) -> Result<Page<SessionRecord>, StoreError>;
}
