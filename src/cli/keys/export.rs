//! `keys export`: every key, as `keys import` reads them.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::context::{Access, Context};
use super::progress::Shown;
use crate::cli::{Exit, Failure, Globals, output};
use crate::key::export::{ExportError, Exported};
use crate::key::import::Form;

const HELP: &str = "\
What is written opens no door: it holds digests. They are sha256:HEX, or with [store] pepper_file hmac-sha256:HEX, which only a table \
with the same pepper can use. Revoked keys are there too. Left out is what only this table can use: versions, and the replaced secret \
of a rotation whose overlap still runs. `keys import FILE --create-tenants` reads it; it makes tenants by their ids alone, \
active and without limits: suspend and limit them there before the keys are used. \
native = true says that a key has the checksum of the native format.";

/// Flags of `keys export`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Only this tenant's
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Form::Ndjson)]
    format: Form,
    /// Into this file, readable by its owner only, once all is written [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open_for_bulk(Access::Read, globals)?;
    let written = match &args.output {
        None => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            export(args, &context, &mut out, globals).and_then(|written| Ok(out.flush().map(|()| written)?))
        }
        Some(path) => into_file(args, &context, path, globals),
    };
    match written {
        Ok(exported) => verdict(&exported, args.output.is_some() && !globals.quiet),
        Err(ExportError::Lifecycle(error)) => Err(error.into()),
        // Whoever read it has seen enough.
        Err(ExportError::File(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(ExportError::File(error)) => Err(Exit::Failed.because(match &args.output {
            Some(path) => format!("{}: {error}", path.display()),
            None => error.to_string(),
        })),
    }
}

fn verdict(exported: &Exported, tell: bool) -> Result<(), Failure> {
    let keys = |n: u64| if n == 1 { "key" } else { "keys" };
    if tell {
        output::note(format_args!("{} {} exported", exported.written, keys(exported.written)));
    }
    if !exported.widened.is_empty() {
        let tenants = exported.widened.join(", ");
        output::note(format_args!("not exported: that these tenants are suspended or limited; an import makes them without: {tenants}"));
    }
    match &exported.first {
        None => Ok(()),
        Some(error) => {
            let n = exported.unreadable;
            Err(Exit::Failed.because(format!("{n} {} left out; the first: {error}", keys(n))))
        }
    }
}

/// A file appears when it is whole; one that was there stays until then.
fn into_file(args: &Args, context: &Context, path: &Path, globals: &Globals) -> Result<Exported, ExportError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut out = BufWriter::new(NamedTempFile::new_in(dir)?);
    let written = export(args, context, &mut out, globals)?;
    let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(written)
}

fn export(args: &Args, context: &Context, out: &mut dyn std::io::Write, globals: &Globals) -> Result<Exported, ExportError> {
    // Lines of progress beside lines of keys on a terminal would be neither.
    let mut shown = args.output.is_some().then(|| Shown::new(globals));
    let watch = |written| {
        if let Some(shown) = &mut shown {
            shown.show("exported", written, None);
        }
    };
    let exported = context.run(async { Ok(context.lifecycle.export(args.tenant.as_deref(), args.format, out, watch).await) });
    exported.unwrap_or_else(|failure| Err(std::io::Error::other(failure.message).into()))
}
