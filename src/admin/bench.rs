//! What a request's work on the key table is done with, on the store's runtime; and how what was done is shown. A change that was made
//! is answered as made, whatever can be said of how far it has got.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::settings::Settings;
use super::wait::Wait;
use crate::clock::Timestamp;
use crate::fleet;
use crate::key::lifecycle::{Lifecycle, LifecycleError};
use crate::key::record::KeyRecord;
use crate::key::shown;
use crate::session::lifecycle::SessionLifecycle;
use crate::store::Replication;
use crate::store::change::Position;
use crate::store::usage::Usages;
use crate::tenant::TenantRecord;
use crate::usage::show_last_use;

/// The key table, in a caller's name.
pub(super) struct Bench {
    pub(super) lifecycle: Lifecycle,
    pub(super) sessions: SessionLifecycle,
    pub(super) usages: Arc<dyn Usages>,
    pub(super) admin: Arc<Settings>,
    pub(super) now: Timestamp,
}

/// A record as it is shown.
pub(super) type Shown = Map<String, Value>;

impl Bench {
    /// Keys with their last use, whether their records or the counts know of it.
    pub(super) async fn with_last_use(&self, mut keys: Vec<KeyRecord>) -> Result<Vec<KeyRecord>, LifecycleError> {
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        let counted = self.usages.last_uses(&ids).await?;
        for (key, counted) in keys.iter_mut().zip(counted) {
            show_last_use(key, counted.as_ref());
        }
        Ok(keys)
    }

    /// A key as it is.
    pub(super) async fn show(&self, id: &str) -> Result<Shown, LifecycleError> {
        let keys = self.with_last_use(vec![self.lifecycle.find_key(id).await?]).await?;
        Ok(keys.first().map(|key| shown::key(key, None, self.now)).unwrap_or_default())
    }

    /// A key that was changed, with the secret if it has a new one.
    pub(super) async fn changed(&self, record: KeyRecord, secret: Option<&SecretString>, wait: Wait) -> Shown {
        let shown = match self.with_last_use(vec![record.clone()]).await.as_deref() {
            Ok([key]) => shown::key(key, secret, self.now),
            Ok(_) | Err(_) => shown::key(&record, secret, self.now),
        };
        self.extent(shown, wait).await
    }

    /// A tenant that was changed.
    pub(super) async fn changed_tenant(&self, record: &TenantRecord, wait: Wait) -> Shown {
        self.extent(shown::fields(record), wait).await
    }

    /// Says of what was changed how far it has got: in the store, and, if the caller waits for that, in the sidecars.
    pub(super) async fn extent(&self, mut shown: Shown, Wait { wait }: Wait) -> Shown {
        if let Some(Replication { wanted, acknowledged }) = self.lifecycle.unreplicated() {
            shown.insert("replication".into(), json!({ "acknowledged": acknowledged, "wanted": wanted }));
        }
        let position = self.lifecycle.position();
        // Where nothing was changed nobody can have applied it.
        if let Some(patience) = wait.filter(|_| position != Position(0)) {
            let confirmation = match fleet::confirm(&*self.lifecycle.store, position, patience.0).await {
                Ok(receipt) => json!({
                    "confirmed": receipt.confirmed,
                    "of": receipt.confirmed + receipt.missing.len(),
                    "took_ms": u64::try_from(receipt.took.as_millis()).unwrap_or(u64::MAX),
                    "missing": receipt.missing.iter().map(|seen| json!({
                        "sidecar": seen.instance.name,
                        "silent_ms": u64::try_from(seen.silent.as_millis()).unwrap_or(u64::MAX),
                        "may_serve_until": seen.stale_until(self.now),
                    })).collect::<Vec<_>>(),
                }),
                Err(error) => {
                    tracing::warn!(%error, "nobody knows which sidecars have applied a change");
                    Value::Null
                }
            };
            shown.insert("confirmation".into(), confirmation);
        }
        shown
    }
}
