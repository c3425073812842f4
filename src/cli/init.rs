//! `sidegate init`: a proxy.toml to begin with. Never overwrites unless told to.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::config::sections::Config;
use crate::config::{self, Sources, profiles};

use super::{Exit, Failure, Globals, output};

/// Where the key table begins.
const STORE: &str = "# The key table:";
const WITHOUT_ROUTES: &str =
    "# Without routes every path needs a valid key and nothing more. With routes, a path that none matches is 404.";
const WITH_ROUTES: &str = "# The profile has routes (`sidegate routes` lists them); a path that none matches is 404. Routes here are added to them,\n# and one of the same name replaces it.";

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to write; `-` = stdout [default: ./proxy.toml]
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
/// `Exit::Conflict` if the file is there; `Exit::Configuration` for a profile that does not exist.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let profile = args.profile.as_deref().unwrap_or_default();
    if !profile.is_empty() {
        profiles::named(profile).map_err(|why| Exit::Configuration.because(why))?;
    }
    let file = args.file.as_ref().or(globals.config.as_ref()).map_or(Path::new("proxy.toml"), PathBuf::as_path);
    if file == Path::new("-") {
        output::line(text(profile).trim_end());
        return Ok(());
    }
    write(file, &text(profile), args.force)?;
    if globals.json {
        output::json(&serde_json::json!({ "file": file }));
    } else if !globals.quiet {
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

/// The text of the file: what the profile brings is not claimed to be missing, and what it needs is there.
fn text(profile: &str) -> String {
    let text = include_str!("init.toml").replacen("profile = \"\"", &format!("profile = \"{profile}\""), 1);
    let flags = vec![("profile".to_owned(), profile.to_owned())];
    let config = config::load_text(Path::new("proxy.toml"), "", &Sources { flags, ..Sources::default() }).config;
    let text = text.replacen(STORE, &format!("{}{STORE}", upstreams(&config)), 1);
    if config.routes.is_empty() { text } else { text.replacen(WITHOUT_ROUTES, WITH_ROUTES, 1) }
}

/// Those that the profile's environments name and nobody has defined.
fn upstreams(config: &Config) -> String {
    let mut text = String::new();
    for (name, rule) in [("live", &config.environments.live), ("test", &config.environments.test)] {
        let upstream = &rule.upstream;
        if rule.allow == Some(true) && !config.upstreams.contains_key(upstream) {
            let _ = write!(
                text,
                "# The profile sends {name} keys here, never to the upstream above.\n[upstreams.{upstream}]\nurl = \"http://127.0.0.1:3001\"\n\n"
            );
        }
    }
    text
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
            assert!(!loaded.report().contains("there is no upstream"), "{}", loaded.report());
            assert_eq!(text(profile).contains("Without routes"), loaded.config.routes.is_empty(), "{}", text(profile));
            assert_eq!(text(profile).contains("The profile has routes"), !loaded.config.routes.is_empty(), "{}", text(profile));
        }
        assert!(text("gatelithix").contains("\n[upstreams.sandbox]\n"));
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
