//! Speaks to the sidecar of this machine over its control socket. Never starts one, and never asks over the network.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::{Exit, Failure};
use crate::config::sections::Config;

/// For a question that is answered at once.
pub(super) const AT_ONCE: Option<Duration> = Some(Duration::from_secs(5));
/// An answer is a few lines.
const ANSWER_MAX: u64 = 4 << 20;

/// Asks, and returns the answer's status and JSON.
///
/// # Errors
/// Nobody answers, or not in JSON.
pub(super) fn ask(config: &Config, method: &str, target: &str, patience: Option<Duration>) -> Result<(u16, Value), Failure> {
    let socket = &config.ops.socket;
    if socket.is_empty() {
        return Err(Exit::Unreachable.because("[ops] socket is \"\": there is nobody to ask"));
    }
    let answer = exchange(socket, method, target, patience);
    let answer =
        answer.map_err(|error| Exit::Unreachable.because(format!("no sidecar answers at [ops] socket = \"{socket}\": {error}")))?;
    let parsed = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).ok()?))
    });
    parsed.ok_or_else(|| Exit::Unreachable.because(format!("the sidecar at {socket} does not understand: is it of this release?")))
}

fn exchange(socket: &str, method: &str, target: &str, patience: Option<Duration>) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(patience)?;
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
    if answer.is_empty() { Err(io::Error::other("it closed the connection: only its own user is answered")) } else { Ok(answer) }
}
