//! `GET /audit`: who changed what, page by page, or all of it line by line. Digests of secrets are left out.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::answer::{Json, Page};
use super::call::{By, Call};
use super::input::Query;
use super::paging::{Cursor, Limit};
use super::permission::AUDIT_READ;
use super::problem::Refused;
use super::schema;
use crate::audit::{Event, Object, Query as Events};
use crate::clock::Timestamp;

/// Events that are read at once for a stream.
const PAGE: usize = 500;
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// In which order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// The oldest first
    Asc,
    /// The newest first
    #[default]
    Desc,
}

/// Which events are asked for.
#[derive(Debug, Default, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// Of this tenant
    #[param(example = "acme")]
    tenant: Option<String>,
    /// About this key
    key: Option<String>,
    /// From this time on
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Before this time
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The newest first, if nothing else is said
    #[param(inline, value_type = Option<Order>)]
    order: Order,
    /// At most so many; as lines: all, if nothing else is said
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// Behind the page that named this as `next`
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// Changes: who, what, when, from where, and what was before
///
/// With `Accept: application/x-ndjson` an event a line, and all of them unless there is a `limit`.
#[utoipa::path(get, path = "/audit", tag = "audit", params(Asked), responses(
    (status = 200, description = "One page of them", content(
        (schema::Events = "application/json"), (String = "application/x-ndjson"),
    )),
))]
pub(crate) async fn list_events(By(call): By<AUDIT_READ>, Query(asked): Query<Asked>, headers: HeaderMap) -> Result<Response, Refused> {
    let wants_lines = headers.get(header::ACCEPT).is_some_and(|accept| accept == LINES);
    if wants_lines && asked.limit.is_none() {
        return Ok(lines(call, asked));
    }
    let page = page(&call, &asked, asked.limit.unwrap_or_default().0).await?;
    if wants_lines {
        let page = stream::once(std::future::ready(written(&page)));
        return Ok(([(header::CONTENT_TYPE, LINES)], Body::from_stream(page)).into_response());
    }
    Ok(Json(page).into_response())
}

async fn page(call: &Call, asked: &Asked, limit: usize) -> Result<Page<Event>, Refused> {
    let asked = asked.clone();
    let work = call.run(move |bench| async move {
        let events = Events {
            tenant: asked.tenant.as_deref(),
            of: asked.key.as_deref().map(|id| (Object::Key, id)),
            since: asked.since,
            until: asked.until,
            cursor: asked.cursor.as_ref().map(|cursor| cursor.0.as_str()),
            limit,
            oldest_first: asked.order == Order::Asc,
        };
        Ok(Page::of(bench.lifecycle.store.list_events(&events).await?, Event::shown))
    });
    work.await
}

/// All of them. A store that fails on the way, or an event that cannot be read, breaks the answer off: half of an audit must not look
/// whole.
fn lines(call: Arc<Call>, asked: Asked) -> Response {
    let pages = stream::unfold(Some(asked), move |asked| {
        let call = Arc::clone(&call);
        async move {
            let mut asked = asked?;
            match page(&call, &asked, PAGE).await {
                Ok(page) => {
                    let rest = page.next.as_deref().and_then(Cursor::read);
                    asked.cursor.clone_from(&rest);
                    let written = written(&page);
                    let goes_on = rest.is_some() && written.is_ok();
                    Some((written, goes_on.then_some(asked)))
                }
                Err(_) => Some((Err(io::Error::other("the store does not answer")), None)),
            }
        }
    });
    ([(header::CONTENT_TYPE, LINES)], Body::from_stream(pages)).into_response()
}

/// An event a line, or none of them.
fn written(page: &Page<Event>) -> io::Result<String> {
    if let Some(id) = page.unreadable.first() {
        tracing::warn!(id, "an answer is broken off: an event of this one cannot be read");
        return Err(io::Error::other("an event cannot be read"));
    }
    Ok(page.data.iter().filter_map(|event| serde_json::to_string(event).ok()).fold(String::new(), |all, line| all + &line + "\n"))
}
