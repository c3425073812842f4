//! The management API: `/admin/v1` on the admin listener, for operators and for a company's own dashboard. One operation, one file;
//! each says in its signature which permission it needs. It acts by the lifecycle, in the token's name, and never around it.

mod answer;
mod audit;
mod bench;
mod call;
mod document;
mod entry;
mod explain;
mod input;
mod keys;
mod once;
mod paging;
mod permission;
mod problem;
mod schema;
mod sessions;
mod settings;
mod status;
mod tally;
mod tenants;
mod usage;
mod wait;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, Request, StatusCode, header};
use tokio::sync::watch;
use tokio::time::timeout;
use tower_service::Service as _;

use self::call::Call;
use self::problem::{Code, Refused};
use crate::app::Snapshot;
use crate::app::health::Health;
use crate::clock::instant;
use crate::facts::{RequestId, X_REQUEST_ID};
use crate::idempotency::Holder;
use crate::net::Peer;
use crate::rejection::Rejection;
pub use settings::Settings;
pub(crate) use tally::Tally;

/// How long is read on of a body whose sender was not let in.
const FAREWELL: Duration = Duration::from_secs(5);

/// The management API of a sidecar.
pub(crate) struct Api {
    health: Arc<Health>,
    router: Router,
    /// Requests that are being answered.
    in_flight: watch::Sender<usize>,
}

impl Api {
    pub(crate) fn new(health: Arc<Health>) -> Self {
        health.management.get_or_init(|| Tally::new(document::paths().iter().map(String::as_str)));
        let router = document::routes().fallback(nowhere).method_not_allowed_fallback(not_so);
        Self { health, router, in_flight: watch::Sender::new(0) }
    }

    /// What it goes by now.
    pub(crate) fn app(&self) -> Arc<Snapshot> {
        self.health.reloader.app().load_full()
    }

    /// Answers a request, and writes down who asked what. To be run to its end, also for a caller who leaves.
    pub(crate) async fn answer<B>(&self, request: Request<B>, peer: Peer) -> Response
    where
        B: http_body::Body<Data = bytes::Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
    {
        let _flight = Flight::begin(&self.in_flight);
        let (began, app) = (instant(), self.app());
        let (head, body) = request.into_parts();
        let request_id = app.gate.request_id(&head.headers, self.health.reloader.now());
        let (method, asked) = (head.method.clone(), head.uri.clone());
        let mut path = Cow::Borrowed(asked.path());
        app.admin.mask.apply(&mut path);
        let from = match peer {
            Peer::Ip(ip) => Some(ip.to_string()),
            Peer::Unix => None,
        };
        let (name, mut response) = match entry::admit(&head, peer, &app.admin) {
            Err(refused) => {
                // Who still writes does not read why that was in vain; but nobody's connection is kept.
                let _ = timeout(FAREWELL, input::gather(Body::new(body), 0)).await;
                let mut response = refused.into_response();
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                (None, response)
            }
            Ok(bearer) => {
                let name = Arc::clone(&bearer.name);
                let (from, request_id) = (from.clone(), request_id.as_str().to_owned());
                let call = Call { bearer, from, request_id, app, health: Arc::clone(&self.health) };
                (Some(name), self.dispatch(Request::from_parts(head, Body::new(body)), call).await)
            }
        };
        dress(&mut response, &request_id);
        if let Some(tally) = self.health.management.get() {
            tally.count(asked.path(), response.status());
        }
        tracing::info!(
            token = name.as_deref().unwrap_or("-"),
            from = from.as_deref().unwrap_or("local"),
            method = method.as_str(),
            path = &*path,
            status = response.status().as_u16(),
            code = response.extensions().get::<Code>().map_or("", |code| code.0),
            request_id = request_id.as_str(),
            duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "management request"
        );
        response
    }

    /// To its handler; what is to be done once, by way of the ledger.
    async fn dispatch(&self, mut request: Request<Body>, call: Call) -> Response {
        let app = Arc::clone(&call.app);
        let (actor, holder) = (call::actor(&call.bearer.name), Holder::of(&call.bearer.digest.0));
        request.extensions_mut().insert(Arc::new(call));
        let mut router = self.router.clone();
        let mut route = async move |request| match router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (head, body) = request.into_parts();
        let asked = app.admin.once.ask_for_token(&actor, holder, &head);
        let request = Request::from_parts(head, body);
        match asked {
            Ok(None) => route(request).await,
            Ok(Some(asked)) => once::answer(&app.ledger, asked, request, route).await.unwrap_or_else(IntoResponse::into_response),
            Err(refusal) if refusal.rejection == Rejection::IdempotencyKeyInvalid => {
                let detail = format!("Idempotency-Key: {}", refusal.detail);
                Refused::new(StatusCode::BAD_REQUEST, "idempotency_key_invalid", detail).into_response()
            }
            Err(_) => Refused::not_found().into_response(),
        }
    }

    /// Waits until nothing is being answered, for so long at most.
    pub(crate) async fn settle(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.in_flight.subscribe().wait_for(|requests| *requests == 0)).await;
    }
}

/// A request that is being answered.
struct Flight<'a>(&'a watch::Sender<usize>);

impl<'a> Flight<'a> {
    fn begin(requests: &'a watch::Sender<usize>) -> Self {
        requests.send_modify(|requests| *requests += 1);
        Self(requests)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|requests| *requests -= 1);
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// What every answer says.
fn dress(response: &mut Response, request_id: &RequestId) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_REQUEST_ID, request_id.to_value());
}

async fn nowhere() -> Refused {
    Refused::not_found()
}

async fn not_so(method: Method) -> Refused {
    let detail = format!("{method} is not for this path; Allow says what is");
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
