//! Why somebody should look at a key: pure, from its record and its usage. Only of live keys that may be used; a key without usage
//! has no marks but those of its age.

use serde::Serialize;

use super::{Day, last_use};
use crate::clock::Timestamp;
use crate::config::sections::{EnvironmentName, Keys};
use crate::config::units::Span;
use crate::key::lifecycle::standing;
use crate::key::record::KeyRecord;
use crate::rejection::{Family, Rejection};
use crate::store::usage::{DayUsage, KeyUsage};

const DAY_MS: i64 = 86_400_000;
/// Days of usage that are looked at.
const WINDOW_DAYS: i32 = 30;
/// A network is new for so long.
const NEW_FOR_MS: i64 = 7 * DAY_MS;
/// A key is unused from then on.
const UNUSED_DAYS: i64 = 90;
/// Denials on a day that are worth a look, and how many times the mean of the days before.
const DENIALS_MIN: u64 = 20;
const DENIALS_TIMES: u64 = 5;

/// Kinds of marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It was seen where a secret key must not be: in a browser.
    Exposed,
    /// It was admitted from a network that it was never seen in before.
    NewNetwork,
    /// Far more of its requests are refused than before.
    Denials,
    /// Nobody uses it.
    Unused,
    /// Its secret is older than `keys.rotate_reminder`.
    RotationDue,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exposed => "exposed",
            Self::NewNetwork => "new_network",
            Self::Denials => "denials",
            Self::Unused => "unused",
            Self::RotationDue => "rotation_due",
        }
    }
}

/// A reason to look at a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Which.
    pub mark: Kind,
    /// In words.
    pub detail: String,
}

/// The days of usage that [`attention`] wants to see.
#[must_use]
pub fn window(now: Timestamp) -> (Day, Day) {
    let today = Day::of(now);
    (today.plus(1 - WINDOW_DAYS), today)
}

/// Why somebody should look at this key now.
#[must_use]
pub fn attention(record: &KeyRecord, usage: &KeyUsage, rules: &Keys, now: Timestamp) -> Vec<Mark> {
    if record.environment != EnvironmentName::Live || standing(record, now) != "active" {
        return Vec::new();
    }
    let marks = [
        (Kind::Exposed, record.exposed.then(|| "seen in a browser".to_owned())),
        (Kind::NewNetwork, new_network(usage, now)),
        (Kind::Denials, denials(record, &usage.days, now)),
        (Kind::Unused, unused(record, usage, now)),
        (Kind::RotationDue, rotation_due(record, rules.rotate_reminder, now)),
    ];
    marks.into_iter().filter_map(|(mark, detail)| detail.map(|detail| Mark { mark, detail })).collect()
}

/// Whether its secret is older than it should be. Publishable keys have none.
fn rotation_due(record: &KeyRecord, reminder: Span, now: Timestamp) -> Option<String> {
    let reminder = reminder.nonzero().filter(|_| record.kind != "publishable")?;
    let made = record.rotated_at.unwrap_or(record.created_at);
    let age_ms = now.0.saturating_sub(made.0);
    (age_ms >= i64::try_from(reminder.as_millis()).unwrap_or(i64::MAX)).then(|| format!("its secret is {} days old", age_ms / DAY_MS))
}

fn unused(record: &KeyRecord, usage: &KeyUsage, now: Timestamp) -> Option<String> {
    let days_since = |at: Timestamp| now.0.saturating_sub(at.0) / DAY_MS;
    let last = last_use(record, usage.last.as_ref());
    let days = days_since(last.as_ref().map_or(record.created_at, |last| last.at));
    let words = || if last.is_some() { format!("unused for {days} days") } else { format!("never used since it was made {days} days ago") };
    (days >= UNUSED_DAYS).then(words)
}

/// A network that came after it was known where the key is used. Where more come than are kept, none of them says anything.
fn new_network(usage: &KeyUsage, now: Timestamp) -> Option<String> {
    let since = now.plus_millis(-NEW_FOR_MS);
    let is_settled = usage.networks.iter().any(|network| network.first < since);
    if !is_settled || usage.networks_missed.is_some_and(|missed| missed >= since) {
        return None;
    }
    let new: Vec<&str> = usage.networks.iter().filter(|network| network.first >= since).map(|network| network.network.as_str()).collect();
    (!new.is_empty()).then(|| format!("new: {}", new.join(" ")))
}

/// The worse of today and yesterday against the days before, as far as the key was there.
fn denials(record: &KeyRecord, days: &[DayUsage], now: Timestamp) -> Option<String> {
    let today = Day::of(now);
    let of = |day: Day| days.iter().find(|usage| usage.day == day).map_or(0, denied);
    let (first, _) = window(now);
    let before = first.max(Day::of(record.created_at)).until(today.plus(-2));
    let count = u64::try_from(before.clone().count()).ok().filter(|count| *count > 0)?;
    let sum: u64 = before.map(of).sum();
    let (worst, when) = [(of(today), "today"), (of(today.plus(-1)), "yesterday")].into_iter().max_by_key(|(denied, _)| *denied)?;
    let is_far_above = worst >= DENIALS_MIN && worst.saturating_mul(count) > sum.saturating_mul(DENIALS_TIMES);
    is_far_above.then(|| format!("{worst} denials {when}, {}.{} a day before", sum / count, sum * 10 / count % 10))
}

