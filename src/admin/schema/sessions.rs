//! Sessions.

use utoipa::ToSchema;

use super::keys::{Environment, Extent};

/// What a session means now
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum SessionStatus {
    /// Its tokens are good
    Active,
    /// Its refresh token was not used in time
    Expired,
    /// Somebody has ended it
    Revoked,
}

/// A session
#[derive(ToSchema)]
pub(crate) struct Session {
    #[schema(example = "ses_4fQ9c2LxR7tYv0Bn1mKs")]
    id: String,
    tenant: String,
    /// Who has logged in
    subject: String,
    environment: Environment,
    scopes: Vec<String>,
    status: SessionStatus,
    /// When it was revoked
    #[schema(required, format = DateTime)]
    ended_at: Option<String>,
    /// Why: `revoked`, or `reuse` of a refresh token that was used before
    #[schema(required)]
    reason: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    created_by: String,
    #[schema(required, format = DateTime)]
    refreshed_at: Option<String>,
    /// When its refresh token ends
    #[schema(format = DateTime)]
    expires_at: String,
    /// Counts the changes
    #[schema(minimum = 1)]
    version: u64,
}

/// A session that was revoked, and how far that has got
#[derive(ToSchema)]
pub(crate) struct ChangedSession {
    #[serde(flatten)]
    record: Session,
    #[serde(flatten)]
    extent: Extent,
}

/// One page of sessions
#[derive(ToSchema)]
pub(crate) struct Sessions {
    data: Vec<Session>,
    /// The cursor of the next page; null = this is the last
    #[schema(required)]
    next: Option<String>,
    /// Ids of records that belong here and cannot be read
    unreadable: Vec<String>,
}

/// Tokens, as they are given
#[derive(ToSchema)]
pub(crate) struct Pair {
    access_token: String,
    refresh_token: String,
    #[schema(example = "Bearer")]
    token_type: String,
    /// Seconds for which the access token is good
    #[schema(example = 3600, minimum = 1)]
    expires_in: u64,
}

/// Sessions that were revoked, and how far that has got
#[derive(ToSchema)]
pub(crate) struct RevokedSessions {
    /// Those that were over before are not counted
    revoked: u64,
    #[serde(flatten)]
    extent: Extent,
}
