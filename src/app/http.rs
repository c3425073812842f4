//! A small HTTP/1.1 server for probes, scrapers and operators: few connections, short heads, no bodies read.
//! It never serves clients; theirs is [`crate::server`].

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::server::bind::Bound;
use crate::server::socket::Socket;

/// Probes and scrapers, at once.
const CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on `bound` whom `welcomes` takes, until the runtime ends.
pub(super) async fn serve<F, A>(name: &'static str, bound: &Bound, welcomes: impl Fn(&Socket) -> bool, answer: F)
where
    F: Fn(Request<Incoming>) -> A + 'static,
    A: Future<Output = Response<Full<Bytes>>> + 'static,
{
    let listening = match bound.listen() {
        Ok(listening) => listening,
        Err(error) => return tracing::error!(%error, "{name} cannot be served"),
    };
    let (room, answer) = (Arc::new(Semaphore::new(CONNECTIONS)), Rc::new(answer));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((socket, _)) = listening.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if !welcomes(&socket) {
            continue;
        }
        let answer = Rc::clone(&answer);
        spawn_local(async move {
            let service = service_fn(|request| {
                let answer = answer(request);
                async { Ok::<_, Infallible>(answer.await) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            let _ = builder.serve_connection(TokioIo::new(socket), service).await;
            drop(place);
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
