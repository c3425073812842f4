//! Content off the wire: how long it is, and its frames out of the bytes that have arrived (RFC 9112 §6, §7.1).

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use super::chunks::{Chunks, Run};

/// How content is delimited, as a complete head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many bytes.
    Fixed(u64),
    /// Chunks, with at most so many trailers.
    Chunked {
        /// Trailer lines.
        trailers: usize,
    },
    /// Everything up to the end of the connection.
    UntilClose,
}

/// Takes one message's content out of what arrives.
#[derive(Debug)]
pub struct Decoder(State);

#[derive(Debug)]
enum State {
    Fixed(u64),
    Chunked(Box<Chunks>),
    UntilClose,
    Complete,
}

impl Decoder {
    /// Before the first byte of the content.
    #[must_use]
    pub fn new(length: Length) -> Self {
        Self(match length {
            Length::Fixed(0) => State::Complete,
            Length::Fixed(bytes) => State::Fixed(bytes),
            Length::Chunked { trailers } => State::Chunked(Box::new(Chunks::new(trailers))),
            Length::UntilClose => State::UntilClose,
        })
    }

    /// Whether the content was taken to its end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.0, State::Complete)
    }

    /// Takes the next frame out of `bytes`, and what delimits it. `None` = what follows has not arrived, or the content is complete.
    ///
    /// # Errors
    /// What is wrong with the chunked coding, after all that was sound; from then on always the same.
    pub fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame<Bytes>>, &'static str> {
        let taken = match &mut self.0 {
            State::Complete => return Ok(None),
            State::UntilClose => bytes.len(),
            State::Fixed(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.0 = State::Complete;
                }
                taken
            }
            State::Chunked(chunks) => loop {
                let Run { coding, content } = chunks.advance(bytes)?;
                bytes.advance(coding);
                if chunks.is_complete() {
                    let trailers = chunks.take_trailers();
                    self.0 = State::Complete;
                    return Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)));
                }
                // A fault behind what was sound is told when it comes first.
                if coding == 0 || content > 0 {
                    break content;
                }
            },
        };
        Ok((taken > 0).then(|| Frame::data(bytes.split_to(taken).freeze())))
    }

    /// The connection has ended, and all that had arrived was taken: whether that is the content's end too.
    pub fn end(&mut self) -> bool {
        if matches!(self.0, State::UntilClose) {
            self.0 = State::Complete;
        }
        self.is_complete()
    }

    /// How many bytes of content are to come.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        match self.0 {
            State::Fixed(left) => SizeHint::with_exact(left),
            State::Complete => SizeHint::with_exact(0),
            State::Chunked(_) | State::UntilClose => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Content, names of trailers, and what is left behind them.
    type Decoded = (Vec<u8>, Vec<String>, Vec<u8>);

    /// Decodes `wire`, which arrives in pieces that end at `cuts`.
    fn decoded(length: Length, wire: &[u8], cuts: &[usize]) -> Result<Decoded, &'static str> {
        let mut decoder = Decoder::new(length);
        let (mut bytes, mut content, mut trailers) = (BytesMut::new(), Vec::new(), Vec::new());
        let mut shown = 0;
        for end in cuts.iter().map(|cut| cut % (wire.len() + 1)).chain([wire.len()]) {
            bytes.extend_from_slice(&wire[shown..end.max(shown)]);
            shown = shown.max(end);
            while let Some(frame) = decoder.decode(&mut bytes)? {
                match frame.into_data() {
                    Ok(data) => content.extend_from_slice(&data),
                    Err(frame) => trailers.extend(frame.into_trailers().unwrap().keys().map(ToString::to_string)),
                }
            }
        }
        assert!(decoder.end(), "more was to come");
        Ok((content, trailers, bytes.to_vec()))
    }

    #[test]
    fn each_delimiter_ends_the_content_where_it_says() {
        let trailers = 1;
        for (length, wire, content, behind) in [
            (Length::Fixed(3), "abcGET", "abc", "GET"),
            (Length::Fixed(0), "GET", "", "GET"),
            (Length::UntilClose, "abc", "abc", ""),
            (Length::Chunked { trailers }, "3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\nGET", "abcd", "GET"),
        ] {
            assert_eq!(decoded(length, wire.as_bytes(), &[]), Ok((content.into(), vec![], behind.into())), "{length:?}");
        }
    }

    #[test]
    fn trailers_are_a_frame_behind_the_content() {
        let wire = b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n";
        assert_eq!(decoded(Length::Chunked { trailers: 1 }, wire, &[]), Ok((b"a".into(), vec!["x-sum".into()], vec![])));
        assert_eq!(decoded(Length::Chunked { trailers: 0 }, wire, &[]), Err("more trailers than headers"));
    }

    proptest! {
        #[test]
        fn any_split_of_the_wire_gives_the_same_content(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in proptest::collection::vec(0_usize..300, 0..12),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\nX: y\r\n\r\nGET");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % wire.len()).collect();
            cuts.sort_unstable();
            let expected = (chunks.concat(), vec!["x".to_owned()], b"GET".to_vec());
            prop_assert_eq!(decoded(Length::Chunked { trailers: 1 }, &wire, &cuts), Ok(expected));
        }
    }
}
