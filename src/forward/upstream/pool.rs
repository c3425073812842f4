//! A worker's connections to the upstreams: the youngest idle one is used first, so that the others can grow old and go.
//! A request is repeated only where the upstream cannot have acted on it, once, on a new connection.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connect::connect;
use super::timeout::while_progressing;
use super::{Target, Upstreams};
use crate::forward::Forward;
use crate::rejection::{Refusal, Rejection};
use crate::server::socket::Socket;

/// What a request's body must be to be sent.
pub trait Payload: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Default + 'static {}

impl<B> Payload for B where B: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Default + 'static {}

/// One worker's connections.
#[derive(Debug)]
pub struct Pools<B> {
    pools: Vec<Rc<Pool<B>>>,
}

#[derive(Debug)]
struct Pool<B> {
    target: Arc<Target>,
    /// This worker's share of the idle connections.
    idle_max: usize,
    /// Sweeps that an idle connection survives.
    idle_sweeps: u32,
    sweeps: Cell<u32>,
    /// The youngest last.
    idle: RefCell<VecDeque<Idle<B>>>,
}

#[derive(Debug)]
struct Idle<B> {
    connection: Connection<B>,
    since: u32,
}

#[derive(Debug)]
struct Connection<B> {
    sender: SendRequest<B>,
    /// Whether the upstream sent a byte since the last request began.
    heard: Rc<Cell<bool>>,
}

/// A connection in use by one exchange.
#[derive(Debug)]
pub struct Lease<B> {
    pool: Rc<Pool<B>>,
    connection: Connection<B>,
}

enum Attempt<B> {
    Answered(Response<Incoming>),
    /// No byte of it was written.
    Unsent(Box<Request<B>>, String),
    /// It may have arrived.
    Broken(String),
}

impl<B: Payload> Pools<B> {
    /// Pools of one of `workers` workers, swept every `period`.
    #[must_use]
    pub fn new(upstreams: &Upstreams, workers: usize, period: Duration) -> Self {
        Self { pools: Vec::new() }.follow(upstreams, workers, period)
    }

    /// Pools of what the upstreams are now: those that are the same keep their connections.
    #[must_use]
    pub fn follow(&self, upstreams: &Upstreams, workers: usize, period: Duration) -> Self {
        let known = |target: &Arc<Target>| self.pools.iter().find(|pool| Arc::ptr_eq(&pool.target, target)).map(Rc::clone);
        let pool = |target: &Arc<Target>| known(target).unwrap_or_else(|| Rc::new(Pool::new(target, workers, period)));
        Self { pools: upstreams.targets.iter().map(pool).collect() }
    }

    /// Sends a request and waits for the response's head. `progress` changes while `body` is being sent.
    ///
    /// # Errors
    /// `upstream_unavailable`, `upstream_timeout`, `overloaded`.
    pub async fn send(&self, forward: Forward, body: B, progress: &Cell<u64>) -> Result<(Response<Incoming>, Lease<B>), Refusal> {
        let Some(pool) = self.pools.get(forward.upstream) else {
            return Err(Rejection::Internal.because("the permit names no upstream"));
        };
        let limit = forward.response_timeout.unwrap_or(pool.target.response_timeout);
        let mut head = forward.head;
        let bodiless = body.is_end_stream();
        prepare(&mut head, bodiless, body.size_hint().exact());
        let mut reused = pool.take();
        let mut copy = (reused.is_some() && bodiless && is_safe(&head.method)).then(|| head.clone());
        let mut request = Request::from_parts(head, body);
        loop {
            let (mut connection, again) = match reused.take() {
                Some(connection) => (connection, true),
                None => (Box::pin(pool.connect()).await?, false),
            };
            let attempt = while_progressing(limit, progress, connection.send(request)).await;
            match attempt.ok_or_else(|| Rejection::UpstreamTimeout.because(pool.target.name.clone()))? {
                Attempt::Answered(response) => return Ok((response, Lease { pool: Rc::clone(pool), connection })),
                Attempt::Unsent(unsent, _) if again => {
                    pool.target.counts.retries.fetch_add(1, Ordering::Relaxed);
                    copy = None;
                    request = *unsent;
                }
                Attempt::Unsent(_, why) => return Err(pool.unavailable(&why)),
                Attempt::Broken(why) => match copy.take().filter(|_| !connection.heard.get()) {
                    Some(head) => {
                        pool.target.counts.retries.fetch_add(1, Ordering::Relaxed);
                        request = Request::from_parts(head, B::default());
                    }
                    None => return Err(pool.unavailable(&why)),
                },
            }
        }
    }

