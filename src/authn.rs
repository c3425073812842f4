//! Who is calling, from what was presented. A cached credential is answered synchronously ([`Authenticator::cached`]);
//! an uncached one asks the store once, however many requests wait ([`Authenticator::load`]).

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::identity::Identity;
use crate::key::digest::Digest;
use crate::rejection::Refusal;

/// What authentication says: an identity, or why not.
pub type Authenticated = Result<Arc<Identity>, Refusal>;

/// Authenticates API keys against the cache and the store.
#[derive(Debug)]
pub struct Authenticator {}

impl Authenticator {
    /// The answer for a credential that is in a cache, positive or negative, and still fresh; `None` = ask the store.
    /// Expiry and rotation deadlines are judged here, at `now`.
    pub fn cached(&self, _digest: &Digest, _now: Timestamp) -> Option<Authenticated> {
        todo!()
    }

    /// Asks the store (one look-up for all who wait for the same digest) and fills the cache.
    /// `store_unavailable` when it cannot be asked.
    pub async fn load(&self, _digest: &Digest, _now: Timestamp) -> Authenticated {
        todo!()
    }
}
