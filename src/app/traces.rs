//! `[tracing]`: where spans are sent, and by whom: the office's thread, in batches of OTLP over HTTP, over a connection of its own.
//! A collector that is away costs the spans that find no room meanwhile, and nothing else.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use hyper::http::uri::{PathAndQuery, Uri};
use hyper::http::{HeaderValue, StatusCode};
use tokio::time::{sleep, timeout};

use super::Snapshot;
use crate::config::problem::Problems;
use crate::config::sections::{Config, Upstream};
use crate::config::units;
use crate::forward;
use crate::forward::upstream::Upstreams;
use crate::forward::upstream::pool::Pools;
use crate::telemetry::spans::{Counts, Spans, encode};

/// What every collector calls it.
const PATH: &str = "/v1/traces";
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
/// How long the collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long spans gather, unless they are many.
const GATHER: Duration = Duration::from_secs(1);
/// Longest pause behind a failure.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long the end waits for what is left.
const GOODBYE: Duration = Duration::from_secs(2);

/// Where spans are sent.
#[derive(Debug)]
pub(crate) struct Collector {
    upstreams: Upstreams,
    target: PathAndQuery,
}

impl Collector {
    /// Compiles `[tracing] otlp_endpoint`; the inner `None` = nowhere. The outer one is an error.
    #[expect(clippy::option_option, reason = "an error, off, or on")]
    pub(super) fn compile(config: &Config, problems: &mut Problems) -> Option<Option<Arc<Self>>> {
        let endpoint = &config.tracing.otlp_endpoint;
        if endpoint.is_empty() {
            return Some(None);
        }
        match parse(endpoint) {
            Ok((origin, target)) => {
                let upstream = Upstream { url: origin, response_timeout: units::Span(PATIENCE), connections: 1, ..Upstream::default() };
                let upstreams = Upstreams::one("tracing", &upstream, problems)?;
                Some(Some(Arc::new(Self { upstreams, target })))
            }
            Err(why) => {
                problems.error("tracing.otlp_endpoint", why).help("such as \"http://collector:4318\"");
                None
            }
        }
    }
}

/// Origin and path. OpenTelemetry's own clients append the path of traces; who has written it out has meant it.
fn parse(endpoint: &str) -> Result<(String, PathAndQuery), String> {
    let uri: Uri = endpoint.parse().map_err(|error| format!("`{endpoint}` is not a URL: {error}"))?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(format!("`{endpoint}` is not an http:// or https:// URL"));
    };
    if authority.as_str().contains('@') {
        return Err("the endpoint has a user name: it would be sent to nobody".to_owned());
    }
    if uri.query().is_some() {
        return Err("the endpoint has a query".to_owned());
    }
    if authority.port_u16() == Some(4317) {
        return Err("4317 is the port of OTLP over gRPC, and this is OTLP over HTTP, whose port is 4318".to_owned());
    }
    let base = uri.path().trim_end_matches('/');
    let path = if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") };
    let target = path.parse().map_err(|_| format!("`{endpoint}` is not a URL"))?;
    Ok((format!("{scheme}://{authority}"), target))
}

/// Sends what workers have left to be sent.
pub(super) struct Exporter {
    app: Arc<ArcSwap<Snapshot>>,
    spans: Arc<Spans>,
    host: String,
    connected: RefCell<Option<Connected>>,
    /// A batch that the collector may take when it is back.
    held: RefCell<Option<Batch>>,
    is_failing: Cell<bool>,
}

/// A collector, and the connection to it.
type Connected = (Arc<Collector>, Rc<Pools<Full<Bytes>>>);

struct Batch {
    spans: usize,
    bytes: Bytes,
}

/// Why a batch was not taken.
enum Failure {
    /// It may be, later.
    Passing(String),
    /// It will not be.
    Final(String),
}

impl Exporter {
    pub(super) fn new(app: Arc<ArcSwap<Snapshot>>) -> Rc<Self> {
        let spans = Arc::clone(&app.load().spans);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let (connected, held) = (RefCell::default(), RefCell::default());
        Rc::new(Self { app, spans, host: host.trim().to_owned(), connected, held, is_failing: Cell::new(false) })
    }

