//! A strict HTTP/1.1 message parser of its own, so that what it accepts is judged independently of hyper and of Sidegate.
//! What RFC 9112 lets a lenient parser forgive is an error here.

use std::io::{self, Read};

/// A message head as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) first_line: String,
    /// Names as sent; values with each byte as one char.
    pub(crate) fields: Vec<(String, String)>,
    /// All bytes, the empty line included.
    pub(crate) raw: Vec<u8>,
}

/// How long a message's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// What ended a read.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The other side ended the connection in the middle.
    Ended,
    /// The bytes are no HTTP/1.1.
    Malformed(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Malformed(format!("nothing more came: {error}")),
            _ => Self::Ended,
        }
    }
}

fn malformed<T>(what: impl Into<String>) -> Result<T, Broken> {
    Err(Broken::Malformed(what.into()))
}

impl Head {
    /// Every value of a field, in order.
    pub(crate) fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.fields.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The value of a field that may be there at most once.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let mut all = self.all(name);
        let first = all.next();
        assert_eq!(all.next(), None, "{name} is there more than once in {:?}", self.fields);
        first
    }

    fn parse(raw: Vec<u8>) -> Result<Self, Broken> {
        let text: String = raw.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.strip_suffix("\r\n\r\n").unwrap_or(&text).split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { return malformed(format!("a line without colon: {line:?}")) };
            if name.is_empty() || !name.bytes().all(is_token) {
                return malformed(format!("a field name that is no token: {name:?}"));
            }
            let value = value.trim_matches([' ', '\t']);
            if value.chars().any(|c| (c < ' ' && c != '\t') || c == '\x7f') {
                return malformed(format!("a control character in {name}: {value:?}"));
            }
            fields.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self { first_line, fields, raw })
    }

    /// How the body is framed, without what depends on method or status.
    pub(crate) fn framing(&self) -> Result<Option<Framing>, Broken> {
        let lengths: Vec<&str> = self.all("content-length").collect();
        let codings: Vec<&str> = self.all("transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(None),
            ([length], []) if !length.is_empty() && length.len() < 19 && length.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Some(Framing::Length(length.parse().unwrap())))
            }
            ([], ["chunked"]) => Ok(Some(Framing::Chunked)),
            (lengths, codings) => malformed(format!("framing: Content-Length {lengths:?}, Transfer-Encoding {codings:?}")),
        }
    }
}

pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Reads messages off a connection.
pub(crate) struct Reader<R> {
    inner: R,
    buffer: Vec<u8>,
    at: usize,
    takes_extensions: bool,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, buffer: Vec::new(), at: 0, takes_extensions: false }
    }

    /// Chunk extensions are no error: of a message that did not pass a sidecar.
    pub(crate) fn take_extensions(&mut self) {
        self.takes_extensions = true;
    }

    /// More bytes; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        let mut chunk = [0; 16 << 10];
        let n = self.inner.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(n > 0)
    }

    fn byte(&mut self) -> Result<Option<u8>, Broken> {
        if self.at == self.buffer.len() && !self.fill()? {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some(self.buffer[self.at - 1]))
    }

    /// One line with its CRLF; a bare CR or LF is an error. `None` at a clean end.
    fn line(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                None if line.is_empty() => return Ok(None),
                None => return Err(Broken::Ended),
                Some(b'\n') if line.last() == Some(&b'\r') => {
                    line.push(b'\n');
                    return Ok(Some(line));
                }
                Some(b'\n') => return malformed("a bare LF"),
                Some(_) if line.last() == Some(&b'\r') => return malformed("a bare CR"),
                Some(byte) => line.push(byte),
            }
            if line.len() > 1 << 20 {
                return malformed("a line of more than 1 MiB");
            }
        }
    }

    /// The next head; `None` where the connection ended between messages.
    pub(crate) fn head(&mut self) -> Result<Option<Head>, Broken> {
        let Some(mut raw) = self.line()? else { return Ok(None) };
        if raw == b"\r\n" {
            return malformed("an empty line before the first line");
        }
        loop {
            let Some(line) = self.line()? else { return Err(Broken::Ended) };
            raw.extend_from_slice(&line);
            if line == b"\r\n" {
                return Head::parse(raw).map(Some);
            }
            if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
                return malformed("a folded line");
            }
        }
    }

    /// The whole body into `sink`; the trailer section of a chunked one is returned.
    pub(crate) fn body(&mut self, framing: Framing, sink: &mut dyn FnMut(&[u8])) -> Result<Vec<(String, String)>, Broken> {
        match framing {
            Framing::Length(length) => self.exactly(length, sink).map(|()| Vec::new()),
            Framing::UntilClose => {
                while self.at < self.buffer.len() || self.fill()? {
                    sink(&self.buffer[self.at..]);
                    self.at = self.buffer.len();
                }
                Ok(Vec::new())
            }
            Framing::Chunked => loop {
                let Some(line) = self.line()? else { return Err(Broken::Ended) };
                let digits = &line[..line.len() - 2];
                let digits = digits.split(|byte| *byte == b';').next().filter(|_| self.takes_extensions).unwrap_or(digits);
                let size = std::str::from_utf8(digits)
                    .ok()
                    .filter(|text| (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let Some(size) = size else {
                    return malformed(format!("a chunk size that is none: {:?}", line.escape_ascii().to_string()));
                };
                let size = u64::from_str_radix(size, 16).unwrap();
                if size == 0 {
                    return self.trailers();
                }
                self.exactly(size, sink)?;
                if self.line()?.is_none_or(|line| line != b"\r\n") {
                    return malformed("chunk data that is not followed by CRLF");
                }
            },
        }
    }

    fn trailers(&mut self) -> Result<Vec<(String, String)>, Broken> {
        let mut raw = b"trailers\r\n".to_vec();
        loop {
            let Some(line) = self.line()? else { return Err(Broken::Ended) };
            raw.extend_from_slice(&line);
            if line == b"\r\n" {
                return Head::parse(raw).map(|head| head.fields);
            }
        }
    }

    fn exactly(&mut self, mut rest: u64, sink: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        while rest > 0 {
            if self.at == self.buffer.len() && !self.fill()? {
                return Err(Broken::Ended);
            }
            let n = usize::try_from(rest).unwrap_or(usize::MAX).min(self.buffer.len() - self.at);
            sink(&self.buffer[self.at..self.at + n]);
            self.at += n;
            rest -= n as u64;
        }
        Ok(())
    }

    /// Whether bytes wait here, or come before the reads' time is over.
    pub(crate) fn has_bytes(&mut self) -> bool {
        self.at < self.buffer.len() || self.fill().unwrap_or(false)
    }

    /// Whether the other side ended the connection and nothing is left to read.
    pub(crate) fn at_end(&mut self) -> bool {
        self.at == self.buffer.len() && !self.fill().unwrap_or(false)
    }
}
