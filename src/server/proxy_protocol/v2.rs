//! Version 2: a signature, four bytes that say what follows and how long it is, addresses, and then type-length-value vectors,
//! of which the checksum is checked and the others only counted.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Malformed, OPENING, Source};

/// What it begins with.
pub(super) const SIGNATURE: [u8; OPENING] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes behind the signature that say the rest.
pub(super) const HEAD: usize = 4;
/// Longest rest: addresses and vectors of every balancer fit in a tenth of it.
const LONGEST: usize = 4096;
/// Vector that holds a CRC32C of the whole preamble.
const CHECKSUM: u8 = 0x03;

/// How long the rest is.
pub(super) fn length(head: [u8; HEAD]) -> Result<usize, Malformed> {
    let [_, _, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST { Err("too long") } else { Ok(length) }
}

/// Reads what follows the signature.
pub(super) fn parse(head: [u8; HEAD], rest: &[u8]) -> Result<Source, Malformed> {
    let [version_and_command, family, ..] = head;
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err("neither LOCAL nor PROXY of version 2"),
    };
    let (source, vectors) = match family {
        // Nothing is said of addresses; what follows is to be ignored.
        0x00 => return Ok(Source::Peer),
        0x11 => {
            let ([a, b, c, d, ..], vectors) = rest.split_first_chunk::<12>().ok_or("too short for IPv4")?;
            (Source::Client(Ipv4Addr::new(*a, *b, *c, *d).into()), vectors)
        }
        0x21 => {
            let (addresses, vectors) = rest.split_first_chunk::<36>().ok_or("too short for IPv6")?;
            let (source, _) = addresses.split_first_chunk::<16>().ok_or("too short for IPv6")?;
            (Source::Client(Ipv6Addr::from(*source).into()), vectors)
        }
        0x31 => (Source::Local, rest.split_first_chunk::<216>().ok_or("too short for a Unix socket")?.1),
        _ => return Err("neither TCP nor a Unix socket"),
    };
    check(head, rest, vectors)?;
    Ok(if is_local { Source::Peer } else { source })
}

/// The vectors must fill their room, and a checksum must be right.
fn check(head: [u8; HEAD], rest: &[u8], mut vectors: &[u8]) -> Result<(), Malformed> {
    let mut checked = false;
    while let Some(([kind, high, low], behind)) = vectors.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = behind.split_at_checked(length).ok_or("a vector that is longer than the preamble")?;
        if *kind == CHECKSUM {
            let said = value.try_into().map(u32::from_be_bytes).map_err(|_| "a checksum that is not of 4 bytes")?;
            if std::mem::replace(&mut checked, true) {
                return Err("two checksums");
            }
            let before = rest.len() - behind.len();
            let zeroed = rest.iter().enumerate().map(|(at, byte)| if (before..before + 4).contains(&at) { 0 } else { *byte });
            if crc32c(SIGNATURE.into_iter().chain(head).chain(zeroed)) != said {
                return Err("a wrong checksum");
            }
        }
        vectors = next;
    }
    if vectors.is_empty() { Ok(()) } else { Err("half a vector") }
}

/// CRC-32C (Castagnoli), bit by bit: a few hundred bytes a connection at most.
pub(super) fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(byte), step))
}
