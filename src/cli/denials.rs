//! `sidegate denials`: why requests were refused, the latest first. About ten thousand are kept; under a flood, a part of them.

use serde_json::Value;

use super::keys::context::Access;
use super::keys::view;
use super::when::When;
use super::{Exit, Failure, Globals, desk, output};
use crate::key::shown;
use crate::rejection::Rejection;
use crate::store::usage::{Denial, DenialFilter};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this request: the X-Request-Id of its answer
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Only of this key
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    #[arg(long, value_parser = reason, help = "Only for this reason, such as ip_denied")]
    reason: Option<String>,
    /// From then on: 24h (ago), 2026-06-01, or a time in RFC 3339
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

fn reason(text: &str) -> Result<String, String> {
    match Rejection::from_reason(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("`{text}` is no reason; `sidegate denials` shows those that were given")),
    }
}

const COLUMNS: [&str; 9] = ["time", "request_id", "reason", "detail", "tenant", "key", "client", "method", "path"];

/// Runs it.
///
/// # Errors
/// `Exit::NotFound` where nothing is kept of the request that was named.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let desk = desk::open(Access::Read, globals)?;
    let filter = DenialFilter {
        request_id: args.request.clone(),
        key: args.key.clone(),
        tenant: args.tenant.clone(),
        reason: args.reason.clone(),
        since: args.since.map(|when| when.at(desk.now())),
    };
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let denials = desk.denials(&filter, limit)?;
    if let (Some(id), true) = (&args.request, denials.is_empty()) {
        return Err(Exit::NotFound.because(format!(
            "no refusal of request {id} is kept: it was not refused, or too long ago; a sidecar tells of a refusal within seconds"
        )));
    }
    print(&denials, globals);
    Ok(())
}

fn print(denials: &[Denial], globals: &Globals) {
    let mut shown: Vec<_> = denials.iter().map(shown::fields).collect();
    if !globals.json {
        for (shown, denial) in shown.iter_mut().zip(denials) {
            // What is not known by its id is known by this.
            shown.entry("key").or_insert_with(|| denial.credential.clone().into());
            if denial.observed {
                shown.insert("reason".into(), Value::from(format!("{} (let through)", denial.reason)));
            }
        }
    }
    if globals.quiet {
        return denials.iter().for_each(|denial| output::line(&denial.request_id));
    }
    view::print_list(&shown, &COLUMNS, globals);
}
