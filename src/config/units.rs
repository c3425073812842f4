//! Durations, sizes and rates as people write them in proxy.toml: "90s", "64KiB", "1KiB/s".
//! Text in, text out: what `config show` prints parses back to the same value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;

/// A length of time: a whole number and one of `ms s m h d`. `"0s"` often means "none"; the key says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes: a whole number and one of `B KiB MiB GiB`, or `"0"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Bytes per second: a size and `/s`, or `"0"` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub u64);

/// The end of what is for a time only: a time in RFC 3339, or a day, which stands for its first moment in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until(pub Timestamp);

/// Bytes of a day, `2027-01-31`.
const DAY_LEN: usize = 10;

const SPAN_UNITS: [(&str, u64); 5] = [("d", DAY), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const DAY: u64 = 86_400_000;
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Span {
    /// Whole seconds.
    #[must_use]
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// Milliseconds, saturating.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// The duration, or `None` where zero stands for "no limit".
    #[must_use]
    pub fn nonzero(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

fn write_scaled(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)], zero: &str) -> fmt::Result {
    if value == 0 {
        return f.write_str(zero);
    }
    for (name, factor) in units {
        if value.is_multiple_of(*factor) {
            return write!(f, "{}{name}", value / factor);
        }
    }
    Ok(())
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &SPAN_UNITS)
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| format!("`{text}` is not a duration: a whole number and ms, s, m, h or d, such as \"90s\" or \"15m\""))
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Self(0));
        }
        scaled(text, &SIZE_UNITS)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a size: a whole number and B, KiB, MiB or GiB, such as \"64KiB\""))
    }
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Self(0));
        }
        text.strip_suffix("/s")
            .and_then(|size| size.parse::<Size>().ok())
            .map(|size| Self(size.0))
            .ok_or_else(|| format!("`{text}` is not a rate: a size per second, such as \"1KiB/s\", or \"0\""))
    }
}

impl FromStr for Until {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let whole = if text.len() == DAY_LEN { format!("{text}T00:00:00Z").parse() } else { text.parse() };
        whole.map(Self).map_err(|_: String| format!("`{text}` is not a date and time of RFC 3339, nor a day"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As people write them: up to "72h" in hours, one minute as "60s".
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let is_usual = |unit: &str| match unit {
            "d" => ms > 3 * DAY,
            "m" => ms >= 120_000,
            _ => true,
        };
        let units: Vec<(&str, u64)> = SPAN_UNITS.into_iter().filter(|(unit, _)| is_usual(unit)).collect();
        write_scaled(f, ms, &units, "0s")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &SIZE_UNITS, "0")
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &SIZE_UNITS, "0")?;
        if self.0 == 0 { Ok(()) } else { f.write_str("/s") }
    }
}

macro_rules! as_text {
    ($($unit:ty = $what:literal),+) => {$(
        impl<'de> Deserialize<'de> for $unit {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $unit;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_str<E: Error>(self, text: &str) -> Result<$unit, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
        impl Serialize for $unit {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}
as_text!(Span = "a duration", Size = "a size", Rate = "a rate");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses_back() {
        for text in ["0s", "250ms", "60s", "90s", "2m", "15m", "1h", "24h", "72h", "4d", "7d", "400d"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string(), text);
        }
        for text in ["0", "64KiB", "1MiB", "1000B"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("1KiB/s".parse::<Rate>().unwrap().to_string(), "1KiB/s");
    }

    proptest::proptest! {
        #[test]
        fn any_duration_that_is_printed_parses_back(number in 0_u64..5000, unit in 0..SPAN_UNITS.len()) {
            let span = Span(Duration::from_millis(number * SPAN_UNITS[unit].1));
            proptest::prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
    }

    #[test]
    fn a_day_ends_where_it_begins() {
        for (text, time) in [
            ("2027-01-31", "2027-01-31T00:00:00Z"),
            ("2027-01-31T12:30:00Z", "2027-01-31T12:30:00Z"),
            ("2027-01-31T12:30:00+02:00", "2027-01-31T10:30:00Z"),
        ] {
            assert_eq!(text.parse::<Until>().unwrap().0.to_string(), time, "{text}");
        }
        // Without an offset it would be another moment on each machine.
        for text in ["", "tomorrow", "2027-1-31", "2027-02-30", "31.01.2027", "2027-01-31T12:30:00", "2027-01-31 12:30"] {
            assert!(text.parse::<Until>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for text in ["", "s", "90", "1.5h", "-1s", "1 s", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["", "1", "1KB", "KiB", "1kib"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert!("1KiB".parse::<Rate>().is_err());
    }
}
