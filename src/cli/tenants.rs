//! `sidegate tenants …`.

mod delete;
mod update;

use super::desk::{self, TenantVerb};
use super::keys::context::{Access, given, pair};
use super::keys::view;
use super::wait::{Wait, confirm};
use super::{Failure, Globals};
use crate::limit;
use crate::tenant::lifecycle::NewTenant;

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
        Command::Suspend(args) => change(args, TenantVerb::Suspend, globals),
        Command::Resume(args) => change(args, TenantVerb::Resume, globals),
        Command::Delete(args) => delete::delete(args, globals),
    }
}

fn create(args: &Create, globals: &Globals) -> Result<(), Failure> {
    let desk = desk::open(Access::Make, globals)?;
    let new = NewTenant {
        id: args.id.clone(),
        name: args.name.clone().unwrap_or_else(|| args.id.clone()),
        ip_allowlist: given(&args.ips),
        scopes: given(&args.scopes),
        rate_limit: args.rate_limit.clone(),
        metadata: args.metadata.iter().cloned().collect(),
    };
    view::print_record(&desk.create_tenant(new)?, globals);
    Ok(())
}

fn list(globals: &Globals) -> Result<(), Failure> {
    view::print_list(&desk::open(Access::Read, globals)?.tenants()?, &["id", "name", "status", "created_at"], globals);
    Ok(())
}

fn show(args: &One, globals: &Globals) -> Result<(), Failure> {
    view::print_record(&desk::open(Access::Read, globals)?.tenant(&args.id)?, globals);
    Ok(())
}

fn change(args: &Change, verb: TenantVerb, globals: &Globals) -> Result<(), Failure> {
    let mut desk = desk::open(Access::Change, globals)?;
    desk.wait_for(args.wait.wait);
    view::print_record(&desk.change_tenant(&args.id, verb)?, globals);
    confirm(&*desk, globals)
}
