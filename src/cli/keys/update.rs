//! `keys update`: what a key may, is called and how long it lives. Its secret, kind, environment and tenant stay.

use serde_json::Value;

use super::context::{Access, Context, pair};
use super::view;
use crate::cli::edit::{self, ListEdit, Whole};
use crate::cli::wait::Wait;
use crate::cli::{Exit, Failure, Globals, output};
use crate::key::hints::hints;
use crate::key::lifecycle::LifecycleError;
use crate::key::record::KeyRecord;
use crate::key::rules::Fault;
use crate::key::shown;
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
    fn scopes(&self) -> ListEdit<'_> {
        ListEdit { whole: None, remove: &self.remove_scopes, add: &self.add_scopes }
    }

    /// The lists that a key may lack, what one entry of each is called, and where it stands in the record.
    fn lists(&self) -> [(&'static str, ListEdit<'_>, fn(&mut KeyRecord) -> &mut Option<Vec<String>>); 3] {
        [
            ("network", ListEdit { whole: self.ips, remove: &self.remove_ips, add: &self.add_ips }, |key| &mut key.ip_allowlist),
            ("origin", ListEdit { whole: self.referrers, remove: &self.remove_referrers, add: &self.add_referrers }, |key| {
                &mut key.referrers
            }),
            ("endpoint", ListEdit { whole: self.endpoints, remove: &self.remove_endpoints, add: &self.add_endpoints }, |key| {
                &mut key.endpoints
            }),
        ]
    }

    fn is_nothing(&self) -> bool {
        self.name.is_none()
            && self.expires.is_none()
            && self.rate_limit.is_none()
            && self.metadata.is_empty()
            && self.remove_metadata.is_empty()
            && self.scopes().is_nothing()
            && self.lists().iter().all(|(_, edit, _)| edit.is_nothing())
    }

    fn apply(&self, key: &mut KeyRecord, context: &Context) -> Result<(), String> {
        if let Some(name) = &self.name {
            key.name.clone_from(name);
        }
        let mut scopes = Some(std::mem::take(&mut key.scopes));
        self.scopes().apply("scope", &mut scopes)?;
        key.scopes = scopes.unwrap_or_default();
        for (what, edit, list) in self.lists() {
            edit.apply(what, list(key))?;
        }
        if let Some(expires) = &self.expires {
            key.expires_at = context.lifecycle.rules.expiry(Some(expires), context.clock.now())?;
        }
        if let Some(limit) = &self.rate_limit {
            key.rate_limit = Some(limit.clone()).filter(|limit| !limit.is_null());
        }
        edit::metadata(&mut key.metadata, &self.metadata, &self.remove_metadata)
    }
}

pub(super) fn update(args: &Update, globals: &Globals) -> Result<(), Failure> {
    if args.is_nothing() {
        return Err(Exit::Usage.because("nothing to change: `sidegate keys update --help` lists the flags"));
    }
    let context = Context::open(Access::Change, globals)?;
    let mut before = context.run(context.lifecycle.find_key(&args.id))?;
    let apply = |key: &mut KeyRecord| args.apply(key, &context).map_err(|why| LifecycleError::Invalid(vec![Fault::new("", why)]));
    let mut after = context.run(context.lifecycle.update(&args.id, args.if_version, apply))?;
    if globals.quiet {
        output::line(&after.id);
    } else {
        view::print(&shown::key(&after, None, context.clock.now()), globals);
    }
    for (what, edit, list) in args.lists() {
        let remark = edit.remark(what, list(&mut before).as_deref(), list(&mut after).as_deref());
        remark.into_iter().for_each(|remark| output::note(format_args!("warning: {remark}")));
    }
    let tenant = context.run(context.lifecycle.find_tenant(&after.tenant))?;
    for hint in hints(&context.config, &after, &tenant) {
        output::note(format_args!("warning: {hint}"));
    }
    args.wait.confirm(&context, globals)
}
