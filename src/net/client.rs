//! Whose address a request has: the peer's, or, where the peer is a trusted proxy, the right-most entry of the one
//! configured header that is not itself a trusted proxy. An entry that cannot be read means no address: every allowlist refuses.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::{IpSet, Peer};
use crate::config::problem::Problems;
use crate::config::sections::Config;

/// The client's address: canonical, or none where there is none that can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub Option<IpAddr>);

/// What stands in `trusted_proxies` for whoever may open a Unix socket.
pub const UNIX: &str = "unix";

/// Whom to believe, and in which header.
#[derive(Debug)]
pub struct Trust {
    proxies: IpSet,
    /// Whether that holds for whoever may open a Unix socket.
    unix: bool,
    header: HeaderName,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `X-Forwarded-For`: a list of addresses.
    List,
    /// `Forwarded` (RFC 7239): `for=` of each element.
    Forwarded,
    /// Any other header: exactly one address.
    One,
}

impl Trust {
    /// Compiles `[client_ip]`.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let header: Option<HeaderName> = problems.parse("client_ip.header", &config.client_ip.header);
        let form = match config.client_ip.header.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Form::List,
            "forwarded" => Form::Forwarded,
            _ => Form::One,
        };
        // Bad networks are reported where all configured lists are checked.
        let list = &config.client_ip.trusted_proxies;
        let networks: Vec<&String> = list.iter().filter(|entry| *entry != UNIX).collect();
        let proxies = IpSet::parse(&networks).ok();
        Some(Self { proxies: proxies?, unix: networks.len() < list.len(), header: header?, form })
    }

    /// Whether the peer's word about addresses is believed.
    #[must_use]
    pub fn trusts(&self, peer: Peer) -> bool {
        match peer {
            Peer::Ip(ip) => self.proxies.contains(ip),
            Peer::Unix => self.unix,
        }
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.proxies.is_empty() && !self.unix
    }

    /// Whether anything is said of where the request came from.
    #[must_use]
    pub fn is_told(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(&self.header)
    }

    /// The header that is read.
    #[must_use]
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Whose address the request has.
    #[must_use]
    pub fn client(&self, peer: Peer, headers: &HeaderMap) -> ClientAddr {
        if !self.trusts(peer) || !self.is_told(headers) {
            return ClientAddr(match peer {
                Peer::Ip(ip) => Some(ip.to_canonical()),
                Peer::Unix => None,
            });
        }
        let mut lines: SmallVec<[&str; 4]> = SmallVec::new();
        for value in headers.get_all(&self.header) {
            match value.to_str() {
                Ok(line) => lines.push(line),
                Err(_) => return ClientAddr(None),
            }
        }
        ClientAddr(match self.form {
            Form::One => match lines.as_slice() {
                [line] => parse_hop(line.trim()),
                _ => None,
            },
            Form::List => self.right_most_untrusted(lines.iter().rev().flat_map(|line| line.rsplit(',')).map(parse_hop_trimmed)),
            Form::Forwarded => {
                let mut hops: SmallVec<[Option<IpAddr>; 8]> = SmallVec::new();
                for line in &lines {
                    match forwarded_hops(line) {
                        Some(of_line) => hops.extend(of_line),
                        None => return ClientAddr(None),
                    }
                }
                self.right_most_untrusted(hops.into_iter().rev())
            }
        })
    }

    /// From the right: the first that is no trusted proxy; the left-most if all are. A hop that cannot be read ends the walk without an address.
    fn right_most_untrusted(&self, hops: impl Iterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
        let mut left_most = None;
        for hop in hops {
            let ip = hop?;
            if !self.proxies.contains(ip) {
                return Some(ip);
            }
            left_most = Some(ip);
        }
        left_most
    }
}

