//! `uri-host [":" port]`, the strict way: what another parser might read as another host is refused.

use std::net::Ipv6Addr;

/// Whether `value` is a host, with or without port. Narrower than RFC 3986: no percent-encoding, no sub-delimiters,
/// no empty label (but one trailing dot), no empty port, never user information.
pub(crate) fn is_valid(value: &[u8]) -> bool {
    if let Some(rest) = value.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', rest) else { return false };
        let (address, port) = rest.split_at(end);
        return is_ipv6(address) && is_port_suffix(port.get(1..).unwrap_or_default());
    }
    match memchr::memchr(b':', value) {
        None => is_name(value),
        Some(colon) => {
            let (name, port) = value.split_at(colon);
            is_name(name) && is_port_suffix(port)
        }
    }
}

fn is_name(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    // Where the byte before is a dot, or there is none, a label begins: it has a character.
    let mut before = b'.';
    name.len() <= 253
        && name.iter().all(|byte| {
            let after = std::mem::replace(&mut before, *byte);
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') || (*byte == b'.' && after != b'.')
        })
        && before != b'.'
}

fn is_ipv6(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_port_suffix(suffix: &[u8]) -> bool {
    match suffix.split_first() {
        None => true,
        Some((b':', digits)) => {
            (1..=5).contains(&digits.len())
                && digits.iter().all(u8::is_ascii_digit)
                && std::str::from_utf8(digits).is_ok_and(|text| text.parse::<u16>().is_ok())
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn hosts_with_one_meaning_are_accepted() {
        for host in [
            "a",
            "api.example.com",
            "API.Example.com:8080",
            "api.example.com.",
            "192.0.2.1",
            "192.0.2.1:80",
            "[::1]",
            "[2001:db8::1]:443",
            "xn--bcher-kva.example",
            "my_service:3000",
            "localhost:0",
        ] {
            assert!(is_valid(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn hosts_that_parsers_read_differently_are_refused() {
        for host in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            ":80",
            "a:",
            "a:b",
            "a:80:90",
            "a:65536",
            "a:+80",
            "a:000080",
            "user@a",
            "user:pw@a",
            "a/b",
            "a b",
            "a,b",
            "a%20b",
            "a%2eb",
            "a\tb",
            "a\\b",
            "a?b",
            "a#b",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:",
            "[::1%eth0]",
            "[v1.a]",
            "[]",
            "[1.2.3.4]",
            "b\u{fc}cher",
            "a;b",
            "a'b",
            "a\"b",
            "a<b",
            "a\0b",
        ] {
            assert!(!is_valid(host.as_bytes()), "{host:?}");
        }
    }
}
