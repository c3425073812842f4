//! Changes.

use utoipa::ToSchema;

/// A change
#[derive(ToSchema)]
pub(crate) struct Event {
    #[schema(format = DateTime)]
    at: String,
    /// Who
    #[schema(example = "admin:console")]
    actor: String,
    /// From which address; null = from this machine
    #[schema(required)]
    from: Option<String>,
    /// With which request
    #[schema(nullable = false)]
    request_id: Option<String>,
    #[schema(example = "key.rotate")]
    action: String,
    /// key, tenant, session, idempotency
    object: String,
    id: String,
    tenant: String,
    /// The record's version since
    version: u64,
    /// What differs, as it was; null = there was nothing
    #[schema(value_type = Option<Object>, required)]
    before: Option<String>,
    /// What differs, as it is; null = there is nothing any more
    #[schema(value_type = Option<Object>, required)]
    after: Option<String>,
}

/// One page of changes
#[derive(ToSchema)]
pub(crate) struct Events {
    data: Vec<Event>,
    /// The cursor of the next page; null = this is the last
    #[schema(required)]
    next: Option<String>,
    /// Ids of records that belong here and cannot be read
    unreadable: Vec<String>,
}
