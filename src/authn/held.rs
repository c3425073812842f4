//! Records beside a key's own that what is cached rests on: its tenant's; of a token of ours also its session's, or the key's that it
//! stands for. Each is shared by all that rest on it, asked for once however many wait, and judged by the same rules of freshness.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use super::Counters;
use super::freshness::Reading;
use super::load::Shared;
use super::slots::{Slot, Slots};
use super::trouble::Trouble;
use crate::key::record::{KeyRecord, KeyStatus};
use crate::rejection::Rejection;
use crate::session::record::Ended;
use crate::store::StoreError;
use crate::tenant::TenantRecord;

/// A record that entries rest on.
pub(super) struct Held<S> {
    pub(super) slot: Slot,
    pub(super) reading: Reading,
    /// What was read; none since a change.
    pub(super) state: ArcSwapOption<S>,
    /// Held by the one look-up that is under way.
    pub(super) loading: tokio::sync::Mutex<()>,
    /// Whether one ahead of the end of what was read has begun.
    pub(super) refreshed: AtomicBool,
}

/// A record as it is known, the generation that makes it so, and its state.
pub(super) type Found<S> = (Arc<Held<S>>, u64, Arc<S>);

/// A tenant, shared by the entries of all its keys and tokens.
pub(super) type TenantSlot = Held<TenantState>;

/// What a look-up of a tenant found.
#[derive(Debug, PartialEq)]
pub(super) enum TenantState {
    Found(Box<TenantRecord>),
    Absent,
    Unusable(String),
}

/// What a look-up of a session found: its tokens are good or not, and nothing else of it matters to them.
#[derive(Debug, PartialEq)]
pub(super) enum SessionState {
    Open,
    Ended(Ended),
    Absent,
    Unusable(String),
}

/// What a look-up of a key found that a token stands for.
#[derive(Debug, PartialEq)]
pub(super) enum ClientState {
    Found(Box<KeyRecord>),
    Absent,
    Unusable(String),
}

/// What a store says of a record.
pub(super) struct Said<S> {
    pub(super) state: S,
    /// `None` = it does not say, and is of no use in any case.
    pub(super) version: Option<u64>,
    /// Whether it stays so, whatever the store may say later.
    pub(super) is_for_ever: bool,
}

/// What can be looked up so.
pub(super) trait Kept: PartialEq + Sized + Send + Sync + 'static {
    fn held(slots: &Slots, id: &str) -> Arc<Held<Self>>;

    /// Asks the store; only that it cannot be asked is an error.
    fn ask(shared: &Shared, id: &str) -> impl Future<Output = Result<Said<Self>, StoreError>> + Send;
}

impl TenantState {
    /// Of the record; `None` = it does not say.
    pub(super) fn version(&self) -> Option<u64> {
        match self {
            Self::Found(record) => Some(record.version),
            Self::Absent => Some(0),
            Self::Unusable(_) => None,
        }
    }
}

impl Kept for TenantState {
    fn held(slots: &Slots, id: &str) -> Arc<Held<Self>> {
        slots.tenant(id)
    }

    async fn ask(shared: &Shared, id: &str) -> Result<Said<Self>, StoreError> {
        Counters::count(&shared.counters.tenant_lookups);
        let state = match shared.store.find_tenant(id).await {
            Ok(Some(record)) => Self::Found(Box::new(record)),
            Ok(None) => Self::Absent,
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(error) => Self::Unusable(error.to_string()),
        };
        Ok(Said { version: state.version(), state, is_for_ever: false })
    }
}

impl Kept for SessionState {
    fn held(slots: &Slots, id: &str) -> Arc<Held<Self>> {
        slots.session(id)
    }

    async fn ask(shared: &Shared, id: &str) -> Result<Said<Self>, StoreError> {
        Counters::count(&shared.counters.session_lookups);
        Ok(match shared.sessions.find_session(id).await {
            Ok(Some(record)) => Said {
                version: Some(record.version),
                is_for_ever: record.ended.is_some(),
                state: record.ended.map_or(Self::Open, Self::Ended),
            },
            Ok(None) => Said { state: Self::Absent, version: Some(0), is_for_ever: false },
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(error) => Said { state: Self::Unusable(error.to_string()), version: None, is_for_ever: false },
        })
    }
}

