//! A worker's HTTP/1.1 connections to one upstream, one exchange at a time on each: the youngest idle one is used first,
//! so that the others can grow old and go. What must never be sent twice is decided here.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::pool::{Lease, Payload, Switch, describe, is_safe};
use super::timeout::while_progressing;
use super::wire::{Traffic, Wire};
use super::{Counts, Target};
use crate::rejection::{Refusal, Rejection};

/// One worker's connections to one upstream.
#[derive(Debug)]
pub(super) struct Pool<B> {
    pub(super) target: Arc<Target>,
    /// This worker's share of the idle connections.
    idle_max: usize,
    /// Sweeps that an idle connection survives.
    idle_sweeps: u32,
    sweeps: Cell<u32>,
    /// The youngest last.
    pub(super) idle: RefCell<VecDeque<Idle<B>>>,
}

#[derive(Debug)]
pub(super) struct Idle<B> {
    pub(super) connection: Connection<B>,
    since: u32,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection<B> {
    pub(super) sender: SendRequest<B>,
    traffic: Rc<Traffic>,
    task: JoinHandle<()>,
}

impl<B> Drop for Connection<B> {
    /// In the middle of something it ends at once: whoever wanted the rest is gone, or has an answer that leaves the upload behind.
    fn drop(&mut self) {
        if !self.sender.is_ready() {
            self.task.abort();
        }
    }
}

enum Attempt<B> {
    Answered(Response<Incoming>),
    /// No byte of it was written.
    Unsent(Box<Request<B>>, String),
    /// It may have arrived.
    Broken(String),
}

impl<B: Payload> Pool<B> {
    pub(super) fn new(target: &Arc<Target>, idle_max: usize, idle_sweeps: u32) -> Self {
        Self { target: Arc::clone(target), idle_max, idle_sweeps, sweeps: Cell::new(0), idle: RefCell::default() }
    }

    /// Sends a request. It is repeated once, on a new connection, where no byte of it was written, or where it asks for no
    /// change, has no body, and a connection that had served before closed without a byte of an answer.
    pub(super) async fn send(
        self: &Rc<Self>,
        mut head: Parts,
        body: B,
        limit: Duration,
        progress: &Cell<u64>,
    ) -> Result<(Response<Incoming>, Lease<B>), Refusal> {
        let bodiless = body.is_end_stream();
        prepare(&mut head, bodiless, body.size_hint().exact());
        let mut copy = bodiless.then(|| head.clone());
        let mut request = Request::from_parts(head, body);
        let mut idle = self.take();
        let mut repeated = false;
        loop {
            let (mut connection, reused) = match idle.take() {
                Some(connection) => (connection, true),
                None => (Box::pin(self.connect()).await?, false),
            };
            let attempt = while_progressing(limit, progress, connection.send(request)).await;
            let (again, why) = match attempt.ok_or_else(|| Rejection::UpstreamTimeout.because(self.target.name.clone()))? {
                Attempt::Answered(response) => return Ok((response, Lease::pooled(Rc::clone(self), connection))),
                Attempt::Unsent(unsent, why) => (Some(*unsent), why),
                Attempt::Broken(why) => {
                    let untouched = |head: &Parts| {
                        !connection.traffic.was_written() || reused && is_safe(&head.method) && !connection.traffic.was_heard()
                    };
                    (copy.take().filter(untouched).map(|head| Request::from_parts(head, B::default())), why)
                }
            };
            request = again.filter(|_| !repeated).ok_or_else(|| self.target.unavailable(&why))?;
            repeated = true;
            Counts::count(&self.target.counts.retries);
        }
    }

