//! `keys list`, `keys show`.

use super::context::{Access, Context};
use super::view;
use crate::cli::when::When;
use crate::cli::{Failure, Globals, output};
use crate::clock::Timestamp;
use crate::key::filter::{Filter, STATUSES};
use crate::key::shown;

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
    let shown: Vec<_> = keys.iter().map(|key| shown::key(key, None, now)).collect();
    view::print_list(&shown, &COLUMNS, globals);
    Ok(())
}

pub(super) fn show(args: &Show, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Read, globals)?;
    let record = context.run(context.lifecycle.find_key(&args.id))?;
    if globals.quiet {
        output::line(&record.id);
    } else {
        view::print(&shown::key(&record, None, context.clock.now()), globals);
    }
    Ok(())
}
