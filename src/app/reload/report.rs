//! What reloads came to, as it is logged, answered on the control socket and counted. Passwords in URLs are starred.

use std::fmt::Write as _;

use serde::Serialize;

use super::Trigger;
use crate::clock::Timestamp;
use crate::config::sections::Config;
use crate::config::{Loaded, without_passwords};
use crate::key::digest::Digest;

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The new configuration is in use.
    Applied,
    /// The old one is.
    Refused,
}

/// What a reload came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was tried.
    pub trigger: Trigger,
    /// When.
    pub at: Timestamp,
    /// Errors and warnings, one a line, with their places.
    pub problems: Vec<String>,
    /// Settings that differ from what the process runs with, and stay so until it is started again.
    pub needs_restart: Vec<&'static str>,
    /// Hash of what is in use since.
    #[serde(skip)]
    hash: String,
}

/// How the configuration in use stands.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// 1 at start, one more with each reload that was applied.
    pub generation: u64,
    /// Of the effective configuration, secrets left out: equal on sidecars that are configured alike.
    pub hash: String,
    /// Since when it is in use.
    pub since: Timestamp,
    /// Settings that need a restart to be so.
    pub needs_restart: Vec<&'static str>,
    /// The latest attempt to replace it.
    pub last_reload: Option<Report>,
    /// Reloads that were applied.
    #[serde(skip)]
    pub applied: u64,
    /// Reloads that were refused.
    #[serde(skip)]
    pub refused: u64,
}

impl Report {
    pub(super) fn refused(trigger: Trigger, at: Timestamp, problems: Vec<String>) -> Self {
        Self { outcome: Outcome::Refused, trigger, at, problems, needs_restart: Vec::new(), hash: String::new() }
    }

    pub(super) fn applied(
        trigger: Trigger,
        at: Timestamp,
        problems: Vec<String>,
        needs_restart: Vec<&'static str>,
        loaded: &Loaded,
    ) -> Self {
        Self { outcome: Outcome::Applied, trigger, at, problems, needs_restart, hash: hash(&loaded.config) }
    }

    /// Tells it to the process log.
    pub(super) fn tell(&self) {
        let trigger = self.trigger;
        match self.outcome {
            Outcome::Applied => {
                self.problems.iter().for_each(|problem| tracing::warn!("{problem}"));
                tracing::info!(?trigger, "the configuration was reloaded");
                for key in &self.needs_restart {
                    tracing::warn!("{key} has changed and needs a restart");
                }
            }
            Outcome::Refused => {
                self.problems.iter().for_each(|problem| tracing::error!("{problem}"));
                tracing::error!(?trigger, "the configuration was not reloaded: the one in use stays");
            }
        }
    }
}

impl Standing {
    pub(super) fn first(config: &Config, now: Timestamp) -> Self {
        let hash = hash(config);
        Self { generation: 1, hash, since: now, needs_restart: Vec::new(), last_reload: None, applied: 0, refused: 0 }
    }

    pub(super) fn after(&self, report: &Report) -> Self {
        let mut standing = Self { last_reload: Some(report.clone()), ..self.clone() };
        match report.outcome {
            Outcome::Refused => standing.refused += 1,
            Outcome::Applied => {
                standing.applied += 1;
                standing.generation += 1;
                standing.hash.clone_from(&report.hash);
                standing.since = report.at;
                standing.needs_restart.clone_from(&report.needs_restart);
            }
        }
        standing
    }

    /// Whether the latest reload, if there was one, was applied.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.last_reload.as_ref().is_none_or(|report| report.outcome == Outcome::Applied)
    }
}

/// Of the effective configuration, without what the files hold: digests of short secrets could be guessed from.
fn hash(config: &Config) -> String {
    let text = toml::Value::try_from(config).and_then(|config| toml::to_string(&config)).unwrap_or_default();
    Digest::of(without_passwords(&text).as_bytes()).0.iter().take(6).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
