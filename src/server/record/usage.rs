//! What a request leaves in its worker's table: its share of its key's usage, and, if it was refused, or is let through for a time
//! only, a denial that support can find.

use std::sync::Arc;

use super::Record;
use crate::identity::Identity;
use crate::policy::scope;
use crate::rejection::Refusal;
use crate::store::usage::Denial;
use crate::usage::Exchange;

impl Record {
    /// Once, at its end.
    pub(super) fn count(&self) {
        let identity = self.seen.identity.as_deref();
        // Of a key that may not be used nothing is identified; whose it is is known all the same.
        let owner = match (identity, &self.refusal, &self.seen.key) {
            (None, Some(_), Some((_, digest))) => self.generation.app.gate.authenticator().owner(digest),
            _ => None,
        };
        let log = &self.generation.app.log;
        let client = self.seen.client.0;
        if let Some(key) = identity.and_then(Identity::acts_for).or(owner.as_ref().map(|(key, _)| key)) {
            self.generation.usage.count(&Exchange {
                key,
                began: self.began,
                refused: self.refusal.as_ref().map(|refusal| refusal.rejection),
                admitted: self.admitted,
                client: client.and_then(|ip| log.address(ip)),
                network: client.and_then(|ip| log.network(ip)),
                scopes: scope::text(&self.seen.scopes_used),
                received_bytes: self.life.uploaded().get(),
                sent_bytes: self.sent,
            });
        }
        let told = self.refusal.iter().map(|refusal| (refusal, false));
        for (refusal, observed) in told.chain(self.seen.would_refuse.iter().map(|refusal| (refusal, true))) {
            let known = identity.map(|identity| (identity.acts_for(), &identity.tenant_id));
            let known = known.or(owner.as_ref().map(|(key, tenant)| (Some(key), tenant)));
            self.generation.usage.deny(refusal.rejection, || self.denial(refusal, observed, known));
        }
    }

    fn denial(&self, refusal: &Refusal, observed: bool, known: Option<(Option<&Arc<str>>, &Arc<str>)>) -> Denial {
        let log = &self.generation.app.log;
        let (method, uri) = self.asked.as_ref().map(|(method, uri)| (method.as_str(), uri.path())).unwrap_or_default();
        Denial {
            time: self.began,
            request_id: self.seen.request_id.as_str().to_owned(),
            reason: refusal.rejection.row().reason.to_owned(),
            detail: log.masked(&refusal.detail),
            observed,
            status: self.status.map(|status| status.as_u16()),
            tenant: known.map(|(_, tenant)| tenant.to_string()),
            key: known.and_then(|(key, _)| key).map(ToString::to_string),
            credential: if known.is_none() { self.seen.fingerprint() } else { None },
            client: self.seen.client.0.and_then(|ip| log.address(ip)),
            method: log.masked(method),
            path: log.masked(uri),
        }
    }
}
