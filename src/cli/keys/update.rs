//! `keys update`: what a key may, is called and how long it lives. Its secret, kind, environment and tenant stay.

use serde_json::Value;

use super::context::{Access, pair};
use super::view;
use crate::cli::edit::{Edit, ListEdit, Whole};
use crate::cli::wait::{Wait, confirm};
use crate::cli::{Exit, Failure, Globals, desk};
use crate::limit;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Update {
    /// The key
    id: String,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// Scope to grant; may end in *; repeatable
    #[arg(long = "add-scope", value_name = "SCOPE")]
    add_scopes: Vec<String>,
    /// Scope to take away; repeatable
    #[arg(long = "remove-scope", value_name = "SCOPE")]
    remove_scopes: Vec<String>,
    /// Allow every network, or none but those added
    #[arg(long = "ip", value_enum, value_name = "any|none", hide_possible_values = true)]
    ips: Option<Whole>,
    /// Network to allow; repeatable
    #[arg(long = "add-ip", value_name = "CIDR")]
    add_ips: Vec<String>,
    /// Network to allow no more; repeatable
    #[arg(long = "remove-ip", value_name = "CIDR")]
    remove_ips: Vec<String>,
    /// Allow every origin, or none but those added
    #[arg(long = "referrer", value_enum, value_name = "any|none", hide_possible_values = true)]
    referrers: Option<Whole>,
    /// Origin to allow; repeatable
    #[arg(long = "add-referrer", value_name = "ORIGIN")]
    add_referrers: Vec<String>,
    /// Origin to allow no more; repeatable
    #[arg(long = "remove-referrer", value_name = "ORIGIN")]
    remove_referrers: Vec<String>,
    /// Allow every endpoint, or none but those added
    #[arg(long = "endpoint", value_enum, value_name = "any|none", hide_possible_values = true)]
    endpoints: Option<Whole>,
    /// Endpoint to allow, such as "GET /v1/users/{id}"; repeatable
    #[arg(long = "add-endpoint", value_name = "ENDPOINT")]
    add_endpoints: Vec<String>,
    /// Endpoint to allow no more; repeatable
    #[arg(long = "remove-endpoint", value_name = "ENDPOINT")]
    remove_endpoints: Vec<String>,
    /// When it ends: 90d from now, a time in RFC 3339, or never
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Limit of its own: requests/time or requests/time/burst, such as 100/1s/200; or none
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

/// A limit, or `none` as JSON's null.
pub(crate) fn own_limit(text: &str) -> Result<Value, String> {
    if text == "none" { Ok(Value::Null) } else { limit::own::parse(text) }
}

impl Update {
    fn edit(&self) -> Edit {
        let list = |whole, remove: &[String], add: &[String]| ListEdit { whole, remove: remove.to_vec(), add: add.to_vec() };
        Edit {
            name: self.name.clone(),
            scopes: list(None, &self.remove_scopes, &self.add_scopes),
            networks: list(self.ips, &self.remove_ips, &self.add_ips),
            origins: list(self.referrers, &self.remove_referrers, &self.add_referrers),
            endpoints: list(self.endpoints, &self.remove_endpoints, &self.add_endpoints),
            rate_limit: self.rate_limit.clone(),
            metadata: self.metadata.clone(),
            remove_metadata: self.remove_metadata.clone(),
        }
    }
}

pub(super) fn update(args: &Update, globals: &Globals) -> Result<(), Failure> {
    let (edit, expires) = (args.edit(), args.expires.as_deref());
    if edit.is_nothing() && expires.is_none() {
        return Err(Exit::Usage.because("nothing to change: `sidegate keys update --help` lists the flags"));
    }
    let mut desk = desk::open(Access::Change, globals)?;
    desk.wait_for(args.wait.wait);
    let changed = desk.update_key(&args.id, args.if_version, &edit, expires)?;
    view::print_changed(&edit, changed, globals);
    confirm(&*desk, globals)
}
