//! `keys verify`: whose key is this? Read from stdin, so that it stands in no process list and no shell history.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::context::{Access, Context};
use super::list::show_last_uses;
use super::view;
use crate::cli::{Exit, Failure, Globals, output};
use crate::key::shown;

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
    let secret = SecretString::from(key);
    let Some(mut record) = context.run(context.lifecycle.find_by_secret(&secret))? else {
        let why = context.lifecycle.rules.implausible(key.as_bytes()).map(|why| format!(": {why}")).unwrap_or_default();
        return Err(Exit::NotFound.because(format!("no key of this store has this secret{why}")));
    };
    show_last_uses(std::slice::from_mut(&mut record), &context)?;
    let now = context.clock.now();
    let previous = record.previous.as_ref().filter(|_| context.lifecycle.is_previous(&record, &secret));
    if globals.quiet {
        output::line(&record.id);
    } else {
        let mut shown = shown::key(&record, None, now);
        shown.insert("presented".into(), if previous.is_some() { "previous" } else { "current" }.into());
        view::print(&shown, globals);
    }
    if let Some(previous) = previous {
        let (until, last4) = (previous.until, &record.last4);
        let ends = if until > now {
            format!("it works until {until}")
        } else if previous.is_dead() {
            "it is dead".into()
        } else {
            format!("it ended at {until}")
        };
        output::note(format_args!("this is the key's previous secret: {ends}; the current one ends in {last4}"));
    }
    Ok(())
}
