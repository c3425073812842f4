//! Heads of HTTP/1.1: a request's, as bytes, and an answer's, out of bytes that hold all of it. What an answer says of its
//! framing is judged here (RFC 9112 §6.3); whatever could be read in two ways is no answer.

use std::borrow::Cow;
use std::io::Write as _;
use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header, response};
use hyper::ext::ReasonPhrase;

use crate::forward::Encoded;
use crate::http1::decode::Length;
use crate::http1::outbox::field;
use crate::http1::syntax::content_length;

/// Header lines of an answer, and as many trailers.
const FIELDS: usize = 100;
/// Headers that are added on the way to the client.
const FIELDS_ADDED: usize = 4;

/// How the content of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length.
    Length(u64),
    /// In chunks.
    Chunked,
}

impl Framing {
    /// By what is known of the content: `None` = neither its length nor that there is none. Trailers need chunks.
    pub(super) fn of(head: &Encoded, bodiless: bool, length: Option<u64>) -> Self {
        match length {
            _ if bodiless => Self::Length(0),
            Some(length) if head.announced().is_none() => Self::Length(length),
            Some(_) | None => Self::Chunked,
        }
    }
}

/// Writes a request's head with one framing header: none where no content is what everybody expects.
pub(super) fn write(out: &mut Vec<u8>, head: &Encoded, framing: Framing) {
    out.extend_from_slice(head.lines());
    match framing {
        Framing::Length(0) if !matches!(*head.method(), Method::POST | Method::PUT | Method::PATCH) => {}
        // Writing into a Vec cannot fail.
        Framing::Length(length) => drop(write!(out, "content-length: {length}\r\n")),
        Framing::Chunked => {
            if let Some(names) = head.announced() {
                field(out, b"trailer", names.as_bytes());
            }
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Where the head that `bytes` begin with ends, if all of it has arrived. No end begins before `searched`.
pub(super) fn end(bytes: &[u8], searched: &mut usize) -> Option<usize> {
    let from = *searched;
    for at in memchr::memchr_iter(b'\n', bytes.get(from..)?).map(|at| from + at) {
        match bytes.get(at + 1..) {
            Some([b'\n', ..]) => return Some(at + 2),
            Some([b'\r', b'\n', ..]) => return Some(at + 3),
            Some([b'\r'] | []) | None => {
                *searched = at;
                return None;
            }
            Some(_) => {}
        }
    }
    *searched = bytes.len();
    None
}

/// An answer's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: response::Parts,
    /// Of the content.
    pub(super) length: Length,
    /// Whether the upstream keeps the connection.
    pub(super) keep: bool,
}

/// Reads a whole head, of an answer to a request with this method. `None` = an interim answer: another one follows.
pub(super) fn parse(bytes: &Bytes, method: &Method) -> Result<Option<Head>, Cow<'static, str>> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut raw = httparse::Response::new(&mut []);
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut raw, bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err("the answer's head is not one".into()),
        Err(error) => return Err(format!("the answer's head: {error}").into()),
    }
    let status = raw.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("the answer's status is none")?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(None);
    }
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.version = if raw.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.headers = HeaderMap::with_capacity(raw.headers.len() + FIELDS_ADDED);
    let mut terms = Terms::default();
    for line in raw.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| "a header name of the answer is none")?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value)).map_err(|_| "a header value of the answer is none")?;
        terms.note(&name, &value);
        parts.headers.append(name, value);
    }
    if let Some(reason) = raw.reason.filter(|reason| status.canonical_reason() != Some(reason))
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        parts.extensions.insert(reason);
    }
    let length = terms.length(status, parts.version, method)?;
    let keep = terms.keep(parts.version) && length != Length::UntilClose && status != StatusCode::SWITCHING_PROTOCOLS;
    Ok(Some(Head { parts, length, keep }))
}

/// What a head says of its content and its connection.
#[derive(Debug, Default)]
struct Terms {
    codings: usize,
    chunked: bool,
    length: Option<Result<u64, &'static str>>,
    close: bool,
    keep_alive: bool,
}

impl Terms {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        let items = || value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        match *name {
            header::CONNECTION => {
                self.close |= items().any(|item| item.eq_ignore_ascii_case(b"close"));
                self.keep_alive |= items().any(|item| item.eq_ignore_ascii_case(b"keep-alive"));
            }
            header::TRANSFER_ENCODING => {
                self.codings += 1;
                self.chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            }
            header::CONTENT_LENGTH => {
                for item in items() {
                    let length = content_length(item).ok_or("the answer's Content-Length is none");
                    self.length = Some(match self.length.take() {
                        None => length,
                        Some(known) if known == length => known,
                        Some(_) => Err("the answer has several lengths"),
                    });
                }
            }
            _ => {}
        }
    }

    fn length(&self, status: StatusCode, version: Version, method: &Method) -> Result<Length, &'static str> {
        // Any other coding would reach the client as content, its name removed with the hop's other headers.
        if self.codings > 1 || self.codings == 1 && !self.chunked {
            return Err("the answer's Transfer-Encoding is not chunked alone");
        }
        if *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) || status.is_informational() {
            return Ok(Length::Fixed(0));
        }
        match self.length {
            _ if self.chunked && version == Version::HTTP_10 => Err("an answer of HTTP/1.0 in chunks"),
            _ if self.chunked => Ok(Length::Chunked { trailers: FIELDS }),
            Some(length) => Ok(Length::Fixed(length?)),
            None => Ok(Length::UntilClose),
        }
    }

    /// Who says both what its length is and that it is chunked may have been deceived: nothing more is read of it.
    fn keep(&self, version: Version) -> bool {
        let contradicts = self.chunked && self.length.is_some();
        !self.close && !contradicts && (version == Version::HTTP_11 || self.keep_alive)
    }
}

#[cfg(test)]
mod tests;
