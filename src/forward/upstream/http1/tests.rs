//! One exchange over a socket pair: against hyper's client, and where the two directions get in each other's way.

mod differential;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::config::problem::Problems;
use crate::forward::upstream::Upstreams;
use crate::server::socket::Socket;

fn run<T>(scene: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap().block_on(scene)
}

/// A body whose frames come when the test sends them.
#[derive(Debug, Default)]
struct Stream(Option<UnboundedReceiver<Result<Frame<Bytes>, &'static str>>>);

impl Body for Stream {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match &mut self.0 {
            Some(frames) => frames.poll_recv(cx),
            None => Poll::Ready(None),
        }
    }
}

type Frames = UnboundedSender<Result<Frame<Bytes>, &'static str>>;

fn stream() -> (Frames, Stream) {
    let (frames, body) = unbounded_channel();
    (frames, Stream(Some(body)))
}

fn data(frames: &Frames, text: &'static str) {
    frames.send(Ok(Frame::data(Bytes::from_static(text.as_bytes())))).unwrap();
}

/// A connection, and its other end.
fn pair() -> (Shared<Stream>, UnixStream) {
    let config = toml::from_str("[upstreams.main]\nurl = \"unix:/app\"").unwrap();
    let upstreams = Upstreams::compile(&config, &mut Problems::default()).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let wire = Wire::over(Socket::Unix(near), &upstreams.targets[0]);
    (Rc::new(RefCell::new(Connection::new(wire, Rc::default()))), far)
}

fn post() -> http::request::Parts {
    Request::post("/").body(()).unwrap().into_parts().0
}

async fn head(connection: &Shared<Stream>, method: &Method) -> Result<Head, Fault> {
    poll_fn(|cx| connection.borrow_mut().poll_head(method, cx)).await
}

/// Reads until what was read ends with this.
async fn hear(far: &mut UnixStream, end: &str) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) {
        assert!(far.read_buf(&mut heard).await.unwrap() > 0, "{}", String::from_utf8_lossy(&heard));
    }
    String::from_utf8(heard).unwrap()
}

#[test]
fn an_answer_that_comes_early_does_not_stop_the_upload_even_if_nobody_reads_it() {
    run(async {
        let (connection, mut far) = pair();
        let (frames, body) = stream();
        connection.borrow_mut().begin(&Encoded::from(&post()), Framing::Chunked, Some(body));
        data(&frames, "ab");
        far.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").await.unwrap();
        let answer = Content::answer(head(&connection, &Method::POST).await.unwrap(), connection, None);
        data(&frames, "cd");
        drop(frames);
        let heard = hear(&mut far, "0\r\n\r\n").await;
        assert_eq!(heard, "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n");
        far.write_all(b"1\r\ny\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "xy");
    });
}

#[test]
fn an_answer_that_is_left_lets_go_of_the_upload_at_once_and_of_the_connection() {
    run(async {
        let (connection, mut far) = pair();
        let (frames, body) = stream();
        connection.borrow_mut().begin(&Encoded::from(&post()), Framing::Chunked, Some(body));
        far.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 1\r\n\r\n").await.unwrap();
        let answer = Content::answer(head(&connection, &Method::POST).await.unwrap(), connection, None);
        drop(answer);
        assert!(frames.is_closed());
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert!(heard.ends_with(b"chunked\r\n\r\n"), "the upload must not look complete");
    });
}

#[test]
fn a_request_that_breaks_off_takes_its_answer_with_it() {
    run(async {
        let (connection, mut far) = pair();
        let (frames, body) = stream();
        connection.borrow_mut().begin(&Encoded::from(&post()), Framing::Chunked, Some(body));
        far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await.unwrap();
        let answer = Content::answer(head(&connection, &Method::POST).await.unwrap(), connection, None);
        let reading = tokio::task::spawn_local(answer.into_body().collect());
        tokio::task::yield_now().await;
        frames.send(Err("gone")).unwrap();
        assert!(reading.await.unwrap().is_err());
        assert!(far.read_to_end(&mut Vec::new()).await.is_ok());
    });
}

#[test]
fn a_body_that_is_not_as_long_as_it_said_ends_the_exchange() {
    run(async {
        for (said, sent) in [(1, "ab"), (3, "ab")] {
            let (connection, mut far) = pair();
            let (frames, body) = stream();
            connection.borrow_mut().begin(&Encoded::from(&post()), Framing::Length(said), Some(body));
            data(&frames, sent);
            drop(frames);
            let fault = head(&connection, &Method::POST).await.unwrap_err();
            assert!(fault.is_requests, "{fault:?}");
            drop(connection);
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).await.unwrap();
            assert!(!heard.ends_with(b"ab") || said > 2, "more than was said");
        }
    });
}

#[test]
fn what_the_upstream_said_before_it_closed_is_heard_though_it_took_no_more() {
    run(async {
        let (connection, mut far) = pair();
        let (frames, body) = stream();
        connection.borrow_mut().begin(&Encoded::from(&post()), Framing::Chunked, Some(body));
        // The head is written before anything comes back.
        assert!(poll_fn(|cx| Poll::Ready(connection.borrow_mut().poll_head(&Method::POST, cx).is_pending())).await);
        hear(&mut far, "\r\n\r\n").await;
        far.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await.unwrap();
        drop(far);
        data(&frames, "more");
        let answer = Content::answer(head(&connection, &Method::POST).await.unwrap(), connection, None);
        assert_eq!(answer.status(), 413);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "big");
    });
}

#[test]
fn a_request_of_which_nothing_was_written_moves_to_another_connection_whole() {
    run(async {
        let (connection, far) = pair();
        drop(far);
        let (frames, body) = stream();
        connection.borrow_mut().begin(&Encoded::from(&post()), Framing::Length(4), Some(body));
        data(&frames, "ab");
        assert!(!head(&connection, &Method::POST).await.unwrap_err().is_requests);
        let request = connection.borrow_mut().take_unwritten().expect("nothing was written");
        let (connection, mut far) = pair();
        connection.borrow_mut().adopt(request);
        data(&frames, "cd");
        far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        assert_eq!(head(&connection, &Method::POST).await.unwrap().parts.status, 204);
        assert_eq!(hear(&mut far, "abcd").await, "POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\nabcd");
    });
}

#[test]
fn heads_and_interim_answers_without_end_are_no_answer() {
    run(async {
        for endless in ["HTTP/1.1 100 Continue\r\n\r\n", "X-More: of it\r\n"] {
            let (connection, mut far) = pair();
            connection.borrow_mut().begin(&Encoded::from(&post()), Framing::Length(0), None);
            tokio::task::spawn_local(async move {
                let _ = far.write_all(b"HTTP/1.1 100 Continue\r\n").await;
                while far.write_all(endless.as_bytes()).await.is_ok() {}
            });
            assert!(head(&connection, &Method::POST).await.is_err(), "{endless}");
        }
    });
}

#[test]
fn an_idle_connection_that_said_something_is_not_quiet_to_a_task_that_has_done_much() {
    run(async {
        let (connection, mut far) = pair();
        far.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while connection.borrow_mut().is_quiet() {
            tokio::task::yield_now().await;
        }
        let (frames, mut much) = unbounded_channel();
        (0..10_000).for_each(|count| frames.send(count).unwrap());
        poll_fn(|cx| {
            while much.poll_recv(cx).is_ready() {}
            Poll::Ready(())
        })
        .await;
        assert!(!connection.borrow_mut().is_quiet(), "what lies there would be taken for the next answer");
    });
}
