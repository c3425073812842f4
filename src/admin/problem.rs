//! Refusals of the management API: RFC 9457, with a `code` for programs and the fields that are wrong. Never the cause of a failure
//! of ours, and never what a caller has sent of a credential.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::permission::{Named, Permission};
use crate::key::lifecycle::LifecycleError;
use crate::key::rules::Fault;
use crate::management::CutOff;
use crate::store::StoreError;

/// Seconds after which a store that is away may be asked again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// What is told of a change whose outcome nobody knows.
const OPEN: &str = "what was asked for may or may not be done";

/// A refusal.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    status: StatusCode,
    content: Box<Problem>,
    header: Option<(header::HeaderName, HeaderValue)>,
    is_unwritten: bool,
}

/// Nothing was changed: a refusal that may be tried again, whatever its status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unwritten;

/// The code of a refusal, for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code(pub(crate) &'static str);

/// What is wrong (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `about:blank`: the status says what kind of problem it is, `code` which.
    #[schema(example = "about:blank")]
    pub r#type: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The status.
    pub status: u16,
    /// What is wrong, for people.
    pub detail: String,
    /// What is wrong, for programs.
    #[schema(example = "invalid")]
    pub code: &'static str,
    /// The fields that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// Of a version conflict: the version that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FieldProblem {
    /// Its path, such as `scopes[1]`; empty = the whole.
    #[schema(example = "scopes[1]")]
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let content = Problem {
            r#type: "about:blank",
            title,
            status: status.as_u16(),
            detail: detail.into(),
            code,
            errors: Vec::new(),
            version: None,
        };
        Self { status, content: Box::new(content), header: None, is_unwritten: false }
    }

    /// What was sent cannot be read, or cannot be.
    pub(crate) fn invalid(errors: Vec<FieldProblem>) -> Self {
        let said = |error: &FieldProblem| error.detail.clone();
        let mut refused = Self::new(StatusCode::BAD_REQUEST, "invalid", errors.iter().map(said).collect::<Vec<_>>().join("; "));
        refused.content.errors = errors;
        refused
    }

    /// One field of it.
    pub(crate) fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldProblem { field: field.into(), detail: detail.into() }])
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here; /admin/v1/openapi.json says what there is")
    }

    pub(crate) fn lacks(permission: Permission) -> Self {
        let detail = format!("this token lacks the permission {}", Named(permission));
        Self::new(StatusCode::FORBIDDEN, "permission_missing", detail)
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", format!("the store does not answer; {OPEN}"))
            .with(header::RETRY_AFTER, RETRY_AFTER)
    }

    /// It is certain that nothing was written.
    pub(crate) fn before_writing(mut self) -> Self {
        if let Some(words) = self.content.detail.strip_suffix(OPEN) {
            self.content.detail = format!("{words}nothing was changed");
        }
        Self { is_unwritten: true, ..self }
    }

    /// With a header.
    pub(crate) fn with(self, name: header::HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    fn at(mut self, field: &str) -> Self {
        let detail = self.content.detail.clone();
        self.content.errors.push(FieldProblem { field: field.to_owned(), detail });
        self
    }
}

impl From<Fault> for FieldProblem {
    fn from(fault: Fault) -> Self {
        Self { field: fault.field.into_owned(), detail: fault.why }
    }
}

impl From<LifecycleError> for Refused {
    fn from(error: LifecycleError) -> Self {
        let detail = error.to_string();
        let new = |status, code| Self::new(status, code, detail.clone());
        match error {
            LifecycleError::Invalid(wrong) => Self::invalid(wrong.into_iter().map(Into::into).collect()),
            // What stands for an id may be a pasted secret.
            LifecycleError::NoKey(_) => Self::new(StatusCode::NOT_FOUND, "key_not_found", "there is no key with this id"),
            LifecycleError::NoSession(_) => Self::new(StatusCode::NOT_FOUND, "session_not_found", "there is no session with this id"),
            LifecycleError::NoTenant(_) => {
                Self::new(StatusCode::NOT_FOUND, "tenant_not_found", "there is no tenant with this id").at("tenant")
            }
            LifecycleError::State(_) => new(StatusCode::CONFLICT, "state_conflict"),
            LifecycleError::Limit { .. } => new(StatusCode::CONFLICT, "key_limit"),
            LifecycleError::Version { found, .. } => {
                let mut refused = new(StatusCode::CONFLICT, "version_conflict");
                refused.content.version = Some(found);
                refused
            }
            LifecycleError::Lost => {
                let detail = "the change was lost in a failover; repeat the request";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "change_lost", detail).with(header::RETRY_AFTER, RETRY_AFTER)
            }
            LifecycleError::Store(error) => error.into(),
            LifecycleError::NoRandomness(error) => internal(&error),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => {
                tracing::warn!(%why, "the store does not answer the management API");
                Self::unavailable()
            }
            StoreError::Conflict { .. } => {
                Self::new(StatusCode::CONFLICT, "busy", "others change it all the time: ask again").with(header::RETRY_AFTER, RETRY_AFTER)
            }
            StoreError::DigestTaken { .. } => Self::new(StatusCode::CONFLICT, "state_conflict", error.to_string()),
            StoreError::Corrupt { .. } => {
                tracing::error!(%error, "the management API met a record that cannot be read");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "record_unreadable", "its record cannot be read; the log says why")
            }
        }
    }
}

impl From<CutOff> for Refused {
    fn from(_: CutOff) -> Self {
        let detail = format!("the sidecar is stopping; {OPEN}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", detail).with(header::RETRY_AFTER, RETRY_AFTER)
    }
}

fn internal(error: &impl std::fmt::Display) -> Refused {
    tracing::error!(%error, "the management API failed");
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error; the log says why")
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = serde_json::to_string(&self.content).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        response.extensions_mut().insert(Code(self.content.code));
        if self.is_unwritten {
            response.extensions_mut().insert(Unwritten);
        }
        response.headers_mut().extend(self.header);
        response
    }
}
