//! Against upstreams that misbehave: each listens on a port of its own and plays a script, a line of it per connection.

mod reuse;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::Request;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::config::problem::Problems;

/// What an upstream does with a connection, step by step.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Reads a whole head and its body.
    Hear,
    /// Answers with this.
    Say(&'static str),
    /// Waits for ever.
    Hang,
}
use Act::{Hang, Hear, Say};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Everything that was heard, in order of connections and requests.
type Heard = Arc<Mutex<Vec<String>>>;

async fn play(listener: TcpListener, script: &'static [&'static [Act]], heard: Heard) {
    for acts in script {
        let (mut stream, _) = listener.accept().await.unwrap();
        let heard = Arc::clone(&heard);
        tokio::task::spawn_local(async move {
            let mut pending = Vec::new();
            for act in *acts {
                match act {
                    Hear => {
                        let text = loop {
                            if let Some(request) = whole(&pending) {
                                break request;
                            }
                            if stream.read_buf(&mut pending).await.unwrap() == 0 {
                                return;
                            }
                        };
                        pending.drain(..text.len());
                        heard.lock().unwrap().push(text);
                    }
                    Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                    Hang => std::future::pending().await,
                }
            }
        });
    }
}

/// A request with its body, if all of it is there.
fn whole(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let head = text.find("\r\n\r\n")? + 4;
    let end = if text.contains("transfer-encoding: chunked") {
        head + text.get(head..)?.find("0\r\n\r\n")? + 5
    } else {
        let length = text.get(..head)?.lines().find_map(|line| line.strip_prefix("content-length: "));
        head + length.map_or(0, |length| length.parse::<usize>().unwrap())
    };
    text.get(..end).map(str::to_owned)
}

fn run(scene: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap().block_on(scene);
}

/// A body in frames; `known` = its length is told beforehand.
#[derive(Default)]
struct Content {
    frames: VecDeque<&'static str>,
    known: bool,
}

impl http_body::Body for Content {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.frames.pop_front().map(|frame| Ok(http_body::Frame::data(Bytes::from(frame)))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let length = self.frames.iter().map(|frame| frame.len() as u64).sum();
        if self.known { http_body::SizeHint::with_exact(length) } else { http_body::SizeHint::default() }
    }
}

fn text(content: &'static str) -> Content {
    Content { frames: [content].into(), known: true }
}

/// A request in the form that the upstream takes.
fn forward(pools: &Pools<Content>, head: http::request::Parts) -> Forward {
    let head = match &pools.pools[0] {
        Pool::Http1(_) => Head::Http1(crate::forward::Encoded::from(&head)),
        Pool::Http2(_) => Head::Http2(Box::new(head)),
    };
    Forward { head, upstream: 0, response_timeout: None, handshake: None }
}

struct Scene {
    pools: Pools<Content>,
    heard: Heard,
}

impl Scene {
    async fn new(script: &'static [&'static [Act]], settings: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Heard::default();
        tokio::task::spawn_local(play(listener, script, Arc::clone(&heard)));
        Self { pools: pools(&url, settings), heard }
    }

    async fn send(&self, method: &str, mut body: Content) -> Result<(u16, String), Rejection> {
        let head = Request::builder().method(method).uri("/x?y").header("host", "api.example").body(()).unwrap().into_parts().0;
        let response =
            self.pools.send(&mut forward(&self.pools, head), &mut body, &Cell::new(0)).await.map_err(|refusal| refusal.rejection)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Ok((head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap()))
    }

    async fn get(&self) -> Result<(u16, String), Rejection> {
        self.send("GET", Content::default()).await
    }

    fn pool(&self) -> &http1::Pool<Content> {
        match &self.pools.pools[0] {
            Pool::Http1(pool) => pool,
            Pool::Http2(_) => panic!("an HTTP/2 upstream"),
        }
    }

    fn heard(&self) -> usize {
        self.heard.lock().unwrap().len()
    }
}

fn pools(url: &str, settings: &str) -> Pools<Content> {
    let config = toml::from_str(&format!("[upstreams.main]\nurl = \"{url}\"\nconnect_timeout = \"2s\"\n{settings}")).unwrap();
    let upstreams = Upstreams::compile(&config, &mut Problems::default()).unwrap();
    Pools::new(&upstreams, 1, Duration::from_secs(1))
}

fn fine() -> (u16, String) {
    (200, "ok".to_owned())
}

