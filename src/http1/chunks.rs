//! A chunked body (RFC 9112 §7.1), without the leniencies that smuggling lives on: no white space around sizes, no bare
//! line feed or carriage return, no byte between a chunk's data and its CRLF. Trailers are checked for grammar only:
//! which of them are passed on is `forward`'s.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::syntax::field;

/// Longest chunk size, hexadecimal digits.
const SIZE_DIGITS: u8 = 16;
/// Chunk extensions of a whole body, bytes: they carry nothing that we forward.
const EXTENSION_BYTES: usize = 16 << 10;
/// Trailer lines of a body, bytes.
const TRAILER_BYTES: usize = 8 << 10;

/// Where in the body we are.
#[derive(Debug)]
enum Place {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers,
    Complete,
}

/// The state machine of one chunked body.
#[derive(Debug)]
pub struct Chunks {
    place: Place,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailers_left: usize,
    /// Bytes of an incomplete trailer line that hold no line feed.
    searched: usize,
    trailers: HeaderMap,
}

/// What a window of a chunked body begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Bytes of the coding.
    pub coding: usize,
    /// Bytes of content behind them.
    pub content: usize,
}

const NEW_CHUNK: Place = Place::Size { digits: 0, size: 0 };

impl Chunks {
    /// Before the first byte, of a body with at most so many trailers.
    #[must_use]
    pub fn new(trailers: usize) -> Self {
        Self { place: NEW_CHUNK, extension_bytes: 0, trailer_bytes: 0, trailers_left: trailers, searched: 0, trailers: HeaderMap::new() }
    }

    /// Whether the last byte was seen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.place, Place::Complete)
    }

    /// The trailers of a complete body.
    pub fn take_trailers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.trailers)
    }

    /// Looks at `window`, which begins with the first byte that was in no run before.
    ///
    /// # Errors
    /// What is wrong with its first bytes; what was sound before them is a run of its own.
    pub fn advance(&mut self, window: &[u8]) -> Result<Run, &'static str> {
        let mut coding = 0;
        while let Some(rest) = window.get(coding..).filter(|rest| !rest.is_empty()) {
            if let Place::Data { left } = &mut self.place {
                let content = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                *left -= content as u64;
                if *left == 0 {
                    self.place = Place::DataCr;
                }
                return Ok(Run { coding, content });
            }
            match self.step(rest) {
                Ok(0) => break,
                Ok(bytes) => coding += bytes,
                Err(_) if coding > 0 => break,
                Err(why) => return Err(why),
            }
            if self.is_complete() {
                break;
            }
        }
        Ok(Run { coding, content: 0 })
    }

    fn step(&mut self, rest: &[u8]) -> Result<usize, &'static str> {
        let Some(&byte) = rest.first() else { return Ok(0) };
        self.place = match &self.place {
            Place::Size { digits, size } => self.size_byte(*digits, *size, byte)?,
            Place::Extension { size } => return self.extension(*size, rest),
            Place::SizeLf { size } => match (byte, *size) {
                (b'\n', 0) => Place::Trailers,
                (b'\n', left) => Place::Data { left },
                _ => return Err("carriage return without line feed in a chunk size line"),
            },
            Place::DataCr if byte == b'\r' => Place::DataLf,
            Place::DataLf if byte == b'\n' => NEW_CHUNK,
            Place::DataCr | Place::DataLf => return Err("chunk data not followed by CRLF"),
            Place::Trailers => return self.trailer(rest),
            Place::Data { .. } | Place::Complete => return Ok(0),
        };
        Ok(1)
    }

    fn size_byte(&self, digits: u8, size: u64, byte: u8) -> Result<Place, &'static str> {
        match (char::from(byte).to_digit(16), byte) {
            (Some(_), _) if digits == SIZE_DIGITS => Err("a chunk size of more than 16 digits"),
            (Some(digit), _) => Ok(Place::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }),
            (None, _) if digits == 0 => Err("a chunk size without digits"),
            (None, b'\r') => Ok(Place::SizeLf { size }),
            (None, b';') if self.extension_bytes < EXTENSION_BYTES => Ok(Place::Extension { size }),
            (None, b';') => Err("more than 16 KiB of chunk extensions"),
            (None, _) => Err("a byte that is no hexadecimal digit in a chunk size"),
        }
    }

    /// Passes over an extension, up to its end.
    fn extension(&mut self, size: u64, rest: &[u8]) -> Result<usize, &'static str> {
        let odd = rest.iter().position(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f);
        let text = odd.unwrap_or(rest.len());
        if text > 0 {
            if self.extension_bytes + text > EXTENSION_BYTES {
                return Err("more than 16 KiB of chunk extensions");
            }
            self.extension_bytes += text;
            return Ok(text);
        }
        if rest.first() != Some(&b'\r') {
            return Err("a control byte in a chunk extension");
        }
        self.place = Place::SizeLf { size };
        Ok(1)
    }

    /// Passes whole lines only.
    fn trailer(&mut self, rest: &[u8]) -> Result<usize, &'static str> {
        let found = rest.get(self.searched..).and_then(|unseen| memchr::memchr(b'\n', unseen));
        let end = found.map_or(rest.len(), |at| self.searched + at + 1);
        if self.trailer_bytes + end > TRAILER_BYTES {
            return Err("more than 8 KiB of trailers");
        }
        if found.is_none() {
            self.searched = end;
            return Ok(0);
        }
        self.searched = 0;
        let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r\n")).ok_or("line feed without carriage return in a trailer")?;
        if line.is_empty() {
            self.place = Place::Complete;
            return Ok(end);
        }
        let (name, value) = field(line)?;
        let name = HeaderName::from_bytes(name).map_err(|_| "a trailer name that is no header name")?;
        let value = HeaderValue::from_bytes(value).map_err(|_| "a control byte in a trailer")?;
        self.trailers_left = self.trailers_left.checked_sub(1).ok_or("more trailers than headers")?;
        self.trailer_bytes += end;
        self.trailers.append(name, value);
        Ok(end)
    }
}
