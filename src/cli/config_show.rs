//! `sidegate config show`.

use crate::config::{self, Sources, profiles, suggest};

use super::{Exit, Failure, Globals, output};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print this embedded profile instead
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Say behind each value where it was written
    #[arg(long)]
    origin: bool,
}

/// Runs it.
///
/// # Errors
/// `Exit::NotFound` for a profile that does not exist; `Exit::Configuration` if the configuration has errors.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    if let Some(name) = &args.profile {
        let text = profiles::find(name)
            .ok_or_else(|| Exit::NotFound.because(format!("there is no profile `{name}`: {}", suggest::among(name, profiles::names()))))?;
        output::line(text.trim_end());
        return Ok(());
    }
    let loaded = config::load(&Sources::from_globals(globals));
    loaded.require()?;
    if globals.json {
        let text = serde_json::to_string_pretty(&loaded.config).map_err(anyhow::Error::from)?;
        output::line(config::without_passwords(&text));
    } else {
        output::line(loaded.show(args.origin).trim_end());
    }
    Ok(())
}
