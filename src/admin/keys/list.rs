//! `GET /keys`: one page of those that are asked for.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;

use super::super::answer::{Json, Page};
use super::super::call::By;
use super::super::input::Query;
use super::super::paging::{Cursor, Limit, told};
use super::super::permission::KEYS_READ;
use super::super::problem::{Problem, Refused};
use super::super::schema;
use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;
use crate::key::filter::Filter;
use crate::key::lifecycle::{Lifecycle, LifecycleError, PAGE};
use crate::key::record::KeyRecord;
use crate::key::shown;
use crate::store::place_of_key;

/// Records that are looked at for one page: then it is shorter than asked for, and has a cursor all the same.
const LOOKED_AT_MAX: usize = 20 * PAGE;

/// Which keys are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
#[derive(Default)]
pub(crate) struct Asked {
    /// Of this tenant
    #[param(example = "acme")]
    tenant: Option<String>,
    /// Of this environment
    #[param(value_type = Option<schema::Environment>)]
    environment: Option<EnvironmentName>,
    /// In this state now
    #[param(value_type = Option<schema::KeyStatus>)]
    status: Option<schema::KeyStatus>,
    /// Of this kind
    #[param(example = "secret")]
    kind: Option<String>,
    /// This is part of its name, in upper or lower case
    name: Option<String>,
    /// Its prefix begins with this
    prefix: Option<String>,
    /// Not used since this time; if never, made before it
    #[param(value_type = Option<String>, format = DateTime)]
    last_used_before: Option<Timestamp>,
    /// At most so many
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// Behind the page that named this as `next`
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// Keys, in the order of creation
#[utoipa::path(get, path = "/keys", tag = "keys", params(Asked), responses(
    (status = 200, description = "One page of them", body = schema::Keys),
    (status = 400, description = "The query is wrong", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(By(call): By<KEYS_READ>, Query(asked): Query<Asked>) -> Result<Json<Page<Map<String, Value>>>, Refused> {
    let Asked { limit: Limit(limit), cursor, .. } = asked;
    let filter = Filter {
        tenant: asked.tenant,
        environment: asked.environment,
        status: asked.status.map(|status| status.word().to_owned()),
        kind: asked.kind,
        name: asked.name,
        prefix: asked.prefix,
        last_used_before: asked.last_used_before,
        created_before: None,
    };
    let now = call.now();
    let (keys, next) = call.run(move |lifecycle| async move { page(&lifecycle, &filter, cursor, limit, now).await }).await?;
    Ok(Json(Page { data: keys.iter().map(|key| shown::key(key, None, now)).collect(), next }))
}

/// So many keys behind a cursor, and the cursor behind them.
async fn page(
    lifecycle: &Lifecycle,
    filter: &Filter,
    cursor: Option<Cursor>,
    limit: usize,
    now: Timestamp,
) -> Result<(Vec<KeyRecord>, Option<String>), LifecycleError> {
    let (mut found, mut cursor, mut looked_at) = (Vec::new(), cursor.map(|cursor| cursor.0), 0);
    loop {
        let wanted = (limit - found.len() + 1).clamp(PAGE / 5, PAGE);
        let page = lifecycle.store.list_keys(filter.tenant.as_deref(), cursor.as_deref(), wanted).await?;
        looked_at += wanted;
        for key in page.items.into_iter().filter(|key| filter.admits(key, now)) {
            if found.len() == limit {
                let next = found.last().map(|last| told(&place_of_key(last)));
                return Ok((found, next));
            }
            found.push(key);
        }
        cursor = page.next;
        if cursor.is_none() || looked_at >= LOOKED_AT_MAX {
            return Ok((found, cursor.as_deref().map(told)));
        }
    }
}
