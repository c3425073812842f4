//! Marks the records of keys that were seen where they must not be. In the background, once for each time a record is cached:
//! the request that showed it does not wait, and a store that is away loses nothing but the mark.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Authenticator;
use crate::audit::{Action, Actor, Event};
use crate::clock::Clock;
use crate::identity::Identity;
use crate::key::record::KeyRecord;
use crate::store::{Audited, Store, StoreError};

/// Attempts, where other changes come first.
const ATTEMPTS: usize = 8;

impl Authenticator {
    /// A secret key was sent by a browser: its record says so from now on.
    pub fn mark_exposed(&self, identity: &Identity) {
        let Some(id) = identity.key_id().filter(|_| !identity.exposed.swap(true, Ordering::Relaxed)) else { return };
        let (store, clock, id) = (Arc::clone(&self.shared.store), self.shared.clock.clone(), Arc::clone(id));
        drop(self.shared.runtime.spawn(async move {
            match mark(&*store, &clock, &id).await {
                Ok(()) => tracing::warn!(key.id = %id, "a secret key was sent by a browser; its record is marked exposed"),
                Err(error) => tracing::warn!(key.id = %id, %error, "a secret key was sent by a browser; its record could not be marked"),
            }
        }));
    }
}

async fn mark(store: &dyn Store, clock: &Clock, id: &str) -> Result<(), StoreError> {
    for _ in 1..ATTEMPTS {
        match try_mark(store, clock, id).await {
            Err(StoreError::Conflict { .. }) => {}
            outcome => return outcome,
        }
    }
    try_mark(store, clock, id).await
}

async fn try_mark(store: &dyn Store, clock: &Clock, id: &str) -> Result<(), StoreError> {
    let Some(before) = store.find_key(id).await?.filter(|record| !record.exposed) else { return Ok(()) };
    let record = KeyRecord { exposed: true, version: before.version + 1, ..before.clone() };
    let event = Event::of(&Actor::local("sidegate"), Action::Expose, clock.now(), Some(&before), &record);
    store.put_key(Audited { record: &record, event }).await.map(drop)
}
