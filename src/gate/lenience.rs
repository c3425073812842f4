//! What is let through for a time only: older keys (`[migration]`), and what observed checks would refuse (`[restrictions] observe`).
//! Each ends by the clock, without anybody's doing. What is not named here is never let through.

use crate::clock::Timestamp;
use crate::config::problem::Problems;
use crate::config::sections::{Config, Observable, UnknownKeys};
use crate::config::units::Until;
use crate::policy::Check;
use crate::rejection::Rejection;

/// What a request may be let through in spite of.
pub const SPARED: [Rejection; 6] = [
    Rejection::CredentialMalformed,
    Rejection::KeyUnknown,
    Rejection::IpDenied,
    Rejection::ReferrerDenied,
    Rejection::EndpointDenied,
    Rejection::ScopeMissing,
];

/// `[migration]` and `restrictions.observe`, compiled.
#[derive(Debug, Default)]
pub struct Lenience {
    /// Until when keys that are nobody's here are passed on.
    passing: Option<Timestamp>,
    /// Which checks are only observed, and until when.
    observing: Option<(Box<[Observable]>, Timestamp)>,
}

impl Lenience {
    /// Compiles them; `None` where an end is needed and cannot be read.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut until = |path: &str, text: &str| problems.parse(path, text).map(|Until(end)| end);
        let (migration, restrictions) = (&config.migration, &config.restrictions);
        let passing = match migration.unknown_keys {
            UnknownKeys::Reject => None,
            UnknownKeys::Pass => Some(until("migration.until", &migration.until)?),
        };
        let observing = if restrictions.observe.is_empty() {
            None
        } else {
            Some((restrictions.observe.clone().into(), until("restrictions.observe_until", &restrictions.observe_until)?))
        };
        Some(Self { passing, observing })
    }

    /// Until when keys that are nobody's here are passed on; `None` = they are refused.
    pub(super) fn passes_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.passing.filter(|end| now < *end)
    }

    /// Whether what this check refuses is let through and recorded.
    pub(super) fn observes(&self, check: &Check, now: Timestamp) -> bool {
        let observed = self.observing.as_ref().filter(|(_, end)| now < *end);
        check.observable.is_some_and(|own| observed.is_some_and(|(names, _)| names.contains(&own)))
    }

    /// What is let through now, in words, and where that is configured.
    pub fn notes(&self, now: Timestamp) -> impl Iterator<Item = (&'static str, String)> {
        let passing = self.passing.map(|end| {
            let note = if now < end {
                format!("unknown keys are passed on without identity until {end}")
            } else {
                format!("unknown keys are refused again since {end}")
            };
            ("migration.unknown_keys", note)
        });
        let observing = self.observing.as_ref().map(|(names, end)| {
            let names: Vec<&str> = names.iter().map(|name| name.name()).collect();
            let names = names.join(", ");
            let note = if now < *end {
                format!("{names}: only observed until {end}, what these checks refuse is let through")
            } else {
                format!("{names}: enforced again since {end}")
            };
            ("restrictions.observe", note)
        });
        passing.into_iter().chain(observing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::CHECKS;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn compile(toml: &str) -> Option<Lenience> {
        Lenience::compile(&toml::from_str(toml).unwrap(), &mut Problems::default())
    }

    fn observed(lenience: &Lenience, now: Timestamp) -> Vec<&'static str> {
        CHECKS.iter().filter(|check| lenience.observes(check, now)).map(|check| check.name).collect()
    }

    #[test]
    fn nothing_is_let_through_unless_it_is_named_and_its_end_is_to_come() {
        let strict = compile("[migration]\nuntil = \"2999-01-01\"\n[restrictions]\nobserve_until = \"2999-01-01\"").unwrap();
        assert!(strict.passes_until(NOW).is_none() && observed(&strict, NOW).is_empty() && strict.notes(NOW).count() == 0);
        let lenient = compile(&format!(
            "[migration]\nunknown_keys = \"pass\"\nuntil = \"{NOW}\"\n[restrictions]\nobserve = [\"ip\", \"scope\"]\nobserve_until = \"{NOW}\""
        ))
        .unwrap();
        let before = NOW.plus_millis(-1);
        assert_eq!(lenient.passes_until(before), Some(NOW));
        assert_eq!(observed(&lenient, before), ["network", "scope"]);
        assert!(lenient.passes_until(NOW).is_none() && observed(&lenient, NOW).is_empty());
        let notes = |now| lenient.notes(now).map(|(_, note)| note).collect::<Vec<_>>().join("\n");
        assert!(notes(before).contains("passed on without identity until") && notes(before).contains("ip, scope: only observed until"));
        assert!(notes(NOW).contains("refused again since") && notes(NOW).contains("enforced again since"));
    }

    #[test]
    fn without_an_end_there_is_no_lenience_at_all() {
        for toml in [
            "[migration]\nunknown_keys = \"pass\"",
            "[migration]\nunknown_keys = \"pass\"\nuntil = \"soon\"",
            "[restrictions]\nobserve = [\"ip\"]",
            "[restrictions]\nobserve = [\"ip\"]\nobserve_until = \"soon\"",
        ] {
            assert!(compile(toml).is_none(), "{toml}");
        }
    }

    #[test]
    fn only_the_four_checks_can_be_observed() {
        let all =
            compile("[restrictions]\nobserve = [\"ip\", \"referrer\", \"endpoint\", \"scope\"]\nobserve_until = \"2999-01-01\"").unwrap();
        assert_eq!(observed(&all, NOW), ["network", "referrer", "endpoint", "scope"]);
    }
}
