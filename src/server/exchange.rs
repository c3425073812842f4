//! One request, from its head to its answer's head: the data plane's page to read first.
//! It sequences; what is judged is the gate's, what is rewritten is `forward`'s, what is said is `answer`'s.

mod decision;
mod once;
mod own;
mod tokens;
mod unread;

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header, response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::task::yield_now;

use super::body::{Download, Received, Source, Upload};
use super::framing::{Limits, fields};
use super::generation::Generation;
use super::life::Life;
use super::record::{Record, Scribe};
use super::tunnel::Tunnel;
use crate::clock::Timestamp;
use crate::facts::{X_REQUEST_ID, is_grpc};
use crate::forward::upgrade::Handshake;
use crate::forward::upstream::pool::{Answer, Switch, Wire};
use crate::forward::{Forward, Rewrite};
use crate::gate::{Admitted, Claim, Connection, Order, Seen};
use crate::http1::syntax::content_length;
use crate::idempotency::Asked;
use crate::net::Peer;
use crate::net::client::ClientAddr;
use crate::rejection::{Refusal, Rejection};
use once::Job;
use unread::{Left, Unread};

/// What every exchange of a connection shares.
#[derive(Debug)]
pub struct Session {
    /// Who logs, and knows what a request is judged by.
    pub scribe: Rc<Scribe>,
    /// How far the connection is.
    pub life: Rc<Life>,
    /// What its last exchange leaves behind, if that switched protocols.
    pub tunnel: RefCell<Option<Tunnel>>,
    /// What the gate knows of it.
    pub connection: Connection,
    /// Bounds of a head.
    pub limits: Limits,
    /// Longest request body.
    pub body_limit: u64,
}

impl Session {
    /// Who sends what was refused before anybody asked for whom.
    pub(super) fn peer(&self) -> ClientAddr {
        ClientAddr(match self.connection.peer {
            Peer::Ip(ip) => Some(ip),
            Peer::Unix => None,
        })
    }
}

/// Answers one request, whose life is its connection's or its stream's. Never fails: what goes wrong is an answer too.
pub async fn answer(session: Rc<Session>, life: Rc<Life>, request: Request<Received>) -> Response<Download> {
    let (mut head, body) = request.into_parts();
    // Over HTTP/1 the bytes were judged.
    let framed = if life.is_stream() { fields::canonical(&mut head, session.limits) } else { Ok(()) };
    let mut record = Record::of(&head, &session.scribe, &life);
    // A refusal in the shape of gRPC has status 200, which a gateway takes for a yes.
    record.seen.grpc &= !session.connection.asks;
    let outcome = match framed {
        Ok(()) => Contained { exchange: exchange(&session, &life, head, body, &mut record), life: &life }.await,
        Err(refusal) => {
            record.seen.client = session.peer();
            Err(refusal)
        }
    };
    match outcome.unwrap_or_else(|refusal| Outcome::Refused(refusal, Left::Unread)) {
        Outcome::Relayed(response) => relay(&life, response, record),
        Outcome::Switched(head, wire, ahead) => switch(&session, &life, head, wire, ahead, record),
        Outcome::Answered(status, headers, left) => answered(&life, status, headers, record, left),
        Outcome::Refused(refusal, left) => refuse(&life, refusal, None, record, left),
        Outcome::Told(refusal, response) => refuse(&life, refusal, Some(*response), record, Left::Nothing),
    }
}

/// What came of a request, before it is an answer.
enum Outcome {
    Relayed(Response<Source>),
    Switched(response::Parts, Wire, Bytes),
    /// By us, without content.
    Answered(StatusCode, HeaderMap, Left),
    Refused(Refusal, Left),
    /// The same, in other words than the profile's.
    Told(Refusal, Box<Response<Bytes>>),
}

async fn exchange(session: &Rc<Session>, life: &Rc<Life>, mut head: Parts, body: Received, record: &mut Record) -> Outcome {
    if session.connection.asks {
        return Box::pin(decision::decide(session, head, body, record)).await;
    }
    let unread = Unread::of(&head, &body, session.body_limit);
    let judged = judge(session, &record.generation, &mut head, unread, record.began, &mut record.seen).await;
    record.judged();
    match judged {
        Ok(Judged::Forward(mut forward, asked)) => {
            // Nobody looks at it again, and the answer may be long in coming.
            drop(std::mem::take(&mut head.headers));
            record.admitted();
            if let Some(handshake) = forward.handshake.take() {
                return Box::pin(open(forward, &handshake, record)).await;
            }
            let left = if body.is_end_stream() { Left::Nothing } else { Left::Unread };
            let mut upload = Upload::new(body, Rc::clone(&record.generation), Rc::clone(life), session.body_limit);
            match asked {
                Some(asked) => Box::pin(once::send(life, Job::Forward(forward), asked, upload, record)).await,
                None => dispatch(life, &mut forward, &mut upload, left, record).await,
            }
        }
        Ok(Judged::Manage(order)) => {
            record.paced();
            let upload = Upload::new(body, Rc::clone(&record.generation), Rc::clone(life), session.body_limit);
            Box::pin(own::answer(life, order, upload, record)).await
        }
        Ok(Judged::Issue(claim)) => {
            record.paced();
            let upload = Upload::new(body, Rc::clone(&record.generation), Rc::clone(life), session.body_limit);
            Box::pin(tokens::answer(session, life, (claim, head), upload, record)).await
        }
        Ok(Judged::Tell(document)) => {
            Box::pin(unread.discard(body)).await;
            own::tell(document, record)
        }
        Ok(Judged::Preflight(headers)) => Outcome::Answered(StatusCode::NO_CONTENT, headers, Box::pin(unread.discard(body)).await),
        Err(refusal) => Outcome::Refused(refusal, Box::pin(unread.discard(body)).await),
    }
}

