//! What people do to sessions: look at them and end them. An end is written by compare-and-set with its event, then announced, so
//! that the access tokens of the session end on every sidecar; saying it twice says the same.

use std::sync::Arc;

use serde_json::{Map, json};

use super::record::{Ended, SessionRecord};
use crate::audit::{Action, Actor, Event, Subject as _};
use crate::clock::Timestamp;
use crate::key::lifecycle::{Lifecycle, LifecycleError, PAGE};
use crate::store::change::Changed;
use crate::store::session::{SessionQuery, SessionWrite, Sessions};
use crate::store::{Page, StoreError, Written};

/// Attempts of a change that others get in the way of.
pub(super) const ATTEMPTS: usize = 8;
/// A record is kept so much longer than its last token, for clocks that are slow.
const SLACK_MS: i64 = 3_600_000;
/// Why a session is over that somebody has ended.
pub(crate) const REVOKED: &str = "revoked";

/// Makes changes to sessions.
#[derive(Clone)]
pub struct SessionLifecycle {
    /// Of keys and tenants, in the same name.
    pub(crate) lifecycle: Lifecycle,
    pub(crate) sessions: Arc<dyn Sessions>,
}

impl SessionLifecycle {
    /// Over these stores.
    #[must_use]
    pub fn new(lifecycle: Lifecycle, sessions: Arc<dyn Sessions>) -> Self {
        Self { lifecycle, sessions }
    }

    /// The same for somebody else.
    #[must_use]
    pub fn on_behalf_of(&self, actor: Actor) -> Self {
        Self { lifecycle: self.lifecycle.on_behalf_of(actor), sessions: Arc::clone(&self.sessions) }
    }

    /// The session with this id.
    ///
    /// # Errors
    /// There is none; the store's.
    pub async fn find(&self, id: &str) -> Result<SessionRecord, LifecycleError> {
        self.sessions.find_session(id).await?.ok_or_else(|| LifecycleError::NoSession(id.to_owned()))
    }

    /// One page of sessions.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, query: &SessionQuery<'_>) -> Result<Page<SessionRecord>, LifecycleError> {
        Ok(self.sessions.list_sessions(query).await?)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// There is none; the store's.
    pub async fn revoke(&self, id: &str) -> Result<SessionRecord, LifecycleError> {
        self.end(id, REVOKED).await
    }

    /// Ends all sessions of a tenant, of a subject, of both, or of all that there are. Answers how many it has ended.
    ///
    /// # Errors
    /// The store's.
    pub async fn revoke_all(&self, tenant: Option<&str>, subject: Option<&str>) -> Result<usize, LifecycleError> {
        let (mut ended, mut cursor) = (0, None::<String>);
        loop {
            let page = self.list(&SessionQuery { tenant, subject, cursor: cursor.as_deref(), limit: PAGE }).await?;
            for record in page.items.iter().filter(|record| record.ended.is_none()) {
                match self.revoke(&record.id).await {
                    Ok(_) => ended += 1,
                    // It was over, and is gone since.
                    Err(LifecycleError::NoSession(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(ended);
            }
        }
    }

    /// Ends a session, for this reason.
    ///
    /// # Errors
    /// There is none; the store's.
    pub(crate) async fn end(&self, id: &str, reason: &str) -> Result<SessionRecord, LifecycleError> {
        let mut conflict = StoreError::Conflict { found: 0 };
        for _ in 0..ATTEMPTS {
            let before = self.find(id).await?;
            // Whoever asks again was perhaps not told that it was done: nor were the sidecars.
            if before.ended.is_some() {
                return self.announce(before).await;
            }
            let at = self.lifecycle.clock.now();
            let ended = Some(Ended { at, reason: reason.to_owned() });
            let record = SessionRecord { ended, spent: Vec::new(), version: before.version + 1, ..before };
            match self.write(&record, Some(self.end_event(&record, reason, at)), at).await {
                Ok(()) => return self.announce(record).await,
                Err(error @ StoreError::Conflict { .. }) => conflict = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(conflict.into())
    }

    fn end_event(&self, record: &SessionRecord, reason: &str, at: Timestamp) -> Event {
        let fields = |value| if let serde_json::Value::Object(fields) = value { fields } else { Map::new() };
        let object = (SessionRecord::OBJECT, record.id.as_str(), record.tenant.as_str());
        Event {
            before: Some(fields(json!({ "status": "active" }))),
            after: Some(fields(json!({ "status": "revoked", "reason": reason, "subject": record.subject }))),
            ..Event::about(&self.lifecycle.actor, Action::Revoke, at, object, record.version)
        }
    }

    async fn announce(&self, record: SessionRecord) -> Result<SessionRecord, LifecycleError> {
        let change = Changed::Session { id: record.id.clone(), version: record.version };
        self.lifecycle.made(self.lifecycle.store.announce(&[change]).await?);
        self.lifecycle.replicate(Written::Session(&record)).await?;
        Ok(record)
    }

    pub(super) async fn write(&self, record: &SessionRecord, event: Option<Event>, at: Timestamp) -> Result<(), StoreError> {
        let until = record.expires_at.max(record.access_expires_at).plus_millis(SLACK_MS);
        self.lifecycle.begin();
        self.sessions.put_session(SessionWrite { record, event, at, until }).await
    }
}
