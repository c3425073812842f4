//! The bytes of one HTTP/1 connection, both ways, one request at a time. Its connection's task reads heads and writes answers;
//! whoever polls a request's [`Content`] reads that, and nothing behind it. It answers nothing by itself.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http1::decode::{Decoder, Length};
use crate::http1::inbox::Inbox;
use crate::http1::outbox::Outbox;
use crate::rejection::{Refusal, Rejection};
use crate::server::framing::{Head, Limits, Persistence};
use crate::server::life::{Life, Phase};

/// Bytes that are kept of what a client sends while its request before is being answered.
const AHEAD_MAX: usize = 64 << 10;
/// Room of a read whose bytes are copied: an idle connection keeps no buffer.
const SCRATCH: usize = 8 << 10;

/// One connection.
#[derive(Debug)]
pub(super) struct Wire<S> {
    life: Rc<Life>,
    state: RefCell<State<S>>,
}

#[derive(Debug)]
struct State<S> {
    /// Gone once the connection is something else's.
    stream: Option<S>,
    inbox: Inbox,
    outbox: Outbox,
    head: Head,
    /// Bytes that were judged in vain.
    judged: usize,
    content: Decoder,
    /// Which request of the connection the content is of.
    message: u64,
    asks_to_continue: bool,
    client_gone: bool,
}

/// What came instead of bytes, or out of them.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once; a box would cost every request an allocation")]
pub(super) enum Arrival<S> {
    Request(Arrived<S>),
    /// Nobody answered it yet.
    Refused(Refusal),
    /// Nothing more, or not in time.
    Ended,
}

/// A request whose head is complete.
#[derive(Debug)]
pub(super) struct Arrived<S> {
    pub(super) head: Parts,
    pub(super) says: Persistence,
    pub(super) content: Content<S>,
}