enum Judged {
    /// And by what it is to be run once.
    Forward(Forward, Option<Box<Asked>>),
    Manage(Box<Order>),
    Issue(Box<Claim>),
    Tell(Bytes),
    Preflight(HeaderMap),
}

async fn judge(
    session: &Session,
    Generation { app, .. }: &Generation,
    head: &mut Parts,
    unread: Unread,
    now: Timestamp,
    seen: &mut Seen,
) -> Result<Judged, Refusal> {
    unread.check_expectation()?;
    let decided = app.gate.decide(head, &session.connection, now, seen).await;
    app.gate.note(seen);
    let permit = match decided? {
        Admitted::Preflight(headers) => return Ok(Judged::Preflight(headers)),
        Admitted::Manage(order) => {
            unread.check_length()?;
            return Ok(Judged::Manage(order));
        }
        Admitted::Issue(claim) => {
            unread.check_length()?;
            return Ok(Judged::Issue(claim));
        }
        Admitted::Tell(document) => return Ok(Judged::Tell(document)),
        Admitted::Forward(permit) => permit,
    };
    // Only now: who may not ask at all is not told what would be too much.
    unread.check_length()?;
    seen.trace = app.gate.trace(permit.caller(), &head.headers);
    let rewrite = Rewrite { gate: &app.gate, upstreams: &app.upstreams, permit: &permit, connection: &session.connection, seen, now };
    match rewrite.apply(head) {
        Ok(forward) => Ok(Judged::Forward(forward, permit.into_asked())),
        Err(refusal) => {
            seen.trace = None;
            Err(refusal)
        }
    }
}

async fn dispatch(life: &Rc<Life>, forward: &mut Forward, upload: &mut Upload, left: Left, record: &mut Record) -> Outcome {
    // What others have sent is read and judged first: then an upstream that sleeps is woken once for all of it, not once for each.
    if record.has_company() {
        yield_now().await;
    }
    let asked = record.asks(forward.upstream);
    match record.generation.pools.send(forward, upload, life.uploaded()).await {
        Ok(response) => receive(response, left, asked, record),
        // A fault in the client's own body breaks the upstream's connection; it is the client who is told.
        Err(refusal) => Outcome::Refused(life.take_fault().unwrap_or(refusal), left),
    }
}

fn receive(response: Response<Answer<Upload>>, left: Left, asked: Instant, record: &mut Record) -> Outcome {
    if let Err(refusal) = check_answer(&response) {
        return Outcome::Refused(refusal, left);
    }
    record.relayed(response.status(), asked);
    Outcome::Relayed(response.map(Source::Upstream))
}

/// What cannot be passed on as an answer.
fn check_answer<B>(response: &Response<B>) -> Result<(), Refusal> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Rejection::UpstreamUnavailable.because("101 without a request for it"));
    }
    Ok(())
}

/// Asks the upstream for a WebSocket. Only a 101 that answers this very handshake opens one.
async fn open(forward: Forward, handshake: &Handshake, record: &mut Record) -> Outcome {
    let asked = record.asks(forward.upstream);
    match record.generation.pools.switch(forward).await {
        Ok(Switch::Answered(response)) => receive(response, Left::Nothing, asked, record),
        Ok(Switch::Switched(head, wire, ahead)) if handshake.is_answered_by(&head.headers) => {
            record.relayed(head.status, asked);
            Outcome::Switched(head, wire, ahead)
        }
        Ok(Switch::Switched(..)) => {
            Outcome::Refused(Rejection::UpstreamUnavailable.because("101 that does not answer the handshake"), Left::Nothing)
        }
        Err(refusal) => Outcome::Refused(refusal, Left::Nothing),
    }
}

/// Tells the client; the connection's task opens the tunnel when that is written.
fn switch(
    session: &Session,
    life: &Rc<Life>,
    mut head: response::Parts,
    wire: Wire,
    ahead: Bytes,
    record: Box<Record>,
) -> Response<Download> {
    head.version = Version::HTTP_11;
    strip_hop_by_hop(&mut head.headers);
    tell(&mut head.headers, &record.seen);
    Handshake::accept(&mut head.headers);
    life.switch();
    *session.tunnel.borrow_mut() = Some(Tunnel::new(wire, ahead, record));
    Response::from_parts(head, Download::own(Bytes::new(), life, None))
}

