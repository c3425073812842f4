//! Whether what admitted an exchange still does, asked again and again while it runs: by a few atomic loads as long as nothing
//! changed, else by one look-up in the background. Only what ends a credential ends an exchange; what it may do was judged when
//! it began, and a store that does not answer ends nothing.

use std::fmt;
use std::sync::Arc;

use super::Authenticator;
use super::cache::Entry;
use super::token::Token;
use crate::clock::Timestamp;
use crate::key::digest::Digest;
use crate::rejection::Rejection;

/// What ends a running exchange.
pub const ENDINGS: [Rejection; 7] = [
    Rejection::KeyUnknown,
    Rejection::KeyRevoked,
    Rejection::KeyExpired,
    Rejection::KeyInactive,
    Rejection::TenantSuspended,
    Rejection::JwtExpired,
    Rejection::TokenInactive,
];

/// The credential that admitted an exchange, and what was known of it when it was looked at last.
#[derive(Clone)]
pub struct Admission(By);

#[derive(Clone)]
enum By {
    Key(Digest, Option<Arc<Entry>>),
    Token(Arc<Token>),
}

/// How an admission stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It would be given again, or nobody can say otherwise.
    Holds,
    /// It would not, for one of [`ENDINGS`].
    Ended(Rejection),
    /// Only the store can tell: [`Authenticator::ask_standing`].
    Unknown,
}

impl Admission {
    /// By the key with this digest.
    #[must_use]
    pub const fn by(digest: Digest) -> Self {
        Self(By::Key(digest, None))
    }

    /// By this token.
    #[must_use]
    pub const fn by_token(token: Arc<Token>) -> Self {
        Self(By::Token(token))
    }

    /// Whether both are by the same credential.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (By::Key(digest, _), By::Key(other, _)) => digest == other,
            (By::Token(token), By::Token(other)) => Arc::ptr_eq(token, other),
            (By::Key(..), By::Token(_)) | (By::Token(_), By::Key(..)) => false,
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}

impl Entry {
    fn standing(&self, now: Timestamp) -> Standing {
        match self.judge(now) {
            Err(refusal) if ENDINGS.contains(&refusal.rejection) => Standing::Ended(refusal.rejection),
            Ok(_) | Err(_) => Standing::Holds,
        }
    }
}

impl Authenticator {
    /// How an admission stands, as far as is known without asking.
    #[must_use]
    pub fn standing(&self, admission: &mut Admission, now: Timestamp) -> Standing {
        let (digest, known) = match &mut admission.0 {
            By::Key(digest, known) => (digest, known),
            By::Token(token) => {
                if let Some(renewed) = self.renewed(token, now) {
                    *token = renewed;
                }
                return self.standing_of_token(token, now);
            }
        };
        if let Some(entry) = known.as_ref().filter(|entry| self.is_certain(entry, now)) {
            return entry.standing(now);
        }
        if let Some(entry) = self.shared.caches.entry(digest) {
            *known = Some(entry);
        }
        match known {
            Some(entry) if self.is_certain(entry, now) => entry.standing(now),
            // Nobody could tell of a change, but a deadline passes all the same.
            known if !self.shared.store.is_reachable() => known.as_ref().map_or(Standing::Holds, |entry| entry.standing(now)),
            Some(_) | None => Standing::Unknown,
        }
    }

    /// The same, asking the store: one look-up, however many exchanges of the credential are running.
    pub async fn ask_standing(&self, admission: &Admission, now: Timestamp) -> Standing {
        let digest = match &admission.0 {
            By::Key(digest, _) => digest,
            By::Token(token) => return self.ask_standing_of_token(token).await,
        };
        match self.load(digest, now).await {
            Err(refusal) if ENDINGS.contains(&refusal.rejection) => Standing::Ended(refusal.rejection),
            Ok(_) | Err(_) => Standing::Holds,
        }
    }

    /// Whether an entry may be used without asking.
    fn is_certain(&self, entry: &Entry, now: Timestamp) -> bool {
        let moment = self.shared.freshness.moment(now, self.shared.slots.floor());
        entry.is_current() && moment.age(&entry.reading).is_some() && moment.age(&entry.tenant.reading).is_some()
    }
}
