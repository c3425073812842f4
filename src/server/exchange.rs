//! One request, from its head to its answer's head: the data plane's page to read first.
//! It sequences; what is judged is the gate's, what is rewritten is `forward`'s, what is said is `answer`'s.

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::timeout;

use super::body::{Download, Upload};
use super::life::Life;
use super::record::{Record, Scribe};
use crate::app::Snapshot;
use crate::clock::{Timestamp, instant};
use crate::facts::X_REQUEST_ID;
use crate::forward::upstream::pool::Pools;
use crate::forward::{self, Forward};
use crate::gate::{Admitted, Connection, Gate, Seen};
use crate::rejection::{Refusal, Rejection};

/// Content of a refused request that is read so that the connection can be kept, bytes and time.
const DISCARD_BYTES: u64 = 64 << 10;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// What every exchange of a connection shares.
#[derive(Debug)]
pub struct Session {
    /// The snapshot that judges it.
    pub app: Arc<Snapshot>,
    /// The worker's upstream connections.
    pub pools: Rc<Pools<Upload>>,
    /// Who logs.
    pub scribe: Scribe,
    /// How far the connection is.
    pub life: Rc<Life>,
    /// What the gate knows of it.
    pub connection: Connection,
    /// Longest request body.
    pub body_limit: u64,
}

/// Answers one request. Never fails: what goes wrong is an answer too.
pub async fn answer(session: Rc<Session>, request: Request<Incoming>) -> Response<Download> {
    let (head, body) = request.into_parts();
    let mut record = Record::of(&head, &session.scribe, &session.life);
    let unread = Unread::of(&head, &body, session.body_limit);
    match judge(&session, head, unread, record.began, &mut record.seen).await {
        Ok(Judged::Forward(forward)) => send(&session, forward, body, record).await,
        Ok(Judged::Preflight(headers)) => {
            let close = Box::pin(unread.discard(body)).await == Left::Unread;
            preflight(&session, headers, record, close)
        }
        Err(refusal) => {
            let close = Box::pin(unread.discard(body)).await == Left::Unread;
            refuse(&session, refusal, record, close)
        }
    }
}

enum Judged {
    Forward(Forward),
    Preflight(HeaderMap),
}

async fn judge(session: &Session, mut head: Parts, unread: Unread, now: Timestamp, seen: &mut Seen) -> Result<Judged, Refusal> {
    unread.check_expectation()?;
    let decided = session.app.gate.decide(&mut head, &session.connection, now, seen).await;
    session.app.gate.note(seen);
    let permit = match decided? {
        Admitted::Preflight(headers) => return Ok(Judged::Preflight(headers)),
        Admitted::Forward(permit) => permit,
    };
    // Only now: who may not ask at all is not told what would be too much.
    unread.check_length()?;
    forward::rewrite(&session.app.gate, &session.app.upstreams, &permit, head, &session.connection, seen).map(Judged::Forward)
}

async fn send(session: &Session, forward: Forward, body: Incoming, mut record: Record) -> Response<Download> {
    let asked = instant();
    let upload = Upload::new(body, Rc::clone(&session.life), session.body_limit);
    let bodiless = upload.is_end_stream();
    match session.pools.send(forward, upload, session.life.uploaded()).await {
        Ok((response, _)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            refuse(session, Rejection::UpstreamUnavailable.because("101 without a request for it"), record, !bodiless)
        }
        Ok((response, lease)) => {
            record.relayed(response.status(), asked);
            let (mut head, body) = response.into_parts();
            head.version = Version::HTTP_11;
            strip_hop_by_hop(&mut head.headers);
            if body.size_hint().exact().is_none() {
                head.headers.remove(header::CONTENT_LENGTH);
            }
            session.app.answers.expose(&record.seen, &mut head.headers);
            finish(session, &mut head.headers, &record.seen, false);
            Response::from_parts(head, Download::relayed(body, lease, &session.life, record))
        }
        Err(refusal) => {
            // A fault in the client's own body breaks the upstream's connection; it is the client who is told.
            let refusal = session.life.take_fault().unwrap_or(refusal);
            refuse(session, refusal, record, !bodiless)
        }
    }
}

fn refuse(session: &Session, refusal: Refusal, mut record: Record, close: bool) -> Response<Download> {
    let close = close || is_malformed(refusal.rejection);
    let (mut head, content) = session.app.answers.refuse(&refusal, &record.seen).into_parts();
    record.refused(head.status, refusal);
    finish(session, &mut head.headers, &record.seen, close);
    Response::from_parts(head, Download::own(content, &session.life, Some(record)))
}

