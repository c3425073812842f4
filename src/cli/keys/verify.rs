//! `keys verify`: whose key is this? Read from stdin, so that it stands in no process list and no shell history.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::context::{Access, Context};
use super::view;
use crate::cli::{Exit, Failure, Globals, output};

/// Longest line read.
const KEY_MAX: u64 = 4096;

/// It has no flags.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_: &Args, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Read, globals)?;
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        output::note("paste the key, then press Enter:");
    }
    let mut line = Zeroizing::new(String::new());
    stdin.lock().take(KEY_MAX).read_line(&mut line).map_err(|error| Exit::Failed.because(format!("stdin: {error}")))?;
    let key = line.trim();
    if key.is_empty() {
        return Err(Exit::Usage.because("stdin holds no key"));
    }
    match context.run(context.lifecycle.find_by_secret(&SecretString::from(key)))? {
        Some(record) if globals.quiet => output::line(&record.id),
        Some(record) => view::print(&view::key(&record, None, context.clock.now()), globals),
        None => return Err(Exit::NotFound.because("no key of this store has this secret")),
    }
    Ok(())
}
