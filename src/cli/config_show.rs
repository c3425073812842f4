//! `sidegate config show`.

use crate::config::{self, Sources, profiles};

use super::{Exit, Failure, Globals, output};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print this embedded profile instead
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Say behind each value where it was written
    #[arg(long, conflicts_with_all = ["profile", "json"])]
    origin: bool,
}

/// Runs it.
///
/// # Errors
/// `Exit::Configuration` for a profile that does not exist, or if the configuration has errors.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    if let Some(name) = &args.profile {
        let text = profiles::named(name).map_err(|why| Exit::Configuration.because(why))?;
        if globals.json {
            output::json(&toml::from_str::<toml::Table>(text).map_err(anyhow::Error::from)?);
        } else {
            output::line(text.trim_end());
        }
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
