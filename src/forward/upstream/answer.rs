//! An upstream's answer, whatever it speaks: its content, and the connection or the share of one that it arrives on. What
//! becomes of that is decided in here, at the content's end or when it is dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Payload;
use super::{http1, http2};

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// What arrived is not what it should be.
    #[error("{0}")]
    Malformed(&'static str),
    /// The connection ended.
    #[error("the connection ended before the answer did")]
    Early,
    /// It failed.
    #[error(transparent)]
    Wire(#[from] io::Error),
    /// The request that it answers was not sent to its end.
    #[error("the request broke off")]
    Request,
    /// The same over HTTP/2.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

/// The content of an answer.
#[derive(Debug)]
pub struct Answer<B: Payload>(Content<B>);

#[derive(Debug)]
enum Content<B: Payload> {
    Http1(http1::Content<B>),
    /// The stream's place is free when this is dropped.
    Http2 {
        content: Incoming,
        _stream: http2::Stream<B>,
    },
}

impl<B: Payload> From<http1::Content<B>> for Answer<B> {
    fn from(content: http1::Content<B>) -> Self {
        Self(Content::Http1(content))
    }
}

impl<B: Payload> Answer<B> {
    pub(super) const fn stream(content: Incoming, stream: http2::Stream<B>) -> Self {
        Self(Content::Http2 { content, _stream: stream })
    }
}

impl<B: Payload> Body for Answer<B> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.get_mut().0 {
            Content::Http1(content) => Pin::new(content).poll_frame(cx),
            Content::Http2 { content, .. } => {
                let frame = ready!(Pin::new(content).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(Broken::Http2)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Http1(content) => content.is_end_stream(),
            Content::Http2 { content, .. } => content.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Http1(content) => content.size_hint(),
            Content::Http2 { content, .. } => content.size_hint(),
        }
    }
}
