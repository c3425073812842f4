//! A request on its way: what waits to be written, and the body that the rest is taken from. As long as nothing of it was
//! written it can be moved to another connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderValue};
use tokio::io::AsyncWrite;

use super::super::pool::Payload;
use super::head::{self, Framing};
use crate::forward::Encoded;
use crate::http1::outbox::Outbox;

/// Why a request is not sent any further.
#[derive(Debug)]
pub(super) enum Unsent {
    /// Its body is not what it was said to be, or broke off.
    Body(&'static str),
    /// The connection's fault.
    Wire(io::Error),
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Request<B> {
    outbox: Outbox,
    rest: Option<Rest<B>>,
}

/// What is left of its content.
#[derive(Debug)]
struct Rest<B> {
    body: B,
    framing: Framing,
    /// The trailers that its head names.
    announced: Option<HeaderValue>,
}

impl<B> Default for Request<B> {
    /// One that was sent.
    fn default() -> Self {
        Self { outbox: Outbox::default(), rest: None }
    }
}

impl<B: Payload> Request<B> {
    /// Another one begins.
    pub(super) fn begin(&mut self, head: &Encoded, framing: Framing, body: Option<B>) {
        head::write(self.outbox.head(), head, framing);
        self.rest = body.map(|body| Rest { body, framing, announced: head.announced().cloned() });
    }

    /// Whether all of it was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.rest.is_none() && self.outbox.is_empty()
    }

    /// Sends as much as there is and as the connection takes.
    pub(super) fn poll_send(&mut self, wire: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        loop {
            while !self.outbox.is_full()
                && let Some(rest) = &mut self.rest
            {
                match rest.poll_next(&mut self.outbox, cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(false)) => {}
                    Poll::Ready(Ok(true)) => self.rest = None,
                    Poll::Ready(Err(why)) => return Poll::Ready(Err(Unsent::Body(why))),
                }
            }
            if !self.outbox.is_empty() {
                ready!(self.outbox.poll_write(wire, cx)).map_err(Unsent::Wire)?;
            } else if self.rest.is_some() {
                return Poll::Pending;
            } else {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<B: Payload> Rest<B> {
    /// Puts the next frame into an outbox that is not full; whether it was the last.
    fn poll_next(&mut self, outbox: &mut Outbox, cx: &mut Context<'_>) -> Poll<Result<bool, &'static str>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => return Poll::Ready(self.end(outbox, None)),
            Some(Err(_)) => return Poll::Ready(Err("the request's body broke off")),
            Some(Ok(frame)) => frame,
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return Poll::Ready(self.end(outbox, frame.into_trailers().ok())),
        };
        if let Framing::Length(left) = &mut self.framing {
            *left = left.checked_sub(data.len() as u64).ok_or("the request's body is longer than it said")?;
        }
        outbox.content(data, self.framing == Framing::Chunked);
        match self.framing {
            Framing::Length(left) => Poll::Ready(Ok(left == 0)),
            // In one write with the last frame.
            Framing::Chunked if !outbox.is_full() && self.body.is_end_stream() => Poll::Ready(self.end(outbox, None)),
            Framing::Chunked => Poll::Ready(Ok(false)),
        }
    }

    fn end(&self, outbox: &mut Outbox, trailers: Option<HeaderMap>) -> Result<bool, &'static str> {
        match self.framing {
            Framing::Length(0) => {}
            Framing::Length(_) => return Err("the request's body is shorter than it said"),
            Framing::Chunked => outbox.last_chunk(trailers.map(|trailers| self.announced(trailers)).as_ref()),
        }
        Ok(true)
    }

    /// Of the trailers those that the head names.
    fn announced(&self, trailers: HeaderMap) -> HeaderMap {
        let names = self.announced.as_ref().map_or(&[][..], HeaderValue::as_bytes);
        let is_announced =
            |name: &str| names.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
        let mut left = HeaderMap::new();
        let mut last = None;
        for (name, value) in trailers {
            last = name.or(last);
            if let Some(name) = last.as_ref().filter(|name| is_announced(name.as_str())) {
                left.append(name, value);
            }
        }
        left
    }
}
