//! Bodies on their way through: the client's ([`Upload`]) and the answer ([`Download`]). Both stream frame by frame and keep nothing,
//! but for an upload that is gathered before it is sent. A body that breaks off on one side breaks off on the other: nothing
//! incomplete ever looks complete.

mod source;

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::connection::{LINGER_BYTES, LINGER_TIME};
use super::exchange::strip_hop_by_hop;
use super::generation::Generation;
use super::http1;
use super::life::Life;
use super::record::Record;
use super::socket::Socket;
use crate::rejection::Rejection;
pub(super) use source::{Sink, Source, Tap};

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BrokenOff {
    /// The request's: the fault is in the connection's [`Life`].
    #[error("the request's body broke off")]
    Upload,
    /// The answer's.
    #[error("the upstream's answer broke off")]
    Download,
    /// `request_timeout`, or `stream_idle_timeout`.
    #[error("the exchange took too long")]
    Expired,
    /// What admitted the exchange has ended. The source is what a stream is reset with.
    #[error("the credential has ended")]
    Ended(#[source] h2::Error),
}

/// A request's content as it arrives, over either protocol.
#[derive(Debug)]
pub enum Received {
    /// Over HTTP/1.
    Http1(http1::Content<Socket>),
    /// Of a stream.
    Http2(Incoming),
}

impl Body for Received {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Http1(content) => Pin::new(content).poll_frame(cx).map_err(|_| BrokenOff::Upload),
            Self::Http2(content) => Pin::new(content).poll_frame(cx).map_err(|_| BrokenOff::Upload),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(content) => content.is_end_stream(),
            Self::Http2(content) => content.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(content) => content.size_hint(),
            Self::Http2(content) => content.size_hint(),
        }
    }
}

/// The client's body on its way to the upstream. Of its trailers those go on that a header could be.
#[derive(Debug, Default)]
pub struct Upload {
    /// What was gathered of it.
    ahead: Ahead,
    /// What is still to come.
    rest: Option<Receiving>,
}

/// Content that is held for a while, and what came behind it. It is one piece, however many it came in: of those each may keep
/// a whole read's memory, for as little as a byte.
#[derive(Debug, Default)]
struct Ahead {
    content: Vec<u8>,
    trailers: Option<HeaderMap>,
}

#[derive(Debug)]
struct Receiving {
    body: Received,
    /// What the request was judged by.
    generation: Rc<Generation>,
    life: Rc<Life>,
    limit: u64,
}

/// How much of an upload was gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gathered {
    /// All of it.
    Whole,
    /// It is longer than was asked for.
    TooLong,
    /// Whoever looked at the pieces wanted no more of them.
    Unwanted,
}

impl Upload {
    /// The body of a request that was admitted: at most `limit` bytes.
    #[must_use]
    pub fn new(body: Received, generation: Rc<Generation>, life: Rc<Life>, limit: u64) -> Self {
        Self { ahead: Ahead::default(), rest: Some(Receiving { body, generation, life, limit }) }
    }

    /// Reads it whole, unless it is longer than `limit`, and shows each piece. What was read is sent first, whatever came of this.
    pub(super) async fn gather(&mut self, limit: u64, mut look: impl FnMut(&Bytes) -> bool) -> Result<Gathered, BrokenOff> {
        let mut gathered = 0;
        loop {
            if gathered + self.rest.as_ref().map_or(0, |rest| rest.body.size_hint().lower()) > limit {
                return Ok(Gathered::TooLong);
            }
            let Some(rest) = &mut self.rest else { return Ok(Gathered::Whole) };
            let Some(frame) = poll_fn(|cx| rest.poll_frame(cx)).await.transpose()? else {
                self.rest = None;
                continue;
            };
            let wanted = frame.data_ref().is_none_or(|data| {
                gathered += data.len() as u64;
                look(data)
            });
            self.ahead.add(frame);
            if !wanted {
                return Ok(Gathered::Unwanted);
            }
        }
    }
}

impl Upload {
    /// The content that was gathered.
    pub(super) fn take_gathered(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ahead.content)
    }
}

impl Ahead {
    fn add(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => self.content.extend_from_slice(&data),
            Err(frame) => self.trailers = frame.into_trailers().ok(),
        }
    }

    fn take(&mut self) -> Option<Frame<Bytes>> {
        if self.content.is_empty() {
            return self.trailers.take().map(Frame::trailers);
        }
        Some(Frame::data(std::mem::take(&mut self.content).into()))
    }

    fn is_empty(&self) -> bool {
        self.content.is_empty() && self.trailers.is_none()
    }
}

