//! `POST /sessions`: what the API's own login asks for once it knows who it is. The one answer with the first pair of tokens.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::answer::Made;
use super::super::call::By;
use super::super::input::Content;
use super::super::permission::SESSIONS_WRITE;
use super::super::problem::{Problem, Refused};
use super::super::schema;
use crate::config::sections::EnvironmentName;
use crate::key::lifecycle::LifecycleError;
use crate::session::authority;
use crate::session::endpoint::flat;

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
/// For the API's own login handler, which has checked the password and hands the answer to its client.
#[utoipa::path(post, path = "/sessions", tag = "sessions", params(schema::Once), request_body = NewSession, responses(
    (status = 201, description = "The first pair of tokens, shown this once", body = schema::Pair),
    (status = 404, description = "There is no such tenant", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create_session(By(call): By<SESSIONS_WRITE>, Content(new): Content<NewSession>) -> Result<Made<Value>, Refused> {
    let authority = call.app.authority(call.actor());
    let off = || LifecycleError::State("no session can begin: [sessions] has no signing_key_files".into());
    let authority = Arc::new(authority.ok_or_else(off)?);
    let NewSession { tenant, subject, scopes, environment } = new;
    let new = authority::NewSession { tenant, subject, environment, scopes };
    let pair = call.run(|_| async move { authority.create(new).await }).await?;
    Ok(Made(flat(&pair)))
}
