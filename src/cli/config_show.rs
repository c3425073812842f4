//! `sidegate config show`.

use super::{Failure, Globals};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// With the exit code that the contract names.
pub fn run(_args: &Args, _globals: &Globals) -> Result<(), Failure> {
    todo!()
}
