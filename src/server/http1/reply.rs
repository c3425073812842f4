//! The head of an answer as bytes, and how its content is delimited (RFC 9112 §6).

use http::header::{self, HeaderMap, HeaderValue};
use http::{StatusCode, response};
use http_body::Body;
use hyper::ext::ReasonPhrase;

use crate::http1::outbox;
use crate::server::framing::Persistence;

/// How an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Framing {
    pub(super) content: Content,
    /// Another request may follow.
    pub(super) keep_alive: bool,
    /// The client reads trailers.
    pub(super) trailers: bool,
}

/// What delimits an answer's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// It has none, whatever its head says.
    None,
    /// Its length.
    Fixed,
    Chunked,
    /// The end of the connection: to a client of HTTP/1.0.
    UntilClose,
}

/// Writes the head of an answer to a request that was, or was not, HEAD.
pub(super) fn write(out: &mut Vec<u8>, mut head: response::Parts, body: &impl Body, is_head: bool, says: Persistence) -> Framing {
    let may_have_content =
        !(is_head || head.status.is_informational() || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED));
    let content = match body.size_hint().exact() {
        _ if !may_have_content => Content::None,
        Some(_) => Content::Fixed,
        None if says.http10 => Content::UntilClose,
        None => Content::Chunked,
    };
    // To HEAD our own answers say what they would have; of an upstream's nothing more is known than it said.
    let length = body.size_hint().exact().filter(|length| content == Content::Fixed || (is_head && *length > 0));
    if let Some(length) = length.filter(|_| !head.headers.contains_key(header::CONTENT_LENGTH)) {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if content != Content::Chunked {
        head.headers.remove(header::TRAILER);
    }
    let keep_alive = says.keep_alive && content != Content::UntilClose && !closes(&head.headers);
    status_line(out, &head, says.http10);
    outbox::fields(out, &head.headers);
    if content == Content::Chunked {
        outbox::field(out, b"transfer-encoding", b"chunked");
    }
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        match (says.http10, keep_alive) {
            (true, true) => outbox::field(out, b"connection", b"keep-alive"),
            (false, false) if !closes(&head.headers) => outbox::field(out, b"connection", b"close"),
            (true, false) | (false, _) => {}
        }
    }
    out.extend_from_slice(b"\r\n");
    Framing { content, keep_alive, trailers: says.trailers }
}

/// A client of HTTP/1.0 is answered in its version: what it keeps alive is told by that.
fn status_line(out: &mut Vec<u8>, head: &response::Parts, http10: bool) {
    if head.status == StatusCode::OK && !http10 && head.extensions.is_empty() {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(if http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    match head.extensions.get::<ReasonPhrase>() {
        Some(reason) => out.extend_from_slice(reason.as_bytes()),
        None => out.extend_from_slice(head.status.canonical_reason().unwrap_or("").as_bytes()),
    }
    out.extend_from_slice(b"\r\n");
}

/// Only our own: an upstream's is stripped.
fn closes(headers: &HeaderMap) -> bool {
    headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes() == b"close")
}
