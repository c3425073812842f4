//! Tokens as they are given, and as they are kept for who lost the answer.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::seal::{Holder, Seals};
use crate::clock::Timestamp;

/// Tokens, as they are given.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The access token.
    pub access: SecretString,
    /// The refresh token; `None` = there is nothing to refresh.
    pub refresh: Option<SecretString>,
    /// Seconds for which the access token is good.
    pub expires_in: i64,
    /// What the access token grants.
    pub scope: String,
}

/// A pair as it is told (RFC 6749 §5.1).
#[derive(Serialize)]
pub struct Told<'p> {
    access_token: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'p str>,
    token_type: &'static str,
    expires_in: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'p str>,
}

/// A pair as it is sealed.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    access: T,
    refresh: T,
    expires_at: i64,
    scope: T,
}

impl Pair {
    /// As it is told, without its scope.
    #[must_use]
    pub fn told(&self) -> Told<'_> {
        let refresh_token = self.refresh.as_ref().map(ExposeSecret::expose_secret);
        Told { access_token: self.access.expose_secret(), refresh_token, token_type: "Bearer", expires_in: self.expires_in, scope: None }
    }

    /// As an OAuth 2.0 client is told.
    #[must_use]
    pub fn told_with_scope(&self) -> Told<'_> {
        Told { scope: Some(&self.scope), ..self.told() }
    }

    /// Sealed for who has presented the token that it is given for.
    pub(super) fn seal(&self, seals: &Seals, holder: Holder<'_>, now: Timestamp) -> Option<String> {
        let kept = Kept {
            access: self.access.expose_secret(),
            refresh: self.refresh.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default(),
            expires_at: seconds(now).saturating_add(self.expires_in),
            scope: &self.scope,
        };
        // Sealed where it stands: nothing of it is left in memory.
        seals.seal(holder, serde_json::to_vec(&kept).ok()?)
    }

    /// What [`Self::seal`] has sealed.
    pub(super) fn open(seals: &Seals, holder: Holder<'_>, sealed: &str, now: Timestamp) -> Option<Self> {
        let content = Zeroizing::new(seals.open(holder, sealed)?);
        let kept: Kept<String> = serde_json::from_slice(&content).ok()?;
        Some(Self {
            access: kept.access.into(),
            refresh: Some(kept.refresh.into()),
            expires_in: kept.expires_at.saturating_sub(seconds(now)).max(0),
            scope: kept.scope,
        })
    }
}

/// Whole seconds since the epoch, as tokens have them.
pub(super) const fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}
