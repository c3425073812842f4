//! Each rule of the guard as a row, and the laws: any split of the input gives the same verdict, nothing panics,
//! and what passes is read alike by another parser.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{Head, Limits};
use crate::http1::decode::Decoder;
use crate::rejection::Rejection;

const LIMITS: Limits = Limits { head_bytes: 16 << 10, headers: 20 };

/// What came out of an input.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Verdict {
    passed: Vec<u8>,
    messages: usize,
    refused: Option<String>,
}

/// Shows `input` in pieces that end at `cuts`.
fn judge(input: &[u8], cuts: &[usize]) -> Verdict {
    let mut verdict = Verdict { passed: Vec::new(), messages: 0, refused: None };
    let (mut head, mut content) = (Head::default(), None::<Decoder>);
    let (mut bytes, mut shown) = (BytesMut::new(), 0);
    for end in cuts.iter().copied().chain([input.len()]) {
        let end = shown.max(end.min(input.len()));
        bytes.extend_from_slice(&input[shown..end]);
        shown = end;
        loop {
            let before = bytes.clone();
            let step = match &mut content {
                None => head.advance(&bytes, LIMITS).map(|complete| {
                    let Some((taken, length)) = complete else { return false };
                    let _ = bytes.split_to(taken);
                    head.reset();
                    content = Some(Decoder::new(length));
                    true
                }),
                Some(decoder) => match decoder.decode(&mut bytes) {
                    Ok(_) if decoder.is_complete() => {
                        verdict.messages += 1;
                        content = None;
                        Ok(true)
                    }
                    Ok(frame) => Ok(frame.is_some()),
                    Err(why) => Err(Rejection::RequestInvalid.because(why)),
                },
            };
            verdict.passed.extend_from_slice(&before[..before.len() - bytes.len()]);
            match step {
                Ok(true) => {}
                Ok(false) => break,
                Err(refusal) => {
                    verdict.refused = Some(refusal.to_string());
                    return verdict;
                }
            }
        }
    }
    verdict
}

fn refusal(input: &str) -> Option<String> {
    judge(input.as_bytes(), &[]).refused
}

#[track_caller]
fn accepts(input: &str, messages: usize) {
    let verdict = judge(input.as_bytes(), &[]);
    assert_eq!((verdict.messages, verdict.refused.as_deref(), verdict.passed.len()), (messages, None, input.len()), "{input:?}");
}

#[test]
fn legal_requests_pass_byte_for_byte() {
    for input in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "GET /a?b=c%20d&e HTTP/1.1\r\nhOST:\t[::1]:80 \r\nX-Empty:\r\nX-Obs: \u{fc}\r\n\r\n",
        "GET http://a.example/x HTTP/1.1\r\nHost: A.example\r\n\r\n",
        "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTPS://a:8443/x HTTP/1.1\r\nHost: a:8443\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        "x!#$%&'*+-.^_`|~Y / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n1234567",
        "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=\"y z\"\r\n0123456789\r\n000\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0000000000000001\r\na\r\n0;last\r\nX-Sum: 1\r\nX-Two:\r\nContent-Length: 3\r\n\r\n",
    ] {
        accepts(input, 1);
    }
    accepts(
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxyGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
        3,
    );
}

/// Heads that are wrong in one way each, and a word of why.
const BAD_HEADS: &[(&str, &str)] = &[
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "beside"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "beside"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "exactly"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", "exactly"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", "exactly"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", "exactly"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n", "control"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;x\r\n\r\n", "exactly"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "more than one Transfer-Encoding"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", "more than one Transfer-Encoding"),
    ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", "digits"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", "digits"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n", "digits"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", "digits"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", "digits"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 3\r\n\r\n", "digits"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3.0\r\n\r\n", "digits"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1234567890123456789\r\n\r\n", "digits"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", "more than one Content-Length"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\ncontent-length: 4\r\n\r\n", "more than one Content-Length"),
    ("GET / HTTP/1.1\nHost: a\r\n\r\n", "line feed"),
    ("GET / HTTP/1.1\r\nHost: a\n\r\n", "line feed"),
    ("GET / HTTP/1.1\r\nHost: a\r\n\n", "line feed"),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "line feed"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", "control"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n", "control"),
    ("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "version"),
    ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "empty line"),
    ("GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", "folded"),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "folded"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", "folded"),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "token"),
    ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\n", "token"),
    ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", "token"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX Y: x\r\n\r\n", "token"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(Y): x\r\n\r\n", "token"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\u{fc}: x\r\n\r\n", "token"),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", "colon"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "control"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\u{7f}b\r\n\r\n", "control"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{1b}[2J\r\n\r\n", "control"),
    ("GET / HTTP/1.1\r\n\r\n", "no Host"),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "more than one Host"),
    ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "more than one Host"),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "Host is not"),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "Host is not"),
    ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", "Host is not"),
    ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "Host is not"),
    ("GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", "Host is not"),
    ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "authority"),
    ("GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", "authority"),
    ("GET http://a/ HTTP/1.0\r\n\r\n", "authority"),
    ("GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "neither"),
    ("GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", "neither"),
    ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "neither"),
    ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "neither"),
    ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", "neither"),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "neither"),
    ("OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", "neither"),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "fragment"),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "control"),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "control"),
    ("GET /\t HTTP/1.1\r\nHost: a\r\n\r\n", "control"),
    ("GET /\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n", "ASCII"),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "version"),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "version"),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "version"),
    ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", "version"),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", "version"),
    ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", "version"),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version"),
    ("GET /\r\n\r\n", "no version"),
    ("GET\r\n\r\n", "no target"),
    ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "token"),
    ("\u{16}\u{3}\u{1}\u{2}", "does not begin"),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "does not begin"),
    ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "method_denied"),
    ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", "method_denied"),
];

