//! What is remembered of a request for its line in the access log and for the usage of its key, from its head to its answer's end.
//! Dropping the record writes the line, so that there is exactly one, whoever ended the exchange.

mod trace;
mod usage;

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};

use super::generation::{Generation, Generations};
use super::life::Life;
use crate::authn::{Admission, Standing};
use crate::clock::{Clock, Timestamp, instant};
use crate::gate::Seen;
use crate::identity::Identity;
use crate::rejection::{Refusal, Rejection};
use crate::telemetry::access::Line;
use crate::telemetry::tally::Tally;

/// Who writes the records of a connection.
#[derive(Debug)]
pub struct Scribe {
    /// What requests are judged by, which names the log too.
    pub generations: Rc<Generations>,
    /// The time of the lines.
    pub clock: Clock,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// `http` or `https`
    pub scheme: &'static str,
    /// What is counted of its requests.
    pub tally: Arc<Tally>,
}

/// One request.
#[derive(Debug)]
pub struct Record {
    scribe: Rc<Scribe>,
    /// What the request is judged by, from its head to its end.
    pub generation: Rc<Generation>,
    life: Rc<Life>,
    started: Instant,
    /// The time that the request is judged at.
    pub began: Timestamp,
    is_head: bool,
    /// What was asked; nothing of a head that could not be read.
    asked: Option<(Method, Uri)>,
    /// What the log tells of the head; nothing where there is no log.
    head: Option<Head>,
    /// What the gate learnt.
    pub seen: Seen,
    status: Option<StatusCode>,
    refusal: Option<Refusal>,
    error: Option<&'static str>,
    /// The upstream that was asked, and when.
    upstream: Option<(usize, Instant)>,
    upstream_ms: Option<f64>,
    replayed: bool,
    /// Whether the gate let it through.
    admitted: bool,
    sent: u64,
}

/// What is told of a head.
#[derive(Debug)]
struct Head {
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
}

impl Head {
    fn of(parts: &Parts) -> Self {
        let header = |name| parts.headers.get(name).cloned();
        Self { version: parts.version, host: header(header::HOST), user_agent: header(header::USER_AGENT) }
    }
}

impl Record {
    /// A request whose head was parsed.
    pub(super) fn of(head: &Parts, scribe: &Rc<Scribe>, life: &Rc<Life>) -> Box<Self> {
        Self::new(Some(head), &head.headers, scribe, life)
    }

    /// A head that was refused before it became a request.
    pub(super) fn unparsed(scribe: &Rc<Scribe>, life: &Rc<Life>) -> Box<Self> {
        Self::new(None, &HeaderMap::new(), scribe, life)
    }

    fn new(head: Option<&Parts>, headers: &HeaderMap, scribe: &Rc<Scribe>, life: &Rc<Life>) -> Box<Self> {
        scribe.tally.began.add(1);
        let began = scribe.clock.now();
        let generation = scribe.generations.current();
        let is_logged = generation.app.log.is_on();
        let seen = generation.app.gate.begin(headers, began);
        // On the heap, because it goes from hand to hand to the answer's end.
        Box::new(Self {
            scribe: Rc::clone(scribe),
            generation,
            life: Rc::clone(life),
            started: instant(),
            began,
            is_head: head.is_some_and(|head| head.method == Method::HEAD),
            asked: head.map(|head| (head.method.clone(), head.uri.clone())),
            head: head.filter(|_| is_logged).map(Head::of),
            seen,
            status: None,
            refusal: None,
            error: None,
            upstream: None,
            upstream_ms: None,
            replayed: false,
            admitted: false,
            sent: 0,
        })
    }

    /// The request that is told of is another than the one that asks for it.
    pub(super) fn is_about(&mut self, head: &Parts) {
        self.asked = Some((head.method.clone(), head.uri.clone()));
        self.head = self.head.take().map(|_| Head::of(head));
    }

    /// Whether an answer has no content, whatever it says of it.
    pub(super) fn is_head(&self) -> bool {
        self.is_head
    }

    /// The gate has judged it, whatever the verdict.
    pub(super) fn judged(&self) {
        self.scribe.tally.auth.observe(self.started.elapsed());
    }

    /// Whether other requests of the same listener and worker are under way.
    pub(super) fn has_company(&self) -> bool {
        self.scribe.tally.in_flight() > 1
    }

    /// The upstream with this index is asked, now.
    pub(super) fn asks(&mut self, upstream: usize) -> Instant {
        let now = instant();
        self.upstream = Some((upstream, now));
        now
    }

    /// The upstream's answer has begun.
    pub(super) fn relayed(&mut self, status: StatusCode, asked: Instant) {
        self.status = Some(status);
        let took = asked.elapsed();
        self.scribe.tally.overhead.observe(asked.saturating_duration_since(self.started));
        self.scribe.tally.upstream.observe(took);
        self.upstream_ms = Some(millis(took));
    }

    /// We answer, without refusing.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The answer of an earlier request is given again.
    pub(super) fn replayed(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.replayed = true;
    }

    /// We refuse.
    pub(super) fn refused(&mut self, status: StatusCode, refusal: Refusal) {
        self.status = Some(status);
        self.refusal = Some(refusal);
    }

    /// Content of the answer was handed on.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The upstream broke off.
    pub(super) fn upstream_aborted(&mut self) {
        self.error = Some("upstream_aborted");
    }

    /// The gate has admitted it: what it was admitted by is looked at again for as long as this record lives, and its content
    /// may not come too slowly.
    pub(super) fn admitted(&mut self) {
        self.admitted = true;
        if let Some(admission) = self.admission() {
            self.life.admitted_by(&self.generation, admission);
        }
        // A stream of calls may take its time between them.
        if !self.seen.grpc {
            self.paced();
        }
    }

