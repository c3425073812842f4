//! `keys list`, `keys show`.

use super::context::{Access, Context};
use super::view;
use crate::cli::when::When;
use crate::cli::{Failure, Globals, output};
use crate::clock::Timestamp;
use crate::key::filter::{Filter, STATUSES};
use crate::key::lifecycle::LifecycleError;
use crate::key::record::KeyRecord;
use crate::key::shown;
use crate::usage::attention::{self, Kind, attention};
use crate::usage::show_last_use;

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
    /// Only those that somebody should look at, and why
    #[arg(long)]
    attention: bool,
    #[arg(long, help = "Only those whose secret is older than keys.rotate_reminder")]
    due: bool,
    /// Only those with this in their name, in upper or lower case
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only those whose secret begins with this, such as sk_live_
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only those not used since: 90d (ago), 2026-06-01, or a time in RFC 3339
    #[arg(long, value_name = "WHEN")]
    last_used_before: Option<When>,
}

impl List {
    fn filter(&self, context: &Context, now: Timestamp) -> Result<Filter, Failure> {
        Ok(Filter {
            tenant: self.tenant.clone(),
            environment: self.env.as_deref().map(|word| context.environment(word)).transpose()?,
            status: self.status.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            prefix: self.prefix.clone(),
            last_used_before: self.last_used_before.map(|when| when.at(now)),
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

/// Keys whose usage is asked for at once.
const AT_ONCE: usize = 500;

const COLUMNS: [&str; 9] = ["id", "tenant", "name", "environment", "kind", "status", "last4", "scopes", "expires_at"];

pub(super) fn list(args: &List, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Read, globals)?;
    let now = context.clock.now();
    let filter = args.filter(&context, now)?;
    if let Some(tenant) = &args.tenant {
        context.run(context.lifecycle.find_tenant(tenant))?;
    }
    let mut keys = context.run(context.lifecycle.list_keys(args.tenant.as_deref()))?;
    keys.retain(|key| filter.admits(key, now));
    if args.attention || args.due {
        return list_marked(args.due, &keys, &context, globals);
    }
    show_last_uses(&mut keys, &context)?;
    // What was counted is later than what a record was imported with, if anything.
    keys.retain(|key| filter.admits(key, now));
    let shown: Vec<_> = keys.iter().map(|key| shown::key(key, None, now)).collect();
    view::print_list(&shown, &COLUMNS, globals);
    Ok(())
}

/// Keys with marks, and these in words.
fn list_marked(only_due: bool, keys: &[KeyRecord], context: &Context, globals: &Globals) -> Result<(), Failure> {
    let (now, rules) = (context.clock.now(), &context.config.keys);
    let (from, to) = attention::window(now);
    let mut shown = Vec::new();
    for keys in keys.chunks(AT_ONCE) {
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        let usages = context.run(async { context.usages.usage(&ids, from, to).await.map_err(LifecycleError::from) })?;
        for (key, usage) in keys.iter().zip(&usages) {
            let marks = attention(key, usage, rules, now);
            if !marks.iter().any(|mark| !only_due || mark.mark == Kind::RotationDue) {
                continue;
            }
            let mut key = key.clone();
            show_last_use(&mut key, usage.last.as_ref());
            let mut fields = shown::key(&key, None, now);
            let words = || marks.iter().map(|mark| format!("{}: {}", mark.mark.name(), mark.detail)).collect::<Vec<_>>().join("; ");
            fields.insert("attention".into(), if globals.json { serde_json::json!(marks) } else { words().into() });
            shown.push(fields);
        }
    }
    view::print_list(&shown, &["id", "tenant", "name", "kind", "last_used", "attention"], globals);
    Ok(())
}

/// What was counted, where it is later than what the records were imported with.
pub(super) fn show_last_uses(keys: &mut [KeyRecord], context: &Context) -> Result<(), Failure> {
    for keys in keys.chunks_mut(AT_ONCE) {
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        let counted = context.run(async { context.usages.last_uses(&ids).await.map_err(LifecycleError::from) })?;
        for (key, counted) in keys.iter_mut().zip(counted) {
            show_last_use(key, counted.as_ref());
        }
    }
    Ok(())
}

pub(super) fn show(args: &Show, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Read, globals)?;
    let mut record = context.run(context.lifecycle.find_key(&args.id))?;
    show_last_uses(std::slice::from_mut(&mut record), &context)?;
    if globals.quiet {
        output::line(&record.id);
    } else {
        view::print(&shown::key(&record, None, context.clock.now()), globals);
    }
    Ok(())
}
