//! `GET /keys/{id}/usage`, `GET /usage`, `GET /denials`: what was counted, what a key could do without, and what was refused.

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::answer::{Json, Page};
use super::bench::Bench;
use super::call::By;
use super::input::{Id, Query, number};
use super::paging::{Cursor, Limit};
use super::permission::USAGE_READ;
use super::problem::{Problem, Refused};
use super::schema;
use crate::clock::Timestamp;
use crate::key::lifecycle::{LifecycleError, PAGE};
use crate::key::record::KeyRecord;
use crate::rejection::Rejection;
use crate::store::usage::{Denial, DenialFilter, KeyUsage, RETENTION_DAYS};
use crate::usage::report::least_privilege;
use crate::usage::summary::by_day;
use crate::usage::{Day, Totals, last_use};

/// Days where nobody says how many.
const DAYS: u16 = 30;

/// How far back.
#[derive(Debug, Clone, Copy)]
struct Days(u16);

impl Default for Days {
    fn default() -> Self {
        Self(DAYS)
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match number(from)? {
            days @ 1..=RETENTION_DAYS => Ok(Self(days)),
            days => Err(serde::de::Error::custom(format_args!("`{days}`: counts are kept for {RETENTION_DAYS} days"))),
        }
    }
}

impl Days {
    fn window(self, now: Timestamp) -> (Day, Day) {
        let today = Day::of(now);
        (today.plus(1 - i32::from(self.0)), today)
    }
}

/// Of which days.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfKey {
    /// So many days, today (UTC) among them; 30 if nothing else is said
    #[param(value_type = Option<u16>, minimum = 1, maximum = 400)]
    days: Days,
}

/// Of whom, and of which days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfTenant {
    /// The tenant
    #[param(example = "acme")]
    tenant: String,
    /// So many days, today (UTC) among them; 30 if nothing else is said
    #[param(value_type = Option<u16>, minimum = 1, maximum = 400)]
    #[serde(default)]
    days: Days,
}

/// What a key came to by day, where it was seen, and what it could do without
#[utoipa::path(get, path = "/keys/{id}/usage", tag = "usage", params(schema::KeyId, OfKey), responses(
    (status = 200, description = "Its usage", body = schema::KeyUsage),
))]
pub(crate) async fn key_usage(By(call): By<USAGE_READ>, Id(id): Id, Query(asked): Query<OfKey>) -> Result<Json<Value>, Refused> {
    let work = call.run(move |bench| async move {
        let record = bench.lifecycle.find_key(&id).await?;
        let (from, to) = asked.days.window(bench.now);
        let usage = bench.usages.usage(&[&record.id], from, to).await?.pop().unwrap_or_default();
        let last = last_use(&record, usage.last.as_ref());
        Ok(json!({
            "id": record.id, "tenant": record.tenant, "from": from, "to": to, "days": usage.days, "total": Totals::of(&usage.days),
            "last_used": last.as_ref().map(|last| last.at), "last_used_from": last.and_then(|last| last.from),
            "networks": usage.networks, "scopes": usage.scopes, "report": least_privilege(&record, &usage, from),
        }))
    });
    work.await.map(Json)
}

/// What all keys of a tenant came to
#[utoipa::path(get, path = "/usage", tag = "usage", params(OfTenant), responses(
    (status = 200, description = "Their usage", body = schema::TenantUsage),
    (status = 404, description = "There is no such tenant", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn tenant_usage(By(call): By<USAGE_READ>, Query(asked): Query<OfTenant>) -> Result<Json<Value>, Refused> {
    call.run(|bench| async move { of_tenant(&bench, &asked).await }).await.map(Json)
}

async fn of_tenant(bench: &Bench, asked: &OfTenant) -> Result<Value, LifecycleError> {
    bench.lifecycle.find_tenant(&asked.tenant).await?;
    let (from, to) = asked.days.window(bench.now);
    let (mut days, mut by_key, mut cursor) = (Vec::new(), Vec::new(), None);
    loop {
        let page = bench.lifecycle.store.list_keys(Some(&asked.tenant), cursor.as_deref(), PAGE).await?;
        let ids: Vec<&str> = page.items.iter().map(|key| key.id.as_str()).collect();
        let usages = bench.usages.usage(&ids, from, to).await?;
        let of_key = |(key, usage): (&KeyRecord, &KeyUsage)| {
            let last = last_use(key, usage.last.as_ref());
            json!({ "id": key.id, "name": key.name, "last_used": last.map(|last| last.at), "total": Totals::of(&usage.days) })
        };
        by_key.extend(page.items.iter().zip(&usages).map(of_key));
        // Of each key only its sum is held.
        days = by_day(usages.iter().flat_map(|usage| &usage.days).chain(&days));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(json!({ "tenant": asked.tenant, "from": from, "to": to, "days": days, "total": Totals::of(&days), "keys": by_key }))
}

/// Which denials are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct Denials {
    /// Of this request: the X-Request-Id of its answer
    request: Option<String>,
    /// Of this key
    key: Option<String>,
    /// Of this tenant
    tenant: Option<String>,
    /// For this reason
    #[param(value_type = Option<String>, example = "ip_denied")]
    reason: Option<Reason>,
    /// From this time on
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// At most so many
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
    /// Behind the page that named this as `next`
    #[param(value_type = Option<String>)]
    cursor: Option<Entry>,
}

/// A reason that there is.
#[derive(Debug)]
struct Reason(String);

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        match Rejection::from_reason(&text) {
            Some(_) => Ok(Self(text)),
            None => Err(serde::de::Error::custom("this is no reason; the README has them all")),
        }
    }
}

/// A place in the list of denials: numbers, as the stores count them.
#[derive(Debug)]
struct Entry(String);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Cursor(place) = Cursor::deserialize(from)?;
        let is_number = |text: &str| text.parse::<u64>().is_ok_and(|number| number > 0);
        let (time, number) = place.split_once('-').unwrap_or((&place, "1"));
        if is_number(time) && number.parse::<u64>().is_ok() {
            return Ok(Self(place));
        }
        Err(serde::de::Error::custom("this is no cursor: take the one that the page before named as `next`"))
    }
}

/// Why requests were refused, the latest first
///
/// About ten thousand are kept; under a flood, a part of them.
#[utoipa::path(get, path = "/denials", tag = "usage", params(Denials), responses(
    (status = 200, description = "One page of them", body = schema::Denials),
))]
pub(crate) async fn list_denials(By(call): By<USAGE_READ>, Query(asked): Query<Denials>) -> Result<Json<Page<Denial>>, Refused> {
    let filter = DenialFilter {
        request_id: asked.request,
        key: asked.key,
        tenant: asked.tenant,
        reason: asked.reason.map(|reason| reason.0),
        since: asked.since,
    };
    let (Limit(limit), cursor) = (asked.limit, asked.cursor);
    let work = call.run(move |bench| async move {
        let page = bench.usages.denials(&filter, cursor.as_ref().map(|cursor| cursor.0.as_str()), limit).await?;
        Ok(Page::of(page, |denial| denial))
    });
    work.await.map(Json)
}
