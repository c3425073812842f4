//! A worker's HTTP/2 connections to one upstream, many streams on each: the first with room is used, another is made where
//! none has any. A stream that the upstream says it did not touch is sent again; nothing else that could act twice is.

use std::cell::{Cell, RefCell};
use std::error::Error as StdError;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use h2::Reason;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Response, Uri, Version, header};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::answer::Answer;
use super::parcel::Parcel;
use super::pool::{Payload, describe, is_safe};
use super::timeout::Deadlines;
use super::wire::Wire;
use super::{Counts, Target};
use crate::rejection::{Refusal, Rejection};

/// Streams on a connection, where the upstream allows as many.
const STREAMS_MAX: u32 = 100;
/// Bytes of an answer that wait for a slow client.
const STREAM_WINDOW: u32 = 256 << 10;
/// So many that no number of slow clients holds up the others on their connection.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX;
/// A connection with open streams is asked this often whether it is still there,
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// and given up when it does not answer in this time.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

type Driver<B> = http2::Connection<TokioIo<Wire>, Parcel<B>, Local>;
/// Told when a connection was made, or why not.
type Dialing = watch::Receiver<Option<Result<(), Refusal>>>;

/// One worker's connections to one upstream.
#[derive(Debug)]
pub(super) struct Pool<B: Payload> {
    pub(super) target: Arc<Target>,
    /// Sweeps that a connection without streams survives.
    idle_sweeps: u32,
    sweeps: Cell<u32>,
    connections: RefCell<Vec<Rc<Connection<B>>>>,
    /// The connection that is being made: all who need one wait for the same.
    dialing: RefCell<Option<Dialing>>,
    deadlines: Rc<Deadlines>,
}

#[derive(Debug)]
struct Connection<B: Payload> {
    sender: SendRequest<Parcel<B>>,
    /// Shared with its task; `None` = it has ended.
    driver: Rc<RefCell<Option<Driver<B>>>>,
    streams: Cell<u32>,
    /// Whether it has served a request before.
    used: Cell<bool>,
    /// The sweep that it was last in use.
    since: Cell<u32>,
}

/// A place on a connection.
#[derive(Debug)]
pub(super) struct Stream<B: Payload> {
    pool: Rc<Pool<B>>,
    connection: Rc<Connection<B>>,
    used_before: bool,
    /// What is still being sent when the answer has come.
    upload: Option<Parcel<B>>,
}

impl<B: Payload> Drop for Stream<B> {
    fn drop(&mut self) {
        self.connection.streams.set(self.connection.streams.get() - 1);
        self.connection.since.set(self.pool.sweeps.get());
        if let Some(upload) = &self.upload {
            upload.stop();
        }
    }
}

impl<B: Payload> Connection<B> {
    fn has_room(&self) -> bool {
        let driver = self.driver.borrow();
        let allowed =
            driver.as_ref().map_or(0, |driver| u32::try_from(driver.current_max_send_streams()).unwrap_or(u32::MAX).min(STREAMS_MAX));
        self.streams.get() < allowed && !self.sender.is_closed()
    }
}

impl<B: Payload> Pool<B> {
    pub(super) fn new(target: &Arc<Target>, idle_sweeps: u32) -> Self {
        let (connections, dialing, deadlines) = (RefCell::default(), RefCell::default(), Rc::default());
        Self { target: Arc::clone(target), idle_sweeps, sweeps: Cell::new(0), connections, dialing, deadlines }
    }

    /// Sends a request. It is repeated once, on another connection, where the upstream did not process it and its body was not
    /// begun, or where it asks for no change, has no body, and a connection that had served before was lost without an answer.
    pub(super) async fn send(
        self: &Rc<Self>,
        head: &mut Parts,
        body: &mut B,
        limit: Duration,
        progress: &Cell<u64>,
    ) -> Result<Response<Answer<B>>, Refusal> {
        let (bodiless, length) = (body.is_end_stream(), body.size_hint().exact());
        prepare(head, &self.target, if bodiless { None } else { length })?;
        let parcel = Parcel::new(std::mem::take(body));
        let mut stream = self.stream(None).await?;
        let mut repeated = false;
        loop {
            let request = Request::from_parts(head.clone(), parcel.clone());
            let sent = stream.connection.sender.clone().try_send_request(request);
            let answer = self.deadlines.while_progressing(limit, progress, sent).await;
            let error = match answer.ok_or_else(|| Rejection::UpstreamTimeout.because(self.target.name.clone()))? {
                Ok(response) => {
                    stream.upload = Some(parcel);
                    return Ok(response.map(|content| Answer::stream(content, stream)));
                }
                Err(error) => error,
            };
            let untouched = is_unprocessed(&error) || stream.used_before && bodiless && is_safe(&head.method) && is_lost(&error);
            if repeated || parcel.is_opened() || !untouched {
                return Err(self.target.unavailable(&describe(error.error())));
            }
            repeated = true;
            Counts::count(&self.target.counts.retries);
            stream = self.stream(Some(&stream.connection)).await?;
        }
    }

    /// A place on a connection with room, other than `refused`; made where there is none.
    async fn stream(self: &Rc<Self>, refused: Option<&Rc<Connection<B>>>) -> Result<Stream<B>, Refusal> {
        loop {
            if let Some(stream) = self.open_stream(refused) {
                return Ok(stream);
            }
            let mut dialing = self.dialing.borrow_mut().get_or_insert_with(|| self.dial()).clone();
            let dialled = match dialing.wait_for(Option::is_some).await {
                Ok(dialled) => dialled.clone(),
                Err(_) => None,
            };
            dialled.unwrap_or_else(|| Err(self.target.unavailable("the connection was given up")))?;
        }
    }

