//! The head of a request, line by line, in RFC 9112's strict grammar: CRLF only, no folding, no space before a colon,
//! and everything that decides where the message ends exactly once.

use std::ops::Range;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use smallvec::SmallVec;

use super::{Limits, authority};
use crate::facts::{TARGET_MAX, check_target};
use crate::http1::decode::Length;
use crate::http1::syntax::{content_length, field, is_token, is_token_byte};
use crate::rejection::{Refusal, Rejection};

/// Header lines of an ordinary request.
const ORDINARY: usize = 24;

/// What is known of a head whose lines have arrived in part.
#[derive(Debug, Default)]
pub struct Head {
    /// Bytes of complete lines.
    scanned: usize,
    /// Bytes behind them that hold no line feed.
    searched: usize,
    leading_empty_line: bool,
    request_line: Option<RequestLine>,
    fields: SmallVec<[Field; ORDINARY]>,
    host: Option<Range<usize>>,
    content_length: Option<u64>,
    chunked: bool,
}

#[derive(Debug)]
struct RequestLine {
    http10: bool,
    method: Range<usize>,
    target: Range<usize>,
    /// Where the target's authority is, if it is in absolute form.
    authority: Option<Range<usize>>,
}

/// Where a header line's name and value are.
#[derive(Debug)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

/// What a request says of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Persistence {
    /// HTTP/1.0.
    pub http10: bool,
    /// Another request may follow.
    pub keep_alive: bool,
    /// The client waits to be asked for the content (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// It reads trailers (RFC 9110 §10.1.4).
    pub trailers: bool,
}

fn invalid(why: &'static str) -> Refusal {
    Rejection::RequestInvalid.because(why)
}

impl Head {
    /// Looks at the bytes from the head's first on. `Some` = it is complete: its bytes, and how its body is delimited.
    ///
    /// # Errors
    /// `request_invalid`, `target_too_long`, `headers_too_large` or `method_denied`.
    pub fn advance(&mut self, window: &[u8], limits: Limits) -> Result<Option<(usize, Length)>, Refusal> {
        loop {
            let rest = window.get(self.scanned..).unwrap_or_default();
            if self.request_line.is_none() && rest.first().is_some_and(|byte| !is_token_byte(*byte) && !matches!(byte, b'\r' | b'\n')) {
                return Err(invalid("the request does not begin with a method"));
            }
            let found = rest.get(self.searched..).and_then(|unseen| memchr::memchr(b'\n', unseen));
            let end = found.map_or(rest.len(), |at| self.searched + at + 1);
            if self.scanned + end > limits.head_bytes {
                return Err(self.too_large());
            }
            if found.is_none() {
                self.searched = end;
                return Ok(None);
            }
            self.searched = 0;
            let line = rest.get(..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r\n") else { return Err(invalid("line feed without carriage return in the head")) };
            let start = self.scanned;
            self.scanned += end;
            if line.is_empty() && self.request_line.is_some() {
                return Ok(Some((self.scanned, self.finish(window, limits)?)));
            }
            self.line(line, start, limits)?;
        }
    }

    fn too_large(&self) -> Refusal {
        if self.request_line.is_none() {
            Rejection::TargetTooLong.because("the request line is longer than a head may be")
        } else {
            Rejection::HeadersTooLarge.because("more bytes than header_bytes")
        }
    }

    fn line(&mut self, line: &[u8], start: usize, limits: Limits) -> Result<(), Refusal> {
        if self.request_line.is_some() {
            if self.fields.len() == limits.headers {
                return Err(Rejection::HeadersTooLarge.because("more lines than headers"));
            }
            return self.field_line(line, start);
        }
        if line.is_empty() {
            // RFC 9112 §2.2: one empty line before a request is forgiven.
            if std::mem::replace(&mut self.leading_empty_line, true) {
                return Err(invalid("more than one empty line before the request"));
            }
            return Ok(());
        }
        self.request_line = Some(request_line(line, start)?);
        Ok(())
    }

    fn field_line(&mut self, line: &[u8], start: usize) -> Result<(), Refusal> {
        let (name, value) = field(line).map_err(invalid)?;
        let end = start + line.trim_ascii_end().len();
        let place = end - value.len()..end;
        self.fields.push(Field { name: start..start + name.len(), value: place.clone() });
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.is_some() {
                return Err(invalid("more than one Host"));
            }
            if !authority::is_valid(value) {
                return Err(invalid("Host is not a host and port"));
            }
            self.host = Some(place);
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.content_length.is_some() {
                return Err(invalid("more than one Content-Length"));
            }
            self.content_length = Some(content_length(value).ok_or_else(|| invalid("Content-Length is not 1 to 18 digits"))?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked {
                return Err(invalid("more than one Transfer-Encoding"));
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(invalid("Transfer-Encoding is not exactly `chunked`"));
            }
            self.chunked = true;
        }
        Ok(())
    }

    fn finish(&self, window: &[u8], limits: Limits) -> Result<Length, Refusal> {
        let http10 = self.request_line.as_ref().is_some_and(|line| line.http10);
        if self.chunked && self.content_length.is_some() {
            return Err(invalid("Content-Length beside Transfer-Encoding"));
        }
        if self.chunked && http10 {
            return Err(invalid("Transfer-Encoding in HTTP/1.0"));
        }
        if self.host.is_none() && !http10 {
            return Err(invalid("no Host"));
        }
        if let Some(target) = self.request_line.as_ref().and_then(|line| line.authority.clone()) {
            let host = self.host.clone().and_then(|range| window.get(range)).unwrap_or_default();
            if !window.get(target).is_some_and(|target| target.eq_ignore_ascii_case(host)) {
                return Err(invalid("the target's authority is not Host"));
            }
        }
        Ok(if self.chunked { Length::Chunked { trailers: limits.headers } } else { Length::Fixed(self.content_length.unwrap_or(0)) })
    }
}

impl Head {
    /// Before the first byte of the next head; in place, as there is room for many lines in it.
    pub fn reset(&mut self) {
        let Self { scanned, searched, leading_empty_line, request_line, fields, host, content_length, chunked } = self;
        (*scanned, *searched, *leading_empty_line, *chunked) = (0, 0, false, false);
        (*request_line, *host, *content_length) = (None, None, None);
        fields.clear();
        fields.shrink_to_fit();
    }

