//! Addresses: written, bound once, and cloned into every worker. Never `SO_REUSEPORT`: closing one of such a group drops its queue.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use socket2::{Domain, Socket as RawSocket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::socket::Socket;
use crate::net::Peer;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Where a listener is to be, as it is written: `host:port` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address without brackets, or a host name.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(format!("`{text}` names no path: such as unix:/run/sidegate/public.sock"));
            }
            unix::SocketAddr::from_pathname(path).map_err(|error| format!("`{text}` is not a path of a Unix socket: {error}"))?;
            return Ok(Self::Unix(path.into()));
        }
        let Some((host, port)) = text.rsplit_once(':').filter(|_| text.parse::<Ipv6Addr>().is_err() && !text.ends_with(']')) else {
            let host = if text.parse::<Ipv6Addr>().is_ok() { format!("[{text}]") } else { text.to_owned() };
            let example = if host.bytes().all(|byte| byte.is_ascii_digit()) { format!("[::]:{host}") } else { format!("{host}:8080") };
            return Err(format!("`{text}` is not an address with a port: such as \"{example}\""));
        };
        if host.is_empty() {
            return Err(format!("`{text}` names no host: \"[::]:{port}\" is every address of this machine"));
        }
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number).ok_or_else(|| format!("`{text}`: a port is 0 to 65535"))?;
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_good = match inside {
            Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Ipv4Addr>().is_ok() || is_host_name(host),
        };
        if !is_good {
            return Err(format!("`{text}`: `{host}` is not an IP address (IPv6 in brackets) or a host name"));
        }
        Ok(Self::Tcp(inside.unwrap_or(host).to_owned(), port))
    }
}

impl Address {
    /// What is known of its host without asking a resolver.
    #[must_use]
    pub fn ips(&self) -> Vec<IpAddr> {
        match self {
            Self::Tcp(host, _) if host.eq_ignore_ascii_case("localhost") => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Self::Tcp(host, _) => host.parse().ok().map(|ip: IpAddr| ip.to_canonical()).into_iter().collect(),
            Self::Unix(_) => Vec::new(),
        }
    }
}

/// Letters, digits, `-`, `_` and dots, and not all numbers: those would be an IPv4 address gone wrong.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    host.split('.').all(is_label) && host.bytes().any(|byte| byte.is_ascii_alphabetic())
}

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
    let (host, port) = match address.parse().map_err(|why: String| io::Error::new(io::ErrorKind::InvalidInput, why))? {
        Address::Unix(path) => return bind_unix(&path),
        Address::Tcp(host, port) => (host, port),
    };
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the host has no address");
    for address in (host.as_str(), port).to_socket_addrs()? {
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
    fn an_address_is_a_host_with_a_port_or_a_path() {
        for (text, address) in [
            ("[::]:8080", Address::Tcp("::".into(), 8080)),
            ("127.0.0.1:0", Address::Tcp("127.0.0.1".into(), 0)),
            ("localhost:8080", Address::Tcp("localhost".into(), 8080)),
            ("pod-1.api_internal:65535", Address::Tcp("pod-1.api_internal".into(), 65535)),
            ("unix:/run/s.sock", Address::Unix("/run/s.sock".into())),
        ] {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
        for (text, words) in [
            ("localhost", "\"localhost:8080\""),
            ("8080", "\"[::]:8080\""),
            ("::1", "\"[::1]:8080\""),
            ("[::1]", "\"[::1]:8080\""),
            (":8080", "\"[::]:8080\""),
            ("127.0.0.1:99999", "0 to 65535"),
            ("127.0.0.1:", "0 to 65535"),
            ("127.0.0.1:+80", "0 to 65535"),
            ("1::2:zz", "0 to 65535"),
            ("fe80::g:80", "IPv6 in brackets"),
            ("256.0.0.1:80", "is not an IP address"),
            ("http://a:80", "is not an IP address"),
            ("unix:", "names no path"),
        ] {
            let why = text.parse::<Address>().unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
            assert!(bind(text).is_err(), "{text}");
        }
        assert!(format!("unix:/{}", "x".repeat(200)).parse::<Address>().is_err());
    }

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
