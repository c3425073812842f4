//! What is legal as TOML and types and wrong all the same, where no other module owns it. One file a concern.

mod addresses;
mod answers;
mod dates;
mod kinds;
mod lists;
mod names;
mod process;

use super::problem::Problems;
use super::sections::{Config, Deployment};
use super::tree::Tree;

/// Runs all checks.
pub(super) fn check(config: &Config, tree: &Tree, in_pod: bool, problems: &mut Problems) {
    process::check(config, tree, in_pod, problems);
    addresses::check(config, problems);
    lists::check(config, problems);
    names::check(config, tree, problems);
    kinds::check(config, problems);
    answers::check(config, problems);
    dates::check(config, problems);
}

/// Says what `deployment` decides, where nothing is written: `environments.*.allow`.
pub(super) fn say_allow(config: &mut Config) {
    let (live, test) = (config.deployment != Deployment::Staging, config.deployment != Deployment::Production);
    config.environments.live.allow.get_or_insert(live);
    config.environments.test.allow.get_or_insert(test);
}
