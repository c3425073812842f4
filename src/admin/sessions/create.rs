//! `POST /sessions`: what the API's own login asks for once it knows who it is. The one answer with the first pair of tokens.

use std::sync::Arc;

use serde::Deserialize;
use utoipa::ToSchema;

use super::super::answer::Made;
use super::super::call::By;
use super::super::input::Content;
use super::super::permission::SESSIONS_CREATE;
use super::super::problem::{Problem, Refused};
use super::super::schema;
use crate::config::sections::EnvironmentName;
use crate::key::lifecycle::LifecycleError;
use crate::session::authority;

/// A session that is to begin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSession {
    /// Tenant it acts for
    #[schema(example = "acme")]
    tenant: String,
    /// Who has logged in
    #[schema(example = "user_42", min_length = 1, max_length = 256)]
    subject: String,
    /// Scopes to grant; each may end in *
    #[serde(default)]
    scopes: Vec<String>,
    #[schema(value_type = schema::Environment, default = "live")]
    #[serde(default = "live")]
    environment: EnvironmentName,
}

const fn live() -> EnvironmentName {
    EnvironmentName::Live
}

/// Begins a session
///
/// For the API's own login handler, which has checked the password and hands the answer to its client. A token with `sessions:create`
/// may do this and nothing else; `sessions:write` may too.
#[utoipa::path(post, path = "/sessions", tag = "sessions", params(schema::Once), request_body = NewSession, responses(
    (status = 201, description = "The first pair of tokens, shown this once", body = schema::Pair),
    (status = 404, description = "There is no such tenant", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create_session(By(call): By<SESSIONS_CREATE>, Content(new): Content<NewSession>) -> Result<Made, Refused> {
    let NewSession { tenant, subject, scopes, environment } = new;
    let new = authority::NewSession { tenant, subject, environment, scopes };
    let app = Arc::clone(&call.app);
    let work = call.run(|bench| async move {
        let off = || LifecycleError::State("no session can begin: [sessions] has no signing_key_files".into());
        app.authority(bench.sessions).ok_or_else(off)?.create(new).await
    });
    Ok(Made::of(&work.await?.told()))
}
