//! What `explain` sees of the gate: every step with its input and verdict. For the proxy it is `()` and compiles to nothing.

use crate::rejection::Refusal;

/// A step of the way of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Whether its head can be read in one way only.
    Framing,
    /// Whose address it has.
    Client,
    /// What is asked.
    Facts,
    /// What that demands.
    Route,
    /// What is presented.
    Credential,
    /// Environment by prefix.
    Environment,
    /// Look-ups of uncached credentials.
    GuessGuard,
    /// Who it is.
    Authentication,
    /// One of [`crate::policy::CHECKS`].
    Check(&'static str),
    /// One of the limits that apply.
    Limit,
    /// Whether it is to be run once.
    Idempotency,
    /// What Sidegate does itself.
    Own,
    /// Whether a key that is nobody's here is passed on.
    Migration,
    /// What the upstream sees.
    Rewrite,
}

impl Step {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::Client => "client address",
            Self::Facts => "request",
            Self::Route => "route",
            Self::Credential => "credential",
            Self::Environment => "environment",
            Self::GuessGuard => "guess guard",
            Self::Authentication => "authentication",
            Self::Check(name) => name,
            Self::Limit => "limit",
            Self::Idempotency => "idempotency",
            Self::Own => "answered here",
            Self::Migration => "migration",
            Self::Rewrite => "rewrite",
        }
    }
}

/// What a step looked at. Never a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its input, in words.
    pub input: String,
    /// Where in the configuration it is decided.
    pub path: String,
}

impl Note {
    /// With an input.
    #[must_use]
    pub fn new(input: impl Into<String>) -> Self {
        Self { input: input.into(), path: String::new() }
    }

    /// Decided at this path.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }
}

/// What came of a step.
#[derive(Debug, Clone, Copy)]
pub enum Verdict<'a> {
    /// Nothing to be said against the request.
    Passed,
    /// Why it is refused.
    Refused(&'a Refusal),
    /// Why it would be refused, were the step not observed only.
    Observed(&'a Refusal),
}

/// Sees the steps.
pub trait Trace {
    /// Whether checks go on after the first refusal.
    const THOROUGH: bool;

    /// A step with its verdict.
    fn step(&mut self, step: Step, note: impl FnOnce() -> Note, verdict: Verdict<'_>);

    /// A step that refuses nothing.
    fn pass(&mut self, step: Step, note: impl FnOnce() -> Note) {
        self.step(step, note, Verdict::Passed);
    }

    /// A step that may refuse; hands its result on.
    ///
    /// # Errors
    /// The step's own.
    fn judge<R>(&mut self, step: Step, result: Result<R, Refusal>, note: impl FnOnce() -> Note) -> Result<R, Refusal> {
        self.judged(step, &result, note);
        result
    }

    /// The same, where the note is of the result.
    fn judged<R>(&mut self, step: Step, result: &Result<R, Refusal>, note: impl FnOnce() -> Note) {
        self.step(step, note, result.as_ref().err().map_or(Verdict::Passed, Verdict::Refused));
    }
}

impl Trace for () {
    const THOROUGH: bool = false;

    fn step(&mut self, _step: Step, _note: impl FnOnce() -> Note, _verdict: Verdict<'_>) {}
}
