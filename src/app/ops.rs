//! The ops listener: `/livez`, `/readyz`, `/readyz?verbose`, `/metrics`, `/probe/<name>`, `/.well-known/jwks.json`. GET only; nothing of a request or a key.
//! Losing the store later does not make a sidecar unready: it still serves the keys it knows.

use std::future::ready;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::task::spawn_local;

use super::health::Health;
use super::http::{self, plain, text};
use super::metrics;
use super::probes::Prober;
use crate::identity::signed::Signature;
use crate::server::bind::Bound;
use crate::telemetry::exposition::Exposition;

/// Where the keys are.
const JWKS: &str = "/.well-known/jwks.json";

/// The ops listener.
#[derive(Debug)]
pub(super) struct Ops {
    health: Arc<Health>,
    prober: Prober,
}

impl Ops {
    pub(super) fn new(health: Arc<Health>) -> Rc<Self> {
        Rc::new(Self { prober: Prober::new(Arc::clone(health.reloader.app())), health })
    }

    /// Answers on `bound` until the runtime ends.
    pub(super) async fn serve(self: Rc<Self>, bound: Bound) {
        let sweeping = Rc::clone(&self);
        spawn_local(async move { sweeping.prober.sweep().await });
        let answer = move |request, _| Rc::clone(&self).answer(request);
        http::serve("the ops listener", &bound, http::SHORT, |socket, _| ready(Some(socket)), answer).await;
    }

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let probe = path.strip_prefix("/probe/");
        if probe.is_none() && !matches!(path, "/livez" | "/readyz" | "/metrics" | JWKS) {
            return text(StatusCode::NOT_FOUND, "not found\n".to_owned());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match (path, probe) {
            (_, Some(name)) => self.probe(name).await,
            ("/livez", None) => text(StatusCode::OK, "ok\n".to_owned()),
            ("/metrics", None) => plain(StatusCode::OK, Exposition::CONTENT_TYPE, metrics::scrape(&self.health)),
            (JWKS, None) => self.jwks(),
            _ => self.ready(request.uri().query()),
        }
    }

    /// Keys that tokens of `[sessions]`, and what upstreams are told of callers, are verified with: public halves only.
    fn jwks(&self) -> Response<Full<Bytes>> {
        let app = self.health.reloader.app().load();
        let (sessions, identity) = (app.gate.issuers().signing(), app.gate.header_rules().signature());
        if sessions.is_none() && identity.is_none() {
            let nothing = "nothing is signed here: [sessions] has no signing_key_files, and [identity] signed no header\n";
            return text(StatusCode::NOT_FOUND, nothing.to_owned());
        }
        let sessions = sessions.into_iter().flat_map(|signing| signing.jwks());
        let keys: Vec<Value> = sessions.chain(identity.into_iter().flat_map(Signature::jwks)).collect();
        plain(StatusCode::OK, "application/jwk-set+json", json!({ "keys": keys }).to_string())
    }

    fn ready(&self, query: Option<&str>) -> Response<Full<Bytes>> {
        let (ready, report) = self.health.readiness();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let verbose = query.is_some_and(|query| query.split('&').any(|word| word == "verbose" || word.starts_with("verbose=")));
        let verdict = if ready { "ready\n" } else { "not ready\n" };
        text(status, if verbose { report + verdict } else { verdict.to_owned() })
    }

    async fn probe(&self, name: &str) -> Response<Full<Bytes>> {
        match self.prober.ask(name).await {
            None => text(StatusCode::NOT_FOUND, "no such probe in [ops.probes]\n".to_owned()),
            Some(Ok(status)) => text(status, String::new()),
            Some(Err(refusal)) => {
                tracing::debug!(%refusal, probe = name, "a probe was not answered");
                let row = refusal.rejection.row();
                text(StatusCode::from_u16(row.status).unwrap_or(StatusCode::BAD_GATEWAY), format!("{}\n", row.reason))
            }
        }
    }
}
