//! `keys verify`: whose key is this? Read from stdin, so that it stands in no process list and no shell history.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::context::Access;
use super::view;
use crate::cli::desk::{self, text};
use crate::cli::{Exit, Failure, Globals, output};
use crate::clock::Timestamp;

/// Longest line read.
const KEY_MAX: u64 = 4096;

/// It has no flags.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_: &Args, globals: &Globals) -> Result<(), Failure> {
    let desk = desk::open(Access::Read, globals)?;
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
    let shown = desk.look_up(&SecretString::from(key))?;
    view::print_record(&shown, globals);
    if text(&shown, "presented") == "previous" {
        let (until, last4) = (text(&shown, "previous_until"), text(&shown, "last4"));
        // One that was dead at once has no such time.
        let ends = match until.parse() {
            Ok(end) if desk.now() < end => format!("it works until {until}"),
            Ok::<Timestamp, _>(_) => format!("it ended at {until}"),
            Err(_) => "it is dead".into(),
        };
        output::note(format_args!("this is the key's previous secret: {ends}; the current one ends in {last4}"));
    }
    Ok(())
}
