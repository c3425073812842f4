//! Sums of what was counted: over days, and over the keys of a tenant.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Day;
use crate::store::usage::DayUsage;

/// A sum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// All requests, those that were refused among them.
    pub requests: u64,
    /// Those that were refused, by reason.
    pub denied: BTreeMap<String, u64>,
    /// Bytes of their content.
    pub received_bytes: u64,
    /// Bytes of their answers' content.
    pub sent_bytes: u64,
}

impl Totals {
    /// Of days.
    #[must_use]
    pub fn of<'a>(days: impl IntoIterator<Item = &'a DayUsage>) -> Self {
        let mut sum = Self::default();
        for day in days {
            sum.requests = sum.requests.saturating_add(day.requests);
            sum.received_bytes = sum.received_bytes.saturating_add(day.received_bytes);
            sum.sent_bytes = sum.sent_bytes.saturating_add(day.sent_bytes);
            for (reason, count) in &day.denied {
                let counted = sum.denied.entry(reason.clone()).or_default();
                *counted = counted.saturating_add(*count);
            }
        }
        sum
    }

    /// All that was refused.
    #[must_use]
    pub fn denials(&self) -> u64 {
        self.denied.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// The days of several keys as if they were one.
#[must_use]
pub fn by_day<'a>(all: impl IntoIterator<Item = &'a DayUsage>) -> Vec<DayUsage> {
    let mut days: BTreeMap<Day, Vec<&DayUsage>> = BTreeMap::new();
    for of_day in all {
        days.entry(of_day.day).or_default().push(of_day);
    }
    let sum = |(day, all): (Day, Vec<&DayUsage>)| {
        let Totals { requests, denied, received_bytes, sent_bytes } = Totals::of(all);
        DayUsage { day, requests, denied, received_bytes, sent_bytes }
    };
    days.into_iter().map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::usage::KeyUsage;

    fn day(text: &str, requests: u64, denied: &[(&str, u64)]) -> DayUsage {
        let denied = denied.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
        DayUsage { day: text.parse().unwrap(), requests, denied, received_bytes: 1, sent_bytes: 2 }
    }

    #[test]
    fn keys_add_up_by_day_and_days_to_a_total() {
        let one = KeyUsage { days: vec![day("2026-06-01", 5, &[("ip_denied", 2)]), day("2026-06-02", 1, &[])], ..KeyUsage::default() };
        let other = KeyUsage { days: vec![day("2026-06-02", 7, &[("ip_denied", 1), ("rate_limited", 1)])], ..KeyUsage::default() };
        let days = by_day(one.days.iter().chain(&other.days));
        assert_eq!(
            days.iter().map(|day| (day.day.to_string(), day.requests)).collect::<Vec<_>>(),
            [("2026-06-01".to_owned(), 5), ("2026-06-02".to_owned(), 8)]
        );
        let total = Totals::of(&days);
        assert_eq!((total.requests, total.denials(), total.received_bytes, total.sent_bytes), (13, 4, 3, 6));
        assert_eq!(total.denied.get("ip_denied"), Some(&3));
    }
}
