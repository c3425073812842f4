//! A new connection to an upstream: every address tried, refusals retried while the app may still be starting, then TLS.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::tls::Tls;
use super::{Address, Protocol, Target};
use crate::server::socket::Socket;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Connects to an upstream within its `connect_timeout`, TLS included.
///
/// # Errors
/// What the last attempt failed with.
pub(super) async fn connect(target: &Target) -> io::Result<Socket> {
    let limit = target.connect_timeout;
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    let connecting = async {
        let mut pause = FIRST_PAUSE;
        let socket = loop {
            match dial(&target.address, limit).await {
                Ok(socket) => break socket,
                Err(error) => last = error,
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        last = io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake did not end in time");
        match &target.tls {
            None => Ok(socket),
            Some(tls) => shake_hands(socket, tls, target.protocol).await,
        }
    };
    match timeout(limit, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(last),
    }
}

/// A certificate that is not believed now will not be believed in a moment: nothing is tried again.
async fn shake_hands(socket: Socket, tls: &Tls, protocol: Protocol) -> io::Result<Socket> {
    let connector = TlsConnector::from(std::sync::Arc::clone(&tls.config));
    let stream = connector.connect(tls.server_name.clone(), socket).await?;
    if protocol == Protocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(protocol.alpn()) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "it does not speak HTTP/2 over TLS"));
    }
    Ok(Socket::Tls(Box::new(stream.into())))
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
