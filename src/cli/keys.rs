//! `sidegate keys …`.

use super::{Failure, Globals};

/// Its commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {}

/// Runs one.
///
/// # Errors
/// With the exit code that the contract names.
pub fn run(_command: &Command, _globals: &Globals) -> Result<(), Failure> {
    todo!()
}
