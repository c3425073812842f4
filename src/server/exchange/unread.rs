//! The body of a request that nobody may have asked for: what its head says of it, and what is read away where nobody wants it, so
//! that its connection can be kept.

use std::time::Duration;

use http::request::Parts;
use http::{Version, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::rejection::{Refusal, Rejection};
use crate::server::body::{Received, read_away};

/// Content of a refused request that is read, bytes and time.
const DISCARD_BYTES: u64 = 64 << 10;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// What a request says of the body that is not read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unread {
    length: Option<u64>,
    limit: u64,
    expects_continue: bool,
    expects_other: bool,
    /// Of a stream nothing need be read before its answer: what comes behind it is another's.
    is_stream: bool,
}

/// What is left of a discarded body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    Unread,
}

impl Unread {
    pub(super) fn of(head: &Parts, body: &Received, limit: u64) -> Self {
        let mut expectations = head.headers.get_all(header::EXPECT).iter().peekable();
        // An HTTP/1.0 client's expectation is ignored (RFC 9110 §10.1.1).
        let expects_continue = expectations.peek().is_some() && head.version == Version::HTTP_11 && !body.is_end_stream();
        let expects_other = expectations.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let is_stream = head.version == Version::HTTP_2;
        Self { length: body.size_hint().exact(), limit, expects_continue, expects_other, is_stream }
    }

    pub(super) fn check_expectation(self) -> Result<(), Refusal> {
        if self.expects_other { Err(Rejection::ExpectationFailed.into()) } else { Ok(()) }
    }

    pub(super) fn check_length(self) -> Result<(), Refusal> {
        match self.length {
            Some(length) if length > self.limit => Err(Rejection::BodyTooLarge.because("Content-Length over body_bytes")),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads a refused request's body away, unless it is long or the client waits to be asked for it.
    pub(super) async fn discard(self, mut body: Received) -> Left {
        if body.is_end_stream() {
            return Left::Nothing;
        }
        if self.is_stream {
            read_away(body);
            return Left::Unread;
        }
        if self.expects_continue || self.length.is_some_and(|length| length > DISCARD_BYTES) {
            return Left::Unread;
        }
        let discard = async {
            let mut read = 0;
            while let Some(frame) = body.frame().await {
                read += frame.ok()?.data_ref().map_or(0, |data| data.len() as u64);
                if read > DISCARD_BYTES {
                    return None;
                }
            }
            Some(Left::Nothing)
        };
        timeout(DISCARD_TIME, discard).await.ok().flatten().unwrap_or(Left::Unread)
    }
}
