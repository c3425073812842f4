//! `tenants update`: the name, the networks, the ceiling and the limit of all that acts for a tenant. Its id stays.

use serde_json::Value;

use super::print;
use crate::cli::edit::{self, ListEdit, Whole};
use crate::cli::keys::context::{Access, Context, pair};
use crate::cli::keys::update::own_limit;
use crate::cli::wait::Wait;
use crate::cli::{Exit, Failure, Globals, output};
use crate::key::lifecycle::LifecycleError;
use crate::key::rules::Fault;
use crate::tenant::TenantRecord;

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

impl Update {
    fn lists(&self) -> [(&'static str, ListEdit<'_>, fn(&mut TenantRecord) -> &mut Option<Vec<String>>); 2] {
        [
            ("network", ListEdit { whole: self.ips, remove: &self.remove_ips, add: &self.add_ips }, |tenant| &mut tenant.ip_allowlist),
            ("scope", ListEdit { whole: self.scopes, remove: &self.remove_scopes, add: &self.add_scopes }, |tenant| &mut tenant.scopes),
        ]
    }

    fn is_nothing(&self) -> bool {
        self.name.is_none()
            && self.rate_limit.is_none()
            && self.metadata.is_empty()
            && self.remove_metadata.is_empty()
            && self.lists().iter().all(|(_, edit, _)| edit.is_nothing())
    }

    fn apply(&self, tenant: &mut TenantRecord) -> Result<(), String> {
        if let Some(name) = &self.name {
            tenant.name.clone_from(name);
        }
        for (what, edit, list) in self.lists() {
            edit.apply(what, list(tenant))?;
        }
        if let Some(limit) = &self.rate_limit {
            tenant.rate_limit = Some(limit.clone()).filter(|limit| !limit.is_null());
        }
        edit::metadata(&mut tenant.metadata, &self.metadata, &self.remove_metadata)
    }
}

pub(super) fn update(args: &Update, globals: &Globals) -> Result<(), Failure> {
    if args.is_nothing() {
        return Err(Exit::Usage.because("nothing to change: `sidegate tenants update --help` lists the flags"));
    }
    let context = Context::open(Access::Change, globals)?;
    let mut before = context.run(context.lifecycle.find_tenant(&args.id))?;
    let apply = |tenant: &mut TenantRecord| args.apply(tenant).map_err(|why| LifecycleError::Invalid(vec![Fault::new("", why)]));
    let mut after = context.run(context.lifecycle.update_tenant(&args.id, args.if_version, apply))?;
    print(&after, globals);
    for (what, edit, list) in args.lists() {
        let remark = edit.remark(what, list(&mut before).as_deref(), list(&mut after).as_deref());
        remark.into_iter().for_each(|remark| output::note(format_args!("warning: {remark}")));
    }
    args.wait.confirm(&context, globals)
}
