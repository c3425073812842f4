//! `keys revoke`: one key, or as many as an incident takes: by id, by their secrets as scanners deliver them, by tenant, by age.
//! A secret is read from stdin and never told again; a wrong line among many keeps no leaked key alive.

use std::collections::HashSet;

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroize as _;

use super::context::Access;
use super::progress::Shown as Progress;
use crate::cli::ask::ask;
use crate::cli::desk::{self, Desk, KeyVerb, Marked, Shown, text};
use crate::cli::wait::{Wait, confirm};
use crate::cli::when::When;
use crate::cli::{Exit, Failure, Globals, output};
use crate::key::filter::Filter;
use crate::key::rules::check_id;
use crate::store::Page;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// The keys
    #[arg(required_unless_present_any = ["stdin", "tenant", "created_before"], conflicts_with_all = ["stdin", "tenant", "created_before"], value_name = "ID")]
    ids: Vec<String>,
    /// Read ids or plaintext keys from stdin, one a line, as secret scanners deliver them
    #[arg(long, conflicts_with_all = ["tenant", "created_before"])]
    stdin: bool,
    /// All keys of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// All keys made before: 90d (ago), 2026-06-01, or a time in RFC 3339
    #[arg(long, value_name = "WHEN")]
    created_before: Option<When>,
    /// Only say which keys would be revoked
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before keys of all tenants are revoked; needed where there is no terminal
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    wait: Wait,
}

/// Times that all keys of a kind are looked for.
const PASSES: usize = 5;

/// How it goes.
#[derive(Default)]
struct Tally {
    revoked: usize,
    already: usize,
    failed: usize,
    /// The first failure's code.
    exit: Option<Exit>,
    /// The last one that is revoked now.
    last: Option<String>,
    /// For `--json`.
    shown: Vec<Shown>,
}

pub(super) fn revoke(args: &Revoke, globals: &Globals) -> Result<(), Failure> {
    let mut desk = desk::open(Access::Change, globals)?;
    let wanted = wanted(args, &*desk)?;
    agreed(args, &wanted)?;
    let several = args.ids.len() != 1;
    let (mut tally, mut seen) = (Tally::default(), HashSet::new());
    let done = passes(args, wanted, &*desk, (&mut tally, &mut seen), globals);
    // What was done is told before it ends.
    if done.is_ok() || tally.revoked + tally.already + tally.failed > 0 {
        tally.tell(several, args.dry_run, globals);
    }
    done?;
    if let (Some(_), Some(last), false) = (args.wait.wait, &tally.last, args.dry_run) {
        // Whoever has applied the last change has applied all.
        desk.wait_for(args.wait.wait);
        desk.change_key(last, KeyVerb::Revoke)?;
    }
    confirm(&*desk, globals)?;
    tally.exit.map_or(Ok(()), |exit| Err(exit.because("")))
}

fn passes(
    args: &Revoke,
    mut wanted: Vec<Result<Shown, Failure>>,
    desk: &dyn Desk,
    (tally, seen): (&mut Tally, &mut HashSet<String>),
    globals: &Globals,
) -> Result<(), Failure> {
    for _ in 0..PASSES {
        if pass(args, wanted, desk, (tally, seen), globals)? == 0 || !args.is_selection() {
            return Ok(());
        }
        // Keys are made meanwhile, perhaps by one of those that were to be revoked: until a pass finds none.
        wanted = selected(args, desk)?.into_iter().flatten().map(Ok).collect();
    }
    tally.count(Err(Exit::Failed.because("keys are still being made: repeat the command, or suspend the tenant first")), globals);
    Ok(())
}

/// Once through these keys. How many of them no pass before has seen.
fn pass(
    args: &Revoke,
    wanted: Vec<Result<Shown, Failure>>,
    desk: &dyn Desk,
    (tally, seen): (&mut Tally, &mut HashSet<String>),
    globals: &Globals,
) -> Result<usize, Failure> {
    let mut progress = Progress::new(globals);
    let (total, mut new) = (u64::try_from(wanted.len()).ok(), 0);
    for (done, key) in (1..).zip(wanted) {
        // Scanners find the same key in several places.
        if key.as_ref().is_ok_and(|shown| !seen.insert(text(shown, "id").to_owned())) {
            continue;
        }
        new += 1;
        match key.and_then(|shown| one(shown, args.dry_run, desk)) {
            Err(error) if error.exit == Exit::Unreachable => return Err(error),
            outcome => tally.count(outcome, globals),
        }
        if args.ids.len() != 1 {
            progress.show("keys", done, total);
        }
    }
    Ok(new)
}

/// Revokes a key, also one that is revoked already: the sidecars were perhaps not told. Whether it was.
fn one(before: Shown, dry_run: bool, desk: &dyn Desk) -> Result<(Shown, bool), Failure> {
    let was_revoked = text(&before, "status") == "revoked";
    let shown = if dry_run { before } else { desk.change_key(text(&before, "id"), KeyVerb::Revoke)? };
    Ok((shown, was_revoked))
}

