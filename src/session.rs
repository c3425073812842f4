//! Sessions: what the API's own login begins by the management API, refresh tokens go on with, and a revocation ends. A refresh token
//! is in the answer that gives it and nowhere else; an access token is a token like any issuer's ([`crate::authn::jwt::own`]).

pub mod authority;
mod claims;
pub mod endpoint;
pub mod lifecycle;
pub mod pair;
pub mod record;
mod refresh;
mod seal;
mod settings;
pub(crate) mod token;

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use record::SessionRecord;
pub use settings::Settings;

/// What a session means at this time, in one word.
#[must_use]
pub fn standing(record: &SessionRecord, now: Timestamp) -> &'static str {
    match &record.ended {
        Some(_) => "revoked",
        None if now >= record.expires_at => "expired",
        None => "active",
    }
}

/// A session as people are shown it: nothing of its tokens.
#[must_use]
pub fn shown(record: &SessionRecord, now: Timestamp) -> Map<String, Value> {
    let shown = json!({
        "id": record.id,
        "tenant": record.tenant,
        "subject": record.subject,
        "environment": record.environment,
        "scopes": record.scopes,
        "status": standing(record, now),
        "ended_at": record.ended.as_ref().map(|ended| ended.at),
        "reason": record.ended.as_ref().map(|ended| &ended.reason),
        "created_at": record.created_at,
        "created_by": record.created_by,
        "refreshed_at": record.refreshed_at,
        "expires_at": record.expires_at,
        "version": record.version,
    });
    if let Value::Object(shown) = shown { shown } else { Map::new() }
}
