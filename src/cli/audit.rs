//! `sidegate audit …`: who changed what, when and from where; as a list, as a file, and a file's revocations done again after a
//! restore. A list shows no digest; only the file, which only its owner can read, has those of new secrets.

mod export;
mod replay;

use super::desk::{self, Desk};
use super::keys::context::Access;
use super::keys::progress::Shown;
use super::when::When;
use super::{Failure, Globals, output};
use crate::audit::{Event, Object, Query, words};
use crate::clock::Timestamp;

/// Events asked for at once.
const PAGE: usize = 500;

/// Its commands; without one, a list.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write events to a file, oldest first, as replay reads them
    Export(export::Export),
    /// Do again what a restored store has forgotten: revocations, suspensions, rotations
    Replay(replay::Replay),
}

/// Which events.
#[derive(Debug, clap::Args)]
struct List {
    /// Only of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only about this key
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only of who is called so: cli, admin:console, key:ID; what is behind a colon may be left out
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only this action, such as key.revoke, or revoke of anything
    #[arg(long)]
    action: Option<String>,
    /// From then on: 24h (ago), 2026-06-01, or a time in RFC 3339
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Before that: 24h (ago), 2026-06-01, or a time in RFC 3339
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// Runs one.
///
/// # Errors
/// With the exit code that the contract names.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    match &args.command {
        None => list(&args.list, globals),
        Some(Command::Export(args)) => export::run(args, globals),
        Some(Command::Replay(args)) => replay::run(args, globals),
    }
}

impl List {
    fn admits(&self, event: &Event) -> bool {
        let tail = |whole: &str, end: char| whole.split_once(end).map(|(head, tail)| (head.to_owned(), tail.to_owned()));
        let actor = |name: &String| event.actor == *name || tail(&event.actor, ':').is_some_and(|(head, _)| head == *name);
        let action = |word: &String| event.action == *word || tail(&event.action, '.').is_some_and(|(_, verb)| verb == *word);
        self.actor.as_ref().is_none_or(actor) && self.action.as_ref().is_none_or(action)
    }
}

fn list(args: &List, globals: &Globals) -> Result<(), Failure> {
    let desk = desk::open(Access::Read, globals)?;
    let now = desk.now();
    let query = Query {
        tenant: args.tenant.as_deref(),
        of: args.key.as_deref().map(|id| (Object::Key, id)),
        since: args.since.map(|when| when.at(now)),
        until: args.until.map(|when| when.at(now)),
        ..Query::default()
    };
    let mut events = Vec::new();
    // One more than is shown: then it is known that there are more.
    each(&*desk, query, |event| {
        if args.admits(&event) {
            events.push(event.shown());
        }
        Ok(events.len() <= args.limit)
    })?;
    let next = events.get(args.limit).map(|event| event.at);
    events.truncate(args.limit);
    print(&events, globals);
    if let Some(next) = next.filter(|_| !globals.quiet) {
        // Of one millisecond there may be several: those of them that were shown come again. Where all were, that leads nowhere.
        let before = next.plus_millis(1);
        let goes_on = events.first().is_some_and(|event| event.at >= before);
        output::note(format_args!("there are more: --limit{}", if goes_on { format!(", or --until {before}") } else { String::new() }));
    }
    Ok(())
}

fn print(events: &[Event], globals: &Globals) {
    if globals.json {
        return output::json(&events);
    }
    let row = |event: &Event| {
        let from = event.from.clone().unwrap_or_else(|| "local".to_owned());
        [event.at.to_string(), event.actor.clone(), from, event.action.clone(), event.id.clone(), words::changed(event)].into()
    };
    output::table(&["time", "actor", "from", "action", "id", "what changed"], events.iter().map(row));
}

/// Hands over events, page by page, until `take` has enough. Those that cannot be read are told on stderr, and counted.
fn each(desk: &dyn Desk, query: Query<'_>, mut take: impl FnMut(Event) -> Result<bool, Failure>) -> Result<usize, Failure> {
    let (mut cursor, mut unreadable) = (None::<String>, 0);
    loop {
        let asked = Query { cursor: cursor.as_deref(), limit: PAGE, ..query };
        let page = desk.events(&asked)?;
        unreadable += page.unreadable.len();
        page.unreadable.iter().for_each(|error| output::note(format_args!("sidegate: left out: {error}")));
        for event in page.items {
            if !take(event)? {
                return Ok(unreadable);
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(unreadable);
        }
    }
}
