//! Addresses: networks and sets of them ([`IpSet`]), and whose address a request has ([`client`]).
//! An IPv4 address inside IPv6 (`::ffff:192.0.2.1`) is that IPv4 address, everywhere; nothing of one family ever matches the other.

pub mod client;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network or one address: `192.0.2.0/24`, `2001:db8::/32`, `192.0.2.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    last: IpAddr,
}

/// A set of addresses, made of networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpSet {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl FromStr for Network {
    type Err = String;

    /// Strict (std's address grammar, so no leading zeros, octal, hex, short forms or zones): what another parser
    /// might read as another network is refused, host bits too.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let parsed: IpAddr =
            address.parse().map_err(|_| format!("`{text}` is not an IP address or CIDR, such as 192.0.2.0/24 or 2001:db8::/32"))?;
        let width: u8 = if parsed.is_ipv4() { 32 } else { 128 };
        let mut bits = match prefix {
            None => width,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|bits| *bits <= width && !digits.starts_with('+') && (digits == "0" || !digits.starts_with('0')))
                .ok_or_else(|| format!("`{text}`: the prefix length must be 0 to {width}"))?,
        };
        let canonical = parsed.to_canonical();
        if parsed.is_ipv6() && canonical.is_ipv4() {
            bits = bits
                .checked_sub(96)
                .ok_or_else(|| format!("`{text}` covers more than the IPv4-mapped addresses; write the IPv4 network"))?;
        }
        let network = Self::around(canonical, bits, bits);
        if network.first != canonical {
            // Of a wide network nobody writes a host: to suggest it could open an allowlist to half of the world.
            let is_wide = bits < if canonical.is_ipv4() { 8 } else { 16 };
            return Err(if is_wide {
                format!("`{text}` has host bits set; one address is written {canonical}")
            } else {
                format!("`{text}` has host bits set; did you mean {}/{bits}?", network.first)
            });
        }
        Ok(network)
    }
}

impl Network {
    /// The one around an address: so many bits of an IPv4 address, so many of an IPv6 address.
    #[must_use]
    pub fn around(ip: IpAddr, v4_bits: u8, v6_bits: u8) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let host = u32::MAX.checked_shr(u32::from(v4_bits)).unwrap_or(0);
                let first = u32::from(ip) & !host;
                Self { first: IpAddr::V4(first.into()), last: IpAddr::V4((first | host).into()) }
            }
            IpAddr::V6(ip) => {
                let host = u128::MAX.checked_shr(u32::from(v6_bits)).unwrap_or(0);
                let first = u128::from(ip) & !host;
                Self { first: IpAddr::V6(first.into()), last: IpAddr::V6((first | host).into()) }
            }
        }
    }

    /// Its first address.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// Whether an address is in both.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.first.is_ipv4() == other.first.is_ipv4() && self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpSet::new([*self]).fmt(f)
    }
}

impl IpSet {
    /// The union of the networks.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match (network.first, network.last) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((u32::from(first), u32::from(last))),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((u128::from(first), u128::from(last))),
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
            }
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }

    /// Parses a list; the first entry that is no network is the error.
    ///
    /// # Errors
    /// The parser's words on that entry.
    pub fn parse<S: AsRef<str>>(list: &[S]) -> Result<Self, String> {
        Ok(Self::new(list.iter().map(|entry| entry.as_ref().parse()).collect::<Result<Vec<Network>, _>>()?))
    }

    /// Whether the address is in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => within(&self.v4, u32::from(ip)),
            IpAddr::V6(ip) => within(&self.v6, u128::from(ip)),
        }
    }

    /// Whether everything of the other set is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let v4 = other.v4.iter().all(|(first, last)| holds(&self.v4, *first, *last, |ip| ip.checked_add(1)));
        v4 && other.v6.iter().all(|(first, last)| holds(&self.v6, *first, *last, |ip| ip.checked_add(1)))
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// As networks where a range is one, else as `first–last`.
impl fmt::Display for IpSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v4 = self.v4.iter().map(|(first, last)| {
            range(&Ipv4Addr::from(*first), &Ipv4Addr::from(*last), u128::from(first ^ last), 32 - (first ^ last).count_ones())
        });
        let v6 = self
            .v6
            .iter()
            .map(|(first, last)| range(&Ipv6Addr::from(*first), &Ipv6Addr::from(*last), first ^ last, 128 - (first ^ last).count_ones()));
        let ranges: Vec<String> = v4.chain(v6).collect();
        f.write_str(if ranges.is_empty() { "none" } else { "" })?;
        f.write_str(&ranges.join(" "))
    }
}

/// `differing` are the bits in which the ends differ: a network's are its host bits, all of them and nothing else.
fn range<T: fmt::Display + PartialEq>(first: &T, last: &T, differing: u128, bits: u32) -> String {
    if first == last {
        first.to_string()
    } else if is_host_mask(differing) {
        format!("{first}/{bits}")
    } else {
        format!("{first}–{last}")
    }
}

/// Ones from the right, and nothing else.
const fn is_host_mask(bits: u128) -> bool {
    bits & bits.wrapping_add(1) == 0
}

fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut out: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out.into()
}

/// Whether all from `first` to `last` is in the ranges, which may lie side by side.
fn holds<T: Ord + Copy>(ranges: &[(T, T)], mut first: T, last: T, next: impl Fn(T) -> Option<T>) -> bool {
    loop {
        let Some((_, end)) = ranges.iter().find(|(begin, end)| *begin <= first && first <= *end) else { return false };
        match next(*end).filter(|_| *end < last) {
            Some(behind) => first = behind,
            None => return true,
        }
    }
}

fn within<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= value);
    behind.checked_sub(1).and_then(|index| ranges.get(index)).is_some_and(|(_, last)| value <= *last)
}

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// An address, canonical.
    Ip(IpAddr),
    /// A Unix socket: a process of this machine, without an address.
    Unix,
}

impl From<IpAddr> for Peer {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip.to_canonical())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Whether the address can only be of this machine or its private networks (RFC 1918, RFC 4193, loopback, link-local):
/// where an undeclared ingress would stand.
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// RFC 6598: carrier-grade NAT, which cloud providers use for pods.
fn is_shared(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [100, second, ..] if second & 0b1100_0000 == 64)
}

/// What throttles count as one client: the IPv4 address, the IPv6 /64.
#[must_use]
pub fn throttle_unit(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(list: &[&str]) -> IpSet {
        IpSet::parse(list).unwrap()
    }

    #[test]
    fn ambiguous_notations_are_refused() {
        for text in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "010.0.0.1",
            "0x0a.0.0.1",
            "10.1",
            "1.2.3.4.5",
            "10.0.0.0/8/8",
            "fe80::1%eth0",
            "2001:db8::1/32",
            "2001:db8::/129",
            "::ffff:10.0.0.0/8",
            "::ffff:0:0/95",
            "example.com",
            " 10.0.0.1",
            "10.0.0.1 ",
            "[::1]",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_suggestion_is_never_a_network_of_half_the_world() {
        let why = |text: &str| text.parse::<Network>().unwrap_err();
        assert!(why("10.0.0.1/8").ends_with("did you mean 10.0.0.0/8?"));
        assert!(why("2001:db8::1/32").ends_with("did you mean 2001:db8::/32?"));
        for text in ["::ffff:10.0.0.1/96", "::ffff:10.0.0.1/97", "10.0.0.1/0", "10.0.0.1/7"] {
            assert!(why(text).ends_with("one address is written 10.0.0.1"), "{}", why(text));
        }
        assert!(why("2001:db8::1/0").ends_with("one address is written 2001:db8::1"));
    }

    #[test]
    fn mapped_addresses_are_ipv4_and_families_stay_apart() {
        assert!(set(&["192.0.2.0/24"]).contains("::ffff:192.0.2.9".parse().unwrap()));
        assert!(set(&["::ffff:192.0.2.0/120"]).contains("192.0.2.9".parse().unwrap()));
        assert!(!set(&["0.0.0.0/0"]).contains("2001:db8::1".parse().unwrap()));
        assert!(!set(&["::/0"]).contains("192.0.2.1".parse().unwrap()));
        assert!(set(&["::/0"]).contains("2001:db8::1".parse().unwrap()));
        assert!(!set(&[]).contains("192.0.2.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn a_set_contains_what_one_of_its_networks_contains(
            nets in proptest::collection::vec((any::<u32>(), 0_u8..=32), 0..8), ip in any::<u32>()
        ) {
            let masked: Vec<(u32, u8)> = nets.iter().map(|(n, b)| (n & !u32::MAX.checked_shr(u32::from(*b)).unwrap_or(0), *b)).collect();
            let texts: Vec<String> = masked.iter().map(|(n, b)| format!("{}/{b}", Ipv4Addr::from(*n))).collect();
            let expected = masked.iter().any(|(n, b)| ip & !u32::MAX.checked_shr(u32::from(*b)).unwrap_or(0) == *n);
            prop_assert_eq!(IpSet::parse(&texts).unwrap().contains(Ipv4Addr::from(ip).into()), expected);
        }

        #[test]
        fn an_added_entry_never_refuses_more(nets in proptest::collection::vec((any::<u32>(), 8_u8..=32), 1..6), ip in any::<u32>()) {
            let texts: Vec<String> = nets.iter()
                .map(|(n, b)| format!("{}/{b}", Ipv4Addr::from(n & !u32::MAX.checked_shr(u32::from(*b)).unwrap_or(0)))).collect();
            let fewer = IpSet::parse(&texts[1..]).unwrap();
            let all = IpSet::parse(&texts).unwrap();
            let ip = IpAddr::from(Ipv4Addr::from(ip));
            prop_assert!(!fewer.contains(ip) || all.contains(ip));
        }
    }

    proptest! {
        #[test]
        fn a_set_covers_another_just_where_it_contains_all_of_it(
            wide in proptest::collection::vec((0_u32..64, 26_u8..=32), 0..6), narrow in proptest::collection::vec((0_u32..64, 26_u8..=32), 0..4)
        ) {
            let set = |nets: &[(u32, u8)]| {
                let mask = |bits: u8| u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
                let texts: Vec<String> = nets.iter().map(|(n, b)| format!("{}/{b}", Ipv4Addr::from(n & !mask(*b)))).collect();
                IpSet::parse(&texts).unwrap()
            };
            let (wide, narrow) = (set(&wide), set(&narrow));
            let contains_all = (0..64).map(Ipv4Addr::from).all(|ip| !narrow.contains(ip.into()) || wide.contains(ip.into()));
            prop_assert_eq!(wide.covers(&narrow), contains_all);
        }
    }

    #[test]
    fn families_are_covered_apart_and_to_their_ends() {
        assert!(set(&["0.0.0.0/0", "::/0"]).covers(&set(&["255.255.255.255", "2001:db8::/32"])));
        assert!(set(&["0.0.0.0/1", "128.0.0.0/1"]).covers(&set(&["0.0.0.0/0"])));
        assert!(!set(&["0.0.0.0/0"]).covers(&set(&["::/0"])) && !set(&["::/0"]).covers(&set(&["10.0.0.1"])));
        assert!(set(&[]).covers(&set(&[])));
    }

    #[test]
    fn a_set_prints_the_networks_it_was_made_of() {
        for text in ["192.0.2.0/24", "192.0.2.7", "0.0.0.0/0", "2001:db8::/32", "::/0", "10.0.0.0/8 192.0.2.0/24 2001:db8::1"] {
            assert_eq!(set(&text.split(' ').collect::<Vec<_>>()).to_string(), text);
        }
        assert_eq!(set(&["192.0.2.0/25", "192.0.2.0/26"]).to_string(), "192.0.2.0/25");
        assert_eq!(set(&[]).to_string(), "none");
    }

    #[test]
    fn the_throttle_counts_ipv6_by_64() {
        assert_eq!(throttle_unit("2001:db8::1:2:3:4".parse().unwrap()), "2001:db8::".parse::<IpAddr>().unwrap());
        assert_eq!(throttle_unit("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
