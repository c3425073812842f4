//! The PROXY protocol, versions 1 and 2: whose connection it is, said by a balancer before anything else. Where it is required
//! it must be right to the last byte: what two parsers could read in two ways ends the connection. It judges no trust.

mod v1;
mod v2;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use crate::net::Peer;

/// From accept to the end of the preamble.
const PATIENCE: Duration = Duration::from_secs(3);
/// As many bytes as tell the versions apart, and no more than the shortest preamble has.
const OPENING: usize = 12;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The balancer's own (a health check), or one it knows nothing of.
    Peer,
    /// A client's.
    Client(IpAddr),
    /// A process on the balancer's machine: it has no address.
    Local,
}

/// What is wrong with a preamble.
type Malformed = &'static str;

/// Reads a preamble and not a byte more; who is at the other end then, `peer` being who connected.
///
/// # Errors
/// It is malformed, or does not arrive in time.
pub async fn read(stream: &mut (impl AsyncRead + Unpin), peer: Peer) -> io::Result<Peer> {
    let source = timeout(PATIENCE, source(stream)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(match source {
        Source::Peer => peer,
        Source::Client(ip) => ip.into(),
        Source::Local => Peer::Unix,
    })
}

async fn source(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Source> {
    let mut opening = [0; OPENING];
    stream.read_exact(&mut opening).await?;
    let parsed = if opening == v2::SIGNATURE {
        let mut head = [0; v2::HEAD];
        stream.read_exact(&mut head).await?;
        let mut rest = vec![0; v2::length(head).map_err(malformed)?];
        stream.read_exact(&mut rest).await?;
        v2::parse(head, &rest)
    } else if opening.starts_with(v1::SIGNATURE) {
        let mut line = opening.to_vec();
        // Byte by byte: what comes behind it is another's. Nobody who counts the cost speaks version 1.
        while !line.ends_with(b"\n") && line.len() < v1::LONGEST {
            line.push(stream.read_u8().await?);
        }
        v1::parse(&line)
    } else {
        Err("no PROXY preamble")
    };
    parsed.map_err(malformed)
}

fn malformed(why: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
