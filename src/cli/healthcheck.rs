//! `sidegate healthcheck`: asks the ops listener of the configuration whether the sidecar is ready.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Exit, Failure, Globals, output};
use crate::config::{self, Sources};

const TIMEOUT: Duration = Duration::from_secs(2);
/// A report is a few lines.
const REPORT_MAX: u64 = 64 << 10;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// `Exit::Failed` if it is not ready, `Exit::Unreachable` if nobody answers.
pub fn run(_args: &Args, globals: &Globals) -> Result<(), Failure> {
    let loaded = config::load(&Sources::from_globals(globals));
    loaded.require()?;
    let listen = &loaded.config.ops.listen;
    if listen.is_empty() {
        return Err(Exit::Unreachable.because("ops.listen is empty: there is nobody to ask"));
    }
    let answer = ask(listen).map_err(|error| unanswered(listen, &error))?;
    let Some((head, report)) = answer.split_once("\r\n\r\n") else {
        return Err(Exit::Unreachable.because(format!("{listen}: no HTTP answer")));
    };
    let ready = head.split_ascii_whitespace().nth(1) == Some("200");
    if !globals.quiet {
        output::line(report.trim_end());
    }
    if ready { Ok(()) } else { Err(Exit::Failed.because("")) }
}

fn unanswered(listen: &str, error: &io::Error) -> Failure {
    let asked = format!("[ops] listen = \"{listen}\"");
    let is = |kinds: [io::ErrorKind; 2]| kinds.contains(&error.kind());
    Exit::Unreachable.because(if is([io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound]) {
        format!("no sidecar answers at {asked}: {error}")
    } else if is([io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut]) {
        format!("{asked}: no answer within {} s", TIMEOUT.as_secs())
    } else {
        format!("{asked}: {error}")
    })
}

fn ask(listen: &str) -> io::Result<String> {
    if let Some(path) = listen.strip_prefix("unix:") {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        return exchange(stream);
    }
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in listen.to_socket_addrs()?.flat_map(reachable) {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                return exchange(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A wildcard address is asked on loopback, of either family.
fn reachable(address: SocketAddr) -> Vec<SocketAddr> {
    if !address.ip().is_unspecified() {
        return vec![address];
    }
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(|ip| SocketAddr::new(ip, address.port())).into()
}

fn exchange(mut stream: impl Read + Write) -> io::Result<String> {
    stream.write_all(b"GET /readyz?verbose HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(REPORT_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}
