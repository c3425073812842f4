//! JSON Web Tokens of `[[issuers]]`: which issuer's a token is, whether one of its keys has signed it, and what it says. A token is
//! judged by what is configured alone. Nothing is remembered here; that is [`super::token`]'s.

mod algorithm;
mod claims;
mod compact;
mod compile;
mod json;
mod jwk;
mod keyring;
pub mod own;
pub mod sign;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;

use super::introspection::Introspection;
use crate::clock::{Clock, Timestamp};
use crate::config::sections::{self, EnvironmentName};
use crate::key::digest::Digest;
use crate::rejection::{Refusal, Rejection};
pub use algorithm::Algorithm;
pub(super) use claims::time;
pub use claims::{Grant, Verified};
pub use compact::{Compact, TOKEN_MAX, is_candidate};
pub(super) use json::Json;
pub use jwk::{KeySet, NoKey};
pub use keyring::{Counters, Keyring};
pub use own::Signing;

use jwk::shown;

/// Sections, and what their files held.
type Sources = (Vec<(sections::Issuer, Digest)>, Option<(sections::Introspection, Digest)>);

/// Who may issue tokens.
#[derive(Debug)]
pub struct Issuers {
    list: Box<[Arc<Issuer>]>,
    /// Of all that this process ever has, and rises when a key of any of them changes: what was verified before is verified anew.
    version: Arc<AtomicU64>,
    /// Who is asked about tokens without a form.
    introspection: Option<Arc<Introspection>>,
    /// What they were compiled from: the sections, and what their files held.
    made_of: Sources,
    /// Of the tokens that are issued here.
    signing: Option<Arc<Signing>>,
}

/// One that may.
#[derive(Debug)]
pub struct Issuer {
    /// Its name in routes and logs.
    pub name: Arc<str>,
    /// Where in the configuration it stands.
    pub path: String,
    /// Its keys.
    pub keys: Arc<Keyring>,
    /// Whether tokens may act for tenants that have no record.
    pub takes_unknown_tenants: bool,
    /// Expected `iss`; `None` = none is.
    iss: Option<Box<str>>,
    /// Of which `aud` must name one; none = it need not.
    audiences: Box<[String]>,
    algorithms: Box<[Algorithm]>,
    leeway_ms: i64,
    max_age_ms: Option<i64>,
    claims: sections::Claims,
    /// Instead of a claim.
    tenant: Option<String>,
    environment: EnvironmentName,
    /// Whether tokens without scopes pass scope checks, although others of its tokens have some.
    takes_unscoped: bool,
    /// Whether we are the issuer: then its tokens say what they rest on.
    is_own: bool,
}

/// Why a token is not verified.
#[derive(Debug)]
pub enum Unverified {
    /// It is no good.
    Refused(Refusal),
    /// This issuer has no key for it here; perhaps there are others by now.
    Keyless(Arc<Issuer>, Refusal),
}

impl From<Refusal> for Unverified {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Unverified> for Refusal {
    fn from(unverified: Unverified) -> Self {
        match unverified {
            Unverified::Refused(refusal) | Unverified::Keyless(_, refusal) => refusal,
        }
    }
}

impl Issuers {
    /// Whether there is none: then nothing is a token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What tokens are signed with here; `None` = none are issued.
    #[must_use]
    pub const fn signing(&self) -> Option<&Arc<Signing>> {
        self.signing.as_ref()
    }

    /// The one of this name alone.
    #[must_use]
    pub fn only(mut self, name: &str) -> Option<Self> {
        let only = self.list.iter().find(|issuer| *issuer.name == *name).cloned()?;
        self.list = [only].into();
        Some(self)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.list.iter()
    }

    /// Who is asked about tokens that say nothing themselves.
    #[must_use]
    pub const fn introspection(&self) -> Option<&Arc<Introspection>> {
        self.introspection.as_ref()
    }

    /// What was verified under another number is verified anew.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// These, or the earlier ones where nothing is different; else what is known of a URL's keys is known on.
    #[must_use]
    pub fn follow(self: &Arc<Self>, earlier: &Arc<Self>) -> Arc<Self> {
        if self.made_of == earlier.made_of {
            return Arc::clone(earlier);
        }
        for issuer in &self.list {
            if let Some(before) = earlier.list.iter().find(|before| before.name == issuer.name) {
                issuer.keys.take_over(&before.keys);
            }
        }
        Arc::clone(self)
    }

    /// Keeps keys fresh from now on, on this runtime.
    pub fn keep(&self, runtime: &Handle, clock: &Clock) {
        self.list.iter().for_each(|issuer| issuer.keys.keep(runtime, clock));
    }

    /// Whose token it is, by its `iss`.
    fn issuer_of(&self, iss: Option<&str>) -> Result<&Arc<Issuer>, Refusal> {
        // An issuer of which none is expected is the only one.
        let found = self.list.iter().find(|issuer| issuer.iss.is_none() || issuer.iss.as_deref() == iss);
        found.ok_or_else(|| {
            Rejection::JwtIssuer.because(iss.map_or_else(|| "iss is missing".to_owned(), |iss| format!("iss is `{}`", shown(iss))))
        })
    }

    /// Verifies a token with what is here.
    ///
    /// # Errors
    /// Why it is not good, or not known to be.
    pub fn verify(&self, text: &[u8], now: Timestamp) -> Result<Verified, Unverified> {
        // Before a key is looked at: what is verified by one that is gone meanwhile is verified anew.
        let version = self.version();
        let token = Compact::parse(text)?;
        let claims = token.claims()?;
        let issuer = self.issuer_of(claims::text(&claims, "iss")?)?;
        issuer.check_signature(&token)?;
        Ok(issuer.judge(&claims, version, now)?)
    }

    /// The same, asking the issuer for keys that are not here.
    ///
    /// # Errors
    /// Why it is not good; `issuer_unavailable` where there is no key at all to tell that by.
    pub async fn verify_asking(&self, text: &[u8], runtime: &Handle, clock: &Clock, now: Timestamp) -> Result<Verified, Refusal> {
        match self.verify(text, now) {
            Ok(verified) => Ok(verified),
            Err(Unverified::Refused(refusal)) => Err(refusal),
            Err(Unverified::Keyless(issuer, _)) => {
                issuer.keys.ask(runtime, clock).await;
                Ok(self.verify(text, now)?)
            }
        }
    }
}

impl Issuer {
    fn check_signature(self: &Arc<Self>, token: &Compact<'_>) -> Result<(), Unverified> {
        let signature = |why: String| Rejection::JwtSignature.because(why);
        let algorithm = token.algorithm.filter(|algorithm| self.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or_else(|| signature(format!("its algorithm is not one of issuer {}'s", self.name)))?;
        let keys = self.keys.keys();
        let Some(keys) = keys.as_ref() else {
            let refusal = Rejection::IssuerUnavailable.because(format!("the keys of issuer {} are not to be had", self.name));
            return Err(Unverified::Keyless(Arc::clone(self), refusal));
        };
        match keys.have_signed(token, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) => Err(signature(format!("no key of issuer {} has signed it so", self.name)).into()),
            Err(NoKey::Unknown(why)) if self.keys.is_remote() => Err(Unverified::Keyless(Arc::clone(self), signature(why))),
            Err(NoKey::Unknown(why) | NoKey::Unfit(why)) => Err(signature(why).into()),
        }
    }
}
