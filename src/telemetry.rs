//! Access log, process log, traces, and what is counted.

pub mod access;
pub mod exposition;
pub(crate) mod mask;
pub mod process;
pub mod spans;
pub mod tally;
pub mod usage;
