//! How far a connection is, in cells that its wire, its exchange and the worker's sweep share: no timer belongs to a
//! connection or a request. It knows ticks of the sweep, not the time, and never touches a socket.
//! A connection of HTTP/1 and its one exchange share a life; of HTTP/2, each stream has one of its own ([`stream`]).

mod admission;
pub mod errand;
mod pace;
pub mod stream;
mod timeouts;
mod tunnel;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::rejection::{Refusal, Rejection};
pub use timeouts::Timeouts;

/// What the workers are told, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Serve.
    #[default]
    Serve,
    /// Serve, but keep no connection: every answer closes its own.
    Leave,
    /// Accept no more; end when every exchange has ended.
    Drain,
    /// End now.
    Stop,
}

/// What all connections of a listener see in a worker: its sweeps counted, and how far it is.
#[derive(Debug, Default)]
pub struct Pulse {
    worker: Rc<Counts>,
    stage: Cell<Stage>,
}

/// What a worker counts, for all its listeners.
#[derive(Debug, Default)]
struct Counts {
    tick: Cell<u32>,
    cut_off: Cell<usize>,
    errands: errand::Errands,
}

impl Pulse {
    /// The pulse of another listener of the same worker.
    #[must_use]
    pub fn of_another(&self) -> Rc<Self> {
        Rc::new(Self { worker: Rc::clone(&self.worker), stage: self.stage.clone() })
    }

    /// Whether connections are no longer accepted.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.stage.get() >= Stage::Drain
    }

    /// It was told. Never back.
    pub fn enter(&self, stage: Stage) {
        self.stage.set(stage.max(self.stage.get()));
    }

    /// Requests that the worker's end cut off.
    #[must_use]
    pub fn cut_off(&self) -> usize {
        self.worker.cut_off.get()
    }

    /// Another sweep begins.
    pub fn beat(&self) {
        self.worker.tick.set(self.worker.tick.get().wrapping_add(1));
    }
}

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its first byte.
    Fresh,
    /// The rest of a head.
    Head,
    /// The end of an exchange.
    Busy,
    /// The client, to read the rest of an answer that is complete.
    Written,
    /// The next request.
    Idle,
    /// Either end of a tunnel.
    Tunnel,
    /// Its streams, each in a phase of its own.
    Streams,
    /// The client, to take notice that no further stream is welcome.
    Leaving,
}

/// The shared cells of one connection, or of one stream.
#[derive(Debug)]
pub struct Life {
    pulse: Rc<Pulse>,
    kind: Kind,
    phase: Cell<Phase>,
    since: Cell<u32>,
    expired: Cell<bool>,
    in_flight: Cell<bool>,
    answered: Cell<bool>,
    receiving: Cell<bool>,
    switched: Cell<bool>,
    uploaded: Cell<u64>,
    pace: pace::Pace,
    /// When content of either side moved last, while an answer of the upstream is passed on.
    moved: Cell<Option<u32>>,
    silent: Cell<bool>,
    admitted: RefCell<Option<admission::Admitted>>,
    /// Why the credential that admitted its exchange does so no more.
    ended_by: Cell<Option<Rejection>>,
    fault: RefCell<Option<Refusal>>,
    waker: RefCell<Option<Waker>>,
    streams: RefCell<Slab<Rc<Life>>>,
}

/// Whose life it is.
#[derive(Debug)]
enum Kind {
    Connection,
    Stream(stream::Reader),
}

impl Life {
    /// A connection that was accepted now.
    #[must_use]
    pub fn new(pulse: Rc<Pulse>) -> Rc<Self> {
        Self::of(Kind::Connection, pulse)
    }

