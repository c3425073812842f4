//! What an authenticated caller may do. Each check is pure and a file of its own; the gate runs them in order.

pub mod endpoint;
pub mod guess_guard;
pub mod referrer;
pub mod scope;