#[test]
fn a_connection_serves_one_request_after_another() {
    run(async {
        let scene = Scene::new(&[&[Hear, Say(OK), Hear, Say(OK), Hear, Say(OK), Hang]], "").await;
        for _ in 0..3 {
            assert_eq!(scene.get().await, Ok(fine()));
        }
    });
}

#[test]
fn a_reused_connection_that_closes_before_an_answer_costs_a_safe_request_nothing() {
    run(async {
        let scene = Scene::new(&[&[Hear, Say(OK), Hear], &[Hear, Say(OK), Hang]], "").await;
        assert_eq!(scene.get().await, Ok(fine()));
        assert_eq!(scene.get().await, Ok(fine()));
        assert_eq!(scene.heard(), 3);
    });
}

#[test]
fn what_may_have_been_done_is_never_sent_twice() {
    run(async {
        let scene = Scene::new(&[&[Hear, Say(OK), Hear], &[Hear, Say(OK), Hang]], "").await;
        assert_eq!(scene.get().await, Ok(fine()));
        assert_eq!(scene.send("POST", text("pay")).await, Err(Rejection::UpstreamUnavailable));
        assert_eq!(scene.heard(), 2);
    });
    run(async {
        let scene = Scene::new(&[&[Hear, Say(OK), Hear], &[Hear, Say(OK), Hang]], "").await;
        assert_eq!(scene.get().await, Ok(fine()));
        assert_eq!(scene.send("DELETE", Content::default()).await, Err(Rejection::UpstreamUnavailable));
        assert_eq!(scene.heard(), 2);
    });
}

#[test]
fn an_answer_that_breaks_off_in_its_head_is_not_asked_for_again() {
    run(async {
        let scene = Scene::new(&[&[Hear, Say(OK), Hear, Say("HTTP/1.1 2")], &[Hear, Say(OK), Hang]], "").await;
        assert_eq!(scene.get().await, Ok(fine()));
        assert_eq!(scene.get().await, Err(Rejection::UpstreamUnavailable));
        assert_eq!(scene.heard(), 2);
    });
}

#[test]
fn a_new_connection_that_closes_is_not_tried_again() {
    run(async {
        let scene = Scene::new(&[&[Hear], &[Hear, Say(OK), Hang]], "").await;
        assert_eq!(scene.get().await, Err(Rejection::UpstreamUnavailable));
        assert_eq!(scene.heard(), 1);
    });
}

#[test]
fn a_connection_that_the_upstream_closed_while_it_was_idle_is_not_used() {
    run(async {
        let scene = Scene::new(&[&[Hear, Say(OK)], &[Hear, Say(OK), Hang]], "").await;
        assert_eq!(scene.get().await, Ok(fine()));
        let open = || scene.pool().idle.borrow().iter().any(http1::Idle::is_quiet);
        while open() {
            tokio::task::yield_now().await;
        }
        assert_eq!(scene.send("POST", text("pay")).await, Ok(fine()));
    });
}

#[test]
fn exactly_one_framing_header_is_written_whatever_the_client_sent() {
    run(async {
        let scene = Scene::new(&[&[Hear, Say(OK), Hear, Say(OK), Hear, Say(OK), Hear, Say(OK), Hang]], "").await;
        for body in [Content::default(), text("abc"), Content { frames: ["ab", "c"].into(), known: false }] {
            assert_eq!(scene.send("POST", body).await, Ok(fine()));
        }
        assert_eq!(scene.get().await, Ok(fine()));
        let heard = scene.heard.lock().unwrap();
        let framing: Vec<Vec<&str>> = heard
            .iter()
            .map(|request| {
                request.lines().filter(|line| line.starts_with("content-length") || line.starts_with("transfer-encoding")).collect()
            })
            .collect();
        assert_eq!(framing, [vec!["content-length: 0"], vec!["content-length: 3"], vec!["transfer-encoding: chunked"], vec![]]);
        assert!(heard.iter().all(|request| request.contains("/x?y HTTP/1.1\r\nhost: api.example\r\n")), "{heard:?}");
    });
}

#[test]
fn over_the_limit_of_connections_is_overload_and_a_place_comes_back() {
    run(async {
        let scene = Scene::new(&[&[Hear, Hang], &[Hear, Say(OK), Hang]], "connections = 1").await;
        {
            let mut hanging = std::pin::pin!(scene.get());
            while scene.heard() == 0 {
                tokio::select! {
                    biased;
                    answer = &mut hanging => panic!("{answer:?}"),
                    () = tokio::task::yield_now() => {}
                }
            }
            assert_eq!(scene.get().await, Err(Rejection::Overloaded));
        }
        // The client left: its upstream connection goes, which takes its task a turn.
        while scene.pool().target.open.load(std::sync::atomic::Ordering::Acquire) > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(scene.get().await, Ok(fine()));
    });
}

