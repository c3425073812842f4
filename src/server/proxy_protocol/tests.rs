//! Good preambles, and every way to get one wrong that we know of.

use proptest::prelude::*;

use super::*;

const BALANCER: Peer = Peer::Ip(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));

/// What comes of these bytes, and how many are left.
fn judge(mut bytes: &[u8]) -> (Result<Peer, String>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let read = runtime.block_on(read(&mut bytes, BALANCER)).map_err(|error| error.to_string());
    (read, bytes.len())
}

fn v2(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&v2::SIGNATURE[..], &[version_and_command, family], &length, rest].concat()
}

/// With a checksum at its end, wrong by `error`.
fn checked(family: u8, rest: &[u8], error: u32) -> Vec<u8> {
    let mut bytes = v2(0x21, family, &[rest, &[3, 0, 4, 0, 0, 0, 0]].concat());
    let crc = v2::crc32c(bytes.iter().copied()) ^ error;
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 1, 0xbb];

fn v6() -> Vec<u8> {
    let mut addresses = vec![0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    addresses.extend([0; 20]);
    addresses
}

fn client(text: &str) -> Peer {
    text.parse::<IpAddr>().unwrap().into()
}

#[test]
fn the_checksum_is_castagnolis() {
    assert_eq!(v2::crc32c(b"123456789".iter().copied()), 0xe306_9283);
}

#[test]
fn good_preambles_name_the_client_and_take_nothing_of_what_follows() {
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!(longest.len(), 104);
    for (bytes, expected) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n".to_vec(), client("192.0.2.7")),
        (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n".to_vec(), client("0.0.0.0")),
        (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(), client("2001:db8::7")),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(), client("192.0.2.7")),
        (longest.into(), client("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
        (b"PROXY UNKNOWN\r\n".to_vec(), BALANCER),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), BALANCER),
        (v2(0x21, 0x11, &V4), client("192.0.2.7")),
        (v2(0x21, 0x21, &v6()), client("2001:db8::7")),
        (v2(0x21, 0x31, &[0; 216]), Peer::Unix),
        (v2(0x20, 0x00, &[]), BALANCER),
        (v2(0x20, 0x11, &V4), BALANCER),
        (v2(0x21, 0x00, b"whatever"), BALANCER),
        (v2(0x21, 0x11, &[&V4[..], &[1, 0, 2, b'h', b'2', 4, 0, 0]].concat()), client("192.0.2.7")),
        (checked(0x11, &V4, 0), client("192.0.2.7")),
        (checked(0x21, &v6(), 0), client("2001:db8::7")),
    ] {
        let (peer, left) = judge(&[&bytes[..], b"GET / HTTP/1.1\r\n"].concat());
        assert_eq!((peer, left), (Ok(expected), 16), "{}", bytes.escape_ascii());
    }
}

#[test]
fn malformed_preambles_end_the_connection() {
    let two = [&[3, 0, 4, 0, 0, 0, 0][..]; 2].concat();
    let lines = [
        "GET / HTTP/1.1\r\n",
        "\r\nPROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY\r\nXXXXXXXXXXXX",
        "PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4\t1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n",
        "PROXY TCP4 1.2.3.4\r\n 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
        "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 0x1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 localhost 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY TCP6 [::1] ::1 1 2\r\n",
        "PROXY TCP6 1:::2 ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 x\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY UNKNOWN \0\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2",
        "PROXY TCP4 1.2.3.\u{664} 1.2.3.4 1 2\r\n",
    ];
    let overlong = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(overlong.len(), 108);
    let binaries = [
        v2(0x11, 0x11, &V4),
        v2(0x22, 0x11, &V4),
        v2(0x01, 0x11, &V4),
        v2(0x21, 0x12, &V4),
        v2(0x21, 0x22, &v6()),
        v2(0x21, 0x10, &V4),
        v2(0x21, 0x41, &V4),
        v2(0x21, 0x11, &V4[..11]),
        v2(0x21, 0x21, &v6()[..35]),
        v2(0x21, 0x31, &[0; 215]),
        v2(0x21, 0x11, &[&V4[..], &[1]].concat()),
        v2(0x21, 0x11, &[&V4[..], &[1, 0]].concat()),
        v2(0x21, 0x11, &[&V4[..], &[1, 0, 3, b'h', b'2']].concat()),
        v2(0x21, 0x11, &[&V4[..], &[3, 0, 3, 0, 0, 0]].concat()),
        v2(0x21, 0x11, &[&V4[..], &two].concat()),
        v2(0x21, 0x11, &[0; 4097]),
        checked(0x11, &V4, 1),
        v2(0x21, 0x11, &V4)[..20].to_vec(),
        b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c".iter().copied().chain(V4).collect(),
    ];
    let all = lines.iter().map(|line| line.as_bytes().to_vec()).chain([overlong.into_bytes()]).chain(binaries);
    for bytes in all {
        let (peer, _) = judge(&bytes);
        assert!(peer.is_err(), "{} is {peer:?}", bytes.escape_ascii());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(signed in 0..3_usize, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let signature: &[u8] = [&b""[..], b"PROXY TCP4 ", &v2::SIGNATURE][signed];
        let _ = judge(&[signature, &bytes].concat());
    }

    #[test]
    fn a_single_corrupted_bit_of_a_checked_preamble_never_names_another_client(at in 0..35_usize, bit in 0..8_u8) {
        let mut bytes = checked(0x11, &V4, 0);
        bytes[at] ^= 1 << bit;
        let (peer, _) = judge(&bytes);
        // LOCAL and UNSPEC are other words of the same length, and what is no checksum any more is not checked.
        prop_assert!(peer.is_err() || peer == Ok(BALANCER) || peer == Ok(client("192.0.2.7")), "{peer:?}");
    }
}
