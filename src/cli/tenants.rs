//! `sidegate tenants …`.

mod delete;
mod update;

use super::keys::context::{Access, Context, given, pair};
use super::keys::view;
use super::wait::Wait;
use super::{Failure, Globals, output};
use crate::key::shown;
use crate::limit;
use crate::tenant::lifecycle::NewTenant;
use crate::tenant::{TenantRecord, TenantStatus};

/// Its commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a tenant
    Create(Create),
    /// List tenants in the order of creation
    List,
    /// Show one tenant
    Show(One),
    /// Change what a tenant is called, its networks, ceiling, limit and metadata
    Update(Box<update::Update>),
    /// Refuse all credentials of a tenant
    Suspend(Change),
    /// Accept them again
    Resume(Change),
    /// Delete a tenant and its keys, for ever
    Delete(delete::Delete),
}

/// Flags of `tenants create`.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Id, chosen by you: A-Z a-z 0-9 . _ -
    #[arg(long)]
    id: String,
    /// What people call it [default: the id]
    #[arg(long)]
    name: Option<String>,
    /// Network its credentials may be used from; repeatable [default: any]
    #[arg(long = "ip", value_name = "CIDR")]
    ips: Vec<String>,
    /// Ceiling: what else its credentials are granted is not effective; repeatable [default: no ceiling]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Limit of its own, of all its keys together: requests/time or requests/time/burst, such as 1000/1s [default: no limit]
    #[arg(long, value_name = "LIMIT", value_parser = limit::own::parse)]
    rate_limit: Option<serde_json::Value>,
    /// Metadata for header templates; repeatable
    #[arg(long = "meta", value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
}

/// One tenant.
#[derive(Debug, clap::Args)]
pub struct One {
    /// The tenant
    id: String,
}

/// One tenant, suspended or resumed.
#[derive(Debug, clap::Args)]
pub struct Change {
    /// The tenant
    id: String,
    #[command(flatten)]
    wait: Wait,
}

/// Runs one.
///
/// # Errors
/// With the exit code that the contract names.
pub fn run(command: &Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::Create(args) => create(args, globals),
        Command::List => list(globals),
        Command::Show(args) => show(args, globals),
        Command::Update(args) => update::update(args, globals),
        Command::Suspend(args) => set_status(args, TenantStatus::Suspended, globals),
        Command::Resume(args) => set_status(args, TenantStatus::Active, globals),
        Command::Delete(args) => delete::delete(args, globals),
    }
}

fn create(args: &Create, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Make, globals)?;
    let new = NewTenant {
        id: args.id.clone(),
        name: args.name.clone().unwrap_or_else(|| args.id.clone()),
        ip_allowlist: given(&args.ips),
        scopes: given(&args.scopes),
        rate_limit: args.rate_limit.clone(),
        metadata: args.metadata.iter().cloned().collect(),
    };
    print(&context.run(context.lifecycle.create_tenant(new))?, globals);
    Ok(())
}

fn list(globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Read, globals)?;
    let shown: Vec<_> = context.run(context.lifecycle.list_tenants())?.iter().map(shown::fields).collect();
    view::print_list(&shown, &["id", "name", "status", "created_at"], globals);
    Ok(())
}

fn show(args: &One, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Read, globals)?;
    print(&context.run(context.lifecycle.find_tenant(&args.id))?, globals);
    Ok(())
}

fn set_status(args: &Change, status: TenantStatus, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Change, globals)?;
    print(&context.run(context.lifecycle.set_tenant_status(&args.id, status))?, globals);
    args.wait.confirm(&context, globals)
}

fn print(record: &TenantRecord, globals: &Globals) {
    if globals.quiet {
        output::line(&record.id);
    } else {
        view::print(&shown::fields(record), globals);
    }
}
