//! `sidegate init`: a proxy.toml to begin with. Never overwrites unless told to.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::config::{profiles, suggest};

use super::{Exit, Failure, Globals, output};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to write [default: ./proxy.toml]
    file: Option<PathBuf>,
    /// Begin with this profile
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Overwrite the file if it is there
    #[arg(long)]
    force: bool,
}

/// Runs it.
///
/// # Errors
/// `Exit::Conflict` if the file is there; `Exit::NotFound` for a profile that does not exist.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let profile = args.profile.as_deref().unwrap_or_default();
    if !profile.is_empty() && profiles::find(profile).is_none() {
        return Err(Exit::NotFound.because(format!("there is no profile `{profile}`: {}", suggest::among(profile, profiles::names()))));
    }
    let file = args.file.as_ref().or(globals.config.as_ref()).map_or(Path::new("proxy.toml"), PathBuf::as_path);
    write(file, &text(profile), args.force)?;
    if !globals.quiet {
        output::note(format_args!("wrote {}; next: sidegate check --config {0}", file.display()));
    }
    Ok(())
}

fn write(file: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create(true).truncate(force).create_new(!force).open(file);
    let written = opened.and_then(|mut opened| opened.write_all(text.as_bytes()));
    written.map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists {
            return Exit::Conflict.because(format!("{} is already there; --force overwrites it", file.display()));
        }
        Exit::Failed.because(format!("cannot write {}: {error}", file.display()))
    })
}

/// The text of the file.
fn text(profile: &str) -> String {
    include_str!("init.toml").replacen("profile = \"\"", &format!("profile = \"{profile}\""), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn what_is_written_passes_the_checks_with_every_profile_in_a_pod_too() {
        let directory = tempfile::tempdir().unwrap();
        for profile in profiles::names().chain([""]) {
            let file = directory.path().join(format!("{profile}.toml"));
            write(&file, &text(profile), false).unwrap();
            let mut loaded = load(&Sources { file: Some(file), in_pod: true, ..Sources::default() });
            assert!(loaded.compile().is_some(), "{}", loaded.report());
            assert_eq!(loaded.config.profile, profile);
        }
    }

    #[test]
    fn a_file_that_is_there_is_kept_unless_forced() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("proxy.toml");
        std::fs::write(&file, "a longer text than the new one").unwrap();
        assert_eq!(write(&file, "new", false).unwrap_err().exit, Exit::Conflict);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a longer text than the new one");
        write(&file, "new", true).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
    }
}
