//! `keys export`: every key, as `keys import` reads them.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

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
    let Some(path) = &args.output else {
        let mut out = BufWriter::new(std::io::stdout().lock());
        // Lines of progress beside lines of keys on a terminal would be neither.
        let written = export(args.tenant.as_deref(), args.format, &context, &mut out, |_| {});
        return match written.and_then(|written| Ok(out.flush().map(|()| written)?)) {
            Ok(exported) => verdict(&exported),
            // Whoever read it has seen enough.
            Err(ExportError::File(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(failed(error, None)),
        };
    };
    let exported = write(args.tenant.as_deref(), args.format, path, &context, globals).map_err(|error| failed(error, Some(path)))?;
    if !globals.quiet {
        output::note(format_args!("{} exported", keys(exported.written)));
    }
    verdict(&exported)
}

/// All keys of a tenant into a file, or none.
pub(crate) fn into_file(tenant: &str, path: &Path, context: &Context, globals: &Globals) -> Result<Exported, Failure> {
    let exported = write(Some(tenant), Form::Ndjson, path, context, globals).map_err(|error| failed(error, Some(path)))?;
    is_whole(&exported).map(|()| exported)
}

fn failed(error: ExportError, path: Option<&Path>) -> Failure {
    match (error, path) {
        (ExportError::Lifecycle(error), _) => error.into(),
        (ExportError::File(error), Some(path)) => Exit::Failed.because(format!("{}: {error}", path.display())),
        (ExportError::File(error), None) => Exit::Failed.because(error.to_string()),
    }
}

fn keys(n: u64) -> String {
    if n == 1 { "1 key".to_owned() } else { format!("{n} keys") }
}

fn verdict(exported: &Exported) -> Result<(), Failure> {
    if !exported.widened.is_empty() {
        let tenants = exported.widened.join(", ");
        output::note(format_args!("not exported: that these tenants are suspended or limited; an import makes them without: {tenants}"));
    }
    is_whole(exported)
}

fn is_whole(exported: &Exported) -> Result<(), Failure> {
    exported
        .first
        .as_ref()
        .map_or(Ok(()), |error| Err(Exit::Failed.because(format!("{} left out; the first: {error}", keys(exported.unreadable)))))
}

fn write(tenant: Option<&str>, form: Form, path: &Path, context: &Context, globals: &Globals) -> Result<Exported, ExportError> {
    let mut shown = Shown::new(globals);
    output::file(path, |out| export(tenant, form, context, out, |written| shown.show("exported", written, None)))
}

fn export(
    tenant: Option<&str>,
    form: Form,
    context: &Context,
    out: &mut dyn Write,
    watch: impl FnMut(u64),
) -> Result<Exported, ExportError> {
    let exported = context.run(async { Ok(context.lifecycle.export(tenant, form, out, watch).await) });
    exported.unwrap_or_else(|failure| Err(std::io::Error::other(failure.message).into()))
}
