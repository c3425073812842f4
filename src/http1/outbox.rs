//! Bytes on their way out: heads and small content in one buffer, so that one write sends them; large content as it came.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use tokio::io::AsyncWrite;

/// Content up to this size is copied behind what waits: cheaper than a vectored write.
const COPIED: usize = 4 << 10;
/// As much may wait before it must be written.
const FULL: usize = 16 << 10;
/// Room that is kept for the next message.
const KEPT: usize = 4 << 10;

/// The outgoing bytes of one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    flat: Vec<u8>,
    written: usize,
    content: Bytes,
    /// Behind the content.
    tail: &'static [u8],
    /// Whether the stream may hold what it took.
    unflushed: bool,
}

impl Outbox {
    /// Where a head is written to.
    pub fn head(&mut self) -> &mut Vec<u8> {
        &mut self.flat
    }

    /// Whether everything was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.waits() && !self.unflushed
    }

    /// Bytes that wait.
    #[must_use]
    pub fn left(&self) -> usize {
        self.flat.len() - self.written + self.content.len() + self.tail.len()
    }

    fn waits(&self) -> bool {
        !self.flat.is_empty() || !self.content.is_empty() || !self.tail.is_empty()
    }

    /// Whether it must be written before anything else is put in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.content.is_empty() || !self.tail.is_empty() || self.flat.len() >= FULL
    }

    /// Puts content in; not into a full one.
    pub fn content(&mut self, content: Bytes, chunked: bool) {
        if content.is_empty() {
            return;
        }
        if chunked {
            // Writing into a Vec cannot fail.
            let _ = write!(self.flat, "{:x}\r\n", content.len());
        }
        let tail: &'static [u8] = if chunked { b"\r\n" } else { b"" };
        if content.len() <= COPIED {
            self.flat.extend_from_slice(&content);
            self.flat.extend_from_slice(tail);
        } else {
            self.content = content;
            self.tail = tail;
        }
    }

    /// Ends chunked content; not into a full one.
    pub fn last_chunk(&mut self, trailers: Option<&HeaderMap>) {
        self.flat.extend_from_slice(b"0\r\n");
        if let Some(trailers) = trailers {
            fields(&mut self.flat, trailers);
        }
        self.flat.extend_from_slice(b"\r\n");
    }

    /// Writes until nothing is left, and flushes: TLS may keep what it took.
    ///
    /// # Errors
    /// The stream's; `WriteZero` where it takes nothing.
    pub fn poll_write(&mut self, stream: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.waits() {
            self.unflushed = true;
            let written = ready!(self.poll_once(Pin::new(&mut *stream), cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_once(&self, stream: Pin<&mut impl AsyncWrite>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let flat = self.flat.get(self.written..).unwrap_or_default();
        if self.content.is_empty() && self.tail.is_empty() {
            return stream.poll_write(cx, flat);
        }
        let slices = [flat, &self.content, self.tail].map(IoSlice::new);
        // An empty first slice would be all that a stream without vectored writes looks at.
        let slices = if flat.is_empty() { slices.get(1..) } else { slices.get(..) }.unwrap_or_default();
        let slices = if flat.is_empty() && self.content.is_empty() { slices.get(1..).unwrap_or_default() } else { slices };
        stream.poll_write_vectored(cx, slices)
    }

    fn advance(&mut self, mut written: usize) {
        let flat = (self.flat.len() - self.written).min(written);
        self.written += flat;
        written -= flat;
        if self.written == self.flat.len() {
            self.written = 0;
            self.flat.clear();
            if self.flat.capacity() > KEPT {
                self.flat = Vec::new();
            }
        }
        let content = self.content.len().min(written);
        self.content.advance(content);
        written -= content;
        self.tail = self.tail.get(written..).unwrap_or_default();
    }
}

/// Writes field lines.
pub fn fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        field(out, name.as_str().as_bytes(), value.as_bytes());
    }
}

/// Writes one.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes `most` bytes a write.
    struct Narrow {
        most: usize,
        vectored: bool,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let taken = buf.len().min(self.most);
            self.taken.extend_from_slice(&buf[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            if !self.vectored {
                return self.poll_write(cx, bufs.first().map_or(&[][..], |buf| buf));
            }
            let all = bufs.iter().flat_map(|buf| buf.iter().copied()).collect::<Vec<_>>();
            let taken = all.len().min(self.most);
            self.taken.extend_from_slice(&all[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn everything_is_written_once_and_in_order_whatever_a_write_takes(
            sizes in proptest::collection::vec(prop_oneof![1_usize..100, COPIED - 2..COPIED + 3], 0..6),
            most in 1_usize..6000, vectored: bool, chunked: bool,
        ) {
            let mut outbox = Outbox::default();
            let mut stream = Narrow { most, vectored, taken: Vec::new() };
            let mut expected = b"HEAD\r\n\r\n".to_vec();
            let mut write = |outbox: &mut Outbox| {
                let written = outbox.poll_write(&mut stream, &mut Context::from_waker(std::task::Waker::noop()));
                assert!(matches!(written, Poll::Ready(Ok(()))));
            };
            outbox.head().extend_from_slice(&expected);
            for (index, size) in sizes.into_iter().enumerate() {
                let content = vec![b'a' + u8::try_from(index).unwrap(); size];
                if chunked {
                    expected.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                }
                expected.extend_from_slice(&content);
                if chunked {
                    expected.extend_from_slice(b"\r\n");
                }
                outbox.content(content.into(), chunked);
                if outbox.is_full() {
                    write(&mut outbox);
                }
            }
            if chunked {
                outbox.last_chunk(Some(&HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))])));
                expected.extend_from_slice(b"0\r\netag: x\r\n\r\n");
            }
            write(&mut outbox);
            prop_assert!(outbox.is_empty());
            prop_assert_eq!(stream.taken, expected);
        }
    }
}
