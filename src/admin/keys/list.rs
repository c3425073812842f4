//! `GET /keys`, `GET /keys/{id}`.

use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use super::super::answer::{Json, Page, Record};
use super::super::bench::{Bench, Shown};
use super::super::call::By;
use super::super::input::{Id, Query, number};
use super::super::paging::{Cursor, Limit, told};
use super::super::permission::KEYS_READ;
use super::super::problem::Refused;
use super::super::schema;
use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;
use crate::key::filter::Filter;
use crate::key::lifecycle::{LifecycleError, PAGE};
use crate::key::record::KeyRecord;
use crate::key::shown;
use crate::store::place_of_key;
use crate::usage::attention::{Kind, attention, window};

/// Records that are looked at for one page: then it is shorter than asked for, and has a cursor all the same.
const LOOKED_AT_MAX: usize = 20 * PAGE;

/// Which keys are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// Of this tenant
    #[param(example = "acme")]
    tenant: Option<String>,
    /// Of this environment
    #[param(value_type = Option<schema::Environment>, inline)]
    environment: Option<EnvironmentName>,
    /// In this state now
    #[param(inline)]
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
    /// Made before this time
    #[param(value_type = Option<String>, format = DateTime)]
    created_before: Option<Timestamp>,
    /// Only those that somebody should look at; each then says why
    #[param(value_type = Option<bool>)]
    #[serde(deserialize_with = "number")]
    attention: bool,
    /// Only those whose secret is older than `keys.rotate_reminder`
    #[param(value_type = Option<bool>)]
    #[serde(deserialize_with = "number")]
    due: bool,
    /// At most so many
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
    /// Behind the page that named this as `next`
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// What is asked, apart from how much.
struct Wanted {
    filter: Filter,
    attention: bool,
    due: bool,
}

/// Keys, in the order of creation
///
/// A page may be shorter than `limit`: the list ends where `next` is null.
#[utoipa::path(get, path = "/keys", tag = "keys", params(Asked), responses(
    (status = 200, description = "One page of them", body = schema::Keys),
))]
pub(crate) async fn list_keys(By(call): By<KEYS_READ>, Query(asked): Query<Asked>) -> Result<Json<Page<Shown>>, Refused> {
    let Asked { limit: Limit(limit), cursor, attention, due, .. } = asked;
    let filter = Filter {
        tenant: asked.tenant,
        environment: asked.environment,
        status: asked.status.map(|status| status.word().to_owned()),
        kind: asked.kind,
        name: asked.name,
        prefix: asked.prefix,
        last_used_before: asked.last_used_before,
        created_before: asked.created_before,
    };
    let wanted = Wanted { filter, attention, due };
    call.run(move |bench| async move { page(&bench, &wanted, cursor, limit).await }).await.map(Json)
}

/// A key
#[utoipa::path(get, path = "/keys/{id}", tag = "keys", params(schema::KeyId), responses(
    (status = 200, description = "The key", body = schema::Key, headers(("ETag" = String, description = "Its version"))),
))]
pub(crate) async fn show_key(By(call): By<KEYS_READ>, Id(id): Id) -> Result<Record, Refused> {
    call.run(|bench| async move { bench.show(&id).await }).await.map(Record::of)
}

/// So many keys behind a cursor, and the cursor behind them.
async fn page(bench: &Bench, wanted: &Wanted, cursor: Option<Cursor>, limit: usize) -> Result<Page<Shown>, LifecycleError> {
    let (mut found, mut unreadable, mut last, mut looked_at) = (Vec::new(), Vec::new(), None, 0);
    let mut cursor = cursor.map(|cursor| cursor.0);
    loop {
        let count = (limit - found.len() + 1).clamp(PAGE / 5, PAGE);
        let page = bench.lifecycle.store.list_keys(wanted.filter.tenant.as_deref(), cursor.as_deref(), count).await?;
        looked_at += count;
        unreadable.extend(page.unreadable.iter().map(|error| error.id().to_owned()));
        // What was counted is what `last_used_before` is about.
        let keys = bench.with_last_use(page.items).await?.into_iter().filter(|key| wanted.filter.admits(key, bench.now)).collect();
        for (place, shown) in marked(bench, wanted, keys).await? {
            if found.len() == limit {
                return Ok(Page { data: found, next: last.as_deref().map(told), unreadable });
            }
            found.push(shown);
            last = Some(place);
        }
        cursor = page.next;
        if cursor.is_none() || looked_at >= LOOKED_AT_MAX {
            return Ok(Page { data: found, next: cursor.as_deref().map(told), unreadable });
        }
    }
}

/// Keys as they are shown, with their places; where marks are asked for, those that have them, with why.
async fn marked(bench: &Bench, wanted: &Wanted, keys: Vec<KeyRecord>) -> Result<Vec<(String, Shown)>, LifecycleError> {
    let shown = |key: &KeyRecord| (place_of_key(key), shown::key(key, None, bench.now));
    if !wanted.attention && !wanted.due {
        return Ok(keys.iter().map(shown).collect());
    }
    let (from, to) = window(bench.now);
    let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    let usages = bench.usages.usage(&ids, from, to).await?;
    let marks = |(key, usage)| {
        let marks = attention(key, usage, &bench.admin.keys, bench.now);
        let is_wanted = marks.iter().any(|mark| !wanted.due || mark.mark == Kind::RotationDue);
        is_wanted.then(|| {
            let (place, mut shown) = shown(key);
            shown.insert("attention".into(), json!(marks));
            (place, shown)
        })
    };
    Ok(keys.iter().zip(&usages).filter_map(marks).collect())
}