fn parse_hop_trimmed(text: &str) -> Option<IpAddr> {
    parse_hop(text.trim_matches([' ', '\t']))
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let is_port =
        |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    if let Some(rest) = text.strip_prefix('[') {
        let (address, behind) = rest.split_once(']')?;
        let port_fine = behind.is_empty() || behind.strip_prefix(':').is_some_and(is_port);
        return address.parse::<std::net::Ipv6Addr>().ok().filter(|_| port_fine).map(|ip| IpAddr::V6(ip).to_canonical());
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    address.parse::<std::net::Ipv4Addr>().ok().filter(|_| is_port(port)).map(IpAddr::V4)
}

/// The `for=` of each element of a Forwarded line; `None` where the line cannot be parsed, an inner `None` where an element names no address.
fn forwarded_hops(line: &str) -> Option<SmallVec<[Option<IpAddr>; 8]>> {
    let mut hops = SmallVec::new();
    let mut rest = line;
    loop {
        let mut hop = None;
        let mut seen = false;
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            let (name, behind) = rest.split_once('=')?;
            let (value, behind) = match behind.strip_prefix('"') {
                // Addresses need no escapes; a quoted pair is not worth guessing at.
                Some(quoted) => quoted.split_once('"').filter(|(value, _)| !value.contains('\\'))?,
                None => behind.split_at_checked(behind.find([';', ',']).unwrap_or(behind.len()))?,
            };
            if name.eq_ignore_ascii_case("for") {
                if seen {
                    return None;
                }
                seen = true;
                hop = parse_hop(value.trim_matches([' ', '\t']));
            }
            rest = behind.trim_start_matches([' ', '\t']);
            match rest.strip_prefix(';') {
                Some(next) => rest = next,
                None => break,
            }
        }
        hops.push(hop);
        if rest.is_empty() {
            return Some(hops);
        }
        rest = rest.strip_prefix(',')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(header: &str) -> Trust {
        let mut config = Config::default();
        config.client_ip.trusted_proxies = vec!["10.0.0.0/8".into(), "2001:db8:1::/48".into()];
        config.client_ip.header = header.into();
        Trust::compile(&config, &mut Problems::default()).unwrap()
    }

    fn client(header: &str, peer: &str, lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HeaderName::from_bytes(header.as_bytes()).unwrap(), line.parse().unwrap());
        }
        trust(header).client(Peer::from(peer.parse::<IpAddr>().unwrap()), &headers).0.map(|ip| ip.to_string())
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        assert_eq!(client("X-Forwarded-For", "203.0.113.9", &["198.51.100.1"]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client("X-Forwarded-For", "::ffff:203.0.113.9", &["198.51.100.1"]).as_deref(), Some("203.0.113.9"));
    }

    #[test]
    fn who_may_open_a_unix_socket_is_believed_only_where_that_is_written() {
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-forwarded-for"), "198.51.100.1".parse().unwrap())]);
        let mut config = Config::default();
        for (list, expected) in [(&["10.0.0.0/8"][..], None), (&["10.0.0.0/8", "unix"], "198.51.100.1".parse().ok())] {
            config.client_ip.trusted_proxies = list.iter().map(|entry| (*entry).to_owned()).collect();
            let trust = Trust::compile(&config, &mut Problems::default()).unwrap();
            assert_eq!(trust.client(Peer::Unix, &headers).0, expected);
            assert_eq!((trust.client(Peer::Unix, &HeaderMap::new()).0, trust.trusts(Peer::Unix)), (None, expected.is_some()));
        }
    }

    #[test]
    fn the_right_most_untrusted_entry_is_the_client() {
        for (lines, expected) in [
            (&["198.51.100.1"][..], Some("198.51.100.1")),
            (&["1.1.1.1, 198.51.100.1, 10.1.1.1"], Some("198.51.100.1")),
            (&["1.1.1.1", "198.51.100.1", "10.1.1.1, 10.2.2.2"], Some("198.51.100.1")),
            (&["::ffff:198.51.100.1"], Some("198.51.100.1")),
            (&["198.51.100.1:4711"], Some("198.51.100.1")),
            (&["[2001:db8:2::1]:443"], Some("2001:db8:2::1")),
            (&["2001:db8:2::1, 2001:db8:1::7"], Some("2001:db8:2::1")),
            (&["10.0.0.7, 10.0.0.8"], Some("10.0.0.7")),
            (&["garbage, 198.51.100.1"], Some("198.51.100.1")),
            (&["198.51.100.1, garbage"], None),
            (&["198.51.100.1, "], None),
            (&[""], None),
            (&["unknown"], None),
            (&["198.51.100.01"], None),
            (&["0x7f.1"], None),
            (&["198.51.100.1:"], None),
            (&["198.51.100.1:99999"], None),
            (&["[198.51.100.1]"], None),
            (&["fe80::1%eth0"], None),
        ] {
            assert_eq!(client("X-Forwarded-For", "10.9.9.9", lines).as_deref(), expected, "{lines:?}");
        }
        assert_eq!(client("X-Forwarded-For", "10.9.9.9", &[]).as_deref(), Some("10.9.9.9"));
    }

    #[test]
    fn forwarded_is_read_by_its_grammar() {
        for (lines, expected) in [
            (&["for=198.51.100.1"][..], Some("198.51.100.1")),
            (&["for=1.1.1.1, For=\"[2001:db8:2::1]:80\";proto=https;by=10.0.0.1"], Some("2001:db8:2::1")),
            (&["proto=https;for=198.51.100.1, for=10.0.0.2"], Some("198.51.100.1")),
            (&["for=_hidden"], None),
            (&["for=unknown, for=10.0.0.1"], None),
            (&["for=198.51.100.1;for=1.1.1.1"], None),
            (&["for=\"198.51.100.1"], None),
            (&["for"], None),
            (&["proto=https"], None),
            (&["for=\"a,b\", for=10.0.0.1"], None),
        ] {
            assert_eq!(client("Forwarded", "10.9.9.9", lines).as_deref(), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_single_address_header_is_one_line_with_one_address() {
        assert_eq!(client("CF-Connecting-IP", "10.9.9.9", &["198.51.100.1"]).as_deref(), Some("198.51.100.1"));
        assert_eq!(client("CF-Connecting-IP", "10.9.9.9", &["198.51.100.1, 1.1.1.1"]), None);
        assert_eq!(client("CF-Connecting-IP", "10.9.9.9", &["198.51.100.1", "198.51.100.1"]), None);
    }
}
