//! Version 1: one line of text, at most 107 bytes, one space between words, CRLF at its end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Malformed, Source};

/// What it begins with.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// Its longest line, CRLF included.
pub(super) const LONGEST: usize = 107;

/// Reads a line, CRLF included.
pub(super) fn parse(line: &[u8]) -> Result<Source, Malformed> {
    let line = line.strip_suffix(b"\r\n").ok_or("no CRLF within 107 bytes")?;
    let line = std::str::from_utf8(line).ok().filter(|line| line.is_ascii()).ok_or("not ASCII")?;
    let line = line.strip_prefix("PROXY ").ok_or("no PROXY preamble")?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        // What follows is to be ignored.
        return if line.contains(['\r', '\n', '\0']) { Err("a control character") } else { Ok(Source::Peer) };
    }
    let words: Vec<&str> = line.split(' ').collect();
    let [protocol, source, destination, source_port, destination_port] = words.as_slice() else { return Err("not six words") };
    let address = |text: &str| match *protocol {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| "no IPv4 address"),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| "no IPv6 address"),
        _ => Err("neither TCP4, TCP6 nor UNKNOWN"),
    };
    let source = address(source)?;
    address(destination)?;
    if is_port(source_port) && is_port(destination_port) { Ok(Source::Client(source)) } else { Err("no port") }
}

/// 0 to 65535, without signs or leading zeros.
fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port.to_string() == text)
}
