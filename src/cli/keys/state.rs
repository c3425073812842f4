//! `keys deactivate`, `keys activate`, `keys revoke`. Doing it twice is as good as once.

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroize as _;

use super::context::{Access, Context};
use crate::cli::wait::Wait;
use crate::cli::{Exit, Failure, Globals, output};
use crate::key::record::{KeyRecord, KeyStatus};
use crate::key::rules::check_id;
use crate::key::shown;

/// One key, switched off or on.
#[derive(Debug, clap::Args)]
pub struct One {
    /// The key
    id: String,
    #[command(flatten)]
    wait: Wait,
}

/// Several keys.
#[derive(Debug, clap::Args)]
pub struct Many {
    /// The keys
    #[arg(required_unless_present = "stdin", conflicts_with = "stdin", value_name = "ID")]
    ids: Vec<String>,
    /// Read ids or plaintext keys from stdin, one a line, as secret scanners deliver them
    #[arg(long)]
    stdin: bool,
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

pub(super) fn revoke(args: &Many, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Change, globals)?;
    let mut failed: Option<Failure> = None;
    for id in wanted(args, &context) {
        match id.and_then(|id| context.run(context.lifecycle.set_status(&id, KeyStatus::Revoked))) {
            Ok(record) => print(&record, &context, globals),
            Err(error) if error.exit == Exit::Unreachable => return Err(error),
            // A wrong id among many must not keep a leaked key alive: the others are revoked all the same.
            Err(error) => {
                output::note(format_args!("sidegate: {}", error.message));
                failed.get_or_insert(error.exit.because(""));
            }
        }
    }
    args.wait.confirm(&context, globals)?;
    failed.map_or(Ok(()), Err)
}

/// The ids to revoke; a line of stdin is a secret whose key must be found, or an id.
fn wanted(args: &Many, context: &Context) -> Vec<Result<String, Failure>> {
    if !args.stdin {
        return args.ids.iter().cloned().map(Ok).collect();
    }
    let lines = std::io::stdin().lines().map(|line| line.map_err(|error| Exit::Failed.because(error.to_string())));
    let lines = (1..).zip(lines).filter(|(_, line)| !matches!(line, Ok(line) if line.trim().is_empty()));
    lines.map(|(number, line)| find(number, line?, context)).collect()
}

fn find(number: usize, mut line: String, context: &Context) -> Result<String, Failure> {
    let secret = SecretString::from(line.trim());
    line.zeroize();
    // Nothing tells an id from a secret: imported ids may look like anything, and so may prefixes.
    let found = context.run(async {
        match context.lifecycle.find_by_secret(&secret).await? {
            None if check_id("key id", secret.expose_secret()).is_ok() => {
                Ok(context.lifecycle.store.find_key(secret.expose_secret()).await?)
            }
            found => Ok(found),
        }
    });
    // Not the line: it may be somebody's secret.
    match found {
        Ok(Some(record)) => Ok(record.id),
        Ok(None) => Err(Exit::NotFound.because(format!("line {number} of stdin is no key of this table"))),
        Err(error) if error.exit == Exit::Unreachable => Err(error),
        Err(error) => Err(error.exit.because(format!("line {number} of stdin is a key whose record cannot be read"))),
    }
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
