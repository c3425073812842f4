//! The ops listener: `/livez`, `/readyz`, `/readyz?verbose`. GET only, plain text, nothing of a request or a key.
//! Losing the store later does not make a sidecar unready: it still serves the keys it knows.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::health::Health;
use crate::server::bind::Bound;

/// Probes and scrapers, at once.
const CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The ops listener.
#[derive(Debug)]
pub(super) struct Ops {
    health: Arc<Health>,
}

impl Ops {
    pub(super) const fn new(health: Arc<Health>) -> Self {
        Self { health }
    }

    /// Answers on `bound` until the runtime ends.
    pub(super) async fn serve(self: Arc<Self>, bound: Bound) {
        let listening = match bound.listen() {
            Ok(listening) => listening,
            Err(error) => return tracing::error!(%error, "the ops listener cannot be served"),
        };
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((socket, _)) = listening.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let ops = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(ops.answer(&request))));
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
                let _ = builder.serve_connection(TokioIo::new(socket), service).await;
                drop(place);
            });
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let known = matches!(request.uri().path(), "/livez" | "/readyz");
        if !known {
            return text(StatusCode::NOT_FOUND, "not found\n".to_owned());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        if request.uri().path() == "/livez" {
            return text(StatusCode::OK, "ok\n".to_owned());
        }
        let (ready, report) = self.health.readiness();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let verbose =
            request.uri().query().is_some_and(|query| query.split('&').any(|word| word == "verbose" || word.starts_with("verbose=")));
        let verdict = if ready { "ready\n" } else { "not ready\n" };
        text(status, if verbose { report + verdict } else { verdict.to_owned() })
    }
}

fn text(status: StatusCode, content: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(content)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
