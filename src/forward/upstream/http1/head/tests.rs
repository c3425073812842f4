//! Heads: what a request is written as, and what an answer may say.

use http::Request;

use super::*;

fn encoded(method: &str, uri: http::Uri, fields: &[(&'static str, &'static str)], framing: Framing) -> String {
    let mut head = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        head = head.header(*name, *value);
    }
    let mut out = Vec::new();
    write(&mut out, &Encoded::from(&head.body(()).unwrap().into_parts().0), framing);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_request_has_one_framing_header_and_its_target_in_origin_form() {
    let fields = [("x-a", "b"), ("trailer", "x-sum")];
    for (method, target, framing, expected) in [
        ("GET", "/a?b", Framing::Length(0), "GET /a?b HTTP/1.1\r\nx-a: b\r\n\r\n"),
        ("DELETE", "/", Framing::Length(0), "DELETE / HTTP/1.1\r\nx-a: b\r\n\r\n"),
        ("POST", "/", Framing::Length(0), "POST / HTTP/1.1\r\nx-a: b\r\ncontent-length: 0\r\n\r\n"),
        ("GET", "/", Framing::Length(7), "GET / HTTP/1.1\r\nx-a: b\r\ncontent-length: 7\r\n\r\n"),
        ("PUT", "/", Framing::Chunked, "PUT / HTTP/1.1\r\nx-a: b\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("OPTIONS", "*", Framing::Length(0), "OPTIONS * HTTP/1.1\r\nx-a: b\r\n\r\n"),
    ] {
        assert_eq!(encoded(method, target.parse().unwrap(), &fields, framing), expected);
    }
}

#[test]
fn content_is_framed_by_what_is_known_of_it() {
    let head = |fields: &[(&'static str, &'static str)]| {
        let request = fields.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        Encoded::from(&request.body(()).unwrap().into_parts().0)
    };
    let (plain, trailing) = (head(&[]), head(&[("trailer", "x-sum")]));
    assert_eq!(Framing::of(&plain, true, None), Framing::Length(0));
    assert_eq!(Framing::of(&plain, false, Some(3)), Framing::Length(3));
    assert_eq!(Framing::of(&plain, false, None), Framing::Chunked);
    assert_eq!(Framing::of(&trailing, true, Some(0)), Framing::Length(0));
    assert_eq!(Framing::of(&trailing, false, Some(3)), Framing::Chunked);
}

#[test]
fn a_head_ends_at_its_first_empty_line_wherever_the_bytes_are_cut() {
    for (head, behind) in
        [("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "\r\n\r\n"), ("HTTP/1.1 200 OK\nA: b\n\n", "x"), ("\r\nHTTP/1.1 200 OK\n\r\n", "")]
    {
        let whole = format!("{head}{behind}");
        for cut in 0..head.len() {
            let mut searched = 0;
            assert_eq!(end(&whole.as_bytes()[..cut], &mut searched), None, "{head:?} {cut}");
            assert_eq!(end(whole.as_bytes(), &mut searched), Some(head.len()), "{head:?} {cut}");
        }
    }
}

fn parsed(head: &str, method: &Method) -> Result<Option<(Length, bool)>, String> {
    let head = parse(&Bytes::copy_from_slice(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes()), method);
    head.map(|head| head.map(|head| (head.length, head.keep))).map_err(Cow::into_owned)
}

#[test]
fn an_answer_is_as_long_as_the_standards_list_says() {
    let chunked = Length::Chunked { trailers: FIELDS };
    for (head, length, keep) in [
        ("200 OK\r\nContent-Length: 5", Length::Fixed(5), true),
        ("200 OK\r\nContent-Length: 5, 5\r\ncontent-length: 5", Length::Fixed(5), true),
        ("200 OK\r\nContent-Length: 5\r\nConnection: x, Close", Length::Fixed(5), false),
        ("200 OK\r\nTransfer-Encoding: Chunked", chunked, true),
        ("200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", chunked, false),
        ("200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\nContent-Length: x", chunked, false),
        ("200 OK", Length::UntilClose, false),
        ("204 No Content\r\nContent-Length: 5", Length::Fixed(0), true),
        ("304 Not Modified\r\nContent-Length: 5, 6", Length::Fixed(0), true),
        ("101 Switching Protocols", Length::Fixed(0), false),
    ] {
        assert_eq!(parsed(head, &Method::GET), Ok(Some((length, keep))), "{head}");
    }
    assert_eq!(parsed("200 OK\r\nContent-Length: 5", &Method::HEAD), Ok(Some((Length::Fixed(0), true))));
    assert_eq!(parsed("103 Early Hints\r\nContent-Length: x", &Method::GET), Ok(None));
}

#[test]
fn what_can_be_read_in_two_ways_is_no_answer() {
    for head in [
        "200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
        "200 OK\r\nContent-Length: 5, 6",
        "200 OK\r\nContent-Length: +5",
        "200 OK\r\nContent-Length: ",
        "200 OK\r\nContent-Length: 5,",
        "200 OK\r\nTransfer-Encoding: gzip, chunked",
        "200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "204 No Content\r\nTransfer-Encoding: identity",
        "200 OK\r\nA : b",
        "200 OK\r\nA: b\r\n c",
        "099 Low",
        "2000 Long",
    ] {
        assert!(parsed(head, &Method::GET).is_err(), "{head}");
    }
}

#[test]
fn an_answer_of_http_1_0_is_kept_only_where_it_says_so() {
    let parsed = |head: &'static str| parse(&Bytes::from_static(head.as_bytes()), &Method::GET).map(|head| head.unwrap());
    let head = parsed("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n").unwrap();
    assert_eq!((head.parts.version, head.keep), (Version::HTTP_10, false));
    assert!(parsed("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n").unwrap().keep);
    assert!(parsed("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    assert!(parsed("HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\n").is_err());
}

#[test]
fn an_answer_has_a_hundred_header_lines_at_most() {
    let with = |lines: usize| parsed(&format!("200 OK{}", "\r\nA: b".repeat(lines)), &Method::HEAD);
    assert!(with(FIELDS).is_ok() && with(FIELDS + 1).is_err());
}

#[test]
fn a_reason_of_the_upstreams_own_is_kept() {
    let reason = |line: &str| {
        let head = parse(&Bytes::copy_from_slice(format!("HTTP/1.1 {line}\r\n\r\n").as_bytes()), &Method::GET).unwrap().unwrap();
        head.parts.extensions.get::<ReasonPhrase>().map(|reason| reason.as_bytes().to_vec())
    };
    assert_eq!((reason("200 OK"), reason("200 Fine")), (None, Some(b"Fine".to_vec())));
}
