//! `audit export`: events as NDJSON, the oldest first, with the digests of new secrets: what a replay needs.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Failure, Globals, Query, Shown, When, each, output};
use crate::cli::Exit;
use crate::cli::desk::{Desk as _, Here};
use crate::cli::keys::context::{Access, Context};

const HELP: &str = "\
Keep one beside every copy of the store: `audit replay FILE` then does again what the copy has forgotten. What is written opens no \
door: it holds digests, never a secret.";

/// Its flags.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Export {
    /// Where to: readable by its owner only, once all is written; - = stdout
    file: PathBuf,
    /// Only of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// From then on: 24h (ago), 2026-06-01, or a time in RFC 3339
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
}

pub(super) fn run(args: &Export, globals: &Globals) -> Result<(), Failure> {
    let here = Here::new(Context::open_for_bulk(Access::Read, globals)?);
    let file = Some(args.file.as_path()).filter(|file| *file != Path::new("-"));
    let done = if let Some(path) = file {
        output::file(path, |out| write(args, &here, out, &mut Shown::new(globals)))
    } else {
        let mut out = BufWriter::new(std::io::stdout().lock());
        // Lines of progress beside lines of events on a terminal would be neither.
        let quiet = Globals { quiet: true, ..globals.clone() };
        let written = write(args, &here, &mut out, &mut Shown::new(&quiet));
        written.and_then(|written| out.flush().map(|()| written).map_err(Unwritten::Io))
    };
    let (written, unreadable) = done.or_else(|error| error.told(file))?;
    if file.is_some() && !globals.quiet {
        output::note(format_args!("{written} events exported"));
    }
    if unreadable == 0 { Ok(()) } else { Err(Exit::Failed.because(format!("{unreadable} events left out"))) }
}

/// Why a file was not written.
enum Unwritten {
    Io(std::io::Error),
    Other(Failure),
}

impl From<std::io::Error> for Unwritten {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl Unwritten {
    fn told(self, file: Option<&Path>) -> Result<(u64, usize), Failure> {
        match self {
            Self::Other(failure) => Err(failure),
            // Whoever read it has seen enough.
            Self::Io(error) if file.is_none() && error.kind() == std::io::ErrorKind::BrokenPipe => Ok((0, 0)),
            Self::Io(error) => Err(Exit::Failed.because(format!("{}: {error}", file.unwrap_or(Path::new("stdout")).display()))),
        }
    }
}

fn write(args: &Export, here: &Here, out: &mut dyn Write, shown: &mut Shown) -> Result<(u64, usize), Unwritten> {
    let since = args.since.map(|when| when.at(here.now()));
    let query = Query { tenant: args.tenant.as_deref(), since, oldest_first: true, ..Query::default() };
    let (mut written, mut broken) = (0, None);
    let unreadable = each(here, query, |event| {
        let line = serde_json::to_string(&event).map_err(std::io::Error::from);
        broken = line.and_then(|line| writeln!(out, "{line}")).err();
        written += 1;
        shown.show("events", written, None);
        Ok(broken.is_none())
    })
    .map_err(Unwritten::Other)?;
    broken.map_or(Ok((written, unreadable)), |error| Err(Unwritten::Io(error)))
}