impl Receiving {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Self { body, generation, life, limit } = self;
        let polled = Pin::new(body).poll_frame(cx);
        life.content_awaited(polled.is_pending());
        let mut frame = match ready!(polled) {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                life.set_fault(Rejection::RequestInvalid.because("the client broke off its body"));
                return Poll::Ready(Some(Err(BrokenOff::Upload)));
            }
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        let uploaded = life.uploaded().get().saturating_add(bytes);
        if uploaded > *limit {
            life.set_fault(Rejection::BodyTooLarge.because("more than body_bytes"));
            return Poll::Ready(Some(Err(BrokenOff::Upload)));
        }
        life.uploaded().set(uploaded);
        life.content_moved();
        if let Some(trailers) = frame.trailers_mut() {
            generation.app.gate.header_rules().clean_trailers(trailers);
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(frame) = self.ahead.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        self.rest.as_mut().map_or(Poll::Ready(None), |rest| rest.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.rest.as_ref().is_none_or(|rest| rest.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.content.len() as u64;
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.body.size_hint());
        SizeHint::with_exact(ahead) + rest
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(Receiving { body: body @ Received::Http2(_), .. }) = self.rest.take() {
            read_away(body);
        }
    }
}

/// Reads for a while what a client still sends on a stream whose answer does not need it. Were it reset at once, the client
/// might take that for the answer, or wait for leave to send more and never look at the answer.
pub(super) fn read_away(mut body: Received) {
    if body.is_end_stream() {
        return;
    }
    let reading = async move {
        let mut read = 0;
        while read < LINGER_BYTES {
            let Some(Ok(frame)) = body.frame().await else { return };
            read += frame.data_ref().map_or(0, Bytes::len);
        }
        std::future::pending::<()>().await;
    };
    drop(spawn_local(timeout(LINGER_TIME, reading)));
}

/// An answer on its way to the client. When it is dropped the exchange is over: the line is logged, the connections are free.
#[derive(Debug)]
pub struct Download {
    content: Content,
    life: Rc<Life>,
    record: Option<Box<Record>>,
}

#[derive(Debug)]
enum Content {
    Own(Bytes),
    Upstream { body: Source, ended: bool, speaks_grpc: bool },
}

impl Download {
    /// An answer of ours.
    pub(super) fn own(content: Bytes, life: &Rc<Life>, record: Option<Box<Record>>) -> Self {
        Self { content: Content::Own(content), life: Rc::clone(life), record }
    }

    /// The upstream's; `speaks_grpc` = its outcome is in its trailers.
    pub(super) fn relayed(body: Source, life: &Rc<Life>, record: Box<Record>, speaks_grpc: bool) -> Self {
        life.relay_began();
        let content = Content::Upstream { body, ended: false, speaks_grpc };
        Self { content, life: Rc::clone(life), record: Some(record) }
    }

    /// Ends before its end. Where its client looks for an outcome behind the content, that is told.
    fn cut_short(&mut self) -> Result<Frame<Bytes>, BrokenOff> {
        if let Some(record) = &mut self.record {
            record.expired(self.life.is_silent());
        }
        let Some(rejection) = self.life.ended_by() else { return Err(BrokenOff::Expired) };
        if let (Content::Upstream { body, ended, speaks_grpc: true }, Some(record)) = (&mut self.content, &self.record)
            && record.seen.grpc
            && body.size_hint().exact().is_none()
        {
            *ended = true;
            return Ok(Frame::trailers(record.generation.app.answers.grpc_outcome(&rejection.into(), &record.seen)));
        }
        Err(BrokenOff::Ended(h2::Reason::CANCEL.into()))
    }

    fn count(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.sent(bytes);
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        this.life.frame_asked();
        let (body, ended) = match &mut this.content {
            Content::Own(content) => {
                let content = std::mem::take(content);
                this.count(content.len());
                this.life.frame_handed_on(true);
                return Poll::Ready((!content.is_empty()).then(|| Ok(Frame::data(content))));
            }
            Content::Upstream { body, ended, .. } => (body, ended),
        };
        if this.life.expired() {
            return Poll::Ready(Some(this.cut_short()));
        }
        match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None => {
                *ended = true;
                Poll::Ready(None)
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    strip_hop_by_hop(trailers);
                    trailers.remove(header::CONTENT_LENGTH);
                    *ended = true;
                }
                let is_last = *ended || body.is_end_stream();
                this.count(frame.data_ref().map_or(0, Bytes::len));
                this.life.frame_handed_on(is_last);
                this.life.content_moved();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "the upstream's answer broke off");
                if let Some(record) = &mut this.record {
                    record.upstream_aborted();
                }
                Poll::Ready(Some(Err(BrokenOff::Download)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(content) => content.is_empty(),
            Content::Upstream { body, ended, .. } => *ended || body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(content) => SizeHint::with_exact(content.len() as u64),
            Content::Upstream { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let ended = match &mut self.content {
            Content::Own(_) => true,
            Content::Upstream { body, ended, .. } => *ended || body.is_end_stream(),
        };
        if let Some(record) = self.record.as_mut().filter(|_| !ended || self.life.is_given_up()) {
            record.broken_off();
        }
        self.record = None;
        self.life.answer_ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gathered_is_one_piece_and_keeps_nothing_of_the_reads_it_came_in() {
        let reads: Vec<Bytes> = (0..1000).map(|_| vec![b'x'; 8 << 10].into()).collect();
        let mut ahead = Ahead::default();
        for read in &reads {
            ahead.add(Frame::data(read.slice(..1)));
        }
        ahead.add(Frame::trailers(HeaderMap::new()));
        assert!(reads.iter().all(Bytes::is_unique));
        assert_eq!(ahead.take().unwrap().into_data().unwrap(), "x".repeat(1000));
        assert!(ahead.take().unwrap().is_trailers() && ahead.is_empty() && ahead.take().is_none());
    }
}
