//! Says how a request would be judged, by running the gate on it: the same code as the proxy, with a trace.
//! Takes nothing from buckets that count, marks nothing, sends nothing upstream.

use std::borrow::Cow;
use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::answer::Answers;
use crate::authn::KeyTable;
use crate::clock::{Clock, Timestamp};
use crate::config::sections::CredentialType;
use crate::forward::Rewrite;
use crate::forward::upstream::Upstreams;
use crate::gate::trace::{Note, Step, Trace, Verdict};
use crate::gate::{Admitted, Caller, Connection, Gate, Presented, Seen};
use crate::key::record::KeyRecord;
use crate::net::Peer;
use crate::policy::CHECKS;
use crate::rejection::{Refusal, Rejection};
use crate::route::TokenEndpoint;
use crate::server::framing::{Head, Limits};
use crate::store::StoreError;
use crate::telemetry::mask::{HIDDEN, Mask};

/// A request as somebody describes it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Method, as it would be sent.
    pub method: String,
    /// Request target, as it would be sent.
    pub target: String,
    /// Header lines, as they would be sent; Host is added where none is given.
    pub headers: Vec<(String, String)>,
    /// The peer of the connection.
    pub from: IpAddr,
    /// Whether the connection is TLS.
    pub tls: bool,
}

/// What would become of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// Method and target, a key in it masked.
    pub request: String,
    /// Every step, in order.
    pub steps: Vec<Explained>,
    /// Reason of the refusal; empty if there is none.
    pub reason: Cow<'static, str>,
    /// What decided it, as the access log would say.
    pub detail: String,
    /// Reasons that it is let through in spite of, for a time only, with commas between them; empty if there is none.
    pub would_refuse: Cow<'static, str>,
    /// What the client would get, if it were refused or answered here.
    pub answer: Option<Answer>,
    /// What the upstream would get.
    pub forward: Option<Forwarded>,
}

/// A step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Explained {
    /// Its name.
    pub step: Cow<'static, str>,
    /// `ok`, `refused`, `observed` (it would be refused, and is let through for a time), or `not reached`.
    pub verdict: Cow<'static, str>,
    /// What it looked at.
    pub input: String,
    /// Why it refused.
    pub detail: String,
    /// Path in the configuration that decides it.
    pub path: String,
}

/// An exact answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

/// What would be forwarded.
#[derive(Debug, Serialize, Deserialize)]
pub struct Forwarded {
    /// Index of the upstream in the configuration.
    pub upstream: usize,
    /// Its name and URL there.
    pub to: String,
    /// Method and target.
    pub request: String,
    /// Headers, identity included; never a credential.
    pub headers: Vec<(String, String)>,
    /// Names of the client's headers that the upstream does not get as they were sent.
    pub removed: Vec<String>,
}

struct Recorder<'m> {
    mask: &'m Mask,
    request: String,
    steps: Vec<Explained>,
}

impl Trace for Recorder<'_> {
    const THOROUGH: bool = true;

    fn step(&mut self, step: Step, note: impl FnOnce() -> Note, verdict: Verdict<'_>) {
        let Note { input, path } = note();
        let (verdict, refusal) = match verdict {
            Verdict::Passed => ("ok", None),
            Verdict::Refused(refusal) => ("refused", Some(refusal)),
            Verdict::Observed(refusal) => ("observed", Some(refusal)),
        };
        let detail = refusal.map(ToString::to_string).unwrap_or_default();
        self.steps.push(Explained {
            step: step.name().into(),
            verdict: verdict.into(),
            input: masked(self.mask, &input),
            detail: masked(self.mask, &detail),
            path,
        });
    }
}

/// A gate over an open store, without a socket.
#[derive(Debug)]
pub struct Explainer {
    gate: Gate,
    answers: Answers,
    upstreams: Upstreams,
    mask: Mask,
    key_table: KeyTable,
    limits: Limits,
    clock: Clock,
}