fn relay(life: &Rc<Life>, response: Response<Source>, record: Box<Record>) -> Response<Download> {
    let (mut head, body) = response.into_parts();
    head.version = Version::HTTP_11;
    strip_hop_by_hop(&mut head.headers);
    one_length(head.status, &mut head.headers, &body);
    record.generation.app.answers.expose(&record.seen, &mut head.headers);
    finish(life, &mut head.headers, &record.seen, false);
    let speaks_grpc = life.is_stream() && is_grpc(&head.headers);
    Response::from_parts(head, Download::relayed(body, life, record, speaks_grpc))
}

/// In the words of the profile, unless there are others.
fn refuse(life: &Rc<Life>, refusal: Refusal, told: Option<Response<Bytes>>, mut record: Box<Record>, left: Left) -> Response<Download> {
    let close = left == Left::Unread || is_malformed(refusal.rejection);
    let answers = &record.generation.app.answers;
    let (mut head, mut content) = match told {
        Some(told) => {
            let (mut head, content) = told.into_parts();
            answers.expose(&record.seen, &mut head.headers);
            (head, content)
        }
        None => answers.refuse(&refusal, &record.seen).into_parts(),
    };
    record.refused(head.status, refusal);
    finish(life, &mut head.headers, &record.seen, close);
    if life.is_stream() && record.is_head() {
        // Over HTTP/1 its writer sees to that.
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
        content.clear();
    }
    Response::from_parts(head, Download::own(content, life, Some(record)))
}

/// Who sends what cannot be read in one way only is not read any further.
const fn is_malformed(rejection: Rejection) -> bool {
    matches!(rejection, Rejection::RequestInvalid | Rejection::TargetTooLong | Rejection::HeadersTooLarge | Rejection::MethodDenied)
}

fn answered(life: &Rc<Life>, status: StatusCode, headers: HeaderMap, mut record: Box<Record>, left: Left) -> Response<Download> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    record.answered(status);
    finish(life, response.headers_mut(), &record.seen, left == Left::Unread);
    response.map(|()| Download::own(Bytes::new(), life, Some(record)))
}

/// One Content-Length, the one the body was read by; an answer without body (HEAD, 304) keeps what it says of the body it has not,
/// but for a 204, where nobody may say anything (RFC 9110 §8.6) and some would wait for it.
fn one_length(status: StatusCode, headers: &mut HeaderMap, body: &impl Body) {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let only = lines.next().filter(|_| lines.next().is_none());
    let said = only.and_then(|line| content_length(line.as_bytes()));
    match body.size_hint().exact() {
        Some(length) if !body.is_end_stream() && said != Some(length) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Some(_) if said.is_some() && status != StatusCode::NO_CONTENT => {}
        Some(_) | None => drop(headers.remove(header::CONTENT_LENGTH)),
    }
}

/// What every answer has, whoever made it. A stream ends alone: its connection is told to leave by GOAWAY.
fn finish(life: &Life, headers: &mut HeaderMap, seen: &Seen, close: bool) {
    tell(headers, seen);
    if !life.is_stream() && (close || life.leaving()) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// What the caller is told of the request, of its limits and of its secret.
fn tell(headers: &mut HeaderMap, seen: &Seen) {
    headers.insert(X_REQUEST_ID, seen.request_id.to_value());
    if let Some(told) = &seen.limits {
        told.tell(headers);
    }
    if let Some(replaced) = seen.identity.as_ref().and_then(|identity| identity.particulars().replaced.as_ref()) {
        replaced.tell(headers);
    }
}

/// Removes what concerns only the upstream's connection (RFC 9110 §7.6.1).
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most answers say nothing of the kind.
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

pin_project! {
    /// An exchange that cannot take its connection's neighbours down, nor outlive `request_timeout` or what admitted it.
    struct Contained<'a, F> {
        #[pin]
        exchange: F,
        life: &'a Life,
    }
}

impl<F: Future> Future for Contained<'_, F> {
    type Output = Result<F::Output, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.life.expired() {
            let refusal = this.life.ended_by().map(|rejection| rejection.because("while the request was under way"));
            let timeout = if this.life.is_slow() { "body_min_rate" } else { "request_timeout" };
            return Poll::Ready(Err(refusal.unwrap_or_else(|| Rejection::RequestTimeout.because(timeout))));
        }
        match catch_unwind(AssertUnwindSafe(|| this.exchange.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => {
                tracing::error!(panic = panic_text(&*panic), "a request panicked");
                Poll::Ready(Err(Rejection::Internal.because("panic")))
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_the_upstreams_connection_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop"),
            ("connection", " x-other ,,"),
            ("x-hop", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("trailer", "x-sum"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(left, [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("trailer", "x-sum")]);
    }

    #[test]
    fn an_answer_without_content_by_its_status_says_no_length() {
        for (status, left) in [(StatusCode::NO_CONTENT, None), (StatusCode::NOT_MODIFIED, Some("5"))] {
            let mut headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from_static("5"))]);
            one_length(status, &mut headers, &http_body_util::Empty::<Bytes>::new());
            assert_eq!(headers.get(header::CONTENT_LENGTH).map(|length| length.to_str().unwrap()), left, "{status}");
        }
    }
}
