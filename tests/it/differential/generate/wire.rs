//! A case as it is sent, by its client and by the API.

use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Case, Content, Delimited, HOST, Script, field};

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

fn lines(first: &str, fields: &[(String, String)]) -> Vec<u8> {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    latin1(&format!("{first}\r\n{}\r\n", fields.concat()))
}

impl Content {
    pub(super) fn bytes(&self) -> Vec<u8> {
        if self.delimited != Delimited::Chunked {
            return self.data.clone();
        }
        let mut bytes = Vec::new();
        let mut rest = &self.data[..];
        for (at, length) in self.chunks.iter().enumerate() {
            let (chunk, behind) = rest.split_at(*length);
            let extension = if self.extensions { [";a=b", "", ";q=\"x y\";c"][at % 3] } else { "" };
            let size = if self.extensions { format!("{length:05X}") } else { format!("{length:x}") };
            bytes.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
            rest = behind;
        }
        bytes.extend(lines(if self.extensions { "000;last" } else { "0" }, &self.trailers));
        bytes
    }

    pub(super) fn frame(&self, headers: &mut Vec<(String, String)>) {
        match self.delimited {
            Delimited::Length => headers.push(field("Content-Length", self.data.len().to_string())),
            Delimited::Chunked => headers.push(field("Transfer-Encoding", "chunked")),
            Delimited::Bare | Delimited::UntilClose => {}
        }
    }
}

impl Script {
    pub(in crate::differential) fn head(&self) -> Vec<u8> {
        [self.interim.as_bytes(), &lines(&self.line, &self.headers)].concat()
    }

    pub(in crate::differential) fn content(&self, method: &str) -> Vec<u8> {
        if method == "HEAD" || self.is_bare() { Vec::new() } else { self.content.bytes() }
    }

    fn is_bare(&self) -> bool {
        matches!(self.status, 204 | 304)
    }
}

impl Case {
    /// Whether the client asks for another request to follow.
    pub(in crate::differential) fn keeps(&self) -> bool {
        let says = |token| self.headers.iter().any(|(name, value)| name == "Connection" && value.contains(token));
        if self.http10 { says("keep-alive") } else { !says("close") }
    }

    pub(in crate::differential) fn wants_trailers(&self) -> bool {
        self.http2 || self.headers.iter().any(|(name, value)| name == "TE" && value.contains("trailers"))
    }

    /// Whether its answer may have content.
    pub(in crate::differential) fn has_content(&self) -> bool {
        self.method != "HEAD" && !self.answer.is_bare()
    }

    /// Whether nothing follows its head.
    pub(in crate::differential) fn is_bare(&self) -> bool {
        self.content.delimited == Delimited::Bare
    }

    /// Head and content, as a client of HTTP/1 sends them.
    pub(in crate::differential) fn bytes(&self) -> (Vec<u8>, Vec<u8>) {
        let first = format!("{} {} HTTP/1.{}", self.method, self.target, u8::from(!self.http10));
        (lines(&first, &self.headers), self.content.bytes())
    }

    /// As a client of HTTP/2 says it.
    pub(in crate::differential) fn head(&self) -> http::Request<()> {
        let mut head = http::Request::builder().method(self.method.as_str()).uri(format!("http://{HOST}{}", self.target)).body(()).unwrap();
        *head.headers_mut() = map(&self.headers);
        head.headers_mut().remove("host");
        head.headers_mut().remove("transfer-encoding");
        head
    }

    pub(in crate::differential) fn send_content(&self, stream: &mut SendStream<Bytes>) {
        if self.is_bare() {
            return;
        }
        let trailers = &self.content.trailers;
        stream.send_data(self.content.data.clone().into(), trailers.is_empty()).unwrap();
        if !trailers.is_empty() {
            stream.send_trailers(map(trailers)).unwrap();
        }
    }
}

fn map(fields: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(&latin1(value)).unwrap());
    }
    map
}
