//! One connection and the exchange on it, as far as it is: request out, answer in, both without a task of their own.
//! It neither makes connections nor judges what may be sent twice.

use std::borrow::Cow;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::Method;
use http_body::Frame;

use super::super::answer::Broken;
use super::super::pool::Payload;
use super::super::wire::Wire;
use super::head::{self, Framing, Head};
use super::request::{Request, Unsent};
use crate::forward::Encoded;
use crate::http1::decode::Decoder;
use crate::http1::inbox::{Inbox, is_quiet};

/// Bytes of an answer's head.
const HEAD_BYTES: usize = 408 << 10;
/// Interim answers before the one that counts.
const INTERIM: u32 = 100;

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) why: Cow<'static, str>,
    /// Whether the request itself is at fault: no other connection would help.
    pub(super) is_requests: bool,
}

impl Fault {
    fn answer(why: impl Into<Cow<'static, str>>) -> Self {
        Self { why: why.into(), is_requests: false }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection<B> {
    wire: Wire,
    inbox: Inbox,
    request: Request<B>,
    /// Why the request could not be sent to its end. The answer may have been on its way before.
    unsent: Option<io::Error>,
    /// Of the head that is being read.
    searched: usize,
    interim: u32,
    /// Who reads the answer while the request is still being sent.
    reader: Option<Waker>,
    broken_off: bool,
    /// Says that it is open.
    _open: Rc<()>,
}

impl<B: Payload> Connection<B> {
    pub(super) fn new(wire: Wire, open: Rc<()>) -> Self {
        let (inbox, request) = (Inbox::default(), Request::default());
        Self { wire, inbox, request, unsent: None, searched: 0, interim: 0, reader: None, broken_off: false, _open: open }
    }

    /// An exchange begins.
    pub(super) fn begin(&mut self, head: &Encoded, framing: Framing, body: Option<B>) {
        self.request.begin(head, framing, body);
        self.expect();
    }

    /// The same, with a request of which nothing was sent on another connection.
    pub(super) fn adopt(&mut self, request: Request<B>) {
        self.request = request;
        self.expect();
    }

    fn expect(&mut self) {
        self.wire.traffic.begin();
        self.searched = 0;
        self.interim = 0;
    }

    /// The request, if nothing of it was sent.
    pub(super) fn take_unwritten(&mut self) -> Option<Request<B>> {
        (!self.wire.traffic.was_written()).then(|| std::mem::take(&mut self.request))
    }

    /// Whether the upstream said anything since the exchange began.
    pub(super) fn was_heard(&self) -> bool {
        self.wire.traffic.was_heard()
    }

    /// Whether the request was sent to its end.
    pub(super) fn is_sent(&self) -> bool {
        self.request.is_sent()
    }

    /// Sends no more of the request.
    pub(super) fn stop_sending(&mut self) -> Request<B> {
        std::mem::take(&mut self.request)
    }

    /// The request broke off: its answer ends here too.
    pub(super) fn break_off(&mut self) {
        drop(self.stop_sending());
        self.broken_off = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Sends the request on, to its end or as far as that goes. An error of the connection is told where the answer is read.
    ///
    /// # Errors
    /// What is wrong with the request's body.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        match ready!(self.request.poll_send(&mut self.wire, cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(Unsent::Body(why)) => Poll::Ready(Err(why)),
            Err(Unsent::Wire(error)) => {
                // What was not written at all is not lost.
                if self.wire.traffic.was_written() {
                    drop(self.stop_sending());
                }
                self.unsent = Some(error);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Sends the request, and waits for the head of the answer.
    pub(super) fn poll_head(&mut self, method: &Method, cx: &mut Context<'_>) -> Poll<Result<Head, Fault>> {
        if self.unsent.is_none()
            && let Poll::Ready(Err(why)) = self.poll_send(cx)
        {
            return Poll::Ready(Err(Fault { why: why.into(), is_requests: true }));
        }
        if let Some(error) = self.unsent.as_ref().filter(|_| !self.wire.traffic.was_written()) {
            return Poll::Ready(Err(Fault::answer(error.to_string())));
        }
        loop {
            if let Some(end) = head::end(self.inbox.bytes(), &mut self.searched) {
                let head = self.inbox.bytes().split_to(end).freeze();
                self.searched = 0;
                if let Some(head) = head::parse(&head, method).map_err(Fault::answer)? {
                    return Poll::Ready(Ok(head));
                }
                self.interim += 1;
                if self.interim > INTERIM {
                    return Poll::Ready(Err(Fault::answer("interim answers without end")));
                }
            } else if self.inbox.bytes().len() > HEAD_BYTES {
                return Poll::Ready(Err(Fault::answer("the answer's head is too large")));
            } else {
                let read = ready!(self.inbox.poll_fill(&mut self.wire, cx));
                let ended = match read {
                    Ok(0) => "the connection ended before the answer".into(),
                    Ok(_) => continue,
                    Err(error) => error.to_string(),
                };
                let why = self.unsent.as_ref().map_or(ended, ToString::to_string);
                return Poll::Ready(Err(Fault::answer(why)));
            }
        }
    }

    /// Takes the next frame of the answer's content. `None` = it was taken to its end.
    pub(super) fn poll_frame(&mut self, decoder: &mut Decoder, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if !self.is_sent() {
            self.reader = Some(cx.waker().clone());
        }
        if self.broken_off {
            return Poll::Ready(Some(Err(Broken::Request)));
        }
        loop {
            match decoder.decode(self.inbox.bytes()) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if decoder.is_complete() => return Poll::Ready(None),
                Ok(None) => {}
                Err(why) => return Poll::Ready(Some(Err(Broken::Malformed(why)))),
            }
            match ready!(self.inbox.poll_fill(&mut self.wire, cx)) {
                Ok(0) if decoder.end() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(Broken::Early))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(Broken::Wire(error)))),
            }
        }
    }

    /// Whether another exchange may follow: the request was sent to its end, and nothing lies behind the answer.
    pub(super) fn is_clean(&mut self) -> bool {
        self.is_sent() && self.unsent.is_none() && self.inbox.bytes().is_empty()
    }

    /// Whether it is still open, and nothing came that nobody asked for.
    pub(super) fn is_quiet(&mut self) -> bool {
        is_quiet(&mut self.wire)
    }

    /// Keeps no memory while nothing is expected.
    pub(super) fn release(&mut self) {
        self.inbox.release();
    }

    /// The bare connection, and what was read of it.
    pub(super) fn into_wire(mut self) -> (Wire, Bytes) {
        let ahead = self.inbox.bytes().split().freeze();
        (self.wire, ahead)
    }
}
