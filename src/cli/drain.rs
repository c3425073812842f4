//! `sidegate drain`: takes the sidecar of this machine out of service, for a preStop hook. It goes on serving whoever still
//! comes, closes every connection after its request, and ends only when it is told to.

use super::{Failure, Globals, control, output};
use crate::config::{self, Sources};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Return when `drain_delay` has passed and no request is in flight, or at `drain_timeout`
    #[arg(long)]
    wait: bool,
}

/// Runs it.
///
/// # Errors
/// `Exit::Unreachable` if nobody answers.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let loaded = config::load(&Sources::from_globals(globals));
    let (target, patience) = if args.wait { ("/drain?wait", None) } else { ("/drain", control::AT_ONCE) };
    let (_, answer) = control::ask(&loaded.config, "POST", target, patience)?;
    if globals.json {
        output::json(&answer);
    } else if !globals.quiet {
        let in_flight = answer.get("requests_in_flight").map(ToString::to_string).unwrap_or_default();
        output::line(format_args!("draining: not ready; requests in flight: {in_flight}"));
    }
    Ok(())
}
