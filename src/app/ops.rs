//! The ops listener: `/livez`, `/readyz`, `/readyz?verbose`. GET only, plain text, nothing of a request or a key.
//! Losing the store later does not make a sidecar unready: it still serves the keys it knows.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::authn::{Authenticator, KeyTable};
use crate::fleet::Standing;
use crate::server::bind::Bound;
use crate::server::worker::Shared;

/// Probes and scrapers, at once.
const CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the ops listener tells of.
pub struct Ops {
    shared: Arc<Shared>,
    authenticator: Arc<Authenticator>,
    standing: Arc<Standing>,
    serving: AtomicBool,
    draining: AtomicBool,
    /// Whether the store was ever seen to answer.
    store_met: AtomicBool,
}

impl std::fmt::Debug for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ops").field("serving", &self.serving).field("draining", &self.draining).finish_non_exhaustive()
    }
}

impl Ops {
    pub(super) fn new(shared: Arc<Shared>, key_table: &KeyTable) -> Self {
        let (authenticator, standing) = (Arc::clone(key_table.authenticator()), Arc::clone(key_table.standing()));
        let store_met = AtomicBool::new(authenticator.store_status().reachable);
        Self { shared, authenticator, standing, serving: AtomicBool::new(false), draining: AtomicBool::new(false), store_met }
    }

    /// The workers accept.
    pub(super) fn serving(&self) {
        self.serving.store(true, Ordering::Release);
    }

    /// The sidecar is on its way out.
    pub(super) fn draining(&self) {
        self.draining.store(true, Ordering::Release);
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
        let (ready, report) = self.readiness();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let verbose =
            request.uri().query().is_some_and(|query| query.split('&').any(|word| word == "verbose" || word.starts_with("verbose=")));
        let verdict = if ready { "ready\n" } else { "not ready\n" };
        text(status, if verbose { report + verdict } else { verdict.to_owned() })
    }

    /// Whether requests should be sent here, and every check with its outcome, one a line.
    fn readiness(&self) -> (bool, String) {
        let mut report = String::new();
        let serving = self.serving.load(Ordering::Acquire);
        let draining = self.draining.load(Ordering::Acquire);
        report.push_str(match (serving, draining) {
            (_, true) => "[-]workers draining\n",
            (true, false) => "[+]workers ok\n",
            (false, false) => "[-]workers starting\n",
        });
        let store = self.authenticator.store_status();
        self.store_met.fetch_or(store.reachable, Ordering::AcqRel);
        let store_met = self.store_met.load(Ordering::Acquire) || self.authenticator.has_warm_start();
        if store.reachable {
            report.push_str("[+]store ok\n");
        } else {
            let since = store.since.map(|since| format!(" since {since}")).unwrap_or_default();
            let cure = if store.detail.contains("NOAUTH") { " (set [store] password_file)" } else { "" };
            let weight = if store_met { " (not required for ready)" } else { "" };
            let _ = writeln!(report, "[-]store unreachable{since}: {}{cure}{weight}", store.detail);
        }
        self.report_freshness(&mut report);
        if self.shared.app.load().gate.guard().saw_undeclared_ingress() {
            report.push_str("[!]guess guard off: private peers send forwarding headers, and client_ip.trusted_proxies is empty\n");
        }
        (serving && !draining && store_met, report)
    }
}

impl Ops {
    /// How true what is cached is.
    fn report_freshness(&self, report: &mut String) {
        let authenticator = &self.authenticator;
        let (now, position) = (self.shared.clock.now(), self.standing.position().0);
        let silent = authenticator.heard_at().map(|at| now.0.saturating_sub(at.0));
        let _ = match silent {
            Some(silent) if authenticator.is_heard(now) => writeln!(report, "[+]change log ok: at {position}, heard {silent} ms ago"),
            Some(silent) => {
                writeln!(report, "[!]change log at {position}, not heard for {silent} ms: cached keys are read again before use")
            }
            None => writeln!(report, "[!]change log never heard: cached keys are read again before use"),
        };
        let _ = writeln!(report, "[+]sidecars on this store: {}", self.standing.sidecars());
    }
}

fn text(status: StatusCode, content: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(content)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
