//! `keys usage`: what a key, or all keys of a tenant, came to by day; and what a key could do without.

use serde_json::{Map, Value, json};

use super::context::{Access, Context};
use super::view;
use crate::cli::{Failure, Globals, output};
use crate::key::lifecycle::LifecycleError;
use crate::key::record::KeyRecord;
use crate::key::shown;
use crate::store::usage::{DayUsage, KeyUsage};
use crate::usage::{Day, Totals, last_use, report, summary};

/// Flags of `keys usage`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The key
    #[arg(required_unless_present = "tenant", conflicts_with = "tenant")]
    id: Option<String>,
    /// All keys of this tenant together
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// So many days, today (UTC) among them; counts are kept for 400
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=400))]
    days: u16,
    /// What the key may do and did not do in these days, and the command that takes it away
    #[arg(long, conflicts_with = "tenant")]
    report: bool,
}

/// Days, from the first to the last.
type Window = (Day, Day);

pub(super) fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let context = Context::open(Access::Read, globals)?;
    let today = Day::of(context.clock.now());
    let window = (today.plus(1 - i32::from(args.days)), today);
    if let Some(tenant) = &args.tenant {
        return of_tenant(tenant, window, &context, globals);
    }
    let record = context.run(context.lifecycle.find_key(args.id.as_deref().unwrap_or_default()))?;
    let usage = read(&context, &[&record.id], window)?.pop().unwrap_or_default();
    if args.report {
        print_report(&record, &usage, window.0, globals);
    } else if globals.json {
        print_key(&record, &usage, window);
    } else {
        print_days(&usage.days, globals);
    }
    Ok(())
}

fn read(context: &Context, keys: &[&str], (from, to): Window) -> Result<Vec<KeyUsage>, Failure> {
    context.run(async { context.usages.usage(keys, from, to).await.map_err(LifecycleError::from) })
}

fn of_tenant(tenant: &str, window: Window, context: &Context, globals: &Globals) -> Result<(), Failure> {
    context.run(context.lifecycle.find_tenant(tenant))?;
    let keys = context.run(context.lifecycle.list_keys(Some(tenant)))?;
    let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    let usages = read(context, &ids, window)?;
    let days = summary::by_day(&usages);
    if !globals.json {
        print_days(&days, globals);
        return Ok(());
    }
    let of_key = |(key, usage): (&KeyRecord, &KeyUsage)| {
        let last = last_use(key, usage.last.as_ref());
        json!({ "id": key.id, "name": key.name, "last_used": last.map(|last| last.at), "total": Totals::of(&usage.days) })
    };
    let by_key: Vec<Value> = keys.iter().zip(&usages).map(of_key).collect();
    let (from, to) = window;
    output::json(&json!({ "tenant": tenant, "from": from, "to": to, "days": days, "total": Totals::of(&days), "keys": by_key }));
    Ok(())
}

fn print_key(record: &KeyRecord, usage: &KeyUsage, (from, to): Window) {
    let last = last_use(record, usage.last.as_ref());
    output::json(&json!({
        "id": record.id, "tenant": record.tenant, "from": from, "to": to, "days": usage.days, "total": Totals::of(&usage.days),
        "last_used": last.as_ref().map(|last| last.at), "last_used_from": last.and_then(|last| last.from),
        "networks": usage.networks, "scopes": usage.scopes,
    }));
}

/// A line a day and one of all of them; for scripts only the number of requests.
fn print_days(days: &[DayUsage], globals: &Globals) {
    let total = Totals::of(days);
    if globals.quiet {
        return output::line(total.requests);
    }
    let row = |name: String, of: &Totals| {
        let reasons: Vec<String> = of.denied.iter().map(|(reason, count)| format!("{reason}={count}")).collect();
        let numbers = [of.requests, of.denials(), of.received_bytes, of.sent_bytes].map(|number| number.to_string());
        std::iter::once(name).chain(numbers).chain([reasons.join(" ")]).collect::<Vec<_>>()
    };
    let rows = days.iter().map(|day| row(day.day.to_string(), &Totals::of([day]))).chain([row("total".to_owned(), &total)]);
    output::table(&["day", "requests", "denied", "received_bytes", "sent_bytes", "reasons"], rows);
}

fn print_report(record: &KeyRecord, usage: &KeyUsage, since: Day, globals: &Globals) {
    let report = report::least_privilege(record, usage, since);
    if globals.quiet {
        return report.command.iter().for_each(output::line);
    }
    let mut shown = Map::new();
    shown.insert("id".into(), json!(record.id));
    shown.insert("since".into(), json!(since));
    shown.extend(shown::fields(&report));
    if !globals.json {
        let wide = report.wide_scopes.iter().map(|wide| format!("{} (used: {})", wide.scope, wide.used.join(" ")));
        let networks = report.networks.iter().map(|seen| format!("{} (last {})", seen.network, Day::of(seen.last)));
        shown.insert("wide_scopes".into(), wide.collect());
        shown.insert("networks".into(), networks.collect());
    }
    view::print(&shown, globals);
}