    /// Sends, for ever.
    pub(super) async fn run(self: Rc<Self>) {
        let mut pause = GATHER;
        loop {
            self.spans.gather(GATHER).await;
            if self.send_all().await {
                pause = GATHER;
            } else {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    /// Sends what is left, if that does not take too long.
    pub(super) async fn settle(&self) {
        let _ = timeout(GOODBYE, self.send_all()).await;
        let left = std::iter::repeat_with(|| self.spans.take().len()).take_while(|spans| *spans > 0).sum::<usize>();
        let held = self.held.take().map_or(0, |batch| batch.spans);
        Counts::count(&self.spans.counts.dropped, left + held);
        if left + held > 0 {
            tracing::warn!("requests whose spans were not sent: {}", left + held);
        }
    }

    /// `false` = the collector is away.
    async fn send_all(&self) -> bool {
        while let Some(batch) = self.next() {
            let Some((collector, pools)) = self.collector() else {
                Counts::count(&self.spans.counts.dropped, batch.spans);
                continue;
            };
            let (spans, bytes) = (batch.spans, batch.bytes.clone());
            // Held while it is under way: who gives up waiting loses none.
            self.held.replace(Some(batch));
            let sent = send(&collector, &pools, bytes).await;
            if let Err(Failure::Passing(why)) = sent {
                if !self.is_failing.replace(true) {
                    tracing::warn!("spans cannot be sent, and wait while there is room: {why}");
                }
                return false;
            }
            self.held.take();
            if let Err(Failure::Final(why)) = sent {
                tracing::warn!("spans were not taken: {why}");
                Counts::count(&self.spans.counts.refused, spans);
            } else {
                Counts::count(&self.spans.counts.sent, spans);
            }
            if self.is_failing.replace(false) {
                tracing::info!("spans can be sent again");
            }
        }
        true
    }

    fn next(&self) -> Option<Batch> {
        self.held.take().or_else(|| {
            let spans = self.spans.take();
            (!spans.is_empty()).then(|| Batch { spans: spans.len(), bytes: encode(&spans, &self.host).into() })
        })
    }

    /// The one that is configured now.
    fn collector(&self) -> Option<Connected> {
        let collector = self.app.load().collector.clone()?;
        let mut connected = self.connected.borrow_mut();
        if let Some((known, pools)) = connected.as_ref().filter(|(known, _)| Arc::ptr_eq(known, &collector)) {
            return Some((Arc::clone(known), Rc::clone(pools)));
        }
        let pools = Rc::new(Pools::new(&collector.upstreams, 1, GATHER));
        Some(connected.insert((collector, pools)).clone())
    }
}

async fn send(collector: &Collector, pools: &Pools<Full<Bytes>>, bytes: Bytes) -> Result<(), Failure> {
    pools.sweep();
    let mut request = forward::post(&collector.upstreams, collector.target.clone(), &PROTOBUF);
    let answer = pools.send(&mut request, &mut Full::new(bytes), &Cell::new(0)).await;
    // What else it says is nobody's: the connection ends with it, unless it says nothing.
    let status = answer.map_err(|refusal| Failure::Passing(refusal.to_string()))?.status();
    let told = || format!("the collector answers {}", status.as_u16());
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Err(Failure::Passing(told()))
        }
        _ => Err(Failure::Final(told())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_the_base_or_all_of_the_url() {
        for (endpoint, origin, target) in [
            ("http://otel:4318", "http://otel:4318", "/v1/traces"),
            ("http://otel:4318/", "http://otel:4318", "/v1/traces"),
            ("https://otel.example/otlp", "https://otel.example", "/otlp/v1/traces"),
            ("http://[::1]:1/v1/traces", "http://[::1]:1", "/v1/traces"),
        ] {
            let (found, path) = parse(endpoint).unwrap();
            assert_eq!((found.as_str(), path.as_str()), (origin, target));
        }
        for bad in ["otel:4318", "otel", "grpc://otel:4317", "http://otel:4317", "http://otel/?a", "unix:/x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
