//! Addresses: written, bound once, and cloned into every worker. Never `SO_REUSEPORT`: closing one of such a group drops its queue.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};

use socket2::{Domain, Socket as RawSocket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::socket::Socket;
use crate::net::Peer;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A bound address.
#[derive(Debug)]
pub enum Bound {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix socket, with its path.
    Unix(unix::UnixListener, PathBuf),
}

/// A worker's clone of one.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// Binds `host:port` or `unix:/path`.
///
/// # Errors
/// The address is none, or taken.
pub fn bind(address: &str) -> io::Result<Bound> {
    if let Some(path) = address.strip_prefix("unix:") {
        return bind_unix(Path::new(path));
    }
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "not an address");
    for address in address.to_socket_addrs()? {
        match bind_tcp(address) {
            Ok(listener) => return Ok(Bound::Tcp(listener)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = match RawSocket::new(Domain::for_address(address), Type::STREAM, None) {
        // `[::]` means everybody; on a machine without IPv6 that is IPv4.
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            return bind_tcp((Ipv4Addr::UNSPECIFIED, address.port()).into());
        }
        socket => socket?,
    };
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    match socket.bind(&address.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && address.is_ipv6() && address.ip().is_unspecified() => {
            return bind_tcp((Ipv4Addr::UNSPECIFIED, address.port()).into());
        }
        result => result?,
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<Bound> {
    let listener = match unix::UnixListener::bind(path) {
        // Left behind by a process that is gone: nobody accepts on it.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            std::fs::remove_file(path)?;
            unix::UnixListener::bind(path)?
        }
        listener => listener?,
    };
    listener.set_nonblocking(true)?;
    Ok(Bound::Unix(listener, path.to_owned()))
}

fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    is_socket && unix::UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

impl Bound {
    /// The port that was given, for TCP.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// A clone for a worker; called within its runtime.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn listen(&self) -> io::Result<Listening> {
        match self {
            Self::Tcp(listener) => TcpListener::from_std(listener.try_clone()?).map(Listening::Tcp),
            Self::Unix(listener, _) => UnixListener::from_std(listener.try_clone()?).map(Listening::Unix),
        }
    }

    /// Its file, for a Unix socket. Whoever closes it removes that first: afterwards it may be another process'.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, path) => Some(path),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("?"),
            },
            Self::Unix(_, path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listening {
    /// The next connection.
    ///
    /// # Errors
    /// The connection is gone already, or no descriptor is left.
    pub async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Socket::Tcp(stream), peer.ip().into()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), Peer::Unix))
            }
        }
    }

    /// The connections that wait to be accepted; then the listener is closed.
    pub fn drain(self) -> Vec<(Socket, Peer)> {
        let mut waiting = Vec::new();
        match self {
            Self::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else { return waiting };
                while let Ok((stream, peer)) = listener.accept() {
                    let stream = stream
                        .set_nonblocking(true)
                        .and_then(|()| stream.set_nodelay(true))
                        .and_then(|()| tokio::net::TcpStream::from_std(stream));
                    waiting.extend(stream.ok().map(|stream| (Socket::Tcp(stream), peer.ip().into())));
                }
            }
            Self::Unix(listener) => {
                let Ok(listener) = listener.into_std() else { return waiting };
                while let Ok((stream, _)) = listener.accept() {
                    let stream = stream.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(stream));
                    waiting.extend(stream.ok().map(|stream| (Socket::Unix(stream), Peer::Unix)));
                }
            }
        }
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unspecified_ipv6_address_takes_ipv4_clients_too() {
        let bound = bind("[::]:0").unwrap();
        let port = bound.address().unwrap().port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let address = format!("unix:{}", path.display());
        drop(unix::UnixListener::bind(&path).unwrap());
        let bound = bind(&address).unwrap();
        assert_eq!(bind(&address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        std::fs::remove_file(bound.file().unwrap()).unwrap();
        std::fs::write(&path, "not a socket").unwrap();
        assert!(bind(&address).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"not a socket");
    }

    #[tokio::test]
    async fn connections_that_wait_are_served_before_a_listener_closes() {
        let bound = bind("127.0.0.1:0").unwrap();
        let address = bound.address().unwrap();
        let clients: Vec<_> = (0..5).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        assert_eq!(bound.listen().unwrap().drain().len(), clients.len());
    }
}
