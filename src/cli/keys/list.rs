//! `keys list`, `keys show`.

use super::context::{Access, Context};
use super::view;
use crate::cli::{Failure, Globals, output};
use crate::key::lifecycle::standing;
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
    #[arg(long, value_parser = ["active", "inactive", "revoked", "expired"])]
    status: Option<String>,
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
    let environment = args.env.as_deref().map(|word| context.environment(word)).transpose()?;
    if let Some(tenant) = &args.tenant {
        context.run(context.lifecycle.find_tenant(tenant))?;
    }
    let mut keys = context.run(context.lifecycle.list_keys(args.tenant.as_deref()))?;
    let now = context.clock.now();
    keys.retain(|key| {
        environment.is_none_or(|environment| key.environment == environment)
            && args.kind.as_ref().is_none_or(|kind| key.kind == *kind)
            && args.status.as_ref().is_none_or(|status| standing(key, now) == status)
    });
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
