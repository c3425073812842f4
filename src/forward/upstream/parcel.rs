//! A body on its way over HTTP/2: another attempt can have it as long as nothing was taken out, and it can be stopped,
//! which resets its stream. hyper can do neither with what it was handed.

use std::cell::{Cell, RefCell};
use std::error::Error as StdError;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::Reason;
use http_body::{Body, Frame, SizeHint};

use super::pool::Payload;

/// A shared body; its clones are one.
pub(super) struct Parcel<B>(Rc<Inner<B>>);

struct Inner<B> {
    body: RefCell<B>,
    opened: Cell<bool>,
    stopped: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl<B> Clone for Parcel<B> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<B> std::fmt::Debug for Parcel<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parcel").field("opened", &self.0.opened).field("stopped", &self.0.stopped).finish_non_exhaustive()
    }
}

impl<B: Payload> Parcel<B> {
    pub(super) fn new(body: B) -> Self {
        let waker = Cell::new(None);
        Self(Rc::new(Inner { body: RefCell::new(body), opened: Cell::new(false), stopped: Cell::new(false), waker }))
    }

    /// Whether something was taken out.
    pub(super) fn is_opened(&self) -> bool {
        self.0.opened.get()
    }

    /// Lets go of the body, sent or not.
    pub(super) fn stop(&self) {
        self.0.stopped.set(true);
        drop(self.0.body.take());
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

impl<B: Payload> Body for Parcel<B> {
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let cancel = || Box::new(h2::Error::from(Reason::CANCEL));
        if self.0.stopped.get() {
            return Poll::Ready(Some(Err(cancel())));
        }
        self.0.waker.set(Some(cx.waker().clone()));
        let frame = ready!(Pin::new(&mut *self.0.body.borrow_mut()).poll_frame(cx));
        self.0.opened.set(true);
        // Whatever was wrong with the body, to the upstream it is a request that the client gave up.
        Poll::Ready(frame.map(|frame| frame.map_err(|_| cancel().into())))
    }

    fn is_end_stream(&self) -> bool {
        !self.0.stopped.get() && self.0.body.borrow().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.body.borrow().size_hint()
    }
}
