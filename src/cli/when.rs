//! Moments in the past, as people name them on the command line: how long ago, a day, or a time.

use crate::clock::Timestamp;
use crate::config::units::Span;

/// `24h` (so long ago), `2026-06-01` (the beginning of that day, UTC), or a time in RFC 3339. Without the time now nothing is read
/// that needs it, so that the parser of flags can check what is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// So long ago.
    Ago(Span),
    /// Then.
    At(Timestamp),
}

impl When {
    /// The moment.
    pub(super) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now.plus_millis(-span.as_millis()),
            Self::At(at) => at,
        }
    }
}

impl std::str::FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = text.parse() {
            return Ok(Self::Ago(span));
        }
        let day = || format!("{text}T00:00:00Z").parse().ok();
        let at = text.parse().ok().or_else(day);
        at.map(Self::At).ok_or_else(|| format!("`{text}` is no moment: 24h (so long ago), 2026-06-01, or a time in RFC 3339"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_so_long_ago_or_a_day_or_a_time() {
        let now = Timestamp(1_700_000_000_000);
        let at = |text: &str| text.parse::<When>().unwrap().at(now).to_string();
        assert_eq!(at("24h"), "2023-11-13T22:13:20Z");
        assert_eq!(at("2023-11-01"), "2023-11-01T00:00:00Z");
        assert_eq!(at("2023-11-01T10:00:00+02:00"), "2023-11-01T08:00:00Z");
        for bad in ["yesterday", "2023-13-01", "", "-1d"] {
            assert!(bad.parse::<When>().unwrap_err().contains("no moment"), "{bad}");
        }
    }
}
