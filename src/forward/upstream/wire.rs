//! The stream under a connection to an upstream: it holds the connection's place among the open ones and notices what goes
//! over it, by which is judged what may be sent again. It reads nothing of what it carries.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connect::connect;
use super::{Counts, Reserved, Target};
use crate::rejection::{Refusal, Rejection};
use crate::server::socket::Socket;

/// What went over a connection since the last request began.
#[derive(Default)]
pub(super) struct Traffic {
    written: Cell<bool>,
    heard: Cell<bool>,
    listener: Cell<Option<Waker>>,
}

impl Traffic {
    /// Another request begins.
    pub(super) fn begin(&self) {
        self.written.set(false);
        self.heard.set(false);
    }

    /// Whether a byte was written.
    pub(super) fn was_written(&self) -> bool {
        self.written.get()
    }

    /// Whether the upstream said anything.
    pub(super) fn was_heard(&self) -> bool {
        self.heard.get()
    }

    /// Wakes this task at the next byte that is heard.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        self.heard.set(false);
        self.listener.set(Some(cx.waker().clone()));
    }
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic").field("written", &self.written).field("heard", &self.heard).finish_non_exhaustive()
    }
}

/// A stream to an upstream, in its place among the open connections, that notices what goes over it.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    pub(super) traffic: Rc<Traffic>,
    _place: Reserved,
}

impl Wire {
    /// Connects, if there is a place.
    pub(super) async fn connect(target: &Arc<Target>) -> Result<Self, Refusal> {
        let place =
            target.reserve().ok_or_else(|| Rejection::Overloaded.because("all upstream connections are in use").before_sending())?;
        Counts::count(&target.counts.connects);
        let socket = connect(target).await.map_err(|error| {
            Counts::count(&target.counts.failures);
            target.unavailable(&error.to_string()).before_sending()
        })?;
        Ok(Self { socket, traffic: Rc::default(), _place: place })
    }

    /// Over what is connected already.
    #[cfg(test)]
    pub(super) fn over(socket: Socket, target: &Arc<Target>) -> Self {
        Self { socket, traffic: Rc::default(), _place: target.reserve().unwrap() }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if buf.filled().len() > before
            && !self.traffic.heard.replace(true)
            && let Some(listener) = self.traffic.listener.take()
        {
            listener.wake();
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

impl Wire {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.traffic.written.set(true);
        }
        written
    }
}
