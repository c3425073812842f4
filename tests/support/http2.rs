//! Clients of HTTP/2: one that speaks it well (the `h2` crate, on a thread of its own), and one that sends whatever frames it is told to.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::PATIENCE;
use super::client::{Answer, Request};
use super::wire::Head;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A connection of a well-behaved client.
pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    ended: Receiver<Result<(), h2::Error>>,
    /// How long it waits for anything.
    pub(crate) patience: Duration,
}

/// A request whose answer is awaited.
pub(crate) struct Opened {
    pub(crate) response: ResponseFuture,
    pub(crate) body: SendStream<Bytes>,
}

/// An answer whose content is not read yet.
pub(crate) struct Begun {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RecvStream,
}

impl Http2 {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_as(address, &Builder::new())
    }

    /// By other settings than the usual.
    pub(crate) fn connect_as(address: SocketAddr, builder: &Builder) -> Self {
        let (connected, connection) = channel();
        let (end, ended) = channel();
        let builder = builder.clone();
        thread::spawn(move || {
            runtime().block_on(async move {
                let stream = tokio::net::TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
                connected.send(sender).unwrap();
                let _ = end.send(connection.await);
            });
        });
        Self { runtime: runtime(), sender: connection.recv_timeout(PATIENCE).unwrap(), ended, patience: PATIENCE }
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(self.patience, future).await.expect("nothing more came") })
    }

    /// Sends a head; `ends` = nothing follows it.
    pub(crate) fn try_open(&mut self, request: http::Request<()>, ends: bool) -> Result<Opened, h2::Error> {
        let sender = self.sender.clone();
        let mut ready = self.wait(sender.ready())?;
        let (response, body) = ready.send_request(request, ends)?;
        Ok(Opened { response, body })
    }

    pub(crate) fn open(&mut self, request: http::Request<()>, ends: bool) -> Opened {
        self.try_open(request, ends).unwrap()
    }

    /// The head of an answer.
    pub(crate) fn begin(&self, response: ResponseFuture) -> Result<Begun, h2::Error> {
        let (head, body) = self.wait(response)?.into_parts();
        Ok(Begun { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// The next piece of an answer's content.
    pub(crate) fn data(&self, body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
        let data = self.wait(body.data());
        if let Some(Ok(bytes)) = &data {
            let _ = body.flow_control().release_capacity(bytes.len());
        }
        data
    }

    /// The rest of an answer.
    pub(crate) fn finish(&self, begun: Begun) -> Result<Answer, h2::Error> {
        let Begun { status, headers, mut body } = begun;
        let mut content = Vec::new();
        while let Some(data) = self.data(&mut body) {
            content.extend_from_slice(&data?);
        }
        let trailers = self.wait(body.trailers())?.unwrap_or_default();
        let head = Head { first_line: format!("HTTP/2 {status}"), fields: fields(&headers), raw: Vec::new() };
        Ok(Answer { status, head, body: content, trailers: fields(&trailers), interim: Vec::new() })
    }

    /// A whole answer.
    pub(crate) fn try_answer(&self, response: ResponseFuture) -> Result<Answer, h2::Error> {
        self.begin(response).and_then(|begun| self.finish(begun))
    }

    /// Sends a piece of a request's content as far as the other side takes it; `false` where it takes no more.
    pub(crate) fn upload(&self, body: &mut SendStream<Bytes>, mut piece: Bytes) -> bool {
        while !piece.is_empty() {
            body.reserve_capacity(piece.len());
            let Some(Ok(room)) = self.wait(std::future::poll_fn(|cx| body.poll_capacity(cx))) else { return false };
            if body.send_data(piece.split_to(room.min(piece.len())), false).is_err() {
                return false;
            }
        }
        true
    }

    /// A whole exchange.
    pub(crate) fn exchange(&mut self, request: http::Request<()>, content: impl Into<Bytes>) -> Answer {
        let content = content.into();
        let mut opened = self.open(request, content.is_empty());
        if !content.is_empty() {
            opened.body.send_data(content, true).unwrap();
        }
        self.try_answer(opened.response).unwrap()
    }

    /// What a client of HTTP/1 would have sent.
    pub(crate) fn send(&mut self, request: &Request) -> Answer {
        self.exchange(head(request), request.body.clone())
    }

    /// Why the stream was reset.
    pub(crate) fn reset(&self, body: &mut SendStream<Bytes>) -> Reason {
        self.wait(std::future::poll_fn(|cx| body.poll_reset(cx))).unwrap()
    }

    /// Waits until the connection ends.
    pub(crate) fn end(&self) -> Result<(), h2::Error> {
        self.ended.recv_timeout(PATIENCE).expect("the connection is still open")
    }
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// The head of a request, `Host` as `:authority`.
pub(crate) fn head(request: &Request) -> http::Request<()> {
    let mut host = "";
    let mut head = http::Request::builder().method(request.method.as_str());
    for (name, value) in &request.headers {
        if name.eq_ignore_ascii_case("host") {
            host = value;
        } else {
            head = head.header(name, value.as_str());
        }
    }
    head.uri(format!("http://{host}{}", request.target)).body(()).unwrap()
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame as it came.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Error code of GOAWAY or `RST_STREAM`.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection of a client that sends any frames.
pub(crate) struct Frames {
    pub(crate) stream: TcpStream,
}

impl Frames {
    /// After preface and empty settings.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    /// With settings.
    pub(crate) fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut frames = Self { stream };
        frames.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let payload: Vec<u8> = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        frames.send(SETTINGS, 0, 0, &payload);
        frames
    }

    /// Bytes as they are; `false` where the server is gone.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.bytes(&frame(kind, flags, stream, payload))
    }

    /// A whole request without content, by its fields.
    pub(crate) fn request(&mut self, stream: u32, fields: &[(&str, &str)]) -> bool {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields))
    }

    /// The next frame; `None` where the connection ended.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("nothing more came")
            }
            Err(_) => return None,
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame that is wanted.
    pub(crate) fn find(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// The code of the GOAWAY that says why the connection ends; `None` where it just ends.
    pub(crate) fn goaway(&mut self) -> Option<u32> {
        self.find(|frame| frame.kind == GOAWAY).map(|frame| frame.code())
    }
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block that indexes nothing and hides nothing.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            // HPACK's integers of 7 bits (RFC 7541 §5.1).
            let mut length = text.len();
            if length < 127 {
                bytes.push(u8::try_from(length).unwrap());
            } else {
                bytes.push(127);
                length -= 127;
                while length >= 128 {
                    bytes.push(u8::try_from(length % 128).unwrap() | 128);
                    length /= 128;
                }
                bytes.push(u8::try_from(length).unwrap());
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// The pseudo-header fields of a GET.
pub(crate) const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/v1/users"), (":authority", "api.example")];
