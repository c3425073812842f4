//! What is legal as TOML and types and wrong all the same, where no other module owns it. One file a concern.

use super::problem::Problems;
use super::sections::Config;
use super::tree::Tree;

/// Runs all checks.
pub(super) fn check(_config: &Config, _tree: &Tree, _in_pod: bool, _problems: &mut Problems) {}