/// A connection that is no longer read as HTTP/1.
#[derive(Debug)]
pub(super) struct Remains<S> {
    pub(super) stream: S,
    /// What the client sent that was not taken.
    pub(super) ahead: Bytes,
    /// Whether that is all it sent.
    pub(super) is_opening: bool,
    pub(super) client_gone: bool,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, life: Rc<Life>) -> Rc<Self> {
        let state = State {
            stream: Some(stream),
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            head: Head::default(),
            judged: 0,
            content: Decoder::new(Length::Fixed(0)),
            message: 0,
            asks_to_continue: false,
            client_gone: false,
        };
        Rc::new(Self { life, state: RefCell::new(state) })
    }

    /// Takes it apart; whoever still holds content of it gets none.
    pub(super) fn dissolve(&self) -> Option<Remains<S>> {
        let mut state = self.state.borrow_mut();
        let stream = state.stream.take()?;
        let ahead = std::mem::take(state.inbox.bytes()).freeze();
        Some(Remains { stream, ahead, is_opening: state.message == 0, client_gone: state.client_gone })
    }

    /// Where an answer's bytes are put. From then on its client is asked for nothing: that would stand in the middle of the answer.
    pub(super) fn with_outbox<T>(&self, put: impl FnOnce(&mut Outbox) -> T) -> T {
        let state = &mut *self.state.borrow_mut();
        state.asks_to_continue = false;
        put(&mut state.outbox)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Waits for the next request's head.
    pub(super) fn poll_head(self: &Rc<Self>, cx: &mut Context<'_>, limits: Limits) -> Poll<Arrival<S>> {
        let state = &mut *self.state.borrow_mut();
        loop {
            if state.inbox.bytes().len() > state.judged {
                match state.head.advance(state.inbox.bytes(), limits) {
                    Ok(None) => {
                        state.judged = state.inbox.bytes().len();
                        // An empty line behind the request before is none: nobody waits for the rest of it, or is told so.
                        if !state.inbox.bytes().iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                            self.life.head_began();
                        }
                    }
                    Ok(Some((bytes, length))) => return Poll::Ready(self.begin(state, bytes, length)),
                    Err(refusal) => return Poll::Ready(Arrival::Refused(refusal)),
                }
            }
            if state.client_gone {
                return Poll::Ready(Arrival::Ended);
            }
            if let Some(end) = self.gives_up() {
                return Poll::Ready(end);
            }
            match state.poll_ahead(cx) {
                Poll::Ready(read) => state.client_gone = read.is_err(),
                // Only now: what has arrived when a drain begins is served.
                Poll::Pending if self.is_done() => return Poll::Ready(Arrival::Ended),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn begin(self: &Rc<Self>, state: &mut State<S>, bytes: usize, length: Length) -> Arrival<S> {
        let taken = state.inbox.bytes().split_to(bytes).freeze();
        let request = state.head.request(&taken);
        state.head.reset();
        state.judged = 0;
        state.message += 1;
        let (head, says) = match request {
            Ok(request) => request,
            Err(refusal) => {
                // It is not taken: who answers it looks at it again.
                *state.inbox.bytes() = BytesMut::from(&*taken);
                return Arrival::Refused(refusal);
            }
        };
        state.content = Decoder::new(length);
        state.asks_to_continue = says.expects_continue && !state.content.is_complete();
        self.life.exchange_began();
        if state.content.is_complete() {
            self.life.request_ended();
        }
        let content = Content { wire: Rc::clone(self), message: state.message };
        Arrival::Request(Arrived { head, says, content })
    }

    /// Whether the connection's time is over before another request, or the rest of its head, has come.
    fn gives_up(&self) -> Option<Arrival<S>> {
        match self.life.phase() {
            Phase::Head if self.life.expired() => {
                Some(Arrival::Refused(Rejection::RequestTimeout.because("the head did not arrive in time")))
            }
            Phase::Fresh | Phase::Idle if self.life.expired() => Some(Arrival::Ended),
            Phase::Fresh | Phase::Head | Phase::Busy | Phase::Written | Phase::Idle | Phase::Tunnel | Phase::Streams | Phase::Leaving => {
                None
            }
        }
    }

    /// Whether no request is waited for any more.
    fn is_done(&self) -> bool {
        self.life.phase() == Phase::Idle && self.life.draining()
    }

    /// While a request is answered: writes what waits, keeps what the client sends ahead, and is ready when it has left.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.state.borrow_mut();
        let State { stream: Some(stream), outbox, .. } = state else { return Poll::Ready(()) };
        if !outbox.is_empty() && matches!(outbox.poll_write(stream, cx), Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        // What comes before is the content's, which others read.
        if !state.content.is_complete() {
            return Poll::Pending;
        }
        while !state.client_gone {
            if state.inbox.bytes().len() >= AHEAD_MAX {
                return Poll::Pending;
            }
            if ready!(state.poll_ahead(cx)).is_err() {
                state.client_gone = true;
            }
        }
        Poll::Ready(())
    }

    /// Writes all that waits; who never reads holds it up only for a time.
    ///
    /// # Errors
    /// The stream's; `TimedOut`.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State { stream: Some(stream), outbox, .. } = &mut *self.state.borrow_mut() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let left = outbox.left();
        let written = outbox.poll_write(stream, cx);
        self.life.bound(written, outbox.left() < left)
    }

    /// Whether another request may follow: the content of this one is complete, or what is left of it has arrived already.
    pub(super) fn settle(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        while let Ok(Some(_)) = state.content.decode(state.inbox.bytes()) {}
        if state.content.is_complete() {
            self.life.request_ended();
            state.inbox.release();
        }
        state.content.is_complete()
    }

    fn poll_content(&self, message: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let state = &mut *self.state.borrow_mut();
        if state.message != message {
            return Poll::Ready(Some(Err(Broken)));
        }
        loop {
            if state.content.is_complete() {
                return Poll::Ready(None);
            }
            let decoded = state.content.decode(state.inbox.bytes());
            if state.content.is_complete() {
                self.life.request_ended();
                // From now on the connection's task looks whether the client leaves.
                self.life.wake_other_than(cx);
            }
            match decoded {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if state.content.is_complete() => return Poll::Ready(None),
                Ok(None) => {}
                Err(why) => {
                    self.life.set_fault(Rejection::RequestInvalid.because(why));
                    return Poll::Ready(Some(Err(Broken)));
                }
            }
            let State { stream: Some(stream), outbox, inbox, .. } = state else { return Poll::Ready(Some(Err(Broken))) };
            if std::mem::take(&mut state.asks_to_continue) {
                outbox.head().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                self.life.wake_other_than(cx);
                // Only now: later it would take the place of its task as who is woken when the client reads on.
                if matches!(outbox.poll_write(stream, cx), Poll::Ready(Err(_))) {
                    return Poll::Ready(Some(Err(Broken)));
                }
            }
            if !matches!(ready!(inbox.poll_fill(stream, cx)), Ok(1..)) {
                state.client_gone = true;
                return Poll::Ready(Some(Err(Broken)));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> State<S> {
    /// Reads once, behind what waits; an error is the client's end.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(Broken)) };
        let mut scratch = [const { MaybeUninit::uninit() }; SCRATCH];
        let mut scratch = ReadBuf::uninit(&mut scratch);
        if ready!(Pin::new(stream).poll_read(cx, &mut scratch)).is_err() || scratch.filled().is_empty() {
            return Poll::Ready(Err(Broken));
        }
        let bytes = self.inbox.bytes();
        if bytes.is_empty() {
            *bytes = BytesMut::from(scratch.filled());
        } else {
            bytes.extend_from_slice(scratch.filled());
        }
        Poll::Ready(Ok(()))
    }
}

/// A request's content. It ends with its exchange, whoever holds it.
#[derive(Debug)]
pub struct Content<S> {
    wire: Rc<Wire<S>>,
    message: u64,
}

/// The content broke off, or is wrong; the fault is in the connection's [`Life`].
#[derive(Debug, thiserror::Error)]
#[error("the client broke off its content")]
pub struct Broken;

impl<S: AsyncRead + AsyncWrite + Unpin> Body for Content<S> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.wire.poll_content(self.message, cx)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.wire.state.borrow();
        state.message != self.message || state.content.is_complete()
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.wire.state.borrow();
        if state.message == self.message { state.content.size_hint() } else { SizeHint::default() }
    }
}

#[cfg(test)]
mod tests;
