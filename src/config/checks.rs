//! What is legal as TOML and types and wrong all the same, where no other module owns it. One file a concern.

mod addresses;
mod answers;
mod kinds;
mod lists;
mod names;
mod process;

use super::problem::Problems;
use super::sections::{Config, Deployment, EnvironmentName, EnvironmentRule};
use super::tree::Tree;

/// Runs all checks.
pub(super) fn check(config: &Config, tree: &Tree, in_pod: bool, problems: &mut Problems) {
    process::check(config, tree, in_pod, problems);
    addresses::check(config, problems);
    lists::check(config, problems);
    names::check(config, tree, problems);
    kinds::check(config, problems);
    answers::check(config, problems);
}

/// Whether this deployment serves keys of the environment.
pub(super) fn serves(config: &Config, environment: EnvironmentName, rule: &EnvironmentRule) -> bool {
    rule.allow.unwrap_or(match config.deployment {
        Deployment::Production => environment == EnvironmentName::Live,
        Deployment::Staging => environment == EnvironmentName::Test,
        Deployment::Development => true,
    })
}