impl Explainer {
    /// By the same parts that a running sidecar has.
    #[must_use]
    pub(crate) const fn new(
        gate: Gate,
        answers: Answers,
        upstreams: Upstreams,
        mask: Mask,
        key_table: KeyTable,
        limits: Limits,
        clock: Clock,
    ) -> Self {
        Self { gate, answers, upstreams, mask, key_table, limits, clock }
    }

    /// The record that `Presented::Record` may stand for.
    ///
    /// # Errors
    /// The store's.
    pub fn find_key(&self, id: &str) -> Result<Option<KeyRecord>, StoreError> {
        self.key_table.runtime().block_on(self.key_table.store().find_key(id))
    }

    /// Judges a described request. `presented` says whether its credential stands in its headers or a record is taken for it.
    #[must_use]
    pub fn explain(&self, described: &Described, presented: Presented<'_>) -> Explanation {
        let Self { gate, answers, upstreams, mask, limits, .. } = self;
        let judge = Judge { gate, answers, upstreams, mask, limits: *limits };
        self.key_table.runtime().block_on(judge.judge(described, presented, self.clock.now()))
    }
}

/// A gate that is asked how it would judge, and what its answers are made of.
#[expect(missing_docs, reason = "the parts of a sidecar")]
pub struct Judge<'a> {
    pub gate: &'a Gate,
    pub answers: &'a Answers,
    pub upstreams: &'a Upstreams,
    pub(crate) mask: &'a Mask,
    pub limits: Limits,
}

impl Judge<'_> {
    /// Judges a described request.
    pub async fn judge(&self, described: &Described, presented: Presented<'_>, now: Timestamp) -> Explanation {
        let Self { gate, answers, upstreams, mask, .. } = self;
        let asked = format!("{} {}", described.method, described.target);
        let mut trace = Recorder { mask, request: masked(mask, &asked), steps: Vec::new() };
        let connection = Connection::new(Peer::from(described.from), described.tls);
        let mut head = match trace.judge(Step::Framing, parse(described, self.limits), || Note::new(asked)) {
            Ok(head) => head,
            Err(refusal) => return refused(trace, answers, &refusal, &gate.begin(&HeaderMap::new(), now)),
        };
        let mut seen = gate.begin(&head.headers, now);
        let permit = match gate.judge(&mut head, presented, &connection, now, &mut seen, &mut trace).await {
            Err(refusal) => return refused(trace, answers, &refusal, &seen),
            Ok(Admitted::Preflight(headers)) => {
                let headers = headers.iter().map(|(name, value)| header_line(mask, name, value)).collect();
                return finish(trace, None, &seen, Some(Answer { status: 204, headers, body: String::new() }), None);
            }
            Ok(Admitted::Manage(order)) => {
                trace.pass(Step::Own, || Note::new(format!("self-service: {}", order.action().name())).at("self_service.path"));
                return finish(trace, None, &seen, None, None);
            }
            Ok(Admitted::Tell(_)) => {
                trace.pass(Step::Own, || Note::new("the document is told to anybody").at("oauth_metadata.resource"));
                return finish(trace, None, &seen, None, None);
            }
            Ok(Admitted::Issue(claim)) => {
                let (what, at) = match claim.endpoint() {
                    TokenEndpoint::Refresh => ("a refresh token gets the next pair", "sessions.refresh_path"),
                    TokenEndpoint::Token => ("a token, by what the body says", "sessions.token_path"),
                };
                trace.pass(Step::Own, || Note::new(what).at(at));
                return finish(trace, None, &seen, None, None);
            }
            Ok(Admitted::Forward(permit)) => permit,
        };
        seen.trace = gate.trace(permit.caller(), &head.headers);
        let rewritten = Rewrite { gate, upstreams, permit: &permit, connection: &connection, seen: &seen, now }.parts(&head);
        match trace.judge(Step::Rewrite, rewritten, || Note::new("headers").at("identity")) {
            Err(refusal) => refused(trace, answers, &refusal, &seen),
            Ok(rewritten) => {
                let request = masked(mask, &format!("{} {}", rewritten.method, rewritten.uri));
                let sent = &rewritten.headers;
                // An older system's key and an opaque token are secrets too, and nothing of ours tells them from other text.
                let is_plain = matches!(permit.caller(), Caller::Older) || seen.credential_name() == CredentialType::Opaque.name();
                let is_secret = |name: &HeaderName| is_plain && gate.carries_credentials(name);
                let line =
                    |name, value| if is_secret(name) { (name.to_string(), HIDDEN.to_owned()) } else { header_line(mask, name, value) };
                let headers = sent.iter().map(|(name, value)| line(name, value)).collect();
                let is_kept = |name: &str, value: &str| sent.get_all(name).iter().any(|kept| kept.as_bytes() == value.trim().as_bytes());
                let removed =
                    described.headers.iter().filter(|(name, value)| !is_kept(name, value)).map(|(name, _)| name.to_lowercase()).collect();
                let upstream = permit.upstream();
                let to = upstreams.target(upstream).map_or_else(String::new, |target| format!("{} ({})", target.name, target.url));
                finish(trace, None, &seen, None, Some(Forwarded { upstream, to, request, headers, removed }))
            }
        }
    }
}

