//! The framing guard's rules: a pure state machine that follows the bytes of an HTTP/1 connection, head and body,
//! and says how many of them a parser may see. What is ambiguous is refused, never repaired (security.md 1–3, 6, 7).
//! It does no I/O, knows no time and judges no path, method or credential: that is the gate's.

mod authority;
pub mod fields;
mod head;
#[cfg(test)]
mod tests;

use head::Head;

use crate::config::sections::ListenerLimits;
use crate::http1::chunks::{Chunks, Run};
use crate::http1::decode::Length;
use crate::rejection::{Refusal, Rejection};

/// Bounds of a request head.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, request line included.
    pub head_bytes: usize,
    /// Header lines.
    pub headers: usize,
}

impl From<&ListenerLimits> for Limits {
    fn from(limits: &ListenerLimits) -> Self {
        Self { head_bytes: usize::try_from(limits.header_bytes.0).unwrap_or(usize::MAX), headers: limits.headers }
    }
}

/// Where the current message stands.
#[derive(Debug)]
enum State {
    Head(Head),
    Fixed(u64),
    Chunked(Chunks),
    Complete,
    Refused(Refusal),
}

/// The state machine of one connection.
#[derive(Debug)]
pub struct Framing {
    limits: Limits,
    state: State,
}

impl Framing {
    /// Before the first request.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Head(Head::default()) }
    }

    /// Judges `window`: every byte that arrived and was not passed yet, from the same byte on as in the call before.
    /// Returns how many of them may be passed; the rest must be shown again, with what arrives behind it.
    ///
    /// # Errors
    /// `request_invalid`, `target_too_long`, `headers_too_large` or `method_denied`; from then on always the same.
    pub fn advance(&mut self, window: &[u8]) -> Result<usize, Refusal> {
        let mut passed = 0;
        loop {
            let rest = window.get(passed..).unwrap_or_default();
            let step = match &mut self.state {
                State::Refused(refusal) if passed == 0 => return Err(refusal.clone()),
                State::Complete | State::Refused(_) => return Ok(passed),
                State::Head(head) => match head.advance(rest, self.limits) {
                    Ok(None) => return Ok(passed),
                    Ok(Some((bytes, length))) => {
                        self.state = after_head(length);
                        Ok(bytes)
                    }
                    Err(refusal) => Err(refusal),
                },
                State::Fixed(left) => {
                    let bytes = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= bytes as u64;
                    if *left == 0 {
                        self.state = State::Complete;
                    } else if bytes == 0 {
                        return Ok(passed);
                    }
                    Ok(bytes)
                }
                State::Chunked(chunks) => match chunks.advance(rest) {
                    Ok(Run { coding: 0, content: 0 }) => return Ok(passed),
                    Ok(Run { coding, content }) => {
                        if chunks.is_complete() {
                            self.state = State::Complete;
                        }
                        Ok(coding + content)
                    }
                    Err(why) => Err(Rejection::RequestInvalid.because(why)),
                },
            };
            match step {
                Ok(bytes) => passed += bytes,
                Err(refusal) => self.state = State::Refused(refusal),
            }
        }
    }

    /// Whether the current message was passed to its end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// Whether the current message's head was not passed yet.
    #[must_use]
    pub fn in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Goes on to the next message of the connection.
    pub fn next_message(&mut self) {
        if self.is_complete() {
            self.state = State::Head(Head::default());
        }
    }
}

fn after_head(length: Length) -> State {
    match length {
        Length::Fixed(0) => State::Complete,
        Length::Fixed(bytes) => State::Fixed(bytes),
        Length::Chunked { trailers } => State::Chunked(Chunks::new(trailers)),
        Length::UntilClose => State::Complete,
    }
}
