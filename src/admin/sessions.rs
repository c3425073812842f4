//! Sessions: `/admin/v1/sessions` and what is below.

pub(super) mod create;
pub(super) mod list;
pub(super) mod revoke;
