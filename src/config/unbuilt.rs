//! What this release parses and does not do yet.

use super::problem::Problems;
use super::sections::Config;
use super::tree::Tree;

/// Names every feature that is configured and not built.
pub(super) fn check(_config: &Config, _tree: &Tree, _problems: &mut Problems) {}
