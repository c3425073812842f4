//! Between a connection's stream and hyper: passes on what [`Framing`] passed, one request at a time, and nothing else.
//! Bytes are read straight into hyper's buffer and judged there; only what must wait is copied.
//! It never writes, and never answers: a refused head ends hyper's input, and the connection's task answers it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::{Framing, Limits};
use super::life::{Life, Phase};
use crate::rejection::{Refusal, Rejection};

/// Bytes kept of what a client sends while its request before is being answered.
const AHEAD_MAX: usize = 64 << 10;

/// A stream, guarded.
#[derive(Debug)]
pub struct Guard<S> {
    stream: S,
    framing: Framing,
    life: Rc<Life>,
    /// Read, but not passed on.
    held: BytesMut,
    /// How many of them may be passed on.
    sound: usize,
    /// How many of them were judged in vain.
    judged: usize,
    /// Whether nothing was passed on yet.
    opening: bool,
    client_gone: bool,
    refusal: Option<Refusal>,
}

/// How a connection ended, as its guard saw it.
#[derive(Debug)]
pub struct Ended<S> {
    /// The stream.
    pub stream: S,
    /// Whether the client closed its side.
    pub client_gone: bool,
    /// Why a head was refused; nobody answered it yet.
    pub refusal: Option<Refusal>,
    /// What the client sent that was not passed on.
    pub ahead: BytesMut,
    /// Whether that is all it sent.
    pub opening: bool,
}

impl<S> Guard<S> {
    /// A guard before the first byte.
    pub fn new(stream: S, limits: Limits, life: Rc<Life>) -> Self {
        Self {
            stream,
            framing: Framing::new(limits),
            life,
            held: BytesMut::new(),
            sound: 0,
            judged: 0,
            opening: true,
            client_gone: false,
            refusal: None,
        }
    }

    /// Takes it apart.
    pub fn into_ended(self) -> Ended<S> {
        Ended { stream: self.stream, client_gone: self.client_gone, refusal: self.refusal, ahead: self.held, opening: self.opening }
    }

    /// How many bytes of `window` may be passed on; an error is a fault in a body.
    fn judge(&mut self, window: &[u8]) -> io::Result<usize> {
        let in_head = self.framing.in_head();
        match self.framing.advance(window) {
            Ok(sound) => {
                if in_head && !self.framing.in_head() {
                    self.opening = false;
                    self.life.exchange_began();
                } else if in_head && !window.is_empty() {
                    self.life.head_began();
                }
                if sound > 0 && self.framing.is_complete() {
                    self.life.request_ended();
                }
                Ok(sound)
            }
            Err(refusal) if in_head => {
                self.refusal = Some(refusal);
                Ok(0)
            }
            Err(refusal) => {
                let error = io::Error::new(io::ErrorKind::InvalidData, refusal.to_string());
                self.life.set_fault(refusal);
                Err(error)
            }
        }
    }

    fn judge_held(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        let sound = self.judge(&held);
        self.held = held;
        self.sound = sound?;
        self.judged = if self.sound == 0 { self.held.len() } else { 0 };
        Ok(())
    }

    /// Passes on held bytes that are sound.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let bytes = self.sound.min(buf.remaining());
        buf.put_slice(self.held.get(..bytes).unwrap_or_default());
        self.held.advance(bytes);
        self.sound -= bytes;
        if self.held.is_empty() {
            // An idle connection keeps no buffer.
            self.held = BytesMut::new();
        }
    }

    /// Whether the connection ends here instead of waiting for another request.
    fn gives_up(&mut self) -> bool {
        if self.refusal.is_some() || self.client_gone {
            return true;
        }
        match self.life.phase() {
            Phase::Head if self.life.expired() => {
                self.refusal = Some(Rejection::RequestTimeout.because("the head did not arrive in time"));
                true
            }
            Phase::Fresh | Phase::Idle if self.life.expired() => true,
            Phase::Fresh | Phase::Idle | Phase::Head | Phase::Busy | Phase::Written | Phase::Tunnel | Phase::Streams | Phase::Leaving => {
                false
            }
        }
    }
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// Whether no further request is waited for, now that none has arrived.
    fn is_done(&self) -> bool {
        self.life.phase() == Phase::Idle && self.life.draining() && self.held.is_empty()
    }

    /// Reads into `buf` as a scratch buffer and returns how many bytes were read (behind those filled before).
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        self.client_gone |= bytes == 0;
        Poll::Ready(Ok(bytes))
    }

    /// Keeps the bytes behind the first `from` of `buf` for later.
    fn hold(&mut self, buf: &mut ReadBuf<'_>, from: usize) {
        self.held.extend_from_slice(buf.filled().get(from..).unwrap_or_default());
        buf.set_filled(from);
    }

    /// While an answer is written: notices that the client leaves, and keeps what it sends ahead.
    fn poll_gone(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while !self.client_gone {
            if !self.held.is_empty() {
                self.life.wake_when_finished();
            }
            if self.held.len() >= AHEAD_MAX {
                return Poll::Pending;
            }
            let before = buf.filled().len();
            ready!(self.read(cx, buf))?;
            self.hold(buf, before);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.sound > 0 {
                this.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            if this.framing.is_complete() {
                // After a switch of protocols no byte is a request's: all are held for the tunnel.
                if this.life.in_flight() || this.life.switched() {
                    return this.poll_gone(cx, buf);
                }
                this.framing.next_message();
                this.judged = 0;
            }
            if this.client_gone || (this.framing.in_head() || this.refusal.is_some()) && this.gives_up() {
                return Poll::Ready(Ok(()));
            }
            if this.held.len() > this.judged {
                this.judge_held()?;
                continue;
            }
            let before = buf.filled().len();
            let read = this.read(cx, buf);
            if read.is_pending() && this.is_done() {
                return Poll::Ready(Ok(()));
            }
            if ready!(read)? == 0 {
                continue;
            }
            if !this.held.is_empty() {
                this.hold(buf, before);
                continue;
            }
            let fresh = buf.filled().get(before..).unwrap_or_default();
            let sound = match this.judge(fresh) {
                Ok(sound) => sound,
                Err(error) => {
                    buf.set_filled(before);
                    return Poll::Ready(Err(error));
                }
            };
            this.hold(buf, before + sound);
            if sound > 0 {
                // What lies behind is judged when it is asked for: a fault there must not hide what is sound.
                this.judged = 0;
                return Poll::Ready(Ok(()));
            }
            this.judged = this.held.len();
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.life.bound(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        // hyper flushes the stream when it has written all it had.
        self.life.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.life.bound(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