    /// Closes connections that were idle for too long or that the upstream closed.
    pub fn sweep(&self) {
        for pool in &self.pools {
            let now = pool.sweeps.get().wrapping_add(1);
            pool.sweeps.set(now);
            let young = |idle: &Idle<B>| now.wrapping_sub(idle.since) < pool.idle_sweeps;
            pool.idle.borrow_mut().retain(|idle| young(idle) && !idle.connection.sender.is_closed());
        }
    }

    /// Closes every idle connection.
    pub fn clear(&self) {
        for pool in &self.pools {
            pool.idle.borrow_mut().clear();
        }
    }
}

impl<B: Payload> Pool<B> {
    fn new(target: &Arc<Target>, workers: usize, period: Duration) -> Self {
        Self {
            target: Arc::clone(target),
            idle_max: target.idle_connections.div_ceil(workers.max(1)),
            // Rounded down: a connection must go before the upstream closes it.
            idle_sweeps: u32::try_from(target.idle_timeout.as_millis() / period.as_millis().max(1)).unwrap_or(u32::MAX),
            sweeps: Cell::new(0),
            idle: RefCell::default(),
        }
    }

    fn take(&self) -> Option<Connection<B>> {
        loop {
            let idle = self.idle.borrow_mut().pop_back()?;
            if idle.connection.sender.is_ready() {
                return Some(idle.connection);
            }
        }
    }

    fn put(&self, connection: Connection<B>) {
        let mut idle = self.idle.borrow_mut();
        if self.idle_sweeps > 0 && idle.len() < self.idle_max {
            idle.push_back(Idle { connection, since: self.sweeps.get() });
        }
    }

    async fn connect(&self) -> Result<Connection<B>, Refusal> {
        let reserved = self.target.reserve().ok_or_else(|| Rejection::Overloaded.because("all upstream connections are in use"))?;
        self.target.counts.connects.fetch_add(1, Ordering::Relaxed);
        let socket = connect(&self.target.address, self.target.connect_timeout).await.map_err(|error| {
            self.target.counts.failures.fetch_add(1, Ordering::Relaxed);
            self.unavailable(&error.to_string())
        })?;
        let heard = Rc::new(Cell::new(false));
        let stream = Listening { socket, heard: Rc::clone(&heard) };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unavailable(&error.to_string()))?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(upstream = %reserved.0.name, %error, "upstream connection ended");
            }
            drop(reserved);
        });
        Ok(Connection { sender, heard })
    }

    fn unavailable(&self, why: &str) -> Refusal {
        Rejection::UpstreamUnavailable.because(format!("{}: {why}", self.target.name))
    }
}

impl<B: Payload> Connection<B> {
    fn send(&mut self, request: Request<B>) -> impl Future<Output = Attempt<B>> + use<B> {
        self.heard.set(false);
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

impl<B: Payload> Lease<B> {
    /// The exchange is over: the connection may serve another.
    pub fn give_back(self) {
        // Not ready = the upload still runs, or the upstream closes.
        if self.connection.sender.is_ready() {
            self.pool.put(self.connection);
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

/// Methods that ask for no change (RFC 9110 §9.2.1), of those that are forwarded.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn describe(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A socket that notices whether the upstream says anything.
struct Listening {
    socket: Socket,
    heard: Rc<Cell<bool>>,
}

impl AsyncRead for Listening {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.set(true);
        }
        read
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
