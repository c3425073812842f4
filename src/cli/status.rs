//! `sidegate status`: the sidecar of this machine, the store, the change log, and the sidecars that serve from it.

use serde_json::{Value, json};

use super::keys::context::{Access, Context};
use super::{Failure, Globals, control, desk, output};
use crate::clock::instant;
use crate::config;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// `Exit::Unreachable` where the store does not answer.
pub fn run(_args: &Args, globals: &Globals) -> Result<(), Failure> {
    let status = desk::open(Access::Read, globals)?.status()?;
    if globals.json {
        output::json(&status);
        return Ok(());
    }
    if let Some(local) = status.get("sidecar").filter(|local| !local.is_null() && !globals.quiet) {
        describe(local);
    }
    let sidecars = status.get("sidecars").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !globals.quiet {
        let of = |pointer: &str| status.pointer(pointer).map(Value::to_string).unwrap_or_default();
        let url = status.pointer("/store/url").and_then(Value::as_str).map(|url| format!(" {url}")).unwrap_or_default();
        let (took, position) = (of("/store/answered_in_ms"), of("/store/position"));
        output::note(format_args!("store{url}: answered in {took} ms; change log at {position}; sidecars: {}", sidecars.len()));
    }
    output::table(&COLUMNS, sidecars.iter().map(row));
    Ok(())
}

/// At the store itself, and at the control socket of this machine.
pub(super) fn here(context: &Context) -> Result<Value, Failure> {
    // One that is not there, or of another user, is no failure: the store is what was asked for.
    let local = control::ask(&context.config, "GET", "/status", control::AT_ONCE).ok().map(|(_, status)| status);
    let store = &context.lifecycle.store;
    let asked = instant();
    let position = context.run(async { Ok(store.position().await?) })?;
    let took = (asked.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
    let mut sidecars = context.run(async { Ok(store.instances().await?) })?;
    sidecars.sort_by(|a, b| (a.instance.started_at, &a.instance.id).cmp(&(b.instance.started_at, &b.instance.id)));
    let sidecars: Vec<_> = sidecars.iter().map(|seen| seen.shown(position)).collect();
    let url = config::without_passwords(&context.config.store.url);
    Ok(json!({ "store": { "url": url, "answered_in_ms": took, "position": position }, "sidecar": local, "sidecars": sidecars }))
}

/// Says how the sidecar of this machine is.
fn describe(local: &Value) {
    let at = |pointer: &str| match local.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    output::note(format_args!(
        "this sidecar (process {}, release {}): {}, up {} s; connections: {}, requests in flight: {}",
        at("/pid"),
        at("/version"),
        at("/state"),
        at("/uptime_s"),
        at("/connections"),
        at("/requests_in_flight")
    ));
    let refused = at("/configuration/last_reload/outcome") == "refused";
    let latest =
        if refused { format!("; refused at {}: see `sidegate reload`", at("/configuration/last_reload/at")) } else { String::new() };
    output::note(format_args!(
        "configuration {} (generation {}) in use since {}{latest}",
        at("/configuration/hash"),
        at("/configuration/generation"),
        at("/configuration/since")
    ));
    for key in local.pointer("/configuration/needs_restart").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        output::note(format_args!("{key} has changed and needs a restart"));
    }
    for listener in local.get("listeners").and_then(Value::as_array).into_iter().flatten() {
        let of = |key: &str| listener.get(key).and_then(Value::as_str).unwrap_or_default();
        let connections = listener.get("connections").map(ToString::to_string).unwrap_or_default();
        output::note(format_args!("listener {} at {}: connections: {connections}", of("name"), of("address")));
    }
}

const COLUMNS: [&str; 7] = ["name", "state", "release", "started_at", "position", "behind", "silent_ms"];

fn row(fields: &Value) -> Vec<String> {
    let text = |name: &&str| match fields.get(*name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    COLUMNS.iter().map(text).collect()
}
