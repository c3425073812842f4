//! `GET /sessions`, `GET /sessions/{id}`.

use serde::Deserialize;
use utoipa::IntoParams;

use super::super::answer::{Json, Page, Record};
use super::super::bench::Shown;
use super::super::call::By;
use super::super::input::{Id, Query};
use super::super::paging::{Cursor, Limit};
use super::super::permission::SESSIONS_READ;
use super::super::problem::Refused;
use super::super::schema;
use crate::session::shown;
use crate::store::session::SessionQuery;

/// Which sessions are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// Of this tenant
    #[param(example = "acme")]
    tenant: Option<String>,
    /// Of this subject
    #[param(example = "user_42")]
    subject: Option<String>,
    /// At most so many
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
    /// Behind the page that named this as `next`
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// Sessions, in the order of their beginning
///
/// Those that are over are gone some time after their last token. A page may be shorter than asked for and have a cursor all the same.
#[utoipa::path(get, path = "/sessions", tag = "sessions", params(Asked), responses(
    (status = 200, description = "One page of them", body = schema::Sessions),
))]
pub(crate) async fn list_sessions(By(call): By<SESSIONS_READ>, Query(asked): Query<Asked>) -> Result<Json<Page<Shown>>, Refused> {
    let work = call.run(|bench| async move {
        let query = SessionQuery {
            tenant: asked.tenant.as_deref(),
            subject: asked.subject.as_deref(),
            cursor: asked.cursor.as_ref().map(|cursor| cursor.0.as_str()),
            limit: asked.limit.0,
        };
        Ok(Page::of(bench.sessions.list(&query).await?, |record| shown(&record, bench.now)))
    });
    work.await.map(Json)
}

/// A session
#[utoipa::path(get, path = "/sessions/{id}", tag = "sessions", params(schema::SessionId), responses(
    (status = 200, description = "The session", body = schema::Session, headers(("ETag" = String, description = "Its version"))),
))]
pub(crate) async fn show_session(By(call): By<SESSIONS_READ>, Id(id): Id) -> Result<Record, Refused> {
    let work = call.run(|bench| async move { Ok(shown(&bench.sessions.find(&id).await?, bench.now)) });
    work.await.map(Record::of)
}
