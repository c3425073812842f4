//! `keys revoke`: one key, or as many as an incident takes: by id, by their secrets as scanners deliver them, by tenant, by age.
//! A secret is read from stdin and never told again; a wrong line among many keeps no leaked key alive.

use std::collections::HashSet;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use super::context::{Access, Context};
use super::progress::Shown;
use crate::cli::wait::Wait;
use crate::cli::when::When;
use crate::cli::{Exit, Failure, Globals, output};
use crate::key::filter::Filter;
use crate::key::record::{KeyRecord, KeyStatus};
use crate::key::rules::check_id;
use crate::key::shown;

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
    #[command(flatten)]
    wait: Wait,
}

/// How it goes.
#[derive(Default)]
struct Tally {
    revoked: usize,
    already: usize,
    failed: usize,
    /// The first failure's code.
    exit: Option<Exit>,
    /// For `--json`.
    shown: Vec<Map<String, Value>>,
}

pub(super) fn revoke(args: &Revoke, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Change, globals)?;
    let wanted = wanted(args, &context)?;
    let several = args.ids.len() != 1;
    let mut tally = Tally::default();
    let mut progress = Shown::new(globals);
    let total = u64::try_from(wanted.len()).ok();
    let mut seen = HashSet::new();
    for (done, key) in (1..).zip(wanted) {
        // Scanners find the same key in several places.
        if key.as_ref().is_ok_and(|wanted| !seen.insert(wanted.id().to_owned())) {
            continue;
        }
        match key.and_then(|wanted| wanted.revoke(args.dry_run, &context)) {
            // What was done is told before it ends.
            Err(error) if error.exit == Exit::Unreachable => {
                tally.tell(several, args.dry_run, globals);
                return Err(error);
            }
            outcome => tally.count(outcome, &context, globals),
        }
        if several {
            progress.show("keys", done, total);
        }
    }
    drop(progress);
    tally.tell(several, args.dry_run, globals);
    args.wait.confirm(&context, globals)?;
    tally.exit.map_or(Ok(()), |exit| Err(exit.because("")))
}

impl Tally {
    fn count(&mut self, outcome: Result<(KeyRecord, bool), Failure>, context: &Context, globals: &Globals) {
        match outcome {
            Ok((record, was_revoked)) => {
                *if was_revoked { &mut self.already } else { &mut self.revoked } += 1;
                let shown = shown::key(&record, None, context.clock.now());
                if globals.json {
                    self.shown.push(shown);
                } else if !globals.quiet {
                    let status = shown.get("status").and_then(Value::as_str).unwrap_or_default();
                    output::line(format_args!("{} {status}", record.id));
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

/// A key to be revoked.
enum Wanted {
    /// By its id alone.
    Id(String),
    /// As it was found.
    Found(Box<KeyRecord>),
}

impl Wanted {
    fn id(&self) -> &str {
        match self {
            Self::Id(id) => id,
            Self::Found(record) => &record.id,
        }
    }

    /// The record, and whether it was revoked before.
    fn revoke(self, dry_run: bool, context: &Context) -> Result<(KeyRecord, bool), Failure> {
        let before = match self {
            Self::Id(id) => context.run(context.lifecycle.find_key(&id))?,
            Self::Found(record) => *record,
        };
        let was_revoked = before.status == KeyStatus::Revoked;
        if dry_run {
            return Ok((before, was_revoked));
        }
        // Also one that is revoked already: the sidecars were perhaps not told.
        let after = context.run(context.lifecycle.set_status(&before.id, KeyStatus::Revoked))?;
        Ok((after, was_revoked))
    }
}

fn wanted(args: &Revoke, context: &Context) -> Result<Vec<Result<Wanted, Failure>>, Failure> {
    if args.stdin {
        return Ok(from_stdin(context));
    }
    if args.tenant.is_none() && args.created_before.is_none() {
        return Ok(args.ids.iter().cloned().map(|id| Ok(Wanted::Id(id))).collect());
    }
    if let Some(tenant) = &args.tenant {
        context.run(context.lifecycle.find_tenant(tenant))?;
    }
    let now = context.clock.now();
    let created_before = args.created_before.map(|when| when.at(now));
    let filter = Filter { tenant: args.tenant.clone(), created_before, ..Filter::default() };
    let keys = context.run(context.lifecycle.list_keys(args.tenant.as_deref()))?.into_iter();
    let alive = keys.filter(|key| key.status != KeyStatus::Revoked && filter.admits(key, now));
    Ok(alive.map(|key| Ok(Wanted::Found(Box::new(key)))).collect())
}

/// A line of stdin is a secret whose key must be found, or an id.
fn from_stdin(context: &Context) -> Vec<Result<Wanted, Failure>> {
    let lines = (1..).zip(std::io::stdin().lines()).filter(|(_, line)| !matches!(line, Ok(line) if line.trim().is_empty()));
    let unread = |number, error| Exit::Failed.because(format!("line {number} of stdin: {error}"));
    lines.map(|(number, line)| find(number, line.map_err(|error| unread(number, error))?, context)).collect()
}

fn find(number: usize, mut line: String, context: &Context) -> Result<Wanted, Failure> {
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
        Ok(Some(record)) => Ok(Wanted::Found(Box::new(record))),
        Ok(None) => Err(Exit::NotFound.because(format!("line {number} of stdin is no key of this table"))),
        Err(error) if error.exit == Exit::Unreachable => Err(error),
        Err(error) => Err(error.exit.because(format!("line {number} of stdin is a key whose record cannot be read"))),
    }
}