#[test]
fn each_ambiguous_head_is_refused_for_its_own_reason_and_nothing_of_it_passes() {
    for (input, why) in BAD_HEADS {
        let verdict = judge(input.as_bytes(), &[]);
        let refused = verdict.refused.as_deref().unwrap_or("nothing");
        assert!(refused.contains(why), "{input:?}: {refused}");
        assert!(verdict.passed.is_empty(), "{input:?}");
        let behind_another = format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{input}");
        // One empty line before a request is forgiven, wherever it stands.
        assert_eq!(judge(behind_another.as_bytes(), &[]).messages, 1, "{input:?}");
    }
}

#[test]
fn faults_in_a_chunked_body_are_found_at_their_byte() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, passes, why) in [
        ("\r\n", "", "without digits"),
        ("x\r\n", "", "without digits"),
        ("-1\r\n", "", "without digits"),
        ("+1\r\n", "", "without digits"),
        ("0x1\r\n", "0", "no hexadecimal"),
        (" 1\r\n", "", "without digits"),
        ("1 \r\na\r\n", "1", "no hexadecimal"),
        ("1\t;x\r\na\r\n", "1", "no hexadecimal"),
        ("1\na\r\n", "1", "no hexadecimal"),
        ("1\ra", "1\r", "carriage return"),
        ("00000000000000001\r\n", "0000000000000000", "16 digits"),
        ("1\r\nab\r\n", "1\r\na", "not followed"),
        ("1\r\na\n", "1\r\na", "not followed"),
        ("1\r\na\rb", "1\r\na\r", "not followed"),
        ("1;x\ny\r\n", "1;x", "control byte in a chunk"),
        ("1;x\0y\r\n", "1;x", "control byte in a chunk"),
        ("1;x\ry\r\n", "1;x\r", "carriage return"),
        ("0\r\nX: y\n\r\n", "0\r\n", "line feed"),
        ("0\r\n\n", "0\r\n", "line feed"),
        ("0\r\nX : y\r\n\r\n", "0\r\n", "token"),
        ("0\r\n X: y\r\n\r\n", "0\r\n", "folded"),
        ("0\r\nX: \0\r\n\r\n", "0\r\n", "control"),
    ] {
        let verdict = judge(format!("{head}{body}").as_bytes(), &[]);
        assert!(verdict.refused.as_deref().unwrap_or_default().contains(why), "{body:?}: {:?}", verdict.refused);
        assert_eq!(String::from_utf8_lossy(&verdict.passed[head.len()..]), passes, "{body:?}");
        assert_eq!(verdict.messages, 0, "{body:?}");
    }
}

