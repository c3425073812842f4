//! A worker's HTTP/1.1 connections to one upstream, one exchange at a time on each: the youngest idle one is used first,
//! so that the others can grow old and go. What must never be sent twice is decided here.

mod connection;
mod content;
mod head;
mod request;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};

use super::pool::{Payload, Switch, is_safe};
use super::timeout::Deadlines;
use super::wire::Wire;
use super::{Counts, Target};
use crate::forward::Encoded;
use crate::rejection::{Refusal, Rejection};
use connection::{Connection, Fault};
pub(super) use content::Content;
use head::{Framing, Head};

/// A connection, used by one exchange at a time; only what is left of an upload has a part in it too.
type Shared<B> = Rc<RefCell<Connection<B>>>;

/// One worker's connections to one upstream.
#[derive(Debug)]
pub(super) struct Pool<B> {
    pub(super) target: Arc<Target>,
    /// This worker's share of the idle connections, beside those that were in use at once a moment ago.
    idle_max: usize,
    /// The most that were in use at once since the last sweep, and before that since the one before it: who closed a connection as
    /// soon as a burst ebbs would make it again with the next wave.
    busiest: Cell<usize>,
    busiest_before: Cell<usize>,
    /// Held by each open connection.
    open: Rc<()>,
    /// Sweeps that an idle connection survives.
    idle_sweeps: u32,
    sweeps: Cell<u32>,
    /// The youngest last.
    pub(super) idle: RefCell<VecDeque<Idle<B>>>,
    deadlines: Rc<Deadlines>,
}

#[derive(Debug)]
pub(super) struct Idle<B> {
    connection: Shared<B>,
    since: u32,
}

impl<B: Payload> Idle<B> {
    /// Whether the upstream keeps it open, and says nothing.
    pub(super) fn is_quiet(&self) -> bool {
        self.connection.borrow_mut().is_quiet()
    }
}

impl<B: Payload> Pool<B> {
    pub(super) fn new(target: &Arc<Target>, idle_max: usize, idle_sweeps: u32) -> Self {
        Self {
            target: Arc::clone(target),
            idle_max,
            busiest: Cell::default(),
            busiest_before: Cell::default(),
            open: Rc::default(),
            idle_sweeps,
            sweeps: Cell::default(),
            idle: RefCell::default(),
            deadlines: Rc::default(),
        }
    }

    /// Sends a request. It is repeated once, on a new connection, where no byte of it was written, or where it asks for no
    /// change, has no body, and a connection that had served before closed without a byte of an answer.
    pub(super) async fn send(
        self: &Rc<Self>,
        head: &Encoded,
        body: &mut B,
        limit: Duration,
        progress: &Cell<u64>,
    ) -> Result<Response<Content<B>>, Refusal> {
        let bodiless = body.is_end_stream();
        let framing = Framing::of(head, bodiless, body.size_hint().exact());
        let idle = self.take();
        let reused = idle.is_some();
        let connection = match idle {
            Some(connection) => connection,
            None => Box::pin(self.connect()).await?,
        };
        connection.borrow_mut().begin(head, framing, (!bodiless).then(|| std::mem::take(body)));
        let fault = match self.receive(&connection, head, limit, progress).await? {
            Ok(answer) => return Ok(Content::answer(answer, connection, Some(Rc::clone(self)))),
            Err(fault) => fault,
        };
        let unwritten = connection.borrow_mut().take_unwritten().filter(|_| !fault.is_requests);
        let may_repeat = reused && bodiless && is_safe(head.method()) && !connection.borrow().was_heard();
        drop(connection);
        if unwritten.is_none() && !may_repeat {
            return Err(self.target.unavailable(&fault.why));
        }
        Counts::count(&self.target.counts.retries);
        let connection = Box::pin(self.connect()).await?;
        match unwritten {
            Some(request) => connection.borrow_mut().adopt(request),
            None => connection.borrow_mut().begin(head, framing, None),
        }
        match self.receive(&connection, head, limit, progress).await? {
            Ok(answer) => Ok(Content::answer(answer, connection, Some(Rc::clone(self)))),
            Err(fault) => Err(self.target.unavailable(&fault.why)),
        }
    }

    /// Sends what was begun and waits for the head of its answer.
    async fn receive(
        &self,
        connection: &Shared<B>,
        head: &Encoded,
        limit: Duration,
        progress: &Cell<u64>,
    ) -> Result<Result<Head, Fault>, Refusal> {
        let received = poll_fn(|cx| connection.borrow_mut().poll_head(head.method(), cx));
        let received = self.deadlines.while_progressing(limit, progress, received).await;
        received.ok_or_else(|| Rejection::UpstreamTimeout.because(self.target.name.clone()))
    }

    /// Asks for another protocol, on a connection of its own: nothing else was or will be sent on it.
    pub(super) async fn switch(&self, head: Encoded, limit: Duration) -> Result<Switch<B>, Refusal> {
        let connection = self.connect().await?;
        connection.borrow_mut().begin(&head, Framing::Length(0), None);
        let answer = self.receive(&connection, &head, limit, &Cell::new(0)).await?;
        let answer = answer.map_err(|fault| self.target.unavailable(&fault.why))?;
        if answer.parts.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Switch::Answered(Content::answer(answer, connection, None).map(Into::into)));
        }
        let connection = Rc::into_inner(connection).ok_or_else(|| self.target.unavailable("the connection is in use"))?;
        let (wire, ahead) = connection.into_inner().into_wire();
        Ok(Switch::Switched(answer.parts, wire, ahead))
    }

    /// Closes connections that were idle for too long or that the upstream closed.
    pub(super) fn sweep(&self) {
        let now = self.sweeps.get().wrapping_add(1);
        self.sweeps.set(now);
        self.busiest_before.set(self.busiest.replace(self.in_use()));
        let room = self.room();
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| {
            idle.connection.borrow_mut().release();
            now.wrapping_sub(idle.since) < self.idle_sweeps && idle.is_quiet()
        });
        let surplus = idle.len().saturating_sub(room);
        drop(idle.drain(..surplus));
    }

    fn in_use(&self) -> usize {
        Rc::strong_count(&self.open).saturating_sub(1 + self.idle.borrow().len())
    }

    /// How many may be idle now.
    fn room(&self) -> usize {
        if self.idle_max == 0 { 0 } else { self.idle_max.max(self.busiest.get()).max(self.busiest_before.get()) }
    }

    /// Closes every idle connection.
    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    fn take(&self) -> Option<Shared<B>> {
        loop {
            let idle = self.idle.borrow_mut().pop_back()?;
            if idle.is_quiet() {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection whose exchange is over.
    fn put(&self, connection: Shared<B>) {
        self.busiest.set(self.busiest.get().max(self.in_use()));
        let room = self.room();
        let mut idle = self.idle.borrow_mut();
        if self.idle_sweeps > 0 && idle.len() < room {
            idle.push_back(Idle { connection, since: self.sweeps.get() });
        }
    }

    async fn connect(&self) -> Result<Shared<B>, Refusal> {
        let open = Rc::clone(&self.open);
        let wire = Wire::connect(&self.target).await?;
        Ok(Rc::new(RefCell::new(Connection::new(wire, open))))
    }
}

#[cfg(test)]
mod tests;
