//! Days as usage is counted by: UTC, written `2026-06-01`.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Serialize, Serializer};

use crate::clock::Timestamp;

const MILLIS: i64 = 86_400_000;

/// A day, UTC: so many after 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Day {
    /// The day of a time.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(i32::try_from(at.0.div_euclid(MILLIS)).unwrap_or(i32::MAX))
    }

    /// So many days later.
    #[must_use]
    pub const fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// Its first instant.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * MILLIS)
    }

    /// All days from this one to another, both included.
    pub fn until(self, last: Self) -> impl Iterator<Item = Self> + Clone {
        (self.0..=last.0).map(Self)
    }

    /// How many days lie between.
    #[must_use]
    pub const fn days_since(self, earlier: Self) -> i32 {
        self.0.saturating_sub(earlier.0)
    }
}

const fn epoch() -> Date {
    Date::constant(1970, 1, 1)
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Span::new().try_days(self.0).and_then(|days| epoch().checked_add(days)) {
            Ok(date) => write!(f, "{date}"),
            Err(_) => f.write_str("invalid"),
        }
    }
}

impl FromStr for Day {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let words = |_| format!("`{text}` is no day, such as 2026-12-31");
        let date: Date = text.parse().map_err(words)?;
        Ok(Self(date.since(epoch()).map_err(words)?.get_days()))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_reads_back_and_begins_at_its_first_instant() {
        for text in ["1969-12-31", "1970-01-01", "2024-02-29", "2026-06-01"] {
            let day: Day = text.parse().unwrap();
            assert_eq!((day.to_string().as_str(), Day::of(day.start())), (text, day));
            assert_eq!(Day::of(day.start().plus_millis(-1)), day.plus(-1));
        }
        assert!("2026-13-01".parse::<Day>().is_err() && "x".parse::<Day>().is_err());
        assert_eq!(Day::of("2026-06-01T23:59:59.999Z".parse().unwrap()).to_string(), "2026-06-01");
        assert_eq!(Day::of(Timestamp(i64::MAX)).to_string(), "invalid");
    }
}
