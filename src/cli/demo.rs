//! `sidegate demo`: a tour without any set-up. An API that echoes what it was told, a sidecar in front of it with an embedded
//! store in a directory of its own, four keys, and requests whose answers are compared with what is said of them.
//! It needs no network, no fixed port, no file of the user's; what it made is gone when it ends.

mod echo;
mod table;
mod tour;

use std::io::Write as _;
use std::path::Path;

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Failure, Globals, output};
use crate::app;
use crate::clock::Clock;
use crate::config::sections::Config;
use crate::config::{self, Sources};
use table::Table;
use tour::Tour;

/// The sidecar's configuration, but for the echo's address.
const PROXY_TOML: &str = include_str!("demo/proxy.toml");

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Play the tour and exit: 0 if every answer was as told
    #[arg(long)]
    once: bool,
}

/// Runs it.
///
/// # Errors
/// An answer was not as told, or the machine allows no sockets or no directory for temporary files.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    // A program that reads wants the outcome, once; a person the story.
    let is_told = !globals.json && !globals.quiet;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let echo = runtime.block_on(echo::start()).map_err(failed)?;
    let home = tempfile::Builder::new().prefix("sidegate-demo-").tempdir().map_err(failed)?;
    let config = configuration(home.path(), &PROXY_TOML.replace("{echo}", &echo.to_string()))?;
    let table = runtime.block_on(Table::open(&config))?;
    let sidecar = app::start(&config, Clock::System)?;
    let Some(address) = sidecar.address("public") else {
        return Err(Exit::Failed.because("the sidecar has no address"));
    };
    let mut tour = Tour::new(address, is_told);
    if is_told {
        introduce(&home, &format!("http://{address}"), &format!("http://{echo}"));
    }
    runtime.block_on(tour.play(&table))?;
    let (played, wrong) = tour.score();
    if globals.json {
        output::json(&tour.answers());
    } else if is_told {
        say(format_args!("\n{} of {played} answers were as told.", played - wrong));
    }
    if !args.once {
        if is_told {
            suggest(&home, &tour);
        }
        stay(&runtime)?;
    }
    sidecar.stop();
    if args.once && wrong > 0 {
        return Err(Exit::Failed.because(format!("{wrong} of {played} answers were not as told")));
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn failed(error: std::io::Error) -> Failure {
    Exit::Failed.because(error.to_string())
}

/// The configuration as a file, so that the other commands can be tried on it.
fn configuration(home: &Path, text: &str) -> Result<Config, Failure> {
    let file = home.join("proxy.toml");
    std::fs::write(&file, text).map_err(failed)?;
    let loaded = config::load(&Sources { file: Some(file), ..Sources::default() });
    loaded.require()?;
    Ok(loaded.config)
}

fn introduce(home: &TempDir, sidecar: &str, echo: &str) {
    say(format_args!("\x1b[1mSidegate\x1b[0m stands in front of an API that knows nothing of keys and echoes what it is told.\n"));
    say(format_args!("  sidecar  {sidecar}  deployment = \"production\""));
    say(format_args!("  API      {echo}"));
    say(format_args!("  config   {}\n", home.path().join("proxy.toml").display()));
    say(format_args!("The keys are real, and thrown away when the demo ends: every line can be copied and run."));
}

fn suggest(home: &TempDir, tour: &Tour) {
    let config = home.path().join("proxy.toml");
    say(format_args!("\nIt stays up. Try the lines above, or:\n"));
    for line in tour.suggestions(&config) {
        say(format_args!("    {line}"));
    }
}

/// Until Ctrl-C.
fn stay(runtime: &Runtime) -> Result<(), Failure> {
    output::note("\nCtrl-C ends it.");
    runtime
        .block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => interrupted,
                _ = terminate.recv() => Ok(()),
            }
        })
        .map_err(failed)
}

/// A line on stdout; colours reach only a terminal that wants them.
fn say(text: std::fmt::Arguments<'_>) {
    // A reader that went away ends the output, not the demo.
    let _ = writeln!(anstream::stdout(), "{text}");
}