/// What was refused for the caller's sake: our own failures say nothing of a key.
fn denied(usage: &DayUsage) -> u64 {
    let is_ours = |reason: &str| Rejection::from_reason(reason).is_some_and(|rejection| rejection.row().family == Family::Api);
    usage.denied.iter().filter(|(reason, _)| !is_ours(reason)).map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::contract::key;
    use crate::store::usage::{LastUse, NetworkSeen};

    /// The age of the keys of [`key`] is 200 days.
    const NOW: Timestamp = Timestamp(1_700_000_000_000 + 200 * DAY_MS);

    fn ago(days: i64) -> Timestamp {
        NOW.plus_millis(-days * DAY_MS)
    }

    fn kinds(record: &KeyRecord, usage: &KeyUsage) -> Vec<&'static str> {
        attention(record, usage, &Keys::default(), NOW).iter().map(|mark| mark.mark.name()).collect()
    }

    fn used() -> (KeyRecord, KeyUsage) {
        let mut record = key("key_1", "acme", "s");
        record.rotated_at = Some(ago(1));
        (record, KeyUsage { last: Some(LastUse { at: ago(1), from: None }), ..KeyUsage::default() })
    }

    fn network(name: &str, first: i64) -> NetworkSeen {
        NetworkSeen { network: name.into(), first: ago(first), last: ago(0) }
    }

    fn day(ago_days: i32, denied: &[(&str, u64)]) -> DayUsage {
        let denied: BTreeMap<String, u64> = denied.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
        let requests = 1000 + denied.values().sum::<u64>();
        DayUsage { day: Day::of(NOW).plus(-ago_days), requests, denied, received_bytes: 0, sent_bytes: 0 }
    }

    #[test]
    fn a_key_that_is_used_and_young_needs_no_attention() {
        let (record, usage) = used();
        assert!(kinds(&record, &usage).is_empty());
    }

    #[test]
    fn an_old_secret_is_due_and_a_publishable_key_has_none() {
        let (mut record, usage) = used();
        for (age, due) in [(89, false), (90, true)] {
            record.rotated_at = Some(ago(age));
            assert_eq!(kinds(&record, &usage), if due { vec!["rotation_due"] } else { vec![] });
        }
        let never = Keys { rotate_reminder: Span::secs(0), ..Keys::default() };
        assert!(attention(&record, &usage, &never, NOW).is_empty());
        record.kind = "publishable".into();
        assert!(kinds(&record, &usage).is_empty());
    }

    #[test]
    fn a_key_is_unused_after_ninety_days_whether_or_not_it_ever_was() {
        let (mut record, mut usage) = used();
        usage.last = Some(LastUse { at: ago(90), from: None });
        assert_eq!(attention(&record, &usage, &Keys::default(), NOW).first().unwrap().detail, "unused for 90 days");
        record.last_used = Some(ago(3));
        assert!(kinds(&record, &usage).is_empty());
        record.last_used = None;
        usage.last = None;
        assert_eq!(attention(&record, &usage, &Keys::default(), NOW).first().unwrap().detail, "never used since it was made 200 days ago");
        record.created_at = ago(10);
        assert!(kinds(&record, &usage).is_empty());
    }

    #[test]
    fn a_network_is_new_where_others_were_seen_before() {
        let (record, mut usage) = used();
        usage.networks = vec![network("192.0.2.0/24", 1)];
        assert!(kinds(&record, &usage).is_empty(), "the first one is no news");
        usage.networks.push(network("198.51.100.0/24", 30));
        assert_eq!(attention(&record, &usage, &Keys::default(), NOW).first().unwrap().detail, "new: 192.0.2.0/24");
        usage.networks_missed = Some(ago(2));
        assert!(kinds(&record, &usage).is_empty(), "a key that is everywhere has no new networks");
    }

    #[test]
    fn denials_are_compared_with_the_days_before() {
        let (record, mut usage) = used();
        usage.days = vec![day(10, &[("ip_denied", 28)]), day(0, &[("scope_missing", 19)])];
        assert!(kinds(&record, &usage).is_empty(), "few denials say nothing");
        usage.days[1] = day(0, &[("scope_missing", 200)]);
        assert_eq!(attention(&record, &usage, &Keys::default(), NOW).first().unwrap().detail, "200 denials today, 1.0 a day before");
        usage.days[1] = day(1, &[("scope_missing", 200)]);
        assert_eq!(kinds(&record, &usage), ["denials"]);
        usage.days[1] = day(0, &[("upstream_unavailable", 200)]);
        assert!(kinds(&record, &usage).is_empty(), "that is not the key's");
        usage.days = (0..29).map(|ago| day(ago, &[("rate_limited", 200)])).collect();
        assert!(kinds(&record, &usage).is_empty(), "that is how it always was");
    }

    #[test]
    fn only_live_keys_that_may_be_used_are_marked() {
        let (mut record, usage) = used();
        record.exposed = true;
        assert_eq!(kinds(&record, &usage), ["exposed"]);
        record.environment = EnvironmentName::Test;
        assert!(kinds(&record, &usage).is_empty());
        record.environment = EnvironmentName::Live;
        record.expires_at = Some(ago(1));
        assert!(kinds(&record, &usage).is_empty());
    }
}
