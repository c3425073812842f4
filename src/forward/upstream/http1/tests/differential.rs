//! The same answers through this client, cut anywhere, and through hyper's: status, headers, content and trailers are the same,
//! or neither takes the answer. Where we take less than hyper does is said here and nowhere else.

use http_body_util::Empty;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

/// Status, reason, headers; content and trailers unless it broke off. `None` = no answer.
type Outcome = Option<(u16, Option<Vec<u8>>, Vec<(String, Vec<u8>)>, Option<(Vec<u8>, Vec<(String, Vec<u8>)>)>)>;

fn fields(headers: &http::HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

async fn outcome<B: Body<Data = Bytes>>(answer: Response<B>) -> Outcome {
    let (head, body) = answer.into_parts();
    let content = body.collect().await.ok().map(|content| {
        let trailers = content.trailers().map(fields).unwrap_or_default();
        (content.to_bytes().to_vec(), trailers)
    });
    let reason = head.extensions.get::<ReasonPhrase>().map(|reason| reason.as_bytes().to_vec());
    Some((head.status.as_u16(), reason, fields(&head.headers), content))
}

fn request(method: &Method) -> Request<()> {
    Request::builder().method(method).uri("/").body(()).unwrap()
}

async fn ours(method: &Method, wire: &[u8], cuts: &[usize]) -> Outcome {
    let (connection, mut far) = pair();
    connection.borrow_mut().begin(&Encoded::from(&request(method).into_parts().0), Framing::Length(0), None);
    let (wire, mut cuts) = (wire.to_vec(), cuts.to_vec());
    cuts.sort_unstable();
    tokio::task::spawn_local(async move {
        hear(&mut far, "\r\n\r\n").await;
        let mut from = 0;
        for to in cuts.into_iter().map(|cut| cut.min(wire.len())).chain([wire.len()]) {
            if far.write_all(&wire[from..to]).await.is_err() {
                return;
            }
            from = to;
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
    });
    let head = head(&connection, method).await.ok()?;
    outcome(Content::answer(head, connection, None)).await
}

async fn hypers(method: &Method, wire: &[u8]) -> Outcome {
    let (near, mut far) = UnixStream::pair().unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::task::spawn_local(connection);
    let wire = wire.to_vec();
    tokio::task::spawn_local(async move {
        hear(&mut far, "\r\n\r\n").await;
        let _ = far.write_all(&wire).await;
    });
    let answer = sender.send_request(request(method).map(|()| Empty::<Bytes>::new())).await.ok()?;
    // What hyper takes as content though its coding is not ours.
    let codings: Vec<_> = answer.headers().get_all(http::header::TRANSFER_ENCODING).iter().collect();
    let plain = codings.is_empty() || codings.len() == 1 && codings[0].as_bytes().eq_ignore_ascii_case(b"chunked");
    if !plain {
        return None;
    }
    outcome(answer).await
}

fn answers() -> impl Strategy<Value = Vec<u8>> {
    let interim: &[&str] = &["", "", "", "\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"];
    let status: &[&str] = &[
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 Fine",
        "HTTP/1.1 200",
        "HTTP/1.1 200 ",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304 Not Modified",
        "HTTP/1.1 599 caf\u{e9}",
        "HTTP/1.1 099 Low",
        "HTTP/1.1 20 Short",
        "HTTP/2.0 200 OK",
        "http/1.1 200 OK",
    ];
    let lines: &[&str] = &[
        "Content-Length: 5",
        "Content-Length: 5",
        "content-length: 5, 5",
        "Content-Length: 4",
        "Content-Length: +5",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: gzip, chunked",
        "Connection: close",
        "Connection: keep-alive",
        "X-A: b",
        "X-A:  b c\t ",
        "X-A:",
        "X-Utf: \u{e9}",
    ];
    let odd: &[&str] = &["X A: b", ": b", "X-A : b", " folded", "X-Nul: a\0b", "X-Cr: a\rb", "no colon"];
    let bodies: &[&str] = &[
        "hello",
        "hel",
        "",
        "hello and more",
        "5\r\nhello\r\n0\r\n\r\n",
        "05\r\nhello\r\n00\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "2;ext=\"1\"\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\nX-T: 2\r\n\r\n",
        "5\r\nhelloX",
        "5\r\nhello\r\n",
        "zz\r\n",
        "\r\n",
        "11111111111111111\r\n",
    ];
    let lines = subsequence(lines.to_vec(), 0..4).prop_shuffle();
    let odd = prop_oneof![6 => Just(None), 1 => select(odd).prop_map(Some)];
    let end = prop_oneof![6 => Just("\r\n"), 1 => Just("\n")];
    (select(interim), select(status), lines, odd, end, select(bodies)).prop_map(|(interim, status, lines, odd, end, body)| {
        let mut wire = format!("{interim}{status}{end}");
        for line in lines.into_iter().chain(odd) {
            wire.push_str(line);
            wire.push_str(end);
        }
        format!("{wire}{end}{body}").into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_answer_is_what_hyper_says_it_is(
        wire in answers(), head_only: bool, cuts in proptest::collection::vec(0_usize..200, 0..8),
    ) {
        let method = if head_only { Method::HEAD } else { Method::GET };
        let (ours, hypers) = run(async { (ours(&method, &wire, &cuts).await, hypers(&method, &wire).await) });
        prop_assert_eq!(ours, hypers, "{}", String::from_utf8_lossy(&wire));
    }
}

#[test]
fn of_what_hyper_takes_only_this_is_refused() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["5 \r\nhello\r\n0\r\n\r\n".to_owned(), format!("5\r\nhello\r\n0\r\nX-T: {}\r\n\r\n", "x".repeat(9 << 10))] {
        let wire = format!("{head}{body}");
        run(async {
            let whole = |outcome: Outcome| outcome.unwrap().3.is_some();
            assert!(whole(hypers(&Method::GET, wire.as_bytes()).await));
            assert!(!whole(ours(&Method::GET, wire.as_bytes(), &[]).await));
        });
    }
}
