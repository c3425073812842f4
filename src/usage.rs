//! Usage of keys: gathered by each worker in a table of its own ([`sheet`]), added to the store every few seconds ([`collector`]), and
//! what follows from it ([`summary`], [`attention`], [`report`]). Nothing here is ever waited for by a request, and nothing of it is a credential.

pub mod attention;
pub mod collector;
mod day;
pub mod report;
pub mod sheet;
pub mod summary;

pub use attention::{Mark, attention};
pub use collector::Collector;
pub use day::Day;
pub use sheet::{Exchange, Sheet};
pub use summary::Totals;

use crate::key::record::KeyRecord;
use crate::store::usage::LastUse;

/// When a key was used last: what was counted, or what its record was imported with, whichever is later. The record itself is not
/// written for it.
#[must_use]
pub fn last_use(record: &KeyRecord, counted: Option<&LastUse>) -> Option<LastUse> {
    let imported = record.last_used.map(|at| LastUse { at, from: record.last_used_from.clone() });
    match (imported, counted) {
        (Some(imported), Some(counted)) if imported.at > counted.at => Some(imported),
        (_, Some(counted)) => Some(counted.clone()),
        (imported, None) => imported,
    }
}

/// The same in the record, as it is shown.
pub fn show_last_use(record: &mut KeyRecord, counted: Option<&LastUse>) {
    if let Some(last) = last_use(record, counted) {
        record.last_used = Some(last.at);
        record.last_used_from = last.from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn the_later_of_what_was_counted_and_what_was_imported_is_shown() {
        let mut record = crate::store::contract::key("key_1", "acme", "s");
        assert_eq!(last_use(&record, None), None);
        let counted = LastUse { at: Timestamp(20), from: Some("192.0.2.1".into()) };
        assert_eq!(last_use(&record, Some(&counted)), Some(counted.clone()));
        for (imported, shown) in [(10, 20), (20, 20), (30, 30)] {
            record.last_used = Some(Timestamp(imported));
            assert_eq!(last_use(&record, Some(&counted)).unwrap().at, Timestamp(shown));
        }
        show_last_use(&mut record, Some(&counted));
        assert_eq!((record.last_used, record.last_used_from), (Some(Timestamp(30)), None));
    }
}
