//! What the hashes of a key say. Total: they may hold anything.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::store::usage::{DayUsage, KeyUsage, LastUse, NetworkSeen, ScopeUsed};
use crate::usage::Day;

/// The fields of a key's hash that begin so, with their two times, the latest first.
fn seen<T: Ord>(hash: &HashMap<String, String>, kind: &str, make: impl Fn(&str, Timestamp, Timestamp) -> (Timestamp, T)) -> Vec<T> {
    let of_field = |(field, times): (&String, &String)| {
        let (first, last) = times.split_once(' ')?;
        Some(make(field.strip_prefix(kind)?, Timestamp(first.parse().ok()?), Timestamp(last.parse().ok()?)))
    };
    let mut all: Vec<(Timestamp, T)> = hash.iter().filter_map(of_field).collect();
    all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    all.into_iter().map(|(_, one)| one).collect()
}

pub(super) fn last_use(text: &str) -> Option<LastUse> {
    let (at, from) = text.split_once(' ')?;
    Some(LastUse { at: Timestamp(at.parse().ok()?), from: (!from.is_empty()).then(|| from.to_owned()) })
}

pub(super) fn of_day(day: Day, hash: &HashMap<String, String>) -> Option<DayUsage> {
    let number = |field: &str| hash.get(field).and_then(|text| text.parse().ok()).unwrap_or(0);
    let denied = hash.iter().filter_map(|(field, count)| Some((field.strip_prefix("denied:")?.to_owned(), count.parse().ok()?)));
    (!hash.is_empty()).then(|| DayUsage {
        day,
        requests: number("requests"),
        denied: denied.collect(),
        received_bytes: number("received"),
        sent_bytes: number("sent"),
    })
}

pub(super) fn key_usage(hash: &HashMap<String, String>, days: Vec<DayUsage>) -> KeyUsage {
    let time = |field: &str| hash.get(field).and_then(|text| text.parse().ok()).map(Timestamp);
    KeyUsage {
        days,
        last: hash.get("last").and_then(|text| last_use(text)),
        networks: seen(hash, "n:", |network, first, last| (last, NetworkSeen { network: network.to_owned(), first, last })),
        networks_missed: time("networks_missed"),
        scopes: seen(hash, "s:", |scope, _, last| (last, ScopeUsed { scope: scope.to_owned(), last })),
        scopes_missed: time("scopes_missed"),
    }
}
