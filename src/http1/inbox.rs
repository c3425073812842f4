//! Bytes that arrived and were not taken yet. Reads grow with what comes: a small answer needs a small buffer, a large
//! one few reads.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::unconstrained;

/// Room of the first read, and of the largest.
const SMALLEST: usize = 8 << 10;
const LARGEST: usize = 512 << 10;

/// The incoming bytes of one connection.
#[derive(Debug)]
pub struct Inbox {
    bytes: BytesMut,
    /// Room of the next read.
    room: usize,
    /// Whether the read before this one needed less than half of it.
    was_small: bool,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { bytes: BytesMut::new(), room: SMALLEST, was_small: false }
    }
}

impl Inbox {
    /// What arrived.
    pub fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Reads once, behind what is there; 0 = the other side sends no more.
    ///
    /// # Errors
    /// The stream's.
    pub fn poll_fill(&mut self, stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.bytes.reserve(self.room);
        let read = pin!(stream.read_buf(&mut self.bytes)).poll(cx);
        if let Poll::Ready(Ok(read)) = read {
            self.adapt(read);
        }
        read
    }

    /// As hyper does: one full read doubles the room, two small ones halve it.
    fn adapt(&mut self, read: usize) {
        if read >= self.room {
            self.room = (self.room * 2).min(LARGEST);
            self.was_small = false;
        } else if read < self.room / 2 && self.room > SMALLEST {
            if self.was_small {
                self.room /= 2;
            }
            self.was_small = !self.was_small;
        } else {
            self.was_small = false;
        }
    }

    /// Keeps no memory while nothing is expected.
    pub fn release(&mut self) {
        if self.bytes.is_empty() {
            *self = Self::default();
        }
    }
}

/// Whether the other side sent anything, or its end, without waiting: of a connection where neither is expected. A task that has
/// done much in its turn would be told to wait, whatever there is to be read; the answer must not depend on that.
pub fn is_quiet(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut byte = [0];
    let mut byte = tokio::io::ReadBuf::new(&mut byte);
    let read = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut byte));
    pin!(unconstrained(read)).poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(inbox: &mut Inbox, mut stream: &[u8]) -> usize {
        match inbox.poll_fill(&mut stream, &mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(Ok(read)) => read,
            Poll::Ready(Err(_)) | Poll::Pending => panic!("nothing was read"),
        }
    }

    #[test]
    fn what_arrives_is_kept_behind_what_is_there() {
        let mut inbox = Inbox::default();
        assert_eq!((fill(&mut inbox, b"ab"), fill(&mut inbox, b"c"), fill(&mut inbox, b"")), (2, 1, 0));
        assert_eq!(&inbox.bytes()[..], b"abc");
    }

    #[test]
    fn reads_grow_with_full_ones_and_shrink_after_two_small_ones() {
        let mut inbox = Inbox::default();
        let much = vec![0; LARGEST * 2];
        let mut rooms = Vec::new();
        for _ in 0..8 {
            fill(&mut inbox, &much);
            inbox.bytes().clear();
            rooms.push(inbox.room);
        }
        assert!(rooms.is_sorted() && rooms.last() == Some(&LARGEST), "{rooms:?}");
        fill(&mut inbox, b"a");
        assert_eq!(inbox.room, LARGEST);
        fill(&mut inbox, b"a");
        assert_eq!(inbox.room, LARGEST / 2);
    }
}
