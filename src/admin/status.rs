//! `GET /status`, `GET /openapi.json`.

use axum::response::{IntoResponse as _, Response};
use http::header;
use serde_json::{Value, json};

use super::answer::Json;
use super::call::By;
use super::document::OPENAPI;
use super::permission::{NONE, SYSTEM_READ};
use super::problem::Refused;
use super::schema;
use crate::clock::instant;

/// This sidecar, its store, and the sidecars that serve from it
#[utoipa::path(get, path = "/status", tag = "system", responses(
    (status = 200, description = "Their state; `store.reachable` says whether the store could be asked", body = schema::Status),
))]
pub(crate) async fn status(By(call): By<SYSTEM_READ>) -> Result<Json<Value>, Refused> {
    let asked = instant();
    let work = call.run(|bench| async move {
        let store = &bench.lifecycle.store;
        let position = store.position().await?;
        let mut sidecars = store.instances().await?;
        sidecars.sort_by(|a, b| (a.instance.started_at, &a.instance.id).cmp(&(b.instance.started_at, &b.instance.id)));
        Ok((position, sidecars.iter().map(|seen| seen.shown(position)).collect::<Vec<_>>()))
    });
    let (store, sidecars) = match work.await {
        Ok((position, sidecars)) => {
            let took = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
            (json!({ "reachable": true, "answered_in_ms": took, "position": position }), sidecars)
        }
        Err(_) => (json!({ "reachable": false }), Vec::new()),
    };
    Ok(Json(json!({ "store": store, "sidecar": call.health.status(), "sidecars": sidecars })))
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "system", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object),
))]
pub(crate) async fn openapi(By(_): By<NONE>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
