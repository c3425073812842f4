//! `tenants update`: the name, the networks, the ceiling and the limit of all that acts for a tenant. Its id stays.

use serde_json::Value;

use crate::cli::edit::{Edit, ListEdit, Whole};
use crate::cli::keys::context::{Access, pair};
use crate::cli::keys::update::own_limit;
use crate::cli::keys::view;
use crate::cli::wait::{Wait, confirm};
use crate::cli::{Exit, Failure, Globals, desk};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Update {
    /// The tenant
    id: String,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// Allow every network, or none but those added
    #[arg(long = "ip", value_enum, value_name = "any|none", hide_possible_values = true)]
    ips: Option<Whole>,
    /// Network to allow; repeatable
    #[arg(long = "add-ip", value_name = "CIDR")]
    add_ips: Vec<String>,
    /// Network to allow no more; repeatable
    #[arg(long = "remove-ip", value_name = "CIDR")]
    remove_ips: Vec<String>,
    /// Lift the ceiling, or lower it to none but the scopes added
    #[arg(long = "scope", value_enum, value_name = "any|none", hide_possible_values = true)]
    scopes: Option<Whole>,
    /// Scope to add to the ceiling; repeatable
    #[arg(long = "add-scope", value_name = "SCOPE")]
    add_scopes: Vec<String>,
    /// Scope to take out of the ceiling; repeatable
    #[arg(long = "remove-scope", value_name = "SCOPE")]
    remove_scopes: Vec<String>,
    /// Limit of its own, of all its keys together: requests/time or requests/time/burst, such as 1000/1s; or none
    #[arg(long, value_name = "LIMIT", value_parser = own_limit)]
    rate_limit: Option<Value>,
    /// Metadata to set; repeatable
    #[arg(long = "meta", value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Metadata to take away; repeatable
    #[arg(long = "remove-meta", value_name = "NAME")]
    remove_metadata: Vec<String>,
    /// Only if it still has this version; else exit 7 names the one it has
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,
    #[command(flatten)]
    wait: Wait,
}

pub(super) fn update(args: &Update, globals: &Globals) -> Result<(), Failure> {
    let list = |whole, remove: &[String], add: &[String]| ListEdit { whole, remove: remove.to_vec(), add: add.to_vec() };
    let edit = Edit {
        name: args.name.clone(),
        scopes: list(args.scopes, &args.remove_scopes, &args.add_scopes),
        networks: list(args.ips, &args.remove_ips, &args.add_ips),
        rate_limit: args.rate_limit.clone(),
        metadata: args.metadata.clone(),
        remove_metadata: args.remove_metadata.clone(),
        ..Edit::default()
    };
    if edit.is_nothing() {
        return Err(Exit::Usage.because("nothing to change: `sidegate tenants update --help` lists the flags"));
    }
    let mut desk = desk::open(Access::Change, globals)?;
    desk.wait_for(args.wait.wait);
    view::print_changed(&edit, desk.update_tenant(&args.id, args.if_version, &edit)?, globals);
    confirm(&*desk, globals)
}
