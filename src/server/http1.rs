//! One connection of HTTP/1: a head is judged, its request answered, the answer written, and so on to its end.
//! What is judged is `framing`'s, what is answered the exchange's.

mod reply;
mod wire;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request};
use http_body::Body as _;

use super::body::{Download, Received};
use super::connection::{answer_head, linger};
use super::exchange::{Session, answer};
use super::framing::Limits;
use super::http2;
use super::socket::Socket;
use crate::rejection::Refusal;
use reply::Framing;
pub(super) use wire::Content;
use wire::{Arrival, Arrived, Remains, Wire};

/// How a connection ends.
enum End {
    /// In order: nothing more comes, or is welcome.
    Closed,
    /// A head was refused, and is to be answered.
    Refused(Refusal),
    /// An answer was 101.
    Switched,
    /// In the middle of an answer, or without one.
    Broken,
}

/// Serves a connection to its end; the socket and what was read of it where the client begins with HTTP/2, if it `tells` so.
pub(super) async fn serve(socket: Socket, session: &Rc<Session>, limits: Limits, tells: bool) -> Option<(Socket, Bytes)> {
    let wire = Wire::new(socket, Rc::clone(&session.life));
    let end = exchanges(&wire, session, limits).await;
    let Remains { mut stream, ahead, is_opening, client_gone } = wire.dissolve()?;
    match end {
        // An orderly end would make it look complete.
        End::Broken => return None,
        End::Switched => {
            if let Some(tunnel) = session.tunnel.take() {
                Box::pin(tunnel.run(stream, ahead, &session.life)).await;
            }
            return None;
        }
        End::Refused(_) if tells && !client_gone && is_opening && http2::is_preface(&ahead) => return Some((stream, ahead)),
        End::Refused(refusal) => {
            // What could not be read is still recognised as who gets no content (RFC 9110 §9.3.2).
            let is_head = ahead.trim_ascii_start().starts_with(b"HEAD ");
            answer_head(&mut stream, session, refusal, is_head).await;
        }
        End::Closed => {}
    }
    if !client_gone {
        linger(stream).await;
    }
    None
}

async fn exchanges(wire: &Rc<Wire<Socket>>, session: &Rc<Session>, limits: Limits) -> End {
    let life = &session.life;
    loop {
        let arrival = poll_fn(|cx| {
            life.register(cx);
            wire.poll_head(cx, limits)
        });
        let Arrived { head, says, content } = match arrival.await {
            Arrival::Request(arrived) => arrived,
            Arrival::Refused(refusal) => return End::Refused(refusal),
            Arrival::Ended => return End::Closed,
        };
        let is_head = head.method == Method::HEAD;
        let response = {
            let request = Request::from_parts(head, Received::Http1(content));
            let mut answering = pin!(answer(Rc::clone(session), Rc::clone(life), request));
            let answered = poll_fn(|cx| {
                life.register(cx);
                match answering.as_mut().poll(cx) {
                    Poll::Ready(response) => Poll::Ready(Some(response)),
                    Poll::Pending => wire.poll_gone(cx).map(|()| None),
                }
            });
            answered.await
        };
        let Some(response) = response else { return End::Broken };
        let (head, body) = response.into_parts();
        let framing = wire.with_outbox(|outbox| reply::write(outbox.head(), head, &body, is_head, says));
        let mut body = Some(body);
        let written = poll_fn(|cx| {
            life.register(cx);
            poll_reply(wire, &mut body, framing, cx)
        });
        if written.await.is_err() {
            return End::Broken;
        }
        life.flushed();
        if life.switched() {
            return End::Switched;
        }
        if !framing.keep_alive || !wire.settle() {
            return End::Closed;
        }
    }
}

/// Writes an answer to its end. Its body is dropped, and with that the exchange over, before its last bytes are written.
fn poll_reply(wire: &Wire<Socket>, body: &mut Option<Download>, framing: Framing, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while let Some(download) = body {
        if wire.with_outbox(|outbox| outbox.is_full()) {
            ready!(wire.poll_write(cx))?;
        }
        let is_chunked = framing.content == reply::Content::Chunked;
        let last_chunk = |trailers| {
            if is_chunked {
                wire.with_outbox(|outbox| outbox.last_chunk(trailers));
            }
        };
        let frame = if download.is_end_stream() { Poll::Ready(None) } else { Pin::new(&mut *download).poll_frame(cx) };
        match frame {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if framing.content != reply::Content::None => wire.with_outbox(|outbox| outbox.content(data, is_chunked)),
                Ok(_) => {}
                Err(frame) => {
                    last_chunk(frame.trailers_ref().filter(|_| framing.trailers));
                    *body = None;
                }
            },
            Poll::Ready(None) => {
                last_chunk(None);
                *body = None;
            }
            Poll::Ready(Some(Err(error))) => {
                // What was sound is delivered, if there is room for it; then it breaks off.
                let _ = wire.poll_write(cx);
                return Poll::Ready(Err(io::Error::other(error)));
            }
            Poll::Pending => {
                if let Poll::Ready(Err(error)) = wire.poll_write(cx) {
                    return Poll::Ready(Err(error));
                }
                ready!(wire.poll_gone(cx));
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
        }
    }
    wire.poll_write(cx)
}
