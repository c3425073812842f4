//! `keys create`, `keys rotate`: the two commands that print a secret.

use serde_json::Value;

use super::context::{Access, given, pair};
use super::view;
use crate::cli::desk::{self, KeyVerb, Shown, text};
use crate::cli::wait::{Wait, confirm};
use crate::cli::{Failure, Globals, output};
use crate::config::units::Span;
use crate::key::lifecycle::NewKey;
use crate::limit;

/// Flags of `keys create`.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Tenant it acts for
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// What people call it
    #[arg(long)]
    name: String,
    /// Environment: live, test, or the label of one
    #[arg(long, default_value = "live")]
    env: String,
    /// Kind: secret, publishable, or another configured one
    #[arg(long, default_value = "secret")]
    kind: String,
    /// Scope to grant; may end in *; repeatable [default: none]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Network it may be used from; repeatable [default: any]
    #[arg(long = "ip", value_name = "CIDR")]
    ips: Vec<String>,
    /// Origin it may be used from, such as https://*.shop.example; repeatable [default: any]
    #[arg(long = "referrer", value_name = "ORIGIN")]
    referrers: Vec<String>,
    /// Endpoint it may call, such as "GET /v1/users/{id}"; repeatable [default: any]
    #[arg(long = "endpoint", value_name = "ENDPOINT")]
    endpoints: Vec<String>,
    /// Limit of its own: requests/time or requests/time/burst, such as 100/1s/200; counted by all sidecars together [default: no limit]
    #[arg(long, value_name = "LIMIT", value_parser = limit::own::parse)]
    rate_limit: Option<serde_json::Value>,
    /// When it ends: 90d, a time in RFC 3339, or never [default: as configured]
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Metadata for header templates; repeatable
    #[arg(long = "meta", value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
}

/// Flags of `keys rotate`.
#[derive(Debug, clap::Args)]
pub struct Rotate {
    /// The key
    id: String,
    /// How long the old secret still works, such as 24h [default: as configured]
    #[arg(long, value_name = "SPAN", conflicts_with = "end_overlap")]
    overlap: Option<Span>,
    /// Replace nothing: end the overlap of the last rotation now
    #[arg(long)]
    end_overlap: bool,
    #[command(flatten)]
    wait: Wait,
}

pub(super) fn create(args: &Create, globals: &Globals) -> Result<(), Failure> {
    let desk = desk::open(Access::Change, globals)?;
    let new = NewKey {
        tenant: args.tenant.clone(),
        name: args.name.clone(),
        environment: desk.environment(&args.env)?,
        kind: args.kind.clone(),
        scopes: args.scopes.clone(),
        ip_allowlist: given(&args.ips),
        referrers: given(&args.referrers),
        endpoints: given(&args.endpoints),
        rate_limit: args.rate_limit.clone(),
        expires: args.expires.clone(),
        metadata: args.metadata.iter().cloned().collect(),
    };
    let (shown, hints) = desk.create_key(new)?;
    print_issued(&shown, globals);
    for hint in &hints {
        output::note(format_args!("warning: {hint}"));
    }
    Ok(())
}

pub(super) fn rotate(args: &Rotate, globals: &Globals) -> Result<(), Failure> {
    let mut desk = desk::open(Access::Change, globals)?;
    desk.wait_for(args.wait.wait);
    if args.end_overlap {
        let shown = desk.change_key(&args.id, KeyVerb::EndOverlap)?;
        if !globals.quiet {
            view::print(&shown, globals);
        }
        return confirm(&*desk, globals);
    }
    let shown = desk.rotate(&args.id, args.overlap)?;
    print_issued(&shown, globals);
    if let Some(until) = shown.get("cut_short").and_then(Value::as_str) {
        output::note(format_args!("the secret before the replaced one, valid until {until}, ends now: a key has one previous secret"));
    }
    confirm(&*desk, globals)
}

/// The one time a secret is shown.
fn print_issued(shown: &Shown, globals: &Globals) {
    if globals.quiet {
        return output::line(text(shown, "key"));
    }
    view::print(shown, globals);
    output::note("the key is shown this once; Sidegate keeps only a digest of it");
}
