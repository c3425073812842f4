//! Access log and process log.

pub mod access;
pub(crate) mod mask;
pub mod process;
pub mod tally;
