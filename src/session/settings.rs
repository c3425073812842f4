//! `[sessions]`, compiled, but for its keys, which are an issuer's ([`crate::authn::jwt::own`]).

use serde_json::Value;

use super::authority::Terms;
use super::endpoint::{Answers, fill};
use crate::config::problem::Problems;
use crate::config::sections::{Config, RefreshAuth};
use crate::config::units::Span;

/// The section, compiled.
#[derive(Debug)]
pub struct Settings {
    /// For how long tokens are given.
    pub terms: Terms,
    /// How answers are said.
    pub answers: Answers,
    refresh_auth: RefreshAuth,
}

impl Settings {
    /// Compiles it; `None` after an error.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let section = &config.sessions;
        let mut sound = true;
        for (key, span) in [("access_ttl", section.access_ttl), ("refresh_ttl", section.refresh_ttl)] {
            if span < Span::secs(1) {
                problems.error(format!("sessions.{key}"), format!("`{span}`: a token that is over at once; at least 1s"));
                sound = false;
            }
        }
        if section.refresh_grace >= section.refresh_ttl {
            problems.error("sessions.refresh_grace", "as long as a refresh token lives, a used one would never be missed");
            sound = false;
        }
        if serde_json::from_str::<Value>(&fill(&section.refresh_body, "a", "r", 1)).is_err() {
            problems.error("sessions.refresh_body", "with its placeholders filled in it is no JSON");
            sound = false;
        }
        let answers = Answers::new(section, &config.errors.realm);
        sound.then(|| Self { terms: Terms::from(section), answers, refresh_auth: section.refresh_auth })
    }

    /// Whether who presents a refresh token has to show a key too.
    #[must_use]
    pub fn asks_for_keys(&self) -> bool {
        self.refresh_auth == RefreshAuth::ApiKey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_never_work_is_an_error_at_its_place() {
        for (line, path) in [
            ("access_ttl = \"0s\"", "sessions.access_ttl"),
            ("refresh_ttl = \"1ms\"", "sessions.refresh_ttl"),
            ("refresh_grace = \"7d\"", "sessions.refresh_grace"),
            ("refresh_body = '{\"a\":{access_token}}'", "sessions.refresh_body"),
            ("refresh_body = '{'", "sessions.refresh_body"),
        ] {
            let mut problems = Problems::default();
            let compiled = Settings::compile(&toml::from_str(&format!("[sessions]\n{line}")).unwrap(), &mut problems);
            assert!(compiled.is_none() && problems.list().iter().any(|problem| problem.path == path), "{line}");
        }
        let mut problems = Problems::default();
        assert!(Settings::compile(&toml::from_str("[sessions]\nrefresh_grace = \"0s\"").unwrap(), &mut problems).is_some());
    }
}
