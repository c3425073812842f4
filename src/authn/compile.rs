//! What the records of a key and its tenant say, deadlines aside, compiled into an entry. Nothing here asks anybody.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Counters;
use super::cache::{End, Entry, Rest, Verdict};
use super::freshness::{Began, Reading};
use super::held::TenantState;
use super::load::{Shared, Tenant};
use super::slots::Slot;
use crate::clock::Timestamp;
use crate::identity::replaced::Replaced;
use crate::identity::{Identity, Ids};
use crate::key::digest::StoredDigest;
use crate::key::record::{KeyRecord, KeyStatus};
use crate::rejection::Rejection;
use crate::tenant::TenantStatus;

/// The end of a secret that has none of its own.
pub(super) const CURRENT: Timestamp = Timestamp(i64::MAX);

impl Shared {
    /// A record and its tenant's, compiled: read when `began` says, good in these generations.
    pub(super) fn assemble(
        &self,
        record: &KeyRecord,
        secret_until: Timestamp,
        (key, key_generation): (Arc<Slot>, u64),
        (tenant, tenant_generation, state): Tenant,
        began: Began,
    ) -> Entry {
        let replaced = if secret_until == CURRENT { None } else { Replaced::of(record) };
        let verdict = self.verdict(Ids { key: Arc::clone(&key.id), tenant: Arc::clone(&tenant.slot.id) }, record, &state, replaced);
        Entry {
            key,
            key_generation,
            tenant,
            tenant_generation,
            reading: Reading::new(began),
            refreshed: AtomicBool::new(false),
            superseded: AtomicBool::new(false),
            verdict,
            rest: Rest::boxed(Rest {
                secret_end: (secret_until != CURRENT).then(|| End::new(secret_until)),
                expiry: record.expires_at.map(End::new),
                record: self.place.is_somewhere().then(|| serde_json::to_string(record).ok()).flatten().map(String::into_boxed_str),
            }),
        }
    }

    fn verdict(&self, ids: Ids, record: &KeyRecord, tenant: &TenantState, replaced: Option<Box<Replaced>>) -> Verdict {
        if record.status == KeyStatus::Revoked {
            return Verdict::Revoked;
        }
        let tenant = match tenant {
            TenantState::Found(tenant) if tenant.status == TenantStatus::Suspended => return Verdict::TenantSuspended,
            TenantState::Found(tenant) => tenant,
            TenantState::Absent => return Verdict::TenantAbsent,
            TenantState::Unusable(why) => return self.unusable(why),
        };
        if record.status == KeyStatus::Inactive {
            return Verdict::Inactive;
        }
        match Identity::compile(ids, record, tenant, &self.headers) {
            Ok(identity) => {
                let identity = if replaced.is_some() { identity.by_replaced(replaced) } else { identity };
                Verdict::Admitted(Arc::new(identity))
            }
            Err(why) => self.unusable(&format!("{}: {why}", record.id)),
        }
    }

    fn unusable(&self, why: &str) -> Verdict {
        Counters::count(&self.counters.unusable);
        Verdict::Unusable(Box::new(Rejection::IdentityInvalid.because(why.to_owned())))
    }
}

/// When the presented secret ends, if the record names it. The one that was replaced has an end of its own.
pub(super) fn secret_until(record: &KeyRecord, presented: StoredDigest) -> Option<Timestamp> {
    let is = |hex: &str| StoredDigest::from_hex(hex).is_some_and(|named| named == presented);
    if is(&record.digest) {
        return Some(CURRENT);
    }
    record.previous.as_ref().filter(|previous| is(&previous.digest)).map(|previous| previous.until)
}
