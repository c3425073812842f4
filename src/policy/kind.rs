//! Which kinds of keys and of credentials a route takes.

use super::Case;
use crate::gate::trace::Note;
use crate::rejection::{Refusal, Rejection};

/// What the check of kinds looks at.
pub(super) fn look_at_kind(case: &Case<'_>) -> Note {
    let taken = case.route.kinds.as_ref().map_or_else(|| "any".to_owned(), |kinds| kinds.join(", "));
    Note::new(format!("{} key; the route takes {taken}", case.identity.kind)).route(case, "kinds")
}

/// What the check of credentials looks at.
pub(super) fn look_at_credential(case: &Case<'_>) -> Note {
    let taken: Vec<&str> = case.route.credentials.iter().map(|credential| credential.name()).collect();
    Note::new(format!("{}; the route takes {}", case.identity.credential.name(), taken.join(", "))).route(case, "credentials")
}

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