    /// Asks for another protocol, on a connection of its own: nothing else was or will be sent on it.
    pub(super) async fn switch(&self, mut head: Parts, limit: Duration) -> Result<Switch<B>, Refusal> {
        prepare(&mut head, true, None);
        let (mut sender, connection, _) = self.open().await?;
        let (tell, told) = oneshot::channel();
        spawn_local(async move {
            // Nobody waits for it where the answer was an ordinary one.
            let _ = tell.send(connection.without_shutdown().await);
        });
        let answer = timeout(limit, sender.send_request(Request::from_parts(head, B::default()))).await;
        let answer = answer.map_err(|_| Rejection::UpstreamTimeout.because(self.target.name.clone()))?;
        let answer = answer.map_err(|error| self.target.unavailable(&describe(&error)))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Switch::Answered(answer, Lease::own(sender)));
        }
        match told.await {
            Ok(Ok(parts)) => Ok(Switch::Switched(answer.into_parts().0, parts.io.into_inner(), parts.read_buf)),
            Ok(Err(error)) => Err(self.target.unavailable(&describe(&error))),
            Err(_) => Err(self.target.unavailable("the connection was lost as it switched protocols")),
        }
    }

    /// Closes connections that were idle for too long or that the upstream closed.
    pub(super) fn sweep(&self) {
        let now = self.sweeps.get().wrapping_add(1);
        self.sweeps.set(now);
        let young = |idle: &Idle<B>| now.wrapping_sub(idle.since) < self.idle_sweeps;
        self.idle.borrow_mut().retain(|idle| young(idle) && !idle.connection.sender.is_closed());
    }

    /// Closes every idle connection.
    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    fn take(&self) -> Option<Connection<B>> {
        loop {
            let idle = self.idle.borrow_mut().pop_back()?;
            if idle.connection.sender.is_ready() {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection whose exchange is over.
    pub(super) fn put(&self, connection: Connection<B>) {
        let mut idle = self.idle.borrow_mut();
        // Not ready = the upload still runs, or the upstream closes.
        if connection.sender.is_ready() && self.idle_sweeps > 0 && idle.len() < self.idle_max {
            idle.push_back(Idle { connection, since: self.sweeps.get() });
        }
    }

    async fn connect(&self) -> Result<Connection<B>, Refusal> {
        let (sender, connection, traffic) = self.open().await?;
        let target = Arc::clone(&self.target);
        let task = spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(upstream = %target.name, %error, "upstream connection ended");
            }
        });
        Ok(Connection { sender, traffic, task })
    }

    async fn open(&self) -> Result<(SendRequest<B>, http1::Connection<TokioIo<Wire>, B>, Rc<Traffic>), Refusal> {
        let wire = Wire::connect(&self.target).await?;
        let traffic = Rc::clone(&wire.traffic);
        let shaken = http1::handshake(TokioIo::new(wire)).await;
        let (sender, connection) = shaken.map_err(|error| self.target.unavailable(&describe(&error)))?;
        Ok((sender, connection, traffic))
    }
}

impl<B: Payload> Connection<B> {
    fn send(&mut self, request: Request<B>) -> impl Future<Output = Attempt<B>> + use<B> {
        self.traffic.begin();
        let sent = self.sender.try_send_request(request);
        async move {
            match sent.await {
                Ok(response) => Attempt::Answered(response),
                Err(mut error) => match error.take_message() {
                    Some(request) => Attempt::Unsent(Box::new(request), describe(error.error())),
                    None => Attempt::Broken(describe(error.error())),
                },
            }
        }
    }
}

/// One framing header, by the body. hyper would send none for a GET or HEAD with a body of unknown length, and no body.
/// Trailers need chunks, and their announcement a body.
fn prepare(head: &mut Parts, bodiless: bool, length: Option<u64>) {
    head.version = Version::HTTP_11;
    let headers = &mut head.headers;
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    let length = match headers.contains_key(header::TRAILER) {
        true if bodiless => headers.remove(header::TRAILER).and(Some(0)),
        true => None,
        false if bodiless => Some(0),
        false => length,
    };
    match length {
        Some(0) if !matches!(head.method, Method::POST | Method::PUT | Method::PATCH) => {}
        Some(length) => drop(headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length))),
        None => drop(headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
    }
}
