//! `keys usage`: what a key, or all keys of a tenant, came to by day; and what a key could do without.

use serde_json::{Map, Value};

use super::context::Access;
use super::view;
use crate::cli::desk::{self, UsageOf};
use crate::cli::{Failure, Globals, output};

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

pub(super) fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let desk = desk::open(Access::Read, globals)?;
    let of = match (&args.tenant, &args.id) {
        (Some(tenant), _) => UsageOf::Tenant(tenant),
        (None, id) => UsageOf::Key(id.as_deref().unwrap_or_default()),
    };
    let mut usage = desk.usage(of, args.days)?;
    let report = usage.as_object_mut().and_then(|usage| usage.shift_remove("report"));
    if let (true, Some(report)) = (args.report, report) {
        print_report(&usage, report, globals);
    } else if globals.json {
        output::json(&usage);
    } else {
        print_days(&usage, globals);
    }
    Ok(())
}

/// A line a day and one of all of them; for scripts only the number of requests.
fn print_days(usage: &Value, globals: &Globals) {
    let total = usage.get("total").unwrap_or(&Value::Null);
    if globals.quiet {
        return output::line(number(total, "requests"));
    }
    let days = usage.get("days").and_then(Value::as_array).into_iter().flatten();
    let rows = days.map(|day| row(day.get("day").and_then(Value::as_str).unwrap_or_default(), day)).chain([row("total", total)]);
    output::table(&["day", "requests", "denied", "received_bytes", "sent_bytes", "reasons"], rows);
}

fn number(of: &Value, name: &str) -> u64 {
    of.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn row(name: &str, of: &Value) -> Vec<String> {
    let denied: Vec<_> = of.get("denied").and_then(Value::as_object).into_iter().flatten().collect();
    let denials = denied.iter().filter_map(|(_, count)| count.as_u64()).sum();
    let numbers = [number(of, "requests"), denials, number(of, "received_bytes"), number(of, "sent_bytes")];
    let reasons: Vec<String> = denied.iter().map(|(reason, count)| format!("{reason}={count}")).collect();
    let cells = numbers.iter().map(u64::to_string).chain([reasons.join(" ")]);
    std::iter::once(name.to_owned()).chain(cells).collect()
}

fn print_report(usage: &Value, report: Value, globals: &Globals) {
    if globals.quiet {
        return report.get("command").and_then(Value::as_str).into_iter().for_each(output::line);
    }
    let mut shown = Map::new();
    shown.insert("id".into(), usage.get("id").cloned().unwrap_or_default());
    shown.insert("since".into(), usage.get("from").cloned().unwrap_or_default());
    shown.extend(if let Value::Object(report) = report { report } else { Map::new() });
    if !globals.json {
        shown.get_mut("wide_scopes").into_iter().for_each(|wide| in_words(wide, wide_scope));
        shown.get_mut("networks").into_iter().for_each(|networks| in_words(networks, network));
    }
    view::print(&shown, globals);
}

fn in_words(list: &mut Value, word: fn(&Value) -> String) {
    *list = list.as_array().into_iter().flatten().map(word).collect();
}

fn wide_scope(wide: &Value) -> String {
    let used: Vec<&str> = wide.get("used").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    format!("{} (used: {})", said(wide, "scope"), used.join(" "))
}

fn network(seen: &Value) -> String {
    let last = said(seen, "last");
    format!("{} (last {})", said(seen, "network"), last.split_once('T').map_or(last, |(day, _)| day))
}

fn said<'a>(of: &'a Value, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}
