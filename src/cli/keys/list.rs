//! `keys list`, `keys show`.

use serde_json::Value;

use super::context::Access;
use super::view;
use crate::cli::desk::{self, Desk, Marked};
use crate::cli::when::When;
use crate::cli::{Failure, Globals, output};
use crate::key::filter::{Filter, STATUSES};
use crate::store::Page;

/// Flags of `keys list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Only this tenant's
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only this environment's
    #[arg(long)]
    env: Option<String>,
    /// Only this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only active, inactive, revoked or expired ones
    #[arg(long, value_parser = STATUSES)]
    status: Option<String>,
    /// Only those with this in their name, in upper or lower case
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    #[arg(long, value_name = "TEXT", help = "Only those whose secret begins with this, such as sk_live_")]
    prefix: Option<String>,
    /// Only those not used since: 90d (ago), 2026-06-01, or a time in RFC 3339
    #[arg(long, value_name = "WHEN")]
    last_used_before: Option<When>,
    /// Only those that somebody should look at, and why
    #[arg(long)]
    attention: bool,
    #[arg(long, help = "Only those whose secret is older than keys.rotate_reminder")]
    due: bool,
}

impl List {
    fn filter(&self, desk: &dyn Desk) -> Result<Filter, Failure> {
        Ok(Filter {
            tenant: self.tenant.clone(),
            environment: self.env.as_deref().map(|word| desk.environment(word)).transpose()?,
            status: self.status.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            prefix: self.prefix.clone(),
            last_used_before: self.last_used_before.map(|when| when.at(desk.now())),
            created_before: None,
        })
    }
}

/// Flags of `keys show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The key
    id: String,
}

const COLUMNS: [&str; 9] = ["id", "tenant", "name", "environment", "kind", "status", "last4", "scopes", "expires_at"];
const MARKED: [&str; 6] = ["id", "tenant", "name", "kind", "last_used", "attention"];

pub(super) fn list(args: &List, globals: &Globals) -> Result<(), Failure> {
    let desk = desk::open(Access::Read, globals)?;
    let marked = Marked { attention: args.attention, due: args.due };
    let Page { items: mut keys, unreadable, .. } = desk.keys(&args.filter(&*desk)?, marked)?;
    for error in &unreadable {
        output::note(format_args!("sidegate: left out: {error}"));
    }
    if !(marked.attention || marked.due) {
        view::print_list(&keys, &COLUMNS, globals);
        return Ok(());
    }
    if !globals.json {
        keys.iter_mut().filter_map(|shown| shown.get_mut("attention")).for_each(in_words);
    }
    view::print_list(&keys, &MARKED, globals);
    Ok(())
}

/// Marks as a person reads them.
fn in_words(marks: &mut Value) {
    let word = |mark: &Value, name: &str| mark.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let words = marks.as_array().into_iter().flatten().map(|mark| format!("{}: {}", word(mark, "mark"), word(mark, "detail")));
    *marks = words.collect::<Vec<_>>().join("; ").into();
}

pub(super) fn show(args: &Show, globals: &Globals) -> Result<(), Failure> {
    view::print_record(&desk::open(Access::Read, globals)?.key(&args.id)?, globals);
    Ok(())
}
