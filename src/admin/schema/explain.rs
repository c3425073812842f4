//! How requests would be judged.

use utoipa::ToSchema;

/// How a request would be judged
#[derive(ToSchema)]
pub(crate) struct Explanation {
    /// Method and target, a key in it masked
    request: String,
    steps: Vec<Step>,
    /// Reason of the refusal; empty if there is none
    reason: String,
    /// What decided it
    detail: String,
    /// Reasons that it is let through in spite of, for a time only, with commas between them; empty if there is none
    would_refuse: String,
    /// What the client would get, if it were refused or answered here
    #[schema(required)]
    answer: Option<Answer>,
    /// What the upstream would get
    #[schema(required)]
    forward: Option<Forwarded>,
}

/// A step of the gate
#[derive(ToSchema)]
pub(crate) struct Step {
    step: String,
    /// `ok`, `refused`, `observed`, `not reached`
    verdict: String,
    input: String,
    detail: String,
    /// Path in the configuration that decides it
    path: String,
}

/// An exact answer
#[derive(ToSchema)]
pub(crate) struct Answer {
    status: u16,
    /// Each name and value
    headers: Vec<Vec<String>>,
    body: String,
}

/// What would be forwarded
#[derive(ToSchema)]
pub(crate) struct Forwarded {
    /// Index of the upstream in the configuration
    upstream: u64,
    /// Its name and URL there
    to: String,
    request: String,
    /// Each name and value; never a credential
    headers: Vec<Vec<String>>,
    /// Names of headers that the upstream does not get as they were sent
    removed: Vec<String>,
}
