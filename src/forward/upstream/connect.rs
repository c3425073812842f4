//! A new connection to an upstream: every address tried, refusals retried while the app may still be starting.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{sleep, timeout};

use super::Address;
use crate::server::socket::Socket;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Connects within `limit`.
///
/// # Errors
/// What the last attempt failed with.
pub async fn connect(address: &Address, limit: Duration) -> io::Result<Socket> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    let attempts = async {
        let mut pause = FIRST_PAUSE;
        loop {
            match dial(address, limit).await {
                Ok(socket) => return socket,
                Err(error) => last = error,
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    match timeout(limit, attempts).await {
        Ok(socket) => Ok(socket),
        Err(_) => Err(last),
    }
}

async fn dial(address: &Address, limit: Duration) -> io::Result<Socket> {
    let (host, port) = match address {
        Address::Unix(path) => return UnixStream::connect(path).await.map(Socket::Unix),
        Address::Tcp(host, port) => (host.as_str(), *port),
    };
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    // An address that swallows packets must leave time for the others.
    let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(Socket::Tcp(stream));
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