    /// The request that `bytes`, a complete head, are.
    ///
    /// # Errors
    /// `request_invalid`: they are none after all.
    pub fn request(&self, bytes: &Bytes) -> Result<(Parts, Persistence), Refusal> {
        let line = self.request_line.as_ref().ok_or_else(|| invalid("no request line"))?;
        let slice = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        let mut parts = Request::new(()).into_parts().0;
        parts.method = Method::from_bytes(slice(&line.method)).map_err(|_| invalid("the method is not a token"))?;
        parts.uri = Uri::from_maybe_shared(bytes.slice(line.target.clone())).map_err(|_| invalid("the target is no URI"))?;
        parts.version = if line.http10 { Version::HTTP_10 } else { Version::HTTP_11 };
        parts.headers = HeaderMap::with_capacity(self.fields.len());
        let mut says = Persistence { http10: line.http10, keep_alive: !line.http10, expects_continue: false, trailers: false };
        let mut closes = false;
        for field in &self.fields {
            let name = HeaderName::from_bytes(slice(&field.name)).map_err(|_| invalid("a header name that is not a token"))?;
            let value = slice(&field.value);
            if name == header::CONNECTION {
                closes |= has_token(value, b"close");
                says.keep_alive |= has_token(value, b"keep-alive");
            } else if name == header::EXPECT {
                says.expects_continue = !line.http10 && value.eq_ignore_ascii_case(b"100-continue");
            } else if name == header::TE {
                says.trailers |= has_token(value, b"trailers");
            }
            let value = HeaderValue::from_maybe_shared(bytes.slice(field.value.clone()));
            parts.headers.append(name, value.map_err(|_| invalid("a control byte in a header value"))?);
        }
        says.keep_alive &= !closes;
        Ok((parts, says))
    }
}

/// Whether a list has this member.
fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|member| member.trim_ascii().eq_ignore_ascii_case(token))
}

fn request_line(line: &[u8], start: usize) -> Result<RequestLine, Refusal> {
    let space = memchr::memchr(b' ', line).ok_or_else(|| invalid("the request line has no target"))?;
    let (method, rest) = line.split_at(space);
    let rest = rest.get(1..).unwrap_or_default();
    let last = memchr::memrchr(b' ', rest).ok_or_else(|| invalid("the request line has no version"))?;
    let (target, version) = rest.split_at(last);
    if !is_token(method) {
        return Err(invalid("the method is not a token"));
    }
    let http10 = match version {
        b" HTTP/1.1" => false,
        b" HTTP/1.0" => true,
        _ => return Err(invalid("the version is neither HTTP/1.1 nor HTTP/1.0")),
    };
    if target.len() > TARGET_MAX {
        return Err(Rejection::TargetTooLong.because("more than 8 KiB"));
    }
    if method.eq_ignore_ascii_case(b"CONNECT") {
        return Err(Rejection::MethodDenied.because("CONNECT"));
    }
    check_target(target)?;
    let authority = match target.first() {
        Some(b'/') => None,
        Some(b'*') if target.len() == 1 && method == b"OPTIONS" => None,
        _ => {
            let authority = absolute_form(target).ok_or_else(|| invalid("the target is neither a path nor an http(s) URL"))?;
            if let Some(path) = target.get(authority.end..).filter(|path| !path.is_empty()) {
                check_target(path)?;
            }
            Some(authority)
        }
    };
    let at = start + space + 1;
    let authority = authority.map(|range| at + range.start..at + range.end);
    Ok(RequestLine { http10, method: start..start + space, target: at..at + last, authority })
}

/// Where the authority of a target in absolute form is.
fn absolute_form(target: &[u8]) -> Option<Range<usize>> {
    let scheme = [b"http://".as_slice(), b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))?
        .len();
    let rest = target.get(scheme..)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    authority::is_valid(rest.get(..end)?).then_some(scheme..scheme + end)
}
