//! Access log, process log, and what is counted.

pub mod access;
pub mod exposition;
pub(crate) mod mask;
pub mod process;
pub mod tally;
pub mod usage;
