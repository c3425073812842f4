//! A WebSocket after its 101: bytes between the client's connection and one of its own to the upstream, read by nobody.
//! It lives until both sides have ended, one breaks, nothing moves for too long, or the exchange is told to end.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use super::life::Life;
use super::record::Record;
use super::socket::Socket;
use crate::forward::upstream::pool::Wire;

/// A switch of protocols that was answered with 101. Its line in the access log is written when this is dropped.
#[derive(Debug)]
pub struct Tunnel {
    upstream: Option<(Wire, Bytes)>,
    record: Box<Record>,
    ended: bool,
}

impl Tunnel {
    /// To the upstream on `wire`, which has sent `ahead` already.
    pub(super) fn new(wire: Wire, ahead: Bytes, record: Box<Record>) -> Self {
        Self { upstream: Some((wire, ahead)), record, ended: false }
    }

    /// Copies both ways to the end. `ahead` = what the client had sent behind its request.
    pub(super) async fn run(mut self, client: Socket, ahead: Bytes, life: &Rc<Life>) {
        let Some((wire, greeting)) = self.upstream.take() else { return };
        life.tunnel_began();
        let down = Cell::new(0);
        let mut client = Side::new(client, ahead, life.uploaded(), life);
        let mut upstream = Side::new(wire, greeting, &down, life);
        let mut copying = Box::pin(copy_bidirectional(&mut client, &mut upstream));
        let ended = poll_fn(|cx| {
            life.register(cx);
            if life.expired() { Poll::Ready(None) } else { copying.as_mut().poll(cx).map(Some) }
        });
        let ended = ended.await;
        drop(copying);
        self.record.sent(usize::try_from(down.get()).unwrap_or(usize::MAX));
        match ended {
            Some(Ok(_)) => self.ended = true,
            Some(Err(_)) if upstream.broken => self.record.upstream_aborted(),
            Some(Err(_)) => self.record.broken_off(),
            None => self.record.expired(true),
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if !self.ended {
            self.record.broken_off();
        }
    }
}

/// One end: what it sent before the copying began, and how much in all.
struct Side<'a, S> {
    stream: S,
    ahead: Bytes,
    bytes: &'a Cell<u64>,
    life: &'a Life,
    broken: bool,
}

impl<'a, S> Side<'a, S> {
    const fn new(stream: S, ahead: Bytes, bytes: &'a Cell<u64>, life: &'a Life) -> Self {
        Self { stream, ahead, bytes, life, broken: false }
    }

    fn note<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.broken |= matches!(result, Poll::Ready(Err(_)));
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Side<'_, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.ahead.is_empty() {
            let read = Pin::new(&mut this.stream).poll_read(cx, buf);
            ready!(this.note(read))?;
        } else {
            let bytes = this.ahead.len().min(buf.remaining());
            buf.put_slice(this.ahead.get(..bytes).unwrap_or_default());
            this.ahead.advance(bytes);
        }
        let bytes = buf.filled().len() - before;
        this.bytes.set(this.bytes.get().saturating_add(bytes as u64));
        if bytes > 0 {
            this.life.content_moved();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Side<'_, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        let took = written.is_ready();
        let bounded = this.life.bound(written, took);
        this.note(bounded)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.note(flushed)
    }

    /// The other side has ended; this one is given as long as an idle connection to end too.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.life.tunnel_half_closed();
        let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.note(shut)
    }
}