    fn open_stream(self: &Rc<Self>, refused: Option<&Rc<Connection<B>>>) -> Option<Stream<B>> {
        let connections = self.connections.borrow();
        let usable =
            |connection: &&Rc<Connection<B>>| connection.has_room() && !refused.is_some_and(|refused| Rc::ptr_eq(refused, connection));
        let connection = Rc::clone(connections.iter().find(usable)?);
        connection.streams.set(connection.streams.get() + 1);
        let used_before = connection.used.replace(true);
        Some(Stream { pool: Rc::clone(self), connection, used_before, upload: None })
    }

    /// Makes a connection in a task of its own: the request that asked for it may be gone before it is there.
    fn dial(self: &Rc<Self>) -> Dialing {
        let (tell, told) = watch::channel(None);
        let pool = Rc::clone(self);
        spawn_local(async move {
            let connected = pool.connect().await;
            let result = connected.map(|connection| pool.connections.borrow_mut().push(Rc::new(connection)));
            *pool.dialing.borrow_mut() = None;
            tell.send_replace(Some(result));
        });
        told
    }

    async fn connect(&self) -> Result<Connection<B>, Refusal> {
        let wire = Wire::connect(&self.target).await?;
        let traffic = Rc::clone(&wire.traffic);
        let mut builder = http2::Builder::new(Local);
        builder
            .timer(TokioTimer::new())
            // None before the upstream has said how many it allows.
            .initial_max_send_streams(0)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let shaken = builder.handshake(TokioIo::new(wire)).await;
        let (sender, mut driver) = shaken.map_err(|error| self.target.unavailable(&describe(&error)))?;
        let told = poll_fn(|cx| {
            let ended = Pin::new(&mut driver).poll(cx).is_ready();
            traffic.listen(cx);
            if driver.current_max_send_streams() > 0 {
                Poll::Ready(true)
            } else if ended {
                Poll::Ready(false)
            } else {
                Poll::Pending
            }
        });
        match timeout(self.target.connect_timeout, told).await {
            Ok(true) => {}
            Ok(false) => return Err(self.target.unavailable("it does not speak HTTP/2")),
            Err(_) => return Err(self.target.unavailable("it did not say in time that it speaks HTTP/2")),
        }
        let driver = Rc::new(RefCell::new(Some(driver)));
        spawn_local(drive(Rc::clone(&driver), Arc::clone(&self.target)));
        Ok(Connection { sender, driver, streams: Cell::new(0), used: Cell::new(false), since: Cell::new(self.sweeps.get()) })
    }

    /// Closes connections that were without streams for too long, and forgets those that have ended.
    pub(super) fn sweep(&self) {
        let now = self.sweeps.get().wrapping_add(1);
        self.sweeps.set(now);
        let young = |connection: &Connection<B>| now.wrapping_sub(connection.since.get()) < self.idle_sweeps;
        let kept =
            |connection: &Rc<Connection<B>>| connection.driver.borrow().is_some() && (connection.streams.get() > 0 || young(connection));
        self.connections.borrow_mut().retain(kept);
    }

    /// Closes every connection without streams.
    pub(super) fn clear(&self) {
        self.connections.borrow_mut().retain(|connection| connection.streams.get() > 0);
    }
}

/// Runs a connection to its end. What still waits in it then is given back unsent.
async fn drive<B: Payload>(driver: Rc<RefCell<Option<Driver<B>>>>, target: Arc<Target>) {
    let ended = poll_fn(|cx| match &mut *driver.borrow_mut() {
        Some(driver) => Pin::new(driver).poll(cx),
        None => Poll::Ready(Ok(())),
    });
    if let Err(error) = ended.await {
        tracing::debug!(upstream = %target.name, %error, "upstream connection ended");
    }
    let ended = driver.borrow_mut().take();
    drop(ended);
}

/// Pseudo-header fields instead of Host, and one length: HTTP/2 frames the body itself.
fn prepare(head: &mut Parts, target: &Target, length: Option<u64>) -> Result<(), Refusal> {
    head.version = Version::HTTP_2;
    let headers = &mut head.headers;
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let host = headers.remove(header::HOST).unwrap_or_else(|| target.authority.clone());
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| Rejection::RequestInvalid.because("Host cannot be an :authority"))?;
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let uri = Uri::builder().scheme(target.scheme()).authority(authority).path_and_query(path).build();
    head.uri = uri.map_err(|_| Rejection::RequestInvalid.because("Host cannot be an :authority"))?;
    Ok(())
}

/// Whether the upstream did nothing with it: it was never sent, refused, or came behind the last stream of a GOAWAY.
fn is_unprocessed<T>(error: &TrySendError<T>) -> bool {
    let cause = error.error().source().and_then(|source| source.downcast_ref::<h2::Error>());
    let left_out = |cause: &h2::Error| cause.is_remote() && cause.is_go_away();
    let refused = |cause: &h2::Error| cause.is_reset() && cause.reason() == Some(Reason::REFUSED_STREAM);
    error.message().is_some() || cause.is_some_and(|cause| left_out(cause) || refused(cause))
}

/// Whether the connection broke off.
fn is_lost<T>(error: &TrySendError<T>) -> bool {
    error.error().source().is_some_and(<dyn StdError>::is::<io::Error>)
}

/// Spawns hyper's tasks on the worker's own thread.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}
