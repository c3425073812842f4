//! `audit replay`: after a restore. What is read was written by `audit export`; what the store has forgotten of it and what took
//! rights away is done again, in the name of who runs the command. As good twice as once.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::{Event, Failure, Globals, Object, Query, Shown, Timestamp, each, output, words};
use crate::audit::replay::{Plan, Step, plan};
use crate::cli::Exit;
use crate::cli::desk::{Desk as _, Here};
use crate::cli::keys::context::{Access, Context};
use crate::cli::wait::{Wait, confirm};
use crate::config::units::Span;
use crate::key::record::KeyStatus;
use crate::session::lifecycle::REVOKED;
use crate::tenant::TenantStatus;

const HELP: &str = "\
Rights are only taken: revoked, switched off, suspended, sessions over, replaced secrets dead and the new ones in their place. What had given rights, \
or changed them otherwise, is listed and left to you; keys made after the copy are gone. Exit 1 if anything could not be done.";

/// Its flags.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Replay {
    /// What `audit export` wrote; - = stdin
    file: PathBuf,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: Wait,
}

/// What was told, by what it is about.
type Told = IndexMap<(Object, String), Vec<Event>>;

/// One line of the outcome.
struct Row {
    event: Event,
    outcome: &'static str,
    why: String,
}

pub(super) fn run(args: &Replay, globals: &Globals) -> Result<(), Failure> {
    let mut here = Here::new(Context::open_for_bulk(Access::Change, globals)?);
    here.wait_for(args.wait.wait);
    let context = &here.context;
    let (told, wrong) = read(args)?;
    let forgotten = match context.config.audit.retention {
        Span(never) if never.is_zero() => Timestamp(0),
        retention => context.clock.now().plus_millis(-retention.as_millis()),
    };
    let (mut rows, mut shown, total) = (Vec::new(), Shown::new(globals), u64::try_from(told.len()).ok());
    for (done, (of, told)) in (1..).zip(&told) {
        let mut kept = Vec::new();
        let query = Query { of: Some((of.0, &of.1)), oldest_first: true, ..Query::default() };
        each(&here, query, |event| {
            kept.push(event);
            Ok(true)
        })?;
        again(&plan(&kept, told, forgotten), args.dry_run, context, &mut rows)?;
        shown.show("records", done, total);
    }
    drop(shown);
    print(&rows, globals);
    let failed = rows.iter().filter(|row| row.outcome == FAILED).count();
    if !globals.quiet {
        let count = |outcome: &str| rows.iter().filter(|row| row.outcome == outcome).count();
        let (done, verb) = if args.dry_run { (count(WOULD), "to be done again") } else { (count(DONE), "done again") };
        output::note(format_args!("{done} {verb}, {} left to you, {} of records that are gone, {failed} failed", count(LEFT), count(GONE)));
    }
    confirm(&here, globals)?;
    match (wrong, failed) {
        (0, 0) => Ok(()),
        (0, _) => Err(Exit::Failed.because("")),
        (wrong, _) => Err(Exit::Failed.because(format!("{wrong} lines of {} are no events", args.file.display()))),
    }
}

const DONE: &str = "done again";
const WOULD: &str = "to be done again";
const LEFT: &str = "left to you";
const GONE: &str = "the record is gone";
const FAILED: &str = "failed";

/// The events about keys, tenants and sessions, and how many lines are none.
fn read(args: &Replay) -> Result<(Told, usize), Failure> {
    let name = args.file.display();
    let input: Box<dyn BufRead> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(&args.file).map_err(|error| Exit::Failed.because(format!("{name}: {error}")))?))
    };
    let (mut told, mut wrong) = (Told::new(), 0);
    for (number, line) in (1_usize..).zip(input.lines()) {
        let line = line.map_err(|error| Exit::Failed.because(format!("{name}: {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str::<Event>(&line).ok() {
            Some(event) if matches!(event.object, Object::Key | Object::Tenant | Object::Session) => {
                told.entry((event.object, event.id.clone())).or_default().push(event);
            }
            Some(_) => {}
            None => {
                wrong += 1;
                // Not the line: who knows what this file is.
                output::note(format_args!("sidegate: line {number} of {name} is no event"));
            }
        }
    }
    Ok((told, wrong))
}

/// Does again what a plan says. A store that cannot be reached ends it; anything else is told of that record.
fn again(plan: &Plan<'_>, dry_run: bool, context: &Context, rows: &mut Vec<Row>) -> Result<(), Failure> {
    for (step, event) in &plan.steps {
        let done = if dry_run { exists(event, context) } else { take(step, event, context) };
        let (outcome, why) = match done {
            Ok(()) => (if dry_run { WOULD } else { DONE }, String::new()),
            Err(error) if error.exit == Exit::NotFound => (GONE, String::new()),
            Err(error) if error.exit == Exit::Unreachable => return Err(error),
            Err(error) => (FAILED, error.message),
        };
        rows.push(Row { event: (*event).clone().shown(), outcome, why });
    }
    for event in &plan.left {
        let outcome = match exists(event, context) {
            Ok(()) => LEFT,
            Err(error) if error.exit == Exit::NotFound => GONE,
            Err(error) => return Err(error),
        };
        rows.push(Row { event: (*event).clone().shown(), outcome, why: String::new() });
    }
    Ok(())
}

fn exists(event: &Event, context: &Context) -> Result<(), Failure> {
    match event.object {
        Object::Key => context.run(context.lifecycle.find_key(&event.id)).map(drop),
        Object::Session => context.run(context.sessions.find(&event.id)).map(drop),
        Object::Tenant | Object::Idempotency => context.run(context.lifecycle.find_tenant(&event.id)).map(drop),
    }
}

fn take(step: &Step, event: &Event, context: &Context) -> Result<(), Failure> {
    let (lifecycle, id) = (&context.lifecycle, &event.id);
    context.run(async {
        match step {
            Step::Revoke if event.object == Object::Session => {
                let why = event.after.as_ref().and_then(|after| after.get("reason")).and_then(Value::as_str).unwrap_or(REVOKED);
                context.sessions.end(id, why).await.map(drop)
            }
            Step::Revoke => lifecycle.set_status(id, KeyStatus::Revoked).await.map(drop),
            Step::Deactivate => lifecycle.set_status(id, KeyStatus::Inactive).await.map(drop),
            Step::Suspend => lifecycle.set_tenant_status(id, TenantStatus::Suspended).await.map(drop),
            Step::Rotate(secret) => lifecycle.restore_secret(id, secret).await.map(drop),
            Step::EndOverlap => lifecycle.end_overlap(id).await.map(drop),
        }
    })
}

fn print(rows: &[Row], globals: &Globals) {
    if globals.json {
        let shown = |row: &Row| {
            let why = Some(&row.why).filter(|why| !why.is_empty());
            json!({ "id": row.event.id, "action": row.event.action, "at": row.event.at, "actor": row.event.actor, "outcome": row.outcome, "why": why })
        };
        return output::json(&rows.iter().map(shown).collect::<Vec<Value>>());
    }
    let row = |row: &Row| {
        let what = if row.why.is_empty() { words::changed(&row.event) } else { row.why.clone() };
        [row.outcome.to_owned(), row.event.action.clone(), row.event.id.clone(), row.event.at.to_string(), what].into()
    };
    if !globals.quiet {
        output::table(&["outcome", "action", "id", "time", "what changed"], rows.iter().map(row));
    }
}
