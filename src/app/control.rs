//! The control socket: `POST /reload`, `POST /drain` (`?wait`), `GET /status` over HTTP/1.1, answered in JSON. A Unix socket that
//! only its own user can open, and whose callers are asked by the kernel who they are.

use std::fs::{Permissions, set_permissions};
use std::future::ready;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::http::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::health::Health;
use super::http::{self, json, text};
use super::reload::{Outcome, Trigger};
use crate::server::bind::{self, Bound};
use crate::server::socket::Socket;

/// How often who waits for a drain is looked after.
const LOOK: Duration = Duration::from_millis(20);

/// Binds it. Without it a sidecar still serves: what is wrong is a warning.
pub(super) fn bind(path: &str) -> Option<Bound> {
    if path.is_empty() {
        return None;
    }
    let bound = bind::bind(&format!("unix:{path}")).and_then(|bound| {
        set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(bound)
    });
    bound
        .map_err(|error| {
            tracing::warn!("no control socket at {path}: {error} ([ops] socket = \"\" turns it off; reload works with SIGHUP too)");
        })
        .ok()
}

/// Answers there.
#[derive(Debug)]
pub(super) struct Control {
    health: Arc<Health>,
}

impl Control {
    pub(super) const fn new(health: Arc<Health>) -> Self {
        Self { health }
    }

    /// Answers on `bound` until the runtime ends.
    pub(super) async fn serve(self: Arc<Self>, bound: Bound) {
        let own = match own_user() {
            Ok(own) => own,
            Err(error) => return tracing::error!(%error, "the control socket cannot be served"),
        };
        let is_own = move |socket: &Socket| matches!(socket, Socket::Unix(stream) if user_of(stream).is_ok_and(|user| user == own));
        let welcome = move |socket, _| ready(Some(socket).filter(is_own));
        let answer = move |request, _| Arc::clone(&self).answer(request);
        http::serve("the control socket", &bound, http::SHORT, welcome, answer).await;
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/reload") => self.reload().await,
            (&Method::POST, "/drain") => self.drain(request.uri().query() == Some("wait")).await,
            (&Method::GET, "/status") => json(StatusCode::OK, &self.health.status()),
            (_, "/reload" | "/drain" | "/status") => {
                text(StatusCode::METHOD_NOT_ALLOWED, "POST /reload, POST /drain, GET /status\n".into())
            }
            _ => text(StatusCode::NOT_FOUND, "not found\n".into()),
        }
    }

    async fn reload(&self) -> Response<Full<Bytes>> {
        let reloader = Arc::clone(&self.health.reloader);
        match spawn_blocking(move || reloader.reload(Trigger::Command)).await {
            Ok(report) => {
                let status = match report.outcome {
                    Outcome::Applied => StatusCode::OK,
                    Outcome::Refused => StatusCode::UNPROCESSABLE_ENTITY,
                };
                json(status, &report)
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    /// Not ready from now on. Who waits is answered when the platform has had `drain_delay` to notice and no request is in
    /// flight, or at `drain_timeout`.
    async fn drain(&self, waits: bool) -> Response<Full<Bytes>> {
        self.health.leave();
        let shutdown = self.health.reloader.shutdown();
        let is_over = || {
            let time = self.health.leaving_for().unwrap_or_default();
            time >= shutdown.drain_timeout.0 || time >= shutdown.drain_delay.0 && self.health.tallies.in_flight() == 0
        };
        while waits && !is_over() {
            sleep(LOOK).await;
        }
        let in_flight = self.health.tallies.in_flight();
        json(StatusCode::OK, &json!({ "state": self.health.state(), "requests_in_flight": in_flight }))
    }
}

/// As whom we run, in the kernel's words.
fn own_user() -> io::Result<u32> {
    let (one, _other) = UnixStream::pair()?;
    user_of(&one)
}

fn user_of(stream: &UnixStream) -> io::Result<u32> {
    Ok(stream.peer_cred()?.uid())
}
