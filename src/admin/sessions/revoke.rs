//! `DELETE /sessions/{id}`, and `POST /sessions/revoke` for many: the access tokens of a session end with it, on every sidecar.

use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::super::answer::{Json, Record};
use super::super::bench::Shown;
use super::super::call::By;
use super::super::input::{Content, Id, Query};
use super::super::permission::SESSIONS_WRITE;
use super::super::problem::Refused;
use super::super::schema;
use super::super::wait::Wait;
use crate::session::shown;

/// Which sessions are to be revoked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionRevocation {
    /// All of this tenant
    tenant: Option<String>,
    /// All of this subject; with `tenant`, of both
    subject: Option<String>,
    /// Instead: all that there are
    #[serde(default)]
    all: bool,
}

/// Revokes a session
///
/// Its refresh token and its access tokens are refused from then on. Done twice it is as good as once.
#[utoipa::path(delete, path = "/sessions/{id}", tag = "sessions", params(schema::SessionId, Wait), responses(
    (status = 200, description = "The session", body = schema::ChangedSession, headers(("ETag" = String, description = "Its version"))),
))]
pub(crate) async fn revoke_session(By(call): By<SESSIONS_WRITE>, Id(id): Id, Query(wait): Query<Wait>) -> Result<Record, Refused> {
    let work = call.run(|bench| async move {
        let record = bench.sessions.revoke(&id).await?;
        Ok(bench.extent(shown(&record, bench.now), wait).await)
    });
    work.await.map(Record::of)
}

/// Revokes many sessions
#[utoipa::path(post, path = "/sessions/revoke", tag = "sessions", params(Wait, schema::Once), request_body = SessionRevocation, responses(
    (status = 200, description = "How many they were", body = schema::RevokedSessions),
))]
pub(crate) async fn revoke_sessions(
    By(call): By<SESSIONS_WRITE>,
    Query(wait): Query<Wait>,
    Content(asked): Content<SessionRevocation>,
) -> Result<Json<Shown>, Refused> {
    if asked.all == (asked.tenant.is_some() || asked.subject.is_some()) {
        return Err(Refused::field("", "say whose (`tenant`, `subject`), or `all`"));
    }
    let work = call.run(move |bench| async move {
        let revoked = bench.sessions.revoke_all(asked.tenant.as_deref(), asked.subject.as_deref()).await?;
        let shown = if let serde_json::Value::Object(shown) = json!({ "revoked": revoked }) { shown } else { Shown::new() };
        Ok(bench.extent(shown, wait).await)
    });
    work.await.map(Json)
}
