//! `POST /explain`: how a request would be judged by this sidecar, now. The same as the command; nothing is taken from buckets.

use std::net::IpAddr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::answer::Json;
use super::call::By;
use super::input::Content;
use super::permission::EXPLAIN_READ;
use super::problem::Refused;
use super::schema;
use crate::explain::{Described, Explanation, Judge};
use crate::gate::Presented;
use crate::key::rules::check_id;

/// A request as somebody describes it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DescribedRequest {
    /// Its method
    #[schema(default = "GET")]
    #[serde(default = "get")]
    method: String,
    /// Path and query, as they would be sent
    #[schema(example = "/v1/users?page=2")]
    target: String,
    /// Its header lines, each name and value
    #[schema(value_type = Vec<Vec<String>>, example = json!([["X-API-Key", "sk_live_…"]]))]
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// The address it comes from
    #[schema(value_type = Option<String>, example = "198.51.100.7")]
    from: Option<IpAddr>,
    /// As if it came over TLS
    #[serde(default)]
    tls: bool,
    /// As if the secret of this key had been sent
    key: Option<String>,
    /// The credential, sent as `Authorization: Bearer`
    #[schema(value_type = Option<String>)]
    credential: Option<SecretString>,
}

fn get() -> String {
    "GET".to_owned()
}

/// How a request would be judged
#[utoipa::path(post, path = "/explain", tag = "explain", params(schema::Once), request_body = DescribedRequest, responses(
    (status = 404, description = "There is no such key", body = super::problem::Problem, content_type = "application/problem+json"),
    (status = 200, description = "Every step with its verdict, and the exact answer; `reason` is empty where it would be admitted",
        body = schema::Explanation),
))]
pub(crate) async fn explain(By(call): By<EXPLAIN_READ>, Content(asked): Content<DescribedRequest>) -> Result<Json<Explanation>, Refused> {
    if asked.key.is_some() && asked.credential.is_some() {
        return Err(Refused::field("credential", "`key` stands for one already: send one of them"));
    }
    let mut headers = asked.headers;
    headers.extend(asked.credential.map(|secret| ("Authorization".to_owned(), format!("Bearer {}", secret.expose_secret()))));
    let from = asked.from.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    let described = Described { method: asked.method, target: asked.target, headers, from, tls: asked.tls };
    let record = match asked.key {
        None => None,
        Some(id) if check_id("key id", &id).is_err() => return Err(Refused::field("key", "this is no id of a key")),
        Some(id) => Some(call.run(|bench| async move { bench.lifecycle.find_key(&id).await }).await?),
    };
    let presented = record.as_ref().map_or(Presented::InHeaders, Presented::Record);
    let (app, admin) = (&call.app, &call.app.admin);
    let judge = Judge { gate: &app.gate, answers: &app.answers, upstreams: &app.upstreams, mask: &admin.mask, limits: admin.limits };
    Ok(Json(judge.judge(&described, presented, call.now()).await))
}
