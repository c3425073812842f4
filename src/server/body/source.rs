//! Where an answer comes from: the upstream itself, or what is kept of it. While it is kept its frames pass a queue of this worker,
//! so that whoever reads the upstream need not wait for the client, nor end with it.

use std::cell::Cell;
use std::error::Error as StdError;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{BrokenOff, Upload};
use crate::forward::upstream::pool::Answer;

/// Pieces up to this size are copied: each might keep a whole read's memory for as long as it waits.
const COPIED: usize = 4 << 10;
/// Bytes that wait for the client where nothing is kept any more.
const QUEUE_MAX: u64 = 64 << 10;

/// The content of an answer.
#[derive(Debug)]
pub(in crate::server) enum Source {
    /// As the upstream sends it.
    Upstream(Answer<Upload>),
    /// As it is kept.
    Kept(Tap),
}

impl Body for Source {
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Upstream(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Kept(tap) => Pin::new(tap).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream(body) => body.is_end_stream(),
            Self::Kept(tap) => tap.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream(body) => body.size_hint(),
            Self::Kept(tap) => tap.size_hint(),
        }
    }
}

/// The client's end of the queue.
#[derive(Debug)]
pub(in crate::server) struct Tap {
    frames: UnboundedReceiver<Frame<Bytes>>,
    flow: Rc<Flow>,
    /// Bytes still to come, where the head says how many.
    exact: Option<u64>,
}

/// The other end. Dropped before [`Sink::end`], the answer breaks off.
#[derive(Debug)]
pub(in crate::server) struct Sink {
    frames: UnboundedSender<Frame<Bytes>>,
    flow: Rc<Flow>,
}

#[derive(Debug, Default)]
struct Flow {
    queued: Cell<u64>,
    is_whole: Cell<bool>,
    taken: Notify,
}

impl Tap {
    /// Both ends, for so many bytes.
    pub(in crate::server) fn new(exact: Option<u64>) -> (Sink, Self) {
        let (sender, frames) = unbounded_channel();
        let flow = Rc::<Flow>::default();
        (Sink { frames: sender, flow: Rc::clone(&flow) }, Self { frames, flow, exact })
    }
}

impl Sink {
    /// Hands a frame on. Whether a client is still there is not its business.
    pub(in crate::server) fn send(&self, frame: Frame<Bytes>) {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        let frame = frame.map_data(|data| if data.len() <= COPIED { Bytes::copy_from_slice(&data) } else { data });
        if self.frames.send(frame).is_ok() {
            self.flow.queued.set(self.flow.queued.get() + bytes);
        }
    }

    /// Waits until the client has taken most of it; `false` = the client is gone.
    pub(in crate::server) async fn has_room(&self) -> bool {
        while self.flow.queued.get() > QUEUE_MAX && !self.frames.is_closed() {
            tokio::select! {
                () = self.flow.taken.notified() => {}
                () = self.frames.closed() => {}
            }
        }
        !self.frames.is_closed()
    }

    /// That was all.
    pub(in crate::server) fn end(self) {
        self.flow.is_whole.set(true);
    }
}

impl Body for Tap {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Some(frame) = ready!(self.frames.poll_recv(cx)) else {
            return Poll::Ready((!self.flow.is_whole.get()).then_some(Err(BrokenOff::Download)));
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.flow.queued.set(self.flow.queued.get().saturating_sub(bytes));
        self.flow.taken.notify_one();
        self.exact = self.exact.map(|exact| exact.saturating_sub(bytes));
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.flow.is_whole.get() && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_piece_that_waits_keeps_nothing_of_the_read_it_came_in() {
        let (sink, tap) = Tap::new(None);
        let read = Bytes::from(vec![b'x'; 8 << 10]);
        sink.send(Frame::data(read.slice(..1)));
        assert!(read.is_unique());
        assert_eq!(tap.frames.len(), 1);
    }
}
