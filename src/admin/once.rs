//! `Idempotency-Key` on a POST (product.md §8): what was done is not done again, and who asks again gets the same answer. Answers are
//! sealed for the token that got them: they may show a secret.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;

use super::input::{BODY_MAX, gather};
use super::problem::{Refused, Unwritten};
use crate::idempotency::{Answer, Asked, Begun, Counters, Ledger, Outcome, Reservation};
use crate::management::CutOff;

/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Answers a request that is to be done once; `answer` does it.
pub(super) async fn answer<F>(ledger: &Arc<Ledger>, mut asked: Asked, request: Request<Body>, answer: F) -> Result<Response, Refused>
where
    F: AsyncFnOnce(Request<Body>) -> Response,
{
    let (head, body) = request.into_parts();
    let body = gather(body, BODY_MAX).await?;
    asked.fingerprint.add(&body);
    match ledger.claim(asked).await {
        Ok(Begun::First(reservation)) => Ok(first(ledger, reservation, Request::from_parts(head, body.into()), answer).await),
        Ok(Begun::Again(kept)) => {
            Counters::count(&ledger.counters().replayed);
            Ok(replay(*kept))
        }
        Ok(Begun::Running) => {
            let detail = "a request with this Idempotency-Key is in progress";
            Err(Refused::new(StatusCode::CONFLICT, "idempotency_conflict", detail).with(header::RETRY_AFTER, HeaderValue::from_static("1")))
        }
        Ok(Begun::Unknown(why)) => {
            let detail = format!("the outcome of the first request with this Idempotency-Key is not known: {why}");
            Err(Refused::new(StatusCode::CONFLICT, "idempotency_unknown", detail))
        }
        Ok(Begun::Differs) => {
            let detail = "this Idempotency-Key was used with different parameters";
            Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_param_mismatch", detail))
        }
        Err(error) => Err(Refused::from(error).before_writing()),
    }
}

/// Does it.
async fn first<F>(ledger: &Arc<Ledger>, mut reservation: Reservation, request: Request<Body>, answer: F) -> Response
where
    F: AsyncFnOnce(Request<Body>) -> Response,
{
    reservation.begin();
    let renewing = reservation.renewing();
    let response = tokio::select! {
        response = answer(request) => response,
        never = renewing => match never {},
    };
    keep(ledger, reservation, response).await
}

/// What has changed something is kept. What was refused has changed nothing, and may be tried again; so may what failed before anything
/// was written. Of any other failure nobody knows.
async fn keep(ledger: &Arc<Ledger>, reservation: Reservation, response: Response) -> Response {
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        reservation.finish(Outcome::Unknown).await;
        return Refused::from(CutOff).into_response();
    };
    let mut room = ledger.answers().begin(reservation.tenant());
    let outcome = if head.status.is_client_error() || head.extensions.get::<Unwritten>().is_some() {
        Outcome::Released
    } else if head.status.is_server_error() || body.len() > BODY_MAX || !room.more(body.len()) {
        Outcome::Unknown
    } else {
        let (fingerprint, headers) = (reservation.fingerprint(), Answer::lasting(&head.headers));
        let answer = Answer { fingerprint, status: head.status, reason: Bytes::new(), headers, trailers: None, body: body.clone() };
        Outcome::Answered(Box::new(answer), room)
    };
    reservation.finish(outcome).await;
    Response::from_parts(head, body.into())
}

fn replay(kept: Answer) -> Response {
    let mut response = Response::new(Body::from(kept.body));
    *response.status_mut() = kept.status;
    *response.headers_mut() = kept.headers;
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
