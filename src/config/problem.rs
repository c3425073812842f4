//! What is wrong with a configuration, by path: `routes[2].match`. All problems are gathered; none stops the search for others.
//! Who compiles a section reports here; `config::load` turns paths into lines and columns.

use serde::Serialize;

use super::tree::Place;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Sidegate does not start with it.
    Error,
    /// Legal, and probably not what was meant; or not built yet.
    Warning,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// Where: `listeners[0].tls.cert_file`; table and array steps as in TOML, quoted where a key is not bare.
    pub path: String,
    /// What is wrong, one sentence, lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where it is written, if that is known better than by `path`.
    pub(super) place: Option<Place>,
}

/// The gathered problems.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Adds an error.
    pub fn error(&mut self, path: impl Into<String>, message: impl Into<String>) -> &mut Problem {
        self.add(Severity::Error, path.into(), message.into())
    }

    /// Adds a warning.
    pub fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) -> &mut Problem {
        self.add(Severity::Warning, path.into(), message.into())
    }

    #[expect(clippy::indexing_slicing, reason = "the entry was pushed on the line before")]
    fn add(&mut self, severity: Severity, path: String, message: String) -> &mut Problem {
        self.list.push(Problem { severity, path, message, help: None, place: None });
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    /// Whether any error was added.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// All, in the order they were found.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// Takes over those problems of a later step that the earlier ones do not already explain.
    pub(super) fn append(&mut self, later: Self, is_explained: impl Fn(&[Problem], &Problem) -> bool) {
        for problem in later.list {
            if !is_explained(&self.list, &problem) {
                self.list.push(problem);
            }
        }
    }

    /// Parses `value` for `path`; a failure is recorded with the parser's own words.
    pub fn parse<T>(&mut self, path: &str, value: &str) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        self.keep(path, value.parse())
    }

    /// Keeps a result for `path`; a failure is recorded in its own words.
    pub fn keep<T>(&mut self, path: impl Into<String>, result: Result<T, impl std::fmt::Display>) -> Option<T> {
        result.map_err(|error| self.error(path, error.to_string()).severity).ok()
    }
}

impl Problem {
    /// Adds what to do about it.
    pub fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }
}
