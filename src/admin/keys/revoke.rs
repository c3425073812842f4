//! `POST /keys/revoke`: as many keys as an incident takes. Each is told of by itself, and none that cannot be found keeps another alive.

use std::collections::HashSet;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::super::answer::Json;
use super::super::bench::{Bench, Shown};
use super::super::call::By;
use super::super::input::{Content, Query};
use super::super::permission::KEYS_WRITE;
use super::super::problem::{Problem, Refused};
use super::super::schema;
use super::super::wait::Wait;
use crate::clock::Timestamp;
use crate::key::filter::Filter;
use crate::key::lifecycle::{LifecycleError, PAGE};
use crate::key::record::{KeyRecord, KeyStatus};
use crate::key::rules::check_id;
use crate::store::StoreError;

/// Keys that are named in one request.
const NAMED_MAX: usize = 1000;
/// Keys that are revoked by one request; the next one takes the rest.
const REVOKED_MAX: usize = 10_000;
/// Times that the list is gone through at most.
const PASSES: usize = 5;

/// Which keys are to be revoked: those that are named, or those that all that is asked is true of.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revocation {
    /// By id
    #[schema(max_items = 1000)]
    #[serde(default)]
    ids: Vec<String>,
    /// By their secrets, as scanners find them
    #[schema(value_type = Vec<String>, max_items = 1000)]
    #[serde(default)]
    keys: Vec<SecretString>,
    /// All of this tenant
    tenant: Option<String>,
    /// All made before
    #[schema(value_type = Option<String>, format = DateTime)]
    created_before: Option<Timestamp>,
    /// Only say which
    #[serde(default)]
    dry_run: bool,
}

/// A key that was not revoked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotRevoked {
    /// Where it was named, such as `keys[3]`.
    field: String,
    /// `not_found`, `failed`, `unreadable`.
    code: &'static str,
}

/// What became of them.
#[derive(Default)]
struct Done {
    revoked: Vec<String>,
    already: Vec<String>,
    failed: Vec<NotRevoked>,
    more: bool,
}

/// Revokes many keys, for ever
///
/// `more` says that others are left: ask again.
#[utoipa::path(post, path = "/keys/revoke", tag = "keys", params(Wait, schema::Once), request_body = Revocation, responses(
    (status = 200, description = "What became of them", body = schema::Revoked),
    (status = 404, description = "There is no such tenant", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn revoke_keys(
    By(call): By<KEYS_WRITE>,
    Query(wait): Query<Wait>,
    Content(asked): Content<Revocation>,
) -> Result<Json<Shown>, Refused> {
    let named = asked.ids.len() + asked.keys.len();
    let is_selection = asked.tenant.is_some() || asked.created_before.is_some();
    if (named > 0) == is_selection {
        return Err(Refused::field("", "name keys (`ids`, `keys`), or say of which kind all are (`tenant`, `created_before`)"));
    }
    if named > NAMED_MAX {
        return Err(Refused::field("ids", format!("at most {NAMED_MAX} at once")));
    }
    let work = call.run(move |bench| async move {
        let done = if is_selection { selected(&bench, &asked).await? } else { by_name(&bench, &asked).await? };
        let shown = json!({
            "dry_run": asked.dry_run, "revoked": done.revoked, "already_revoked": done.already, "failed": done.failed, "more": done.more,
        });
        let shown = if let serde_json::Value::Object(shown) = shown { shown } else { Shown::new() };
        Ok(bench.extent(shown, wait).await)
    });
    work.await.map(Json)
}

async fn by_name(bench: &Bench, asked: &Revocation) -> Result<Done, LifecycleError> {
    let (mut done, mut seen) = (Done::default(), HashSet::new());
    let ids = asked.ids.iter().enumerate().map(|(index, id)| (format!("ids[{index}]"), Ok(id)));
    let keys = asked.keys.iter().enumerate().map(|(index, key)| (format!("keys[{index}]"), Err(key)));
    for (field, name) in ids.chain(keys) {
        let found = match name {
            Ok(id) if check_id("key id", id).is_err() => Ok(None),
            Ok(id) => bench.lifecycle.store.find_key(id).await.map_err(LifecycleError::from),
            Err(secret) => bench.lifecycle.find_by_secret(secret).await,
        };
        match found {
            Ok(Some(record)) if !seen.insert(record.id.clone()) => {}
            Ok(Some(record)) => done.take(bench, record, field, asked.dry_run).await?,
            Ok(None) => done.failed.push(NotRevoked { field, code: "not_found" }),
            Err(error @ LifecycleError::Store(StoreError::Unavailable(_))) => return Err(error),
            Err(_) => done.failed.push(NotRevoked { field, code: "failed" }),
        }
    }
    Ok(done)
}

async fn selected(bench: &Bench, asked: &Revocation) -> Result<Done, LifecycleError> {
    if let Some(tenant) = &asked.tenant {
        bench.lifecycle.find_tenant(tenant).await?;
    }
    let filter = Filter { tenant: asked.tenant.clone(), created_before: asked.created_before, ..Filter::default() };
    let (mut done, mut seen) = (Done::default(), HashSet::new());
    // Keys are made meanwhile, perhaps by one of those that are to be revoked: until a pass finds none.
    for _ in 0..PASSES {
        done.more = pass(bench, asked, &filter, &mut done, &mut seen).await?;
        if !done.more {
            break;
        }
    }
    Ok(done)
}

/// Once through the list. Whether there was one that no pass before has seen: then there may be others.
async fn pass(
    bench: &Bench,
    asked: &Revocation,
    filter: &Filter,
    done: &mut Done,
    seen: &mut HashSet<String>,
) -> Result<bool, LifecycleError> {
    let (mut found, mut cursor) = (false, None);
    loop {
        let page = bench.lifecycle.store.list_keys(asked.tenant.as_deref(), cursor.as_deref(), PAGE).await?;
        for error in page.unreadable.iter().filter(|error| seen.insert(error.id().to_owned())) {
            done.failed.push(NotRevoked { field: error.id().to_owned(), code: "unreadable" });
        }
        let is_new = |key: &KeyRecord| key.status != KeyStatus::Revoked && filter.admits(key, bench.now) && !seen.contains(&key.id);
        for record in page.items.into_iter().filter(is_new).collect::<Vec<_>>() {
            if done.revoked.len() == REVOKED_MAX {
                return Ok(true);
            }
            let field = record.id.clone();
            seen.insert(field.clone());
            done.take(bench, record, field, asked.dry_run).await?;
            found = true;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

impl Done {
    async fn take(&mut self, bench: &Bench, record: KeyRecord, field: String, dry_run: bool) -> Result<(), LifecycleError> {
        let was_revoked = record.status == KeyStatus::Revoked;
        if !dry_run {
            // Also one that is revoked already: the sidecars were perhaps not told.
            match bench.lifecycle.set_status(&record.id, KeyStatus::Revoked).await {
                Ok(_) => {}
                Err(error @ LifecycleError::Store(StoreError::Unavailable(_))) => return Err(error),
                Err(_) => {
                    self.failed.push(NotRevoked { field, code: "failed" });
                    return Ok(());
                }
            }
        }
        if was_revoked {
            self.already.push(record.id);
        } else {
            self.revoked.push(record.id);
        }
        Ok(())
    }
}