impl Tally {
    fn count(&mut self, outcome: Result<(Shown, bool), Failure>, globals: &Globals) {
        match outcome {
            Ok((shown, was_revoked)) => {
                *if was_revoked { &mut self.already } else { &mut self.revoked } += 1;
                self.last = Some(text(&shown, "id").to_owned());
                if globals.json {
                    self.shown.push(shown);
                } else if !globals.quiet {
                    output::line(format_args!("{} {}", text(&shown, "id"), text(&shown, "status")));
                }
            }
            Err(error) => {
                self.failed += 1;
                output::note(format_args!("sidegate: {}", error.message));
                self.exit.get_or_insert(error.exit);
            }
        }
    }

    fn tell(&self, several: bool, dry_run: bool, globals: &Globals) {
        if globals.json {
            output::json(&self.shown);
        }
        if several && !globals.quiet {
            let verb = if dry_run { "to be revoked" } else { "revoked" };
            let Self { revoked, already, failed, .. } = self;
            output::note(format_args!("{revoked} {verb}, {already} revoked before, {failed} not found or failed"));
        }
    }
}

/// The keys as they are, each found by itself.
fn wanted(args: &Revoke, desk: &dyn Desk) -> Result<Vec<Result<Shown, Failure>>, Failure> {
    if args.stdin {
        return Ok(from_stdin(desk));
    }
    if args.is_selection() { selected(args, desk) } else { Ok(args.ids.iter().map(|id| desk.key(id)).collect()) }
}

impl Revoke {
    const fn is_selection(&self) -> bool {
        self.tenant.is_some() || self.created_before.is_some()
    }
}

/// Those of a kind that are not revoked.
fn selected(args: &Revoke, desk: &dyn Desk) -> Result<Vec<Result<Shown, Failure>>, Failure> {
    let (created_before, now) = (args.created_before.map(|when| when.at(desk.now())), desk.now());
    if let Some(still_to_come) = created_before.filter(|before| *before > now) {
        return Err(
            Exit::Usage.because(format!("--created-before {still_to_come} is still to come: that would be all keys that there are"))
        );
    }
    let filter = Filter { tenant: args.tenant.clone(), created_before, ..Filter::default() };
    let Page { items, unreadable, .. } = desk.keys(&filter, Marked::default())?;
    let unreadable = unreadable.into_iter().map(|error| Err(Exit::Failed.because(error.to_string())));
    Ok(items.into_iter().filter(|shown| text(shown, "status") != "revoked").map(Ok).chain(unreadable).collect())
}

/// Age alone takes the keys of every tenant: whoever means one of them has left something out.
fn agreed(args: &Revoke, wanted: &[Result<Shown, Failure>]) -> Result<(), Failure> {
    let asks = args.created_before.is_some() && args.tenant.is_none() && !args.yes && !args.dry_run;
    if !asks || wanted.is_empty() {
        return Ok(());
    }
    let tenants: HashSet<&str> = wanted.iter().flatten().map(|shown| text(shown, "tenant")).collect();
    let (keys, tenants) = (wanted.len(), tenants.len());
    let question = format!("{keys} keys of {tenants} tenants would be revoked for ever. To revoke them, type how many keys they are:");
    ask(&question, &keys.to_string(), &format!("--yes revokes {keys} keys of {tenants} tenants; --tenant names one, --dry-run only tells"))
}

/// A line of stdin is a secret whose key must be found, or an id.
fn from_stdin(desk: &dyn Desk) -> Vec<Result<Shown, Failure>> {
    let lines = (1..).zip(std::io::stdin().lines()).filter(|(_, line)| !matches!(line, Ok(line) if line.trim().is_empty()));
    let unread = |number, error| Exit::Failed.because(format!("line {number} of stdin: {error}"));
    lines.map(|(number, line)| find(number, line.map_err(|error| unread(number, error))?, desk)).collect()
}

fn find(number: usize, mut line: String, desk: &dyn Desk) -> Result<Shown, Failure> {
    let secret = SecretString::from(line.trim());
    line.zeroize();
    // Nothing tells an id from a secret: imported ids may look like anything, and so may prefixes.
    let found = match desk.look_up(&secret) {
        Err(error) if error.exit == Exit::NotFound && check_id("key id", secret.expose_secret()).is_ok() => {
            desk.key(secret.expose_secret())
        }
        found => found,
    };
    // Not the line: it may be somebody's secret.
    found.map_err(|error| {
        if error.exit == Exit::NotFound {
            Exit::NotFound.because(format!("line {number} of stdin is no key of this table"))
        } else if matches!(error.exit, Exit::Unreachable | Exit::Denied) {
            error
        } else {
            error.exit.because(format!("line {number} of stdin is a key whose record cannot be read"))
        }
    })
}
