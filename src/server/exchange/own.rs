//! Requests that Sidegate answers itself: their body is read, the work done on the store's runtime, the answer made here. No review ends
//! them when the credential that admitted them ends, as it does when a key rotates or revokes itself.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Frame;

use super::once::{self, Job};
use super::{Left, Outcome};
use crate::audit::Actor;
use crate::gate::{Order, Seen};
use crate::rejection::{Refusal, Rejection};
use crate::self_service::{BODY_MAX, Done};
use crate::server::body::{Gathered, Source, Tap, Upload};
use crate::server::generation::Generation;
use crate::server::life::Life;
use crate::server::record::Record;

/// An order, and in whose name.
pub(super) struct Task {
    order: Box<Order>,
    actor: Actor,
}

/// Answers an admitted request, once or as often as it comes.
pub(super) async fn answer(life: &Rc<Life>, mut order: Box<Order>, upload: Upload, record: &mut Record) -> Outcome {
    let (again, asked) = (order.again().cloned(), order.take_asked());
    let task = Task { actor: actor(format!("key:{}", order.key_id()), &record.seen), order };
    match (again, asked) {
        (None, Some(asked)) => once::send(life, Job::Manage(task), asked, upload, record).await,
        (None, None) => alone(life, task, upload, record).await,
        (Some(refusal), Some(asked)) => once::again(refusal, asked, upload, record).await,
        (Some(refusal), None) => Outcome::Refused(refusal, Left::Unread),
    }
}

/// Without an Idempotency-Key.
pub(super) async fn alone(life: &Rc<Life>, task: Task, mut upload: Upload, record: &mut Record) -> Outcome {
    match upload.gather(BODY_MAX, |_| true).await {
        Ok(Gathered::Whole) => {}
        Ok(Gathered::TooLong | Gathered::Unwanted) => return Outcome::Refused(too_long(), Left::Unread),
        Err(_) => {
            let refusal = life.take_fault().unwrap_or_else(|| Rejection::RequestInvalid.because("the body broke off"));
            return Outcome::Refused(refusal, Left::Unread);
        }
    }
    let generation = Rc::clone(&record.generation);
    match task.perform(&generation, &mut upload).await {
        Ok(mut done) => {
            done.confirmed(&generation.app.management).await;
            let response = done.response();
            record.answered(response.status());
            let response = if record.is_head() { response.map(|_| Bytes::new()) } else { response };
            Outcome::Relayed(whole(response).map(Source::Kept))
        }
        Err(refusal) => Outcome::Refused(refusal, Left::Nothing),
    }
}

impl Task {
    /// Does it. The body was gathered.
    pub(super) async fn perform(self, generation: &Generation, upload: &mut Upload) -> Result<Done, Refusal> {
        let (app, body) = (&generation.app, upload.take_gathered());
        if body.len() as u64 > BODY_MAX {
            return Err(too_long().before_sending());
        }
        app.self_service.perform(&app.management, app.gate.authenticator(), self.order, self.actor, body).await
    }
}

/// A document of our own, the same to everybody.
pub(super) fn tell(document: Bytes, record: &mut Record) -> Outcome {
    let length = HeaderValue::from(document.len());
    let mut response = Response::new(if record.is_head() { Bytes::new() } else { document });
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    record.answered(response.status());
    Outcome::Relayed(whole(response).map(Source::Kept))
}

/// An answer that is complete.
pub(super) fn whole(response: Response<Bytes>) -> Response<Tap> {
    response.map(|body| {
        let (sink, tap) = Tap::new(Some(body.len() as u64));
        if !body.is_empty() {
            sink.send(Frame::data(body));
        }
        sink.end();
        tap
    })
}

pub(super) fn actor(name: String, seen: &Seen) -> Actor {
    Actor { name, from: seen.client.0.map(|ip| ip.to_string()), request_id: Some(seen.request_id.as_str().to_owned()) }
}

pub(super) fn too_long() -> Refusal {
    Rejection::BodyTooLarge.because("more than is read here")
}