fn refused(trace: Recorder<'_>, answers: &Answers, refusal: &Refusal, seen: &Seen) -> Explanation {
    let answer = answers.refuse(refusal, seen);
    let headers = answer.headers().iter().map(|(name, value)| header_line(trace.mask, name, value)).collect();
    let body = String::from_utf8_lossy(answer.body()).into_owned();
    let answer = Answer { status: answer.status().as_u16(), headers, body };
    finish(trace, Some(refusal), seen, Some(answer), None)
}

fn finish(trace: Recorder<'_>, refusal: Option<&Refusal>, seen: &Seen, answer: Option<Answer>, forward: Option<Forwarded>) -> Explanation {
    let mut steps = trace.steps;
    let checks = CHECKS.iter().map(|check| Step::Check(check.name));
    for step in [Step::Route, Step::Credential, Step::Environment, Step::Authentication].into_iter().chain(checks) {
        if steps.iter().all(|explained| explained.step != step.name()) {
            steps.push(Explained {
                step: step.name().into(),
                verdict: "not reached".into(),
                input: String::new(),
                detail: String::new(),
                path: String::new(),
            });
        }
    }
    let detail = refusal.map_or_else(|| seen.would_refuse.details(), |refusal| Cow::Borrowed(&*refusal.detail));
    Explanation {
        request: trace.request,
        steps,
        reason: refusal.map_or("", |refusal| refusal.rejection.row().reason).into(),
        detail: masked(trace.mask, &detail),
        would_refuse: seen.would_refuse.reasons(),
        answer,
        forward,
    }
}

fn header_line(mask: &Mask, name: &HeaderName, value: &HeaderValue) -> (String, String) {
    (name.as_str().to_owned(), masked(mask, &String::from_utf8_lossy(value.as_bytes())))
}

/// A key may stand where none belongs, such as the query; it is not repeated.
fn masked(mask: &Mask, text: &str) -> String {
    let mut text = Cow::Borrowed(text);
    mask.apply(&mut text);
    text.into_owned()
}

/// The head as the server would read it.
fn parse(described: &Described, limits: Limits) -> Result<Parts, Refusal> {
    let mut raw = format!("{} {} HTTP/1.1\r\n", described.method, described.target);
    let has_host = described.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !has_host {
        raw.push_str("Host: localhost\r\n");
    }
    for (name, value) in &described.headers {
        raw.extend([name, ": ", value, "\r\n"]);
    }
    raw.push_str("\r\n");
    let mut head = Head::default();
    match head.advance(raw.as_bytes(), limits)? {
        Some((taken, _)) if taken == raw.len() => Ok(head.request(&raw.into())?.0),
        Some(_) | None => Err(Rejection::RequestInvalid.because("a line break inside the described request")),
    }
}
