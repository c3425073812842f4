//! `keys deactivate`, `keys activate`. Doing it twice is as good as once.

use super::context::{Access, Context};
use crate::cli::wait::Wait;
use crate::cli::{Failure, Globals, output};
use crate::key::record::{KeyRecord, KeyStatus};
use crate::key::shown;

/// One key, switched off or on.
#[derive(Debug, clap::Args)]
pub struct One {
    /// The key
    id: String,
    #[command(flatten)]
    wait: Wait,
}

pub(super) fn deactivate(args: &One, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Change, globals)?;
    let record = context.run(context.lifecycle.set_status(&args.id, KeyStatus::Inactive))?;
    print(&record, &context, globals);
    args.wait.confirm(&context, globals)
}

pub(super) fn activate(args: &One, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Change, globals)?;
    let record = context.run(context.lifecycle.set_status(&args.id, KeyStatus::Active))?;
    print(&record, &context, globals);
    args.wait.confirm(&context, globals)
}

fn print(record: &KeyRecord, context: &Context, globals: &Globals) {
    let shown = shown::key(record, None, context.clock.now());
    if globals.json {
        output::json(&shown);
    } else if !globals.quiet {
        let status = shown.get("status").and_then(|status| status.as_str()).unwrap_or_default();
        output::line(format_args!("{} {status}", record.id));
    }
}
