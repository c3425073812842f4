//! Tenants: `/admin/v1/tenants` and what is below.

pub(super) mod change;
pub(super) mod create;
pub(super) mod list;
pub(super) mod state;
