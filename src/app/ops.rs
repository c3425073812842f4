//! The ops listener: `/livez`, `/readyz`, `/readyz?verbose`. GET only, plain text, nothing of a request or a key.
//! Losing the store later does not make a sidecar unready: it still serves the keys it knows.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::health::Health;
use super::http::{self, text};
use crate::server::bind::Bound;

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
        let answer = move |request| {
            let ops = Arc::clone(&self);
            async move { ops.answer(&request) }
        };
        http::serve("the ops listener", &bound, |_| true, answer).await;
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
