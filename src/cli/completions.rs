//! `sidegate completions SHELL` and `sidegate man`: what a package puts beside the binary, made of the same flags that are parsed.

use std::io::Write as _;
use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Exit, Failure};

/// Flags of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "bash: `source <(sidegate completions bash)`, or into /usr/share/bash-completion/completions/sidegate. zsh: \
into a file _sidegate of a directory in $fpath. fish: into ~/.config/fish/completions/sidegate.fish.")]
pub struct Completions {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Flags of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "`sidegate man keys create | man -l -` shows a page.")]
pub struct Pages {
    /// The command whose page is printed, such as `keys create` [default: sidegate itself]
    #[arg(value_name = "COMMAND", conflicts_with = "output")]
    command: Vec<String>,
    /// Write the pages of all commands into this directory instead
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Runs `completions`.
///
/// # Errors
/// The output's.
pub fn completions(args: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sidegate", &mut script);
    print(&script)
}

/// Runs `man`.
///
/// # Errors
/// `Exit::NotFound` for a command that is not there; the directory's.
pub fn pages(args: &Pages) -> Result<(), Failure> {
    // Built: subcommands know what they are called, and the flags that all take.
    let mut root = Cli::command();
    root.build();
    if let Some(dir) = &args.output {
        let failed = |error: std::io::Error| Exit::Failed.because(format!("{}: {error}", dir.display()));
        std::fs::create_dir_all(dir).map_err(failed)?;
        return clap_mangen::generate_to(root, dir).map_err(failed);
    }
    let mut command = &root;
    for word in &args.command {
        let below = command.find_subcommand(word);
        command = below.ok_or_else(|| Exit::NotFound.because(format!("there is no command `{}`", args.command.join(" "))))?;
    }
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page).map_err(|error| Exit::Failed.because(error.to_string()))?;
    print(&page)
}

/// A reader that goes away has read enough.
fn print(text: &[u8]) -> Result<(), Failure> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Exit::Failed.because(error.to_string())),
        _ => Ok(()),
    }
}
