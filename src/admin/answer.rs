//! Answers that are no refusal: JSON, with the version of a record as its `ETag`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use super::bench::Shown;
use super::paging::told;
use crate::store;

/// A JSON answer.
pub(super) struct Json<T>(pub(super) T);

/// A JSON answer about what was just made.
pub(super) struct Made(Response);

/// A record, as it is shown.
pub(super) struct Record {
    status: StatusCode,
    shown: Shown,
    location: Option<String>,
}

impl Record {
    /// One that is there.
    pub(super) const fn of(shown: Shown) -> Self {
        Self { status: StatusCode::OK, shown, location: None }
    }

    /// One that was just made, and where it is.
    pub(super) const fn made(shown: Shown, location: String) -> Self {
        Self { status: StatusCode::CREATED, shown, location: Some(location) }
    }
}

/// One page of a list.
#[derive(Serialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    /// As callers are told it.
    pub(super) next: Option<String>,
    /// Ids of records that belong here and cannot be read: the rest must not look whole.
    pub(super) unreadable: Vec<String>,
}

impl<T> Page<T> {
    /// A page of the store, its records as they are shown.
    pub(super) fn of<R>(page: store::Page<R>, shown: impl Fn(R) -> T) -> Self {
        let unreadable = page.unreadable.iter().map(|error| error.id().to_owned()).collect();
        Self { data: page.items.into_iter().map(shown).collect(), next: page.next.as_deref().map(told), unreadable }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}

impl Made {
    pub(super) fn of(content: &impl Serialize) -> Self {
        Self(json(StatusCode::CREATED, content))
    }
}

impl IntoResponse for Made {
    fn into_response(self) -> Response {
        self.0
    }
}

impl IntoResponse for Record {
    fn into_response(self) -> Response {
        let version = self.shown.get("version").and_then(Value::as_u64);
        let mut response = json(self.status, &self.shown);
        let etag = version.and_then(|version| HeaderValue::try_from(format!("\"{version}\"")).ok());
        let location = self.location.and_then(|location| HeaderValue::try_from(location).ok());
        response.headers_mut().extend(etag.map(|etag| (header::ETAG, etag)));
        response.headers_mut().extend(location.map(|location| (header::LOCATION, location)));
        response
    }
}

fn json(status: StatusCode, content: &impl Serialize) -> Response {
    match serde_json::to_string(content) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer of the management API cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
