//! Which kinds of keys and of credentials a route takes.

use super::Case;
use crate::config::sections::CredentialType;
use crate::gate::trace::Note;
use crate::rejection::{Refusal, Rejection};

/// What the check of kinds looks at.
pub(super) fn look_at_kind(case: &Case<'_>) -> Note {
    let taken = case.route.kinds.as_ref().map_or_else(|| "any".to_owned(), |kinds| kinds.join(", "));
    let stands = if case.identity.key_id().is_none() { "stands for a " } else { "" };
    let what = case.identity.kind().map_or_else(|| "no key".to_owned(), |kind| format!("{stands}{kind} key"));
    Note::new(format!("{what}; the route takes {taken}")).route(case, "kinds")
}

/// What the check of credentials looks at.
pub(super) fn look_at_credential(case: &Case<'_>) -> Note {
    let taken: Vec<&str> = case.route.credentials.iter().map(|credential| credential.name()).collect();
    let from = |names: &[Box<str>]| format!(", tokens from {}", names.join(" or "));
    let issuers = case.route.issuers.as_deref().map(from).unwrap_or_default();
    let key = if is_taken(case) { "issuers" } else { "credentials" };
    Note::new(format!("{}; the route takes {}{issuers}", presented(case), taken.join(", "))).route(case, key)
}

/// The route's `kinds`, of keys and of what stands for one: another token has none.
pub(super) fn check_kind(case: &Case<'_>) -> Result<(), Refusal> {
    match (&case.route.kinds, case.identity.kind()) {
        (Some(kinds), Some(kind)) if !kinds.iter().any(|taken| **taken == *kind) => {
            Err(Rejection::KindRestricted.because(format!("{kind} keys")))
        }
        _ => Ok(()),
    }
}

/// A token that stands for a key opens nothing that is closed to keys.
fn is_taken(case: &Case<'_>) -> bool {
    let presented = [CredentialType::ApiKey, CredentialType::Jwt, CredentialType::Opaque].into_iter();
    presented.filter(|credential| case.identity.is_by(*credential)).all(|credential| case.route.credentials.contains(&credential))
}

fn presented(case: &Case<'_>) -> String {
    let stands = if case.identity.kind().is_some() && case.identity.key_id().is_none() { " that stands for a key" } else { "" };
    format!("{}{stands}", case.identity.credential().name())
}

/// The route's `credentials`, and of tokens its `issuers`.
pub(super) fn check_credential(case: &Case<'_>) -> Result<(), Refusal> {
    if !is_taken(case) {
        return Err(Rejection::CredentialDenied.because(presented(case)));
    }
    match (&case.route.issuers, case.identity.subject()) {
        (Some(issuers), Some((issuer, _))) if !issuers.iter().any(|taken| **taken == **issuer) => {
            Err(Rejection::CredentialDenied.because(format!("tokens of issuer {issuer}")))
        }
        _ => Ok(()),
    }
}
