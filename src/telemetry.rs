//! Access log and process log.

pub mod access;
pub mod process;
