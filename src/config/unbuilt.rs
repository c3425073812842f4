//! What this release parses and does not do yet, in one table. Silence would be a lie: whoever configures one of these is
//! told at `check` and at start.

use super::problem::Problems;
use super::sections::Config;
use super::tree::Tree;

struct Feature {
    name: &'static str,
    /// What happens without it.
    meanwhile: &'static str,
    /// The paths that configure it; none = it is off.
    configured: fn(&Config, &Tree) -> Vec<String>,
}

const fn warning(name: &'static str, meanwhile: &'static str, configured: fn(&Config, &Tree) -> Vec<String>) -> Feature {
    Feature { name, meanwhile, configured }
}

const FEATURES: &[Feature] = &[warning("identity.signed", "the upstream gets plain identity headers only", |config, _| {
    one("identity.signed", !config.identity.signed.header.is_empty())
})];

/// Names every feature that is configured and not built.
pub(super) fn check(config: &Config, tree: &Tree, problems: &mut Problems) {
    for feature in FEATURES {
        for path in (feature.configured)(config, tree) {
            problems.warn(path, format!("{} is not part of this release yet: {}", feature.name, feature.meanwhile));
        }
    }
}

fn one(path: &str, configured: bool) -> Vec<String> {
    configured.then(|| path.to_owned()).into_iter().collect()
}
