//! Keys: `/admin/v1/keys` and what is below.

pub(super) mod change;
pub(super) mod create;
pub(super) mod list;
pub(super) mod lookup;
pub(super) mod revoke;
pub(super) mod rotate;
pub(super) mod state;
