//! The lines of a file, one at a time and each bounded: whatever the file holds, no more than [`LINE_MAX`] of it is in memory.
//! It knows nothing of what lines say.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use zeroize::Zeroizing;

/// Longest line, bytes; no record that could be stored is nearly as long.
pub(super) const LINE_MAX: usize = 1 << 20;
const BUFFER: usize = 64 << 10;
const BOM: &[u8] = "\u{feff}".as_bytes();

/// A file, line by line.
pub(super) struct Lines {
    source: BufReader<Box<dyn Read + Send>>,
    /// Of the line read last, from 1.
    pub(super) number: u64,
    /// Bytes read so far.
    pub(super) bytes: u64,
}

/// What was read.
pub(super) enum Line {
    /// A line, in the caller's buffer.
    Whole,
    /// One longer than [`LINE_MAX`]; it was skipped.
    TooLong,
}

impl Lines {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source: BufReader::with_capacity(BUFFER, source), number: 0, bytes: 0 }
    }

    /// What the file begins with, without taking it.
    pub(super) fn peek(&mut self) -> io::Result<&[u8]> {
        fill(&mut self.source).map(|start| start.strip_prefix(BOM).unwrap_or(start))
    }

    /// Appends the next line without its end to the buffer; `None` = there is none.
    pub(super) fn next(&mut self, buffer: &mut Zeroizing<Vec<u8>>) -> io::Result<Option<Line>> {
        let (start, mut whole, mut ended) = (buffer.len(), true, false);
        let before = self.bytes;
        while !ended {
            let chunk = fill(&mut self.source)?;
            if chunk.is_empty() {
                break;
            }
            let newline = memchr::memchr(b'\n', chunk);
            let (part, used) = newline.map_or((chunk, chunk.len()), |at| (chunk.get(..at).unwrap_or_default(), at + 1));
            whole = whole && buffer.len() + part.len() <= LINE_MAX;
            if whole {
                buffer.extend_from_slice(part);
            }
            ended = newline.is_some();
            self.source.consume(used);
            self.bytes += used as u64;
        }
        if self.bytes == before {
            return Ok(None);
        }
        self.number += 1;
        if !whole {
            buffer.truncate(start);
            return Ok(Some(Line::TooLong));
        }
        if buffer.last() == Some(&b'\r') {
            buffer.pop();
        }
        if self.number == 1 && buffer.starts_with(BOM) {
            buffer.drain(..BOM.len());
        }
        Ok(Some(Line::Whole))
    }
}

fn fill(source: &mut BufReader<Box<dyn Read + Send>>) -> io::Result<&[u8]> {
    while let Err(error) = source.fill_buf() {
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(source.buffer())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<Option<String>> {
        let mut lines = Lines::new(Box::new(std::io::Cursor::new(text.to_vec())));
        let (mut all, mut buffer) = (Vec::new(), Zeroizing::new(Vec::new()));
        while let Some(line) = lines.next(&mut buffer).unwrap() {
            all.push(matches!(line, Line::Whole).then(|| String::from_utf8(buffer.to_vec()).unwrap()));
            buffer.clear();
        }
        assert_eq!((lines.number, lines.bytes), (all.len() as u64, text.len() as u64));
        all
    }

    #[test]
    fn ends_of_lines_are_newlines_with_or_without_a_carriage_return() {
        let line = |text: &str| Some(text.to_owned());
        assert_eq!(read(b""), []);
        assert_eq!(read("\u{feff}a\r\nb\n\nc".as_bytes()), [line("a"), line("b"), line(""), line("c")]);
        assert_eq!(read(b"a\n"), [line("a")]);
    }

    #[test]
    fn a_line_of_ten_megabytes_is_skipped_and_the_next_is_read() {
        let mut text = vec![b'x'; 10 << 20];
        text.extend_from_slice(b"\nb\n");
        assert_eq!(read(&text), [None, Some("b".to_owned())]);
    }
}
