//! A small HTTP/1.1 server for probes, scrapers and operators: few connections, short heads, no bodies read.
//! It never serves clients; theirs is [`crate::server`].

mod room;

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::task::spawn_local;
use tokio::time::sleep;

use self::room::Room;
use crate::net::Peer;
use crate::server::bind::Bound;
use crate::server::socket::Socket;

/// For the head of a probe's request; also how long its connection may be idle.
pub(super) const SHORT: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on `bound`, where no connection is silent for longer than `idle` between requests, whom `welcome` lets in, until the runtime ends.
pub(super) async fn serve<W, E, F, A, B>(name: &'static str, bound: &Bound, idle: Duration, welcome: W, answer: F)
where
    W: Fn(Socket, Peer) -> E + 'static,
    E: Future<Output = Option<Socket>> + 'static,
    F: Fn(Request<Incoming>, Peer) -> A + 'static,
    A: Future<Output = Response<B>> + 'static,
    B: Body<Data: 'static, Error: std::error::Error + Send + Sync> + 'static,
{
    let listening = match bound.listen() {
        Ok(listening) => listening,
        Err(error) => return tracing::error!(%error, "{name} cannot be served"),
    };
    let (room, welcome, answer) = (Room::new(name), Rc::new(welcome), Rc::new(answer));
    loop {
        let Ok((socket, peer)) = listening.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(place) = room.admit(peer).await else { continue };
        let (welcome, answer) = (Rc::clone(&welcome), Rc::clone(&answer));
        spawn_local(async move {
            let serving = async {
                let Some(socket) = welcome(socket, peer).await else { return };
                let service = service_fn(|request| {
                    place.speak();
                    let answer = answer(request, peer);
                    async { Ok::<_, Infallible>(answer.await) }
                });
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(idle);
                let _ = builder.serve_connection(TokioIo::new(socket), service).await;
            };
            tokio::select! {
                // First: who is to go says nothing any more.
                biased;
                () = place.over() => {}
                () = serving => {}
            }
        });
    }
}

/// Plain text.
pub(super) fn text(status: StatusCode, content: String) -> Response<Full<Bytes>> {
    plain(status, "text/plain; charset=utf-8", content)
}

/// JSON.
pub(super) fn json(status: StatusCode, content: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string(content) {
        Ok(content) => plain(status, "application/json", content + "\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Content of this type.
pub(super) fn plain(status: StatusCode, content_type: &'static str, content: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(content)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