impl Kept for ClientState {
    fn held(slots: &Slots, id: &str) -> Arc<Held<Self>> {
        slots.client(id)
    }

    async fn ask(shared: &Shared, id: &str) -> Result<Said<Self>, StoreError> {
        Counters::count(&shared.counters.key_lookups);
        Ok(match shared.store.find_key(id).await {
            Ok(Some(record)) => Said {
                version: Some(record.version),
                is_for_ever: record.status == KeyStatus::Revoked,
                state: Self::Found(Box::new(record)),
            },
            Ok(None) => Said { state: Self::Absent, version: Some(0), is_for_ever: false },
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(error) => Said { state: Self::Unusable(error.to_string()), version: None, is_for_ever: false },
        })
    }
}

impl ClientState {
    /// Why the key is good for nothing.
    pub(super) fn ending(&self) -> Option<Rejection> {
        match self {
            Self::Found(key) if key.status == KeyStatus::Revoked => Some(Rejection::KeyRevoked),
            Self::Found(key) if key.status == KeyStatus::Inactive => Some(Rejection::KeyInactive),
            Self::Absent => Some(Rejection::KeyUnknown),
            Self::Found(_) | Self::Unusable(_) => None,
        }
    }
}

/// One of them, whichever it is, to what rests on it.
pub(super) trait Ground: Send + Sync {
    fn generation(&self) -> u64;
    fn reading(&self) -> &Reading;
    /// Begins a look-up that nobody waits for, once.
    fn refresh(self: Arc<Self>, shared: &Arc<Shared>);
}

impl<S: Kept> Ground for Held<S> {
    fn generation(&self) -> u64 {
        self.slot.generation()
    }

    fn reading(&self) -> &Reading {
        &self.reading
    }

    #[cold]
    fn refresh(self: Arc<Self>, shared: &Arc<Shared>) {
        if self.refreshed.swap(true, Ordering::Relaxed) {
            return;
        }
        Counters::count(&shared.counters.refreshes);
        let shared = Arc::clone(shared);
        let runtime = shared.runtime.clone();
        drop(runtime.spawn(async move {
            let _ = shared.find::<S>(&self.slot.id).await;
            self.refreshed.store(false, Ordering::Relaxed);
        }));
    }
}

impl Shared {
    /// A record as it is known, asking the store (once for all that rest on it) if that is too long ago.
    pub(super) async fn find<S: Kept>(&self, id: &str) -> Result<Found<S>, Trouble> {
        let held = S::held(&self.slots, id);
        let alone = held.loading.lock().await;
        let (generation, state) = loop {
            let (generation, began) = (held.slot.generation(), self.begin());
            let moment = self.freshness.moment(began.at, self.slots.floor());
            let known = held.state.load_full();
            if let Some(state) = &known
                && (moment.age(&held.reading).is_some_and(|age| !self.freshness.is_due(age)) || moment.excuses(&held.reading))
            {
                break (generation, Arc::clone(state));
            }
            let trouble = match self.read_held(&held, generation).await {
                Ok(found) => break found,
                Err(Trouble::Overtaken) => {
                    Counters::count(&self.counters.repeated);
                    continue;
                }
                Err(trouble) => trouble,
            };
            let now = self.clock.now();
            match (known, self.excused_until(&trouble, now, || self.freshness.stale_until(moment, &held.reading))) {
                (Some(state), Some(end)) if held.slot.generation() == generation => {
                    held.reading.excuse(now, end);
                    break (generation, state);
                }
                _ => return Err(trouble),
            }
        };
        drop(alone);
        Ok((held, generation, state))
    }

    async fn read_held<S: Kept>(&self, held: &Held<S>, generation: u64) -> Result<(u64, Arc<S>), Trouble> {
        let began = self.begin();
        let Said { state, version, is_for_ever } = S::ask(self, &held.slot.id).await?;
        self.freshness.answered(began.at);
        let state = Arc::new(state);
        Ok((self.slots.settle(held, generation, &state, (version, is_for_ever), began)?, state))
    }
}
