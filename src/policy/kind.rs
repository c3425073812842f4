//! Which kinds of keys and of credentials a route takes.

use super::Case;
use crate::rejection::{Refusal, Rejection};

/// The route's `kinds`.
pub(super) fn check_kind(case: &Case<'_>) -> Result<(), Refusal> {
    match &case.route.kinds {
        Some(kinds) if !kinds.contains(&case.identity.kind) => {
            Err(Rejection::KindRestricted.because(format!("{} keys", case.identity.kind)))
        }
        Some(_) | None => Ok(()),
    }
}

/// The route's `credentials`.
pub(super) fn check_credential(case: &Case<'_>) -> Result<(), Refusal> {
    if case.route.credentials.contains(&case.identity.credential) { Ok(()) } else { Err(Rejection::CredentialDenied.into()) }
}
