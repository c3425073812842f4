//! What the `OpenAPI` document says of records, which are shown by [`crate::key::shown`]: nothing is ever made of these types. A test
//! holds them against what is shown.

#![expect(dead_code, clippy::struct_field_names, reason = "what is here is described, never made; the names are those of the answers")]

mod audit;
mod explain;
mod keys;
mod sessions;
mod status;
mod tenants;
mod usage;

use utoipa::IntoParams;

pub(crate) use audit::Events;
pub(crate) use explain::Explanation;
pub(crate) use keys::{ChangedKey, Environment, FoundKey, IssuedKey, Key, KeyStatus, Keys, RateLimit, Revoked, RotatedKey};
pub(crate) use sessions::{ChangedSession, Pair, RevokedSessions, Session, Sessions};
pub(crate) use status::Status;
pub(crate) use tenants::{ChangedTenant, Tenant, Tenants};
pub(crate) use usage::{Denials, KeyUsage, TenantUsage};

/// An id in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct KeyId {
    /// The key
    #[param(example = "key_4fQ9c2LxR7tYv0Bn1mKs", pattern = "^[A-Za-z0-9._-]{1,64}$")]
    id: String,
}

/// A header of every POST.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Once {
    /// The same key again within `idempotency.ttl` gets the first one's answer again, with `Idempotent-Replayed: true`
    #[param(rename = "Idempotency-Key", nullable = false, pattern = "^([!#-+.-~-]{1,255}|\"[ !#-[^-~\\]]{1,255}\")$")]
    idempotency_key: Option<String>,
}

/// An id in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TenantId {
    /// The tenant
    #[param(example = "acme", pattern = "^[A-Za-z0-9._-]{1,64}$")]
    id: String,
}

/// An id in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct SessionId {
    /// The session
    #[param(example = "ses_4fQ9c2LxR7tYv0Bn1mKs", pattern = "^[A-Za-z0-9._-]{1,64}$")]
    id: String,
}

/// The version that is to be changed.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfMatch {
    /// Only if it still has this `ETag`; the same as `version` in the body
    #[param(rename = "If-Match", nullable = false, example = "\"3\"", pattern = "^\"[1-9][0-9]{0,8}\"$")]
    if_match: Option<String>,
}