    fn of(kind: Kind, pulse: Rc<Pulse>) -> Rc<Self> {
        let since = pulse.worker.tick.get();
        Rc::new(Self {
            pulse,
            kind,
            phase: Cell::new(Phase::Fresh),
            since: Cell::new(since),
            expired: Cell::new(false),
            in_flight: Cell::new(false),
            answered: Cell::new(false),
            receiving: Cell::new(false),
            switched: Cell::new(false),
            uploaded: Cell::new(0),
            pace: pace::Pace::default(),
            moved: Cell::new(None),
            silent: Cell::new(false),
            admitted: RefCell::new(None),
            ended_by: Cell::new(None),
            fault: RefCell::new(None),
            waker: RefCell::new(None),
            streams: RefCell::default(),
        })
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.pulse.worker.tick.get());
    }

    /// What it waits for.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// The sweeps come at another pace: what it waits for is waited for anew, so that nothing ends too early.
    pub fn restart(&self) {
        let now = self.pulse.worker.tick.get();
        self.since.set(now);
        self.moved.set(self.moved.get().map(|_| now));
        self.pace.restart(self.uploaded.get());
        if let Kind::Stream(reader) = &self.kind {
            reader.restart(now);
        }
        self.streams.borrow().iter().for_each(|(_, stream)| stream.restart());
    }

    /// Whether the worker, or the listener, drains.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.pulse.draining()
    }

    /// Whether connections are no longer kept.
    #[must_use]
    pub fn leaving(&self) -> bool {
        self.pulse.stage.get() >= Stage::Leave
    }

    /// Whether the worker ends with this connection in the middle of something.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.pulse.stage.get() == Stage::Stop
    }

    /// That was a request.
    pub fn count_cut_off(&self) {
        let cut_off = &self.pulse.worker.cut_off;
        cut_off.set(cut_off.get() + 1);
    }

    /// Bytes of a head arrived that is not complete.
    pub fn head_began(&self) {
        if self.phase.get() != Phase::Head {
            self.enter(Phase::Head);
        }
    }

    /// A head was passed on: an exchange begins.
    pub fn exchange_began(&self) {
        self.enter(Phase::Busy);
        self.in_flight.set(true);
        self.receiving.set(true);
        self.uploaded.set(0);
        self.pace.reset();
        *self.fault.borrow_mut() = None;
    }

    /// The request was passed on to its end.
    pub fn request_ended(&self) {
        self.receiving.set(false);
        self.settle();
    }

    /// The answer was handed on to its end, or given up; its last bytes may still wait to be written.
    pub fn answer_ended(&self) {
        self.answered.set(true);
        self.moved.set(None);
        if !self.expired() {
            self.enter(Phase::Written);
        }
    }

    /// An answer of the upstream is passed on from now on: silence counts (`stream_idle_timeout`).
    pub fn relay_began(&self) {
        self.moved.set(Some(self.pulse.worker.tick.get()));
    }

    /// Content of either side went on.
    pub fn content_moved(&self) {
        if self.moved.get().is_some() {
            self.relay_began();
        }
    }

    /// Whether it expired because of silence.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent.get()
    }

    /// A write that waits for the client fails once the connection's time is over: who never reads holds no place for ever, and
    /// who `took` something reads, however slowly.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn bound<T>(&self, written: Poll<io::Result<T>>, took: bool) -> Poll<io::Result<T>> {
        if took {
            self.content_moved();
            if self.phase.get() == Phase::Written {
                self.enter(Phase::Written);
            }
        }
        if written.is_pending() && self.expired() { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { written }
    }

    /// Everything that was handed on was written.
    pub fn flushed(&self) {
        if self.answered.take() {
            self.in_flight.set(false);
            self.settle();
        }
    }

    fn settle(&self) {
        if !self.in_flight.get() && !self.receiving.get() && matches!(self.phase.get(), Phase::Busy | Phase::Written) {
            self.enter(Phase::Idle);
        }
    }

    /// Whether an exchange's answer was not written to its end.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        self.in_flight.get()
    }

    /// Bytes of the request's content so far.
    #[must_use]
    pub fn uploaded(&self) -> &Cell<u64> {
        &self.uploaded
    }

    /// What was wrong with the request's body; the first fault counts.
    pub fn set_fault(&self, refusal: Refusal) {
        self.fault.borrow_mut().get_or_insert(refusal);
    }

    /// The same, taken.
    #[must_use]
    pub fn take_fault(&self) -> Option<Refusal> {
        self.fault.borrow_mut().take()
    }

    /// Whether a timeout has passed, or what admitted its exchange has ended; for good.
    #[must_use]
    pub fn expired(&self) -> bool {
        self.expired.get()
    }

    /// Remembers the connection's task.
    pub fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Wakes it, unless this is it.
    pub fn wake_other_than(&self, cx: &Context<'_>) {
        if let Some(waker) = self.waker.borrow().as_ref().filter(|waker| !waker.will_wake(cx.waker())) {
            waker.wake_by_ref();
        }
    }

    /// Wakes it.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// One sweep: expires the connection, or streams of it, if they waited too long.
    pub fn sweep(&self, timeouts: &Timeouts) {
        for (_, stream) in self.streams.borrow().iter() {
            stream.sweep(timeouts);
        }
        if self.expired.get() {
            return;
        }
        let now = self.pulse.worker.tick.get();
        let passed = |since: u32, limit: Option<u32>| limit.is_some_and(|limit| now.wrapping_sub(since) >= limit);
        self.silent.set(self.moved.get().is_some_and(|moved| passed(moved, timeouts.silence)));
        let late = passed(self.since.get(), timeouts.of(self.phase.get(), self.pulse.draining()));
        if self.silent.get() || late || self.sweep_pace(timeouts.least) {
            self.expired.set(true);
            self.wake();
        }
    }
}

#[cfg(test)]
mod tests;
