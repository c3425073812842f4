//! What is let through for a time only (`[migration]`, `[restrictions] observe`): it has an end, and whoever reads `check` or the
//! start's words knows of it, the more so when the end is near or past.

use crate::clock::{Clock, Timestamp};
use crate::config::problem::Problems;
use crate::config::sections::{Config, UnknownKeys};
use crate::config::units::{Span, Until};
use crate::gate::Lenience;

/// From when on an end is near.
const NEAR: Span = Span::secs(7 * 86_400);

pub(super) fn check(config: &Config, problems: &mut Problems) {
    let (migration, restrictions) = (&config.migration, &config.restrictions);
    let now = Clock::System.now();
    // Compiled, they are told of again where it is used.
    let lenience = Lenience::compile(config, &mut Problems::default()).unwrap_or_default();
    for (switch, until, text, is_on) in [
        ("migration.unknown_keys", "migration.until", &migration.until, migration.unknown_keys == UnknownKeys::Pass),
        ("restrictions.observe", "restrictions.observe_until", &restrictions.observe_until, !restrictions.observe.is_empty()),
    ] {
        let key = until.rsplit('.').next().unwrap_or(until);
        if text.is_empty() {
            if is_on {
                problems
                    .error(switch, format!("this is for a time only: `{key}` says until when"))
                    .help(format!("{key} = \"2027-01-31T00:00:00Z\""));
            }
            continue;
        }
        match text.parse::<Until>() {
            Err(why) => problems.error(until, why).help("such as \"2027-01-31T00:00:00Z\", or \"2027-01-31\": its first moment in UTC"),
            Ok(Until(end)) => {
                for (_, note) in lenience.notes(now).filter(|(path, _)| *path == switch) {
                    problems.warn(switch, note).help = time_left(end, now, key);
                }
            }
        }
    }
}

/// What there is to be done about it, soon.
fn time_left(end: Timestamp, now: Timestamp, key: &str) -> Option<String> {
    let left = end.0.saturating_sub(now.0);
    let (days, hours) = (left / 86_400_000, left / 3_600_000);
    match left {
        ..=0 => Some(format!("the end is past: take it out, or set a later `{key}`")),
        _ if left > NEAR.as_millis() => None,
        _ if days > 0 => Some(format!("{days} days are left: set a later `{key}` if that is too soon")),
        _ => Some(format!("{hours} hours are left: set a later `{key}` if that is too soon")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_is_near_or_past_is_told_apart() {
        let now = Timestamp(1_800_000_000_000);
        let told = |ms: i64| time_left(now.plus_millis(ms), now, "until");
        let (day, hour) = (86_400_000, 3_600_000);
        assert_eq!(told(8 * day), None);
        for (ms, words) in
            [(6 * day, "6 days are left"), (5 * hour, "5 hours are left"), (1, "0 hours are left"), (0, "past"), (-day, "past")]
        {
            assert!(told(ms).unwrap().contains(words), "{ms}");
        }
    }
}
