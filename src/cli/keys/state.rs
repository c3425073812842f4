//! `keys deactivate`, `keys activate`, `keys revoke`. Doing it twice is as good as once.

use super::context::Context;
use super::view;
use crate::cli::{Exit, Failure, Globals, output};
use crate::key::record::{KeyRecord, KeyStatus};

/// One key.
#[derive(Debug, clap::Args)]
pub struct One {
    /// The key
    id: String,
}

/// Several keys.
#[derive(Debug, clap::Args)]
pub struct Many {
    /// The keys
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

pub(super) fn deactivate(args: &One, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(globals)?;
    let record = context.run(context.lifecycle.set_status(&args.id, KeyStatus::Inactive))?;
    print(&record, &context, globals);
    context.warn_of_caches(globals);
    Ok(())
}

pub(super) fn activate(args: &One, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(globals)?;
    let record = context.run(context.lifecycle.set_status(&args.id, KeyStatus::Active))?;
    print(&record, &context, globals);
    Ok(())
}

pub(super) fn revoke(args: &Many, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(globals)?;
    let mut failed: Option<Failure> = None;
    for id in &args.ids {
        match context.run(context.lifecycle.set_status(id, KeyStatus::Revoked)) {
            Ok(record) => print(&record, &context, globals),
            Err(error) if error.exit == Exit::Unreachable => return Err(error),
            // A wrong id among many must not keep a leaked key alive: the others are revoked all the same.
            Err(error) => {
                output::note(format_args!("sidegate: {}", error.message));
                failed.get_or_insert(error.exit.because(""));
            }
        }
    }
    context.warn_of_caches(globals);
    failed.map_or(Ok(()), Err)
}

fn print(record: &KeyRecord, context: &Context, globals: &Globals) {
    let shown = view::key(record, None, context.clock.now());
    if globals.json {
        output::json(&shown);
    } else if !globals.quiet {
        let status = shown.get("status").and_then(|status| status.as_str()).unwrap_or_default();
        output::line(format_args!("{} {status}", record.id));
    }
}
