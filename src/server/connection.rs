//! One client connection, from accept to close: handshake, which protocol, the answer to a refused head, the lingering close.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::exchange::Session;
use super::framing::Limits;
use super::record::Record;
use super::socket::Socket;
use super::{http1, http2};
use crate::config::sections::{Listener, Protocol};
use crate::rejection::Refusal;

/// A closing connection is read this much longer, so that the client gets its answer and no reset.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(1);
pub(super) const LINGER_BYTES: usize = 1 << 20;

/// Shakes hands; `None` = it failed or took too long.
pub async fn handshake(socket: Socket, acceptor: &TlsAcceptor, limit: Duration) -> Option<Socket> {
    match timeout(limit, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => Some(Socket::Tls(Box::new(stream.into()))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// What a listener speaks, and how much of it at once.
#[derive(Debug, Clone, Copy)]
pub struct Speech {
    /// HTTP/1.1 and HTTP/1.0.
    pub http1: bool,
    /// HTTP/2.
    pub http2: bool,
    /// Of a head.
    pub limits: Limits,
    /// Open streams of a connection.
    pub streams: u32,
}

impl From<&Listener> for Speech {
    fn from(listener: &Listener) -> Self {
        let speaks = |protocol| listener.protocols.contains(&protocol);
        Self {
            http1: speaks(Protocol::Http1),
            http2: speaks(Protocol::Http2),
            limits: Limits::from(&listener.limits),
            streams: listener.limits.streams,
        }
    }
}

/// Serves a connection to its end.
pub async fn serve(socket: Socket, session: Rc<Session>, speech: Speech) {
    if speech.http2 && (socket.speaks_http2() || !speech.http1) {
        return Box::pin(http2::serve(socket, Bytes::new(), session, speech)).await;
    }
    // Over TLS the client has chosen. Else its first bytes tell: to HTTP/1 they are a request that is refused.
    let tells = speech.http2 && !session.connection.tls;
    if let Some((socket, opening)) = http1::serve(socket, &session, speech.limits, tells).await {
        Box::pin(http2::serve(socket, opening, session, speech)).await;
    }
}

/// Answers a head that never became a request.
pub(super) async fn answer_head(stream: &mut Socket, session: &Rc<Session>, refusal: Refusal, is_head: bool) {
    let mut record = Record::unparsed(&session.scribe, &session.life);
    record.seen.client = session.peer();
    let response = record.generation.app.answers.refuse(&refusal, &record.seen);
    record.refused(response.status(), refusal);
    record.sent(if is_head { 0 } else { response.body().len() });
    let written = timeout(LINGER_TIME, stream.write_all(&encode(&response, is_head))).await;
    if !matches!(written, Ok(Ok(()))) {
        record.broken_off();
    }
}

/// A whole closing answer as bytes.
fn encode(response: &Response<Bytes>, is_head: bool) -> Vec<u8> {
    let status = response.status();
    let mut bytes = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("Refused")).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    if !response.headers().contains_key(http::header::CONTENT_LENGTH) {
        bytes.extend_from_slice(format!("content-length: {}\r\n", response.body().len()).as_bytes());
    }
    bytes.extend_from_slice(b"connection: close\r\n\r\n");
    if !is_head {
        bytes.extend_from_slice(response.body());
    }
    bytes
}

/// Ends our side and reads the other for a while: unread bytes would turn the close into a reset, and who is still sending
/// then may never look at the answer. What is too much to read is waited out for the same reason.
pub(super) async fn linger(mut stream: Socket) {
    let close = async {
        stream.shutdown().await?;
        let mut scratch = vec![0; 8 << 10];
        let mut read = 0;
        while read < LINGER_BYTES {
            match stream.read(&mut scratch).await? {
                0 => return std::io::Result::Ok(()),
                bytes => read += bytes,
            }
        }
        std::future::pending().await
    };
    let _ = timeout(LINGER_TIME, close).await;
}

/// Turns a connection away that there is no room for.
pub async fn turn_away(mut stream: Socket, session: Rc<Session>, refusal: Refusal) {
    answer_head(&mut stream, &session, refusal, false).await;
    linger(stream).await;
}
