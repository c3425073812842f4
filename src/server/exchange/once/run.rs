//! The exchange itself: the request to the upstream, and its answer to the client and into the store. It ends when the upstream has
//! answered, or when nothing is kept any more and nobody reads. Its outcome is told to the store before the client can know the end.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header, response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use hyper::ext::ReasonPhrase;
use tokio::sync::oneshot;

use super::Job;
use crate::facts::is_grpc;
use crate::idempotency::{Answer, Outcome, Reservation, Taken};
use crate::rejection::Refusal;
use crate::server::body::{Sink, Tap, Upload};
use crate::server::exchange::own::{Task, whole};
use crate::server::exchange::{check_answer, one_length, strip_hop_by_hop};
use crate::server::generation::Generation;

/// Where the head goes, if its client is still there.
pub(super) type Tell = oneshot::Sender<Result<Response<Tap>, Refusal>>;

/// An exchange that no client ends.
pub(super) struct Run {
    generation: Rc<Generation>,
    /// `None` = its outcome is told.
    reservation: Option<Reservation>,
}

/// An answer that is being kept.
struct Keeping {
    answer: Answer,
    body: Vec<u8>,
    limit: u64,
    room: Taken,
}

impl Run {
    pub(super) fn new(generation: &Rc<Generation>, reservation: Reservation) -> Self {
        Self { generation: Rc::clone(generation), reservation: Some(reservation) }
    }

    pub(super) async fn run(mut self, job: Job, upload: Upload, tell: Tell) {
        let Some(reservation) = &mut self.reservation else { return };
        reservation.begin();
        let renewing = reservation.renewing();
        tokio::select! {
            () = self.exchange(job, upload, tell) => {}
            never = renewing => match never {},
        }
    }

    async fn exchange(&mut self, job: Job, mut upload: Upload, tell: Tell) {
        let refusal = match job {
            Job::Forward(mut forward) => {
                let sent = self.generation.pools.send(&mut forward, &mut upload, &Cell::new(0)).await;
                match sent.and_then(|response| check_answer(&response).map(|()| response)) {
                    Ok(response) => return self.answer(response, tell).await,
                    Err(refusal) => refusal,
                }
            }
            Job::Manage(task) => match self.manage(task, upload).await {
                Ok(response) => return drop(tell.send(Ok(response))),
                Err(refusal) => refusal,
            },
        };
        self.settle(if refusal.unsent { Outcome::Released } else { Outcome::Unknown }).await;
        let _ = tell.send(Err(refusal));
    }

    async fn manage(&mut self, task: Task, mut upload: Upload) -> Result<Response<Tap>, Refusal> {
        let mut done = task.perform(&self.generation, &mut upload).await?;
        let (head, body) = done.response().into_parts();
        let mut keeping = self.keep(&head, &Full::new(body.clone())).await;
        if keeping.as_mut().is_some_and(|keeping| !keeping.add(&Frame::data(body.clone()))) {
            keeping = None;
            self.settle(Outcome::Unknown).await;
        }
        // Before anybody is waited for: the secret that it shows may be the only one that works.
        self.keep_whole(keeping).await;
        done.confirmed(&self.generation.app.management).await;
        Ok(whole(Response::from_parts(head, body)))
    }

    async fn settle(&mut self, outcome: Outcome) {
        if let Some(reservation) = self.reservation.take() {
            reservation.finish(outcome).await;
        }
    }

    async fn answer<B>(&mut self, response: Response<B>, tell: Tell)
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let (mut head, body) = response.into_parts();
        strip_hop_by_hop(&mut head.headers);
        one_length(head.status, &mut head.headers, &body);
        let mut keeping = self.keep(&head, &body).await;
        let (sink, tap) = Tap::new(body.size_hint().exact());
        if body.is_end_stream() {
            self.keep_whole(keeping.take()).await;
            sink.end();
            let _ = tell.send(Ok(Response::from_parts(head, tap)));
            return;
        }
        let _ = tell.send(Ok(Response::from_parts(head, tap)));
        self.pass_on(body, keeping, sink).await;
    }

    async fn pass_on<B>(&mut self, mut body: B, mut keeping: Option<Keeping>, sink: Sink)
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        // What the client could take for the end waits for it.
        let mut last = None;
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    tracing::debug!(%error, "the upstream's answer broke off");
                    return self.settle(Outcome::Unknown).await;
                }
            };
            if keeping.as_mut().is_some_and(|keeping| !keeping.add(&frame)) {
                keeping = None;
                self.settle(Outcome::Unknown).await;
            }
            if let Some(frame) = last.take() {
                sink.send(frame);
            }
            if body.is_end_stream() || body.size_hint().exact() == Some(0) {
                last = Some(frame);
            } else {
                sink.send(frame);
            }
            // What is kept is in memory anyway: nobody is waited for.
            if keeping.is_none() && !sink.has_room().await {
                return;
            }
        }
        self.keep_whole(keeping).await;
        if let Some(frame) = last {
            sink.send(frame);
        }
        sink.end();
    }

    /// What is to be kept of an answer with this head: nothing where the upstream did not act, or where the answer has no end to
    /// speak of, or none that is small enough.
    async fn keep<B: Body>(&mut self, head: &response::Parts, body: &B) -> Option<Keeping> {
        let reservation = self.reservation.as_ref()?;
        let limit = reservation.max_body();
        let outcome = if matches!(head.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            Outcome::Released
        } else if is_streamed(&head.headers) || body.size_hint().lower() > limit {
            Outcome::Unknown
        } else {
            let headers = Answer::lasting(&head.headers);
            let fingerprint = reservation.fingerprint();
            let reason = head.extensions.get::<ReasonPhrase>().map(|reason| Bytes::copy_from_slice(reason.as_bytes())).unwrap_or_default();
            let answer = Answer { fingerprint, status: head.status, reason, headers, trailers: None, body: Bytes::new() };
            return Some(Keeping {
                answer,
                body: Vec::new(),
                limit,
                room: self.generation.app.ledger.answers().begin(reservation.tenant()),
            });
        };
        self.settle(outcome).await;
        None
    }

    async fn keep_whole(&mut self, keeping: Option<Keeping>) {
        if let Some(Keeping { answer, body, room, .. }) = keeping {
            let answer = Answer { body: body.into(), ..answer };
            self.settle(Outcome::Answered(Box::new(answer), room)).await;
        }
    }
}

impl Keeping {
    /// `false` = it is too much.
    fn add(&mut self, frame: &Frame<Bytes>) -> bool {
        if let Some(data) = frame.data_ref() {
            if (self.body.len() + data.len()) as u64 > self.limit || !self.room.more(data.len()) {
                return false;
            }
            self.body.extend_from_slice(data);
        }
        if let Some(trailers) = frame.trailers_ref() {
            let mut trailers = trailers.clone();
            strip_hop_by_hop(&mut trailers);
            trailers.remove(header::CONTENT_LENGTH);
            self.answer.trailers = Some(trailers);
        }
        true
    }
}

/// Events and calls go on for as long as they like.
fn is_streamed(headers: &HeaderMap) -> bool {
    let is_events = headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    });
    is_events || is_grpc(headers)
}