/// Who sends what cannot be read in one way only is not read any further.
const fn is_malformed(rejection: Rejection) -> bool {
    matches!(rejection, Rejection::RequestInvalid | Rejection::TargetTooLong | Rejection::HeadersTooLarge | Rejection::MethodDenied)
}

fn preflight(session: &Session, headers: HeaderMap, mut record: Record, close: bool) -> Response<Download> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = headers;
    record.answered(StatusCode::NO_CONTENT);
    finish(session, response.headers_mut(), &record.seen, close);
    response.map(|()| Download::own(bytes::Bytes::new(), &session.life, Some(record)))
}

/// What every answer has, whoever made it.
fn finish(session: &Session, headers: &mut HeaderMap, seen: &Seen, close: bool) {
    headers.insert(X_REQUEST_ID, seen.request_id.to_value());
    if close || session.life.draining() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Removes what concerns only the upstream's connection (RFC 9110 §7.6.1).
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let always = [header::CONNECTION, header::TRANSFER_ENCODING, header::TE, header::UPGRADE];
    for name in always.iter().chain(&named) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// What a request says of the body that is not read yet.
#[derive(Debug, Clone, Copy)]
struct Unread {
    length: Option<u64>,
    limit: u64,
    expects_continue: bool,
    expects_other: bool,
}

/// What is left of a discarded body.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Unread,
}

impl Unread {
    fn of(head: &Parts, body: &Incoming, limit: u64) -> Self {
        let mut expectations = head.headers.get_all(header::EXPECT).iter();
        let expects_other = expectations.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        // An HTTP/1.0 client's expectation is ignored (RFC 9110 §10.1.1).
        let expects_continue = head.headers.contains_key(header::EXPECT) && head.version == Version::HTTP_11 && !body.is_end_stream();
        Self { length: body.size_hint().exact(), limit, expects_continue, expects_other }
    }

    fn check_expectation(self) -> Result<(), Refusal> {
        if self.expects_other { Err(Rejection::ExpectationFailed.into()) } else { Ok(()) }
    }

    fn check_length(self) -> Result<(), Refusal> {
        match self.length {
            Some(length) if length > self.limit => Err(Rejection::BodyTooLarge.because("Content-Length over body_bytes")),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads a refused request's body away, unless it is long or the client waits to be asked for it.
    async fn discard(self, mut body: Incoming) -> Left {
        if body.is_end_stream() {
            return Left::Nothing;
        }
        if self.expects_continue || self.length.is_some_and(|length| length > DISCARD_BYTES) {
            return Left::Unread;
        }
        let discard = async {
            let mut read = 0;
            while let Some(frame) = body.frame().await {
                read += frame.ok()?.data_ref().map_or(0, |data| data.len() as u64);
                if read > DISCARD_BYTES {
                    return None;
                }
            }
            Some(Left::Nothing)
        };
        timeout(DISCARD_TIME, discard).await.ok().flatten().unwrap_or(Left::Unread)
    }
}

pin_project! {
    /// An exchange that cannot take its connection's neighbours down, nor outlive `request_timeout`.
    pub struct Contained<F> {
        #[pin]
        exchange: F,
        session: Rc<Session>,
    }
}

impl<F> Contained<F> {
    /// Contains an exchange.
    pub fn new(session: Rc<Session>, exchange: F) -> Self {
        Self { exchange, session }
    }
}

impl<F: Future<Output = Response<Download>>> Future for Contained<F> {
    type Output = Result<Response<Download>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.session.life.expired() {
            return Poll::Ready(Ok(refuse_without_record(this.session, Rejection::RequestTimeout)));
        }
        match catch_unwind(AssertUnwindSafe(|| this.exchange.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => {
                tracing::error!(panic = panic_text(&*panic), "a request panicked");
                Poll::Ready(Ok(refuse_without_record(this.session, Rejection::Internal)))
            }
        }
    }
}

/// The exchange's own record is logged when its future is dropped.
fn refuse_without_record(session: &Session, rejection: Rejection) -> Response<Download> {
    let seen = Gate::begin(&HeaderMap::new(), session.scribe.clock.now());
    let (mut head, content) = session.app.answers.refuse(&rejection.into(), &seen).into_parts();
    finish(session, &mut head.headers, &seen, true);
    Response::from_parts(head, Download::own(content, &session.life, None))
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
}
