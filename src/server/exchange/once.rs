//! A request that is to be run once (product.md §8): its body is read, its reservation claimed, and from then on it is a task of its
//! own, which no client ends. What the client gets is on its way while it is kept; its end waits until it is.

mod run;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, Response, header};
use http_body::Frame;
use hyper::ext::ReasonPhrase;
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::own::{self, Task};
use super::{Left, Outcome, dispatch};
use crate::clock::Timestamp;
use crate::forward::Forward;
use crate::idempotency::{Answer, Asked, Begun, Counters, Reservation, Taken};
use crate::rejection::{Refusal, Rejection};
use crate::self_service::BODY_MAX;
use crate::server::body::{Gathered, Source, Tap, Upload};
use crate::server::life::Life;
use crate::server::record::Record;
use run::Run;

/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What an admitted request comes to.
pub(super) enum Job {
    /// The upstream is asked.
    Forward(Forward),
    /// Sidegate does it itself.
    Manage(Task),
}

/// Gives the answer that was given before, or the refusal that its caller gets for anything else.
pub(super) async fn again(refusal: Refusal, mut asked: Box<Asked>, mut upload: Upload, record: &mut Record) -> Outcome {
    let ledger = Arc::clone(&record.generation.app.ledger);
    let gathered = upload.gather(BODY_MAX, |piece| {
        asked.fingerprint.add(piece);
        true
    });
    let is_whole = matches!(gathered.await, Ok(Gathered::Whole));
    // What would be the first is not begun: it is dropped, and nothing stays claimed.
    let begun = if is_whole { ledger.claim(*asked).await.map(Some) } else { Ok(None) };
    let refusal = match begun {
        Ok(Some(Begun::Again(answer))) => return replayed(*answer, record),
        Ok(_) => refusal,
        Err(error) => Rejection::StoreUnavailable.because(error.to_string()),
    };
    // Nothing is told of whom it was.
    (record.seen.identity, record.seen.limits) = (None, None);
    Outcome::Refused(refusal, if is_whole { Left::Nothing } else { Left::Unread })
}

/// Runs the request, unless it was run before.
pub(super) async fn send(life: &Rc<Life>, job: Job, mut asked: Box<Asked>, mut upload: Upload, record: &mut Record) -> Outcome {
    let ledger = Arc::clone(&record.generation.app.ledger);
    let (required, limit) = (asked.is_required(), asked.max_body());
    let mut room = ledger.requests().begin(asked.tenant());
    let gathered = upload.gather(limit, |piece| {
        asked.fingerprint.add(piece);
        room.more(piece.len())
    });
    match gathered.await {
        Ok(Gathered::Whole) => {}
        Ok(Gathered::TooLong) if required => {
            return Outcome::Refused(Rejection::BodyTooLarge.because("more than idempotency.max_body"), Left::Unread);
        }
        Ok(Gathered::TooLong) => return unprotected(life, job, upload, record).await,
        Ok(Gathered::Unwanted) => {
            let refusal = Rejection::Overloaded.because("no memory left for the bodies of requests that are run once");
            return Outcome::Refused(refusal, Left::Unread);
        }
        Err(_) => {
            let refusal = life.take_fault().unwrap_or_else(|| Rejection::RequestInvalid.because("the body broke off"));
            return Outcome::Refused(refusal, Left::Unread);
        }
    }
    let refused = |refusal: Refusal| Outcome::Refused(refusal, Left::Nothing);
    match ledger.claim(*asked).await {
        Ok(Begun::First(reservation)) => first(life, job, upload, reservation, room, record).await,
        Ok(Begun::Again(answer)) => replayed(*answer, record),
        Ok(Begun::Running) => refused(Rejection::IdempotencyConflict.into()),
        Ok(Begun::Unknown(why)) => refused(Rejection::IdempotencyUnknown.because(why)),
        Ok(Begun::Differs) => refused(Rejection::IdempotencyParamMismatch.into()),
        Err(error) if required => refused(Rejection::StoreUnavailable.because(error.to_string())),
        Err(error) => {
            tracing::debug!(%error, "a request is not protected by its Idempotency-Key");
            unprotected(life, job, upload, record).await
        }
    }
}

/// As if it had no key.
async fn unprotected(life: &Rc<Life>, job: Job, mut upload: Upload, record: &mut Record) -> Outcome {
    Counters::count(&record.generation.app.ledger.counters().unprotected);
    match job {
        Job::Forward(mut forward) => dispatch(life, &mut forward, &mut upload, Left::Unread, record).await,
        Job::Manage(task) => own::alone(life, task, upload, record).await,
    }
}

fn replayed(answer: Answer, record: &mut Record) -> Outcome {
    Counters::count(&record.generation.app.ledger.counters().replayed);
    record.replayed(answer.status);
    Outcome::Relayed(replay(answer, record.began))
}

/// The answer that the first got.
fn replay(answer: Answer, now: Timestamp) -> Response<Source> {
    let Answer { status, reason, headers, trailers, body, .. } = answer;
    let exact = headers.contains_key(header::CONTENT_LENGTH).then_some(body.len() as u64);
    let (sink, tap) = Tap::new(exact);
    if !body.is_empty() {
        sink.send(Frame::data(body));
    }
    if let Some(trailers) = trailers {
        sink.send(Frame::trailers(trailers));
    }
    sink.end();
    let mut response = Response::new(Source::Kept(tap));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if let Some(reason) = ReasonPhrase::try_from(reason).ok().filter(|reason| !reason.as_bytes().is_empty()) {
        response.extensions_mut().insert(reason);
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    let since = Duration::from_millis(u64::try_from(now.0).unwrap_or(0));
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + since)) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// Begins the exchange and waits for its head. Who stops waiting does not end it.
async fn first(life: &Rc<Life>, job: Job, upload: Upload, reservation: Reservation, room: Taken, record: &mut Record) -> Outcome {
    let asked = match &job {
        Job::Forward(forward) => Some(record.asks(forward.upstream)),
        Job::Manage(_) => None,
    };
    let (tell, told) = oneshot::channel();
    let (run, errand) = (Run::new(&record.generation, reservation), life.begin_errand());
    spawn_local(async move {
        run.run(job, upload, tell).await;
        drop((room, errand));
    });
    match told.await {
        Ok(Ok(response)) => {
            match asked {
                Some(asked) => record.relayed(response.status(), asked),
                None => record.answered(response.status()),
            }
            Outcome::Relayed(response.map(Source::Kept))
        }
        Ok(Err(refusal)) => Outcome::Refused(refusal, Left::Nothing),
        Err(_) => Outcome::Refused(Rejection::Internal.because("its exchange ended without an answer"), Left::Nothing),
    }
}