    fn admission(&self) -> Option<Admission> {
        match (&self.seen.token, &self.seen.key) {
            (Some(token), _) => Some(Admission::by_token(Arc::clone(token))),
            (None, Some((_, digest))) => self.seen.identity.is_some().then(|| Admission::by(*digest)),
            (None, None) => None,
        }
    }

    /// Whether what admitted it still does, now that its content is here.
    pub(super) async fn check_standing(&self) -> Result<(), Refusal> {
        let Some(mut admission) = self.admission() else { return Ok(()) };
        let (authenticator, now) = (self.generation.app.gate.authenticator(), self.now());
        let standing = match authenticator.standing(&mut admission, now) {
            Standing::Unknown => authenticator.ask_standing(&admission, now).await,
            known @ (Standing::Holds | Standing::Ended(_)) => known,
        };
        match standing {
            Standing::Ended(rejection) => Err(rejection.because("ended while its content was on the way")),
            Standing::Holds | Standing::Unknown => Ok(()),
        }
    }

    /// The time: that at which the head came may be long past.
    pub(super) fn now(&self) -> Timestamp {
        self.scribe.clock.now()
    }

    /// Its content may not come too slowly.
    pub(super) fn paced(&self) {
        self.life.judge_pace();
    }

    /// What admitted it has ended, `request_timeout` passed, or nobody said anything for `stream_idle_timeout`.
    pub(super) fn expired(&mut self, silent: bool) {
        let timeout = if silent { "stream_idle_timeout" } else { "request_timeout" };
        self.error = Some(self.life.ended_by().map_or(timeout, |rejection| rejection.row().reason));
    }

    /// The answer was not written to its end; unless the upstream or we did it, the client did.
    pub(super) fn broken_off(&mut self) {
        if self.error.is_none() && self.life.is_cut_off() {
            self.life.count_cut_off();
            self.error = Some("shutdown");
        }
        let ended_by = self.life.ended_by().map(|rejection| rejection.row().reason);
        self.error.get_or_insert(ended_by.unwrap_or("client_aborted"));
    }
}

/// As OpenTelemetry writes them.
const fn name_of(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn lossy(value: &HeaderValue) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.refused(StatusCode::INTERNAL_SERVER_ERROR, Rejection::Internal.because("panic"));
        } else if self.status.is_none() {
            self.broken_off();
        }
        let status = self.status.map(|status| status.as_u16());
        self.scribe.tally.end(status, self.refusal.as_ref().map(|refusal| refusal.rejection));
        if let Some(rejection) = self.life.exchange_over() {
            self.scribe.tally.cut_short(rejection);
        }
        for refusal in self.seen.would_refuse.iter() {
            self.scribe.tally.would_refuse(refusal.rejection);
        }
        match self.seen.cached {
            Some(true) => self.scribe.tally.cache_hits.add(1),
            Some(false) => self.scribe.tally.cache_misses.add(1),
            None => {}
        }
        self.trace();
        let refused = self.refusal.is_some() || !self.seen.would_refuse.is_empty();
        self.generation.app.log.write(refused, || self.line());
        self.count();
    }
}

impl Record {
    fn line(&self) -> Line<'_> {
        let identity = self.seen.identity.as_deref();
        let (head, asked) = (self.head.as_ref(), self.asked.as_ref());
        let status = self.status.map(|status| status.as_u16());
        let (refusal, would_refuse) = (self.refusal.as_ref(), &self.seen.would_refuse);
        let fingerprint = if identity.is_none() { self.seen.fingerprint() } else { None };
        let subject = identity.and_then(Identity::subject);
        let environment = identity.map(|identity| identity.environment).or(self.seen.environment);
        Line {
            timestamp: self.scribe.clock.now(),
            method: asked.map_or("", |(method, _)| method.as_str()).into(),
            path: asked.map_or("", |(_, uri)| uri.path()).into(),
            query: asked.and_then(|(_, uri)| uri.query()).map(Into::into),
            version: head.map(|head| name_of(head.version)),
            host: head.and_then(|head| head.host.as_ref()).map(lossy),
            client: self.seen.client.0,
            status,
            route: self.seen.route.as_ref().map(|route| &*route.name),
            reason: refusal.map_or("", |refusal| refusal.rejection.row().reason),
            would_refuse: would_refuse.reasons(),
            detail: refusal.map_or_else(|| would_refuse.details(), |refusal| Cow::Borrowed(&*refusal.detail)),
            error: self.error,
            request_id: self.seen.request_id.as_str(),
            trace_id: self.seen.trace.map(|context| context.trace_id()),
            tenant: identity.map(|identity| &*identity.tenant_id),
            key: identity.and_then(Identity::acts_for).map(|id| &**id),
            issuer: subject.map(|(issuer, _)| &**issuer),
            subject: subject.map(|(_, subject)| subject).filter(|subject| !subject.is_empty()).map(Into::into),
            environment: environment.map(crate::config::sections::EnvironmentName::name),
            credential: self.seen.credential_name(),
            fingerprint,
            duration_ms: millis(self.started.elapsed()),
            upstream_ms: self.upstream_ms,
            replayed: self.replayed,
            request_bytes: self.life.uploaded().get(),
            response_bytes: self.sent,
            user_agent: head.and_then(|head| head.user_agent.as_ref()).map(lossy),
            listener: &self.scribe.listener,
        }
    }
}