#[test]
fn sizes_are_bounded() {
    let host = "Host: a\r\n\r\n";
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\n{host}", "a".repeat(length - 1));
    accepts(&target(8 << 10), 1);
    assert!(refusal(&target((8 << 10) + 1)).unwrap().starts_with("target_too_long"));
    assert!(refusal(&format!("GET /{}", "a".repeat(LIMITS.head_bytes))).unwrap().starts_with("target_too_long"));
    let lines = |count: usize| format!("GET / HTTP/1.1\r\n{}{host}", "X: y\r\n".repeat(count - 1));
    accepts(&lines(LIMITS.headers), 1);
    assert!(refusal(&lines(LIMITS.headers + 1)).unwrap().starts_with("headers_too_large"));
    let bytes = |count: usize| {
        let head = format!("GET / HTTP/1.1\r\nX: \r\n{host}");
        head.replace("X: ", &format!("X: {}", "y".repeat(count - head.len())))
    };
    accepts(&bytes(LIMITS.head_bytes), 1);
    assert!(refusal(&bytes(LIMITS.head_bytes + 1)).unwrap().starts_with("headers_too_large"));
    assert!(refusal(&format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(LIMITS.head_bytes))).unwrap().starts_with("headers_too_large"));
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extensions =
        |each: usize, chunks: usize| format!("{chunked}{}0\r\n\r\n", format!("1;{}\r\na\r\n", "x".repeat(each - 1)).repeat(chunks));
    accepts(&extensions(1 << 10, 16), 1);
    assert!(refusal(&extensions(1 << 10, 17)).unwrap().contains("extensions"));
    assert!(refusal(&format!("{chunked}0\r\n{}\r\n", "X: y\r\n".repeat(LIMITS.headers + 1))).unwrap().contains("more trailers"));
    assert!(refusal(&format!("{chunked}0\r\nX: {}", "y".repeat(8 << 10))).unwrap().contains("8 KiB of trailers"));
}

/// Bytes that HTTP is made of, so that random inputs get somewhere.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static str> = vec![
        "GET",
        "POST",
        "OPTIONS",
        "CONNECT",
        " ",
        "/",
        "/x?y",
        "*",
        "http://a/",
        "HTTP/1.1",
        "HTTP/1.0",
        "\r\n",
        "\r\n\r\n",
        "\r",
        "\n",
        "Host: a",
        "Host",
        ":",
        "Content-Length: 3",
        "Transfer-Encoding: chunked",
        "chunked",
        "abc",
        "3",
        "0",
        "1;x",
        "X: y",
        "\0",
        "#",
        ",",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    let known = proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let any_bytes = proptest::collection::vec(any::<u8>(), 0..4);
    proptest::collection::vec(prop_oneof![9 => known, 1 => any_bytes], 0..24).prop_map(|pieces| pieces.concat())
}

fn mutated_rows() -> impl Strategy<Value = Vec<u8>> {
    let rows: Vec<&'static str> = BAD_HEADS.iter().map(|(input, _)| *input).collect();
    (proptest::sample::select(rows), proptest::collection::vec((any::<usize>(), any::<u8>()), 0..3)).prop_map(|(row, changes)| {
        let mut bytes = row.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_split_of_an_input_gives_the_same_verdict(
        input in prop_oneof![pieces(), mutated_rows()], mut cuts in proptest::collection::vec(0_usize..400, 0..12)
    ) {
        cuts.sort_unstable();
        let whole = judge(&input, &[]);
        prop_assert_eq!(&judge(&input, &cuts), &whole);
        let every_byte: Vec<usize> = (1..input.len()).collect();
        prop_assert_eq!(&judge(&input, &every_byte), &whole);
    }

    #[test]
    fn what_passes_is_read_alike_by_another_parser(input in prop_oneof![pieces(), mutated_rows()]) {
        let mut rest = &input[..];
        let mut head = Head::default();
        while let Ok(Some((taken, length))) = head.advance(rest, LIMITS) {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut other = httparse::Request::new(&mut headers);
            prop_assert_eq!(other.parse(&rest[..taken]), Ok(httparse::Status::Complete(taken)));
            // A target may be no URI after all.
            let request = head.request(&Bytes::copy_from_slice(&rest[..taken]));
            head.reset();
            if let Ok((request, _)) = request {
                prop_assert_eq!(Some(request.method.as_str()), other.method);
                prop_assert_eq!(other.version, Some(u8::from(request.version == http::Version::HTTP_11)));
                let target = request.uri.to_string();
                prop_assert!(other.path.is_some_and(|path| path == target || path.eq_ignore_ascii_case(target.trim_end_matches('/'))), "{target}");
                let mut read: Vec<_> = request.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes())).collect();
                let mut alike: Vec<_> = other.headers.iter().map(|header| (header.name.to_lowercase(), header.value)).collect();
                read.sort();
                alike.sort();
                prop_assert_eq!(read, alike);
            }
            rest = &rest[taken..];
            let mut bytes = BytesMut::from(rest);
            let mut content = Decoder::new(length);
            while matches!(content.decode(&mut bytes), Ok(Some(_))) {}
            if !content.is_complete() {
                break;
            }
            rest = &rest[rest.len() - bytes.len()..];
        }
    }
}
