//! A body on its way over HTTP/2, where hyper does not give back what it was handed.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::pool::Payload;

/// A request's body that another attempt can have as long as nothing was taken out of it.
#[derive(Debug)]
pub(super) struct Parcel<B>(Rc<(RefCell<B>, Cell<bool>)>);

impl<B> Clone for Parcel<B> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<B: Payload> Parcel<B> {
    pub(super) fn new(body: B) -> Self {
        Self(Rc::new((RefCell::new(body), Cell::new(false))))
    }

    /// Whether something was taken out.
    pub(super) fn is_opened(&self) -> bool {
        self.0.1.get()
    }
}

impl<B: Payload> Body for Parcel<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let (body, opened) = &*self.0;
        let frame = ready!(Pin::new(&mut *body.borrow_mut()).poll_frame(cx));
        opened.set(true);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.0.borrow().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.0.borrow().size_hint()
    }
}
