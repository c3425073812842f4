//! An answer's content, read off its connection by whoever polls it. At its end the connection goes back to the pool, if
//! the request was sent to its end too; dropped before, it is closed.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::task::{AbortHandle, spawn_local};

use super::super::answer::Broken;
use super::super::pool::Payload;
use super::connection::Connection;
use super::head::Head;
use super::{Pool, Shared};
use crate::http1::decode::Decoder;

/// An answer's content.
#[derive(Debug)]
pub(in super::super) struct Content<B: Payload> {
    decoder: Decoder,
    /// `None` = nothing more is read of it.
    lease: Option<Lease<B>>,
}

/// A connection in use.
#[derive(Debug)]
struct Lease<B: Payload> {
    connection: Shared<B>,
    /// Where it goes at the end; `None` = nowhere.
    pool: Option<Rc<Pool<B>>>,
    /// Who sends the rest of a request that was answered before its end.
    upload: Option<AbortHandle>,
}

impl<B: Payload> Drop for Lease<B> {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.abort();
            // Now, not when that task is next: its body may hold what its client waits for.
            let rest = self.connection.borrow_mut().stop_sending();
            drop(rest);
        }
    }
}

impl<B: Payload> Content<B> {
    /// The answer that `head` begins on this connection of `pool`.
    pub(super) fn answer(head: Head, connection: Shared<B>, pool: Option<Rc<Pool<B>>>) -> Response<Self> {
        let upload = (!connection.borrow().is_sent()).then(|| spawn_local(upload(Rc::clone(&connection))).abort_handle());
        let lease = Lease { connection, pool: pool.filter(|_| head.keep), upload };
        let mut content = Self { decoder: Decoder::new(head.length), lease: Some(lease) };
        content.settle();
        Response::from_parts(head.parts, content)
    }

    /// Gives the connection back if the content was read to its end.
    fn settle(&mut self) {
        if self.decoder.is_complete()
            && let Some(mut lease) = self.lease.take()
            && let Some(pool) = lease.pool.take()
            && lease.connection.borrow_mut().is_clean()
        {
            lease.upload = None;
            pool.put(Rc::clone(&lease.connection));
        }
    }
}

/// Sends what is left of a request while its answer is read: the upstream may wait for one before it goes on with the other,
/// and the client's reading must not hold up its sending.
async fn upload<B: Payload>(connection: Rc<RefCell<Connection<B>>>) {
    let sent = poll_fn(|cx| connection.borrow_mut().poll_send(cx)).await;
    if let Err(why) = sent {
        tracing::debug!(why, "a request broke off behind its answer's beginning");
        connection.borrow_mut().break_off();
    }
}

impl<B: Payload> Body for Content<B> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let Some(lease) = &this.lease else {
            return Poll::Ready((!this.decoder.is_complete()).then_some(Err(Broken::Early)));
        };
        let frame = ready!(lease.connection.borrow_mut().poll_frame(&mut this.decoder, cx));
        if matches!(frame, Some(Err(_))) {
            this.lease = None;
        }
        this.settle();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_complete()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.size_hint()
    }
}
