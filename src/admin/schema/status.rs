//! This sidecar and the others.

use utoipa::ToSchema;

/// This sidecar, its store, and the sidecars that serve from it
#[derive(ToSchema)]
pub(crate) struct Status {
    store: StoreStatus,
    #[schema(value_type = Object)]
    sidecar: String,
    #[schema(value_type = Vec<Object>)]
    sidecars: Vec<String>,
}

/// The store
#[derive(ToSchema)]
pub(crate) struct StoreStatus {
    reachable: bool,
    #[schema(nullable = false)]
    answered_in_ms: Option<u64>,
    /// Where the change log ends
    #[schema(nullable = false)]
    position: Option<u64>,
}
