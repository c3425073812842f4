//! HTTP/2: the streams of a connection. Each has a life of its own, so that a body, a deadline or a log line belongs to one
//! exchange on either protocol; the connection's sweep reaches them through it. What a stream of frames is, hyper knows.

use std::cell::Cell;
use std::rc::Rc;

use super::{Kind, Life, Phase, Stage};

/// How far a stream's client is with the answer. hyper asks for a frame only when it has handed on the one before.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// When the exchange began, in sweeps.
    began: Cell<u32>,
    /// Whether it took a part of the answer's content.
    began_to_read: Cell<bool>,
    /// Whether a frame of the answer waits for it.
    is_awaited: Cell<bool>,
}

impl Reader {
    /// The exchange counts as begun now.
    pub(super) fn restart(&self, now: u32) {
        self.began.set(now);
    }
}

/// An open stream. Dropping it ends it.
#[derive(Debug)]
pub struct Stream {
    connection: Rc<Life>,
    life: Rc<Life>,
    index: usize,
}

impl Stream {
    /// A stream whose head has arrived.
    #[must_use]
    pub fn open(connection: &Rc<Life>) -> Self {
        let reader = Reader { began: connection.pulse.worker.tick.clone(), ..Reader::default() };
        let life = Life::of(Kind::Stream(reader), Rc::clone(&connection.pulse));
        life.exchange_began();
        connection.enter(Phase::Streams);
        let index = connection.streams.borrow_mut().insert(Rc::clone(&life));
        Self { connection: Rc::clone(connection), life, index }
    }

    /// Its life.
    #[must_use]
    pub fn life(&self) -> &Rc<Life> {
        &self.life
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut streams = self.connection.streams.borrow_mut();
        streams.try_remove(self.index);
        if streams.is_empty() {
            self.connection.enter(if self.connection.leaving() { Phase::Leaving } else { Phase::Idle });
        }
    }
}

impl Life {
    /// Whether it is a stream's.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    /// A frame of the answer is asked for: the one before was taken.
    pub fn frame_asked(&self) {
        if let Kind::Stream(reader) = &self.kind
            && reader.is_awaited.take()
            && !reader.began_to_read.replace(true)
            && !self.expired()
        {
            self.phase.set(Phase::Busy);
            self.since.set(reader.began.get());
        }
    }

    /// A frame of the answer is handed on. The first and the last are waited for only as long as idle connections are:
    /// who begins to read may read as slowly as it likes, who never does holds no place for ever.
    pub fn frame_handed_on(&self, is_last: bool) {
        if let Kind::Stream(reader) = &self.kind {
            reader.is_awaited.set(true);
            if is_last || !reader.began_to_read.get() {
                self.enter(Phase::Written);
            }
        }
    }

    /// Whether the client was waited for in vain.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        matches!(&self.kind, Kind::Stream(reader) if reader.is_awaited.get()) && self.expired()
    }

    /// The client's preface has arrived: streams may follow.
    pub fn preface_ended(&self) {
        if matches!(self.phase.get(), Phase::Fresh | Phase::Head) {
            self.enter(Phase::Idle);
        }
    }

    /// The client was told that no further stream is welcome: it has little time to close, unless streams are open.
    pub fn told_to_leave(&self) {
        if self.streams.borrow().is_empty() {
            self.expired.set(false);
            self.enter(Phase::Leaving);
        }
    }

    /// Whether that is to be told: idle for too long, or the worker drains. A connection that comes while it is about to
    /// (`Stage::Leave`) is served once, as one of HTTP/1 is.
    #[must_use]
    pub fn must_leave(&self, served: bool) -> bool {
        self.expired() || self.draining() || (served && self.pulse.stage.get() == Stage::Leave)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pulse, Timeouts};
    use super::*;
    use crate::config::sections::ListenerLimits;
    use crate::config::units::Span;

    struct Case {
        pulse: Rc<Pulse>,
        connection: Rc<Life>,
        timeouts: Timeouts,
    }

    impl Case {
        fn new(limits: &ListenerLimits) -> Self {
            let pulse = Rc::new(Pulse::default());
            Self { connection: Life::new(Rc::clone(&pulse)), pulse, timeouts: Timeouts::new(limits, Timeouts::period([limits])) }
        }

        fn sweep(&self, times: u32) {
            for _ in 0..times {
                self.pulse.beat();
                self.connection.sweep(&self.timeouts);
            }
        }
    }

    #[test]
    fn a_connection_is_idle_only_without_streams() {
        let case = Case::new(&ListenerLimits { idle_timeout: Span::secs(5), ..ListenerLimits::default() });
        case.connection.preface_ended();
        let (first, second) = (Stream::open(&case.connection), Stream::open(&case.connection));
        drop(first);
        case.sweep(100);
        assert!(!case.connection.expired() && !second.life().expired());
        drop(second);
        case.sweep(100);
        assert!(case.connection.expired());
    }

    #[test]
    fn each_stream_has_its_own_request_timeout_whatever_is_read_of_it() {
        let case = Case::new(&ListenerLimits { request_timeout: Span::secs(4), ..ListenerLimits::default() });
        let old = Stream::open(&case.connection);
        case.sweep(3);
        let young = Stream::open(&case.connection);
        old.life().frame_handed_on(false);
        old.life().frame_asked();
        case.sweep(2);
        assert!(old.life().expired() && !young.life().expired());
        assert!(!old.life().is_given_up(), "it is not the client that was too slow");
    }

    #[test]
    fn who_never_begins_to_read_or_never_takes_the_end_is_given_up_and_nobody_else() {
        let case = Case::new(&ListenerLimits { idle_timeout: Span::secs(3), ..ListenerLimits::default() });
        let (never, slow, end) = (Stream::open(&case.connection), Stream::open(&case.connection), Stream::open(&case.connection));
        never.life().frame_handed_on(false);
        for stream in [&slow, &end] {
            stream.life().frame_handed_on(false);
            stream.life().frame_asked();
        }
        slow.life().frame_handed_on(false);
        end.life().frame_handed_on(true);
        case.sweep(10);
        assert!(never.life().is_given_up() && end.life().is_given_up());
        assert!(!slow.life().is_given_up());
    }

    #[test]
    fn who_comes_while_the_worker_is_about_to_drain_is_served_once() {
        let case = Case::new(&ListenerLimits::default());
        assert!(!case.connection.must_leave(true));
        case.pulse.enter(Stage::Leave);
        assert!(case.connection.must_leave(true) && !case.connection.must_leave(false));
        case.pulse.enter(Stage::Drain);
        assert!(case.connection.must_leave(false));
        case.connection.told_to_leave();
        case.sweep(2);
        assert!(case.connection.expired(), "who takes no notice is not waited for");
    }
}
