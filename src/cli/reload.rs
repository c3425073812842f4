//! `sidegate reload`: has the sidecar of this machine read its configuration again, and waits for the outcome.

use super::{Exit, Failure, Globals, control, output};
use crate::config::{self, Sources};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// `Exit::Configuration` if the sidecar refused it and goes on as before; `Exit::Unreachable` if nobody answers.
pub fn run(_args: &Args, globals: &Globals) -> Result<(), Failure> {
    // What is wrong with the file is for the sidecar to say.
    let loaded = config::load(&Sources::from_globals(globals));
    let (status, report) = control::ask(&loaded.config, "POST", "/reload", None)?;
    if globals.json {
        output::json(&report);
    }
    let lines = |key: &str| {
        let list = report.get(key).and_then(|list| list.as_array()).cloned().unwrap_or_default();
        list.into_iter().filter_map(|line| line.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    if !globals.json {
        lines("problems").iter().for_each(output::note);
        for key in lines("needs_restart") {
            output::note(format_args!("{key} has changed and needs a restart"));
        }
    }
    if status != 200 {
        return Err(Exit::Configuration.because("not reloaded: the configuration in use stays"));
    }
    if !globals.json && !globals.quiet {
        output::line("reloaded");
    }
    Ok(())
}