#[test]
fn an_upstream_that_starts_late_is_waited_for() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let scene = Scene { pools: pools(&format!("unix:{}", path.display()), ""), heard: Heard::default() };
        let mut request = std::pin::pin!(scene.get());
        // The first attempt has failed before the upstream is there.
        tokio::select! {
            biased;
            answer = &mut request => panic!("{answer:?}"),
            () = tokio::task::yield_now() => {}
        }
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let upstream = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = request => assert_eq!(answer, Ok(fine())),
            () = upstream => {}
        }
    });
}

#[test]
fn an_upstream_that_does_not_answer_is_given_up() {
    run(async {
        let scene = Scene::new(&[&[Hear, Hang]], "response_timeout = \"50ms\"").await;
        assert_eq!(scene.get().await, Err(Rejection::UpstreamTimeout));
        assert_eq!(scene.heard(), 1);
    });
}

#[test]
fn idle_connections_are_few_and_leave_before_their_time() {
    run(async {
        let scene = Scene::new(&[&[Hear, Say(OK), Hang], &[Hear, Say(OK), Hang]], "idle_timeout = \"2s\"").await;
        assert_eq!(scene.get().await, Ok(fine()));
        let idle = || scene.pool().idle.borrow().len();
        assert_eq!(idle(), 1);
        scene.pools.sweep();
        assert_eq!(idle(), 1);
        scene.pools.sweep();
        assert_eq!(idle(), 0, "two sweeps are at most two seconds");
    });
    run(async {
        let scene = Scene::new(&[&[Hear, Say(OK), Hang]], "idle_connections = 0").await;
        assert_eq!(scene.get().await, Ok(fine()));
        assert_eq!(scene.pool().idle.borrow().len(), 0);
    });
}

#[test]
fn what_was_in_use_at_once_a_moment_ago_is_kept_beyond_what_may_be_idle() {
    run(async {
        const PLAY: &[Act] = &[Hear, Say(OK), Hear, Say(OK), Hang];
        let scene = Scene::new(&[PLAY, PLAY, PLAY], "idle_connections = 1\nidle_timeout = \"1m\"").await;
        let idle = || scene.pool().idle.borrow().len();
        for _ in 0..2 {
            let (one, other, third) = tokio::join!(scene.get(), scene.get(), scene.get());
            assert_eq!([one, other, third], [Ok(fine()), Ok(fine()), Ok(fine())]);
            // There is no fourth connection to be had.
            assert_eq!(idle(), 3);
        }
        for left in [3, 3, 1] {
            assert_eq!(idle(), left);
            scene.pools.sweep();
        }
    });
}

#[test]
fn an_http_2_connection_is_shared_and_leaves_when_it_was_idle_for_long() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("h2c://{}", listener.local_addr().unwrap());
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_response(http::Response::new(()), true).unwrap();
            }
        });
        let scene = Scene { pools: pools(&url, "idle_timeout = \"2s\"\nconnections = 1"), heard: Heard::default() };
        let nothing = Ok((200, String::new()));
        let (one, two) = tokio::join!(scene.get(), scene.get());
        assert_eq!((one, two), (nothing.clone(), nothing));
        let Pool::Http2(pool) = &scene.pools.pools[0] else { panic!("an HTTP/1.1 upstream") };
        let open = || pool.target.open.load(std::sync::atomic::Ordering::Acquire);
        scene.pools.sweep();
        assert_eq!(open(), 1);
        scene.pools.sweep();
        // Its task takes a turn or two to close it.
        while open() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn one_http_2_connection_that_cannot_be_made_fails_all_who_wait_for_it() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("h2c://{}", listener.local_addr().unwrap());
        let scene = Scene { pools: pools(&url, ""), heard: Heard::default() };
        let accepted = Cell::new(0);
        let upstream = async {
            loop {
                drop(listener.accept().await.unwrap());
                accepted.set(accepted.get() + 1);
            }
        };
        tokio::select! {
            (one, two) = async { tokio::join!(scene.get(), scene.get()) } => {
                assert_eq!((one, two), (Err(Rejection::UpstreamUnavailable), Err(Rejection::UpstreamUnavailable)));
            }
            () = upstream => {}
        }
        assert_eq!(accepted.get(), 1);
    });
}
