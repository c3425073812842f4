//! One connection of HTTP/2: hyper's parser with bounds, a life per stream, GOAWAY where HTTP/1 closes. What a request is
//! and what becomes of it is the exchange's, as for HTTP/1; a stalled or flooding client costs bounded memory here.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;

use super::body::Received;
use super::connection::{Speech, linger};
use super::exchange::{Session, answer};
use super::life::stream::Stream;
use super::life::{Life, Phase};
use super::socket::Socket;

/// How a client begins; its first line, by which it is told from a request of HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Content that a client may send ahead of what the upstream takes: of a stream so much that a distant client's upload is
/// not slowed down, of all streams together no more than four of them may hold.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Content of an answer that is kept for a stream whose client is slow to take it, beyond the piece at hand.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that the client reset before we looked at them (rapid reset).
const RESETS_PENDING: usize = 20;
/// Streams of a connection that the parser resets (`MadeYouReset`), over its whole life. Streams beyond the limit count, and
/// a client may open a hundred before it is told of any limit (RFC 9113 §6.5.2).
const RESETS: usize = 128;
/// Beside `header_bytes`: what the parser counts for each field, and room to refuse what is too much in our own words.
const FIELD_OVERHEAD: usize = 32;
const HEAD_SLACK: usize = 16 << 10;
/// A silent client is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_mins(1);
const PONG_WITHIN: Duration = Duration::from_secs(20);

/// Whether these bytes, refused as a request, begin a connection of HTTP/2.
pub(super) fn is_preface(opening: &[u8]) -> bool {
    opening.starts_with(PREFACE_LINE)
}

/// Serves a connection to its end; `opening` was read of it before.
pub(super) async fn serve(mut socket: Socket, opening: Bytes, session: Rc<Session>, speech: Speech) {
    let life = &session.life;
    let handover = Rc::<Handover>::default();
    let service = service_fn({
        let (session, handover) = (Rc::clone(&session), Rc::clone(&handover));
        move |request: Request<Incoming>| {
            let request = request.map(Received::Http2);
            let stream = Stream::open(&session.life);
            // Boxed once: hyper and the worker's tasks hand it on by value, many times.
            let answer = Box::pin(answer(Rc::clone(&session), Rc::clone(stream.life()), request));
            handover.begin(stream);
            async { Ok::<_, Infallible>(answer.await) }
        }
    });
    let wire = Wire { socket: &mut socket, opening, life, preface_left: PREFACE.len() };
    let mut connection = Box::pin(builder(speech, Spawner(Rc::clone(&handover))).serve_connection(TokioIo::new(wire), service));
    let mut told = false;
    let result = poll_fn(|cx| {
        life.register(cx);
        if life.expired() && (told || matches!(life.phase(), Phase::Fresh | Phase::Head)) {
            return Poll::Ready(None);
        }
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            if told || !life.must_leave(handover.served.get()) {
                return Poll::Pending;
            }
            told = true;
            connection.as_mut().graceful_shutdown();
            life.told_to_leave();
        }
    })
    .await;
    drop(connection);
    match result {
        Some(Ok(())) => linger(socket).await,
        Some(Err(error)) => {
            tracing::debug!(%error, "HTTP/2 connection ended");
            // So that the client learns why.
            linger(socket).await;
        }
        None => {}
    }
}

fn builder(speech: Speech, spawner: Spawner) -> http2::Builder<Spawner> {
    let limits = speech.limits;
    let list = limits.head_bytes.saturating_add(limits.headers.saturating_mul(FIELD_OVERHEAD)).saturating_add(HEAD_SLACK);
    let mut builder = http2::Builder::new(spawner);
    builder
        .auto_date_header(false)
        .max_concurrent_streams(speech.streams)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS_PENDING)
        .max_local_error_reset_streams(RESETS)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    builder
}

/// From the service to the executor: hyper calls one, then the other, before it looks at another stream.
#[derive(Debug, Default)]
struct Handover {
    stream: RefCell<Option<Stream>>,
    served: Cell<bool>,
}

impl Handover {
    fn begin(&self, stream: Stream) {
        self.served.set(true);
        self.stream.replace(Some(stream));
    }
}

/// Runs each stream as a task of the worker.
#[derive(Debug, Clone)]
struct Spawner(Rc<Handover>);

impl<F: Future<Output = ()> + 'static> Executor<F> for Spawner {
    fn execute(&self, exchange: F) {
        match self.0.stream.take() {
            Some(stream) => drop(spawn_local(Bounded { exchange, stream })),
            None => drop(spawn_local(exchange)),
        }
    }
}

pin_project! {
    /// A stream's task, which ends when its client is waited for in vain, if only to be told of the end: hyper resets the stream then.
    struct Bounded<F> {
        #[pin]
        exchange: F,
        // Last: the stream ends after its line was logged.
        stream: Stream,
    }
}

impl<F: Future<Output = ()>> Future for Bounded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let life = this.stream.life();
        life.register(cx);
        if life.is_given_up() {
            return Poll::Ready(());
        }
        match this.exchange.poll(cx) {
            Poll::Pending if !life.is_cut_short() => Poll::Pending,
            Poll::Ready(()) | Poll::Pending => Poll::Ready(()),
        }
    }
}

/// The connection's bytes: what was read before, then the socket's; the first ones in time.
struct Wire<'a> {
    socket: &'a mut Socket,
    opening: Bytes,
    life: &'a Life,
    preface_left: usize,
}

impl AsyncRead for Wire<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.opening.is_empty() {
            ready!(Pin::new(&mut *self.socket).poll_read(cx, buf))?;
        } else {
            let bytes = self.opening.len().min(buf.remaining());
            buf.put_slice(self.opening.get(..bytes).unwrap_or_default());
            self.opening.advance(bytes);
        }
        if self.preface_left > 0 {
            self.preface_left = self.preface_left.saturating_sub(buf.filled().len() - before);
            if self.preface_left > 0 {
                self.life.head_began();
            } else {
                self.life.preface_ended();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
