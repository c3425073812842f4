//! The desk at the store itself: by the lifecycle, with the configuration at hand.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{Changed, Context, Desk, Edit, Exit, Failure, KeyVerb, Marked, Shown, TenantVerb, Terms, UsageOf};
use crate::audit::{Event, Query};
use crate::cli::status;
use crate::cli::wait::Confirmation;
use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;
use crate::config::units::Span;
use crate::fleet;
use crate::key::filter::Filter;
use crate::key::hints::hints;
use crate::key::lifecycle::{LifecycleError, Listed, NewKey, PAGE};
use crate::key::record::{KeyRecord, KeyStatus};
use crate::key::rules::Fault;
use crate::key::shown;
use crate::session;
use crate::store::change::Position;
use crate::store::session::SessionQuery;
use crate::store::usage::{Denial, DenialFilter, KeyUsage};
use crate::store::{Page, Replication};
use crate::tenant::lifecycle::NewTenant;
use crate::tenant::{TenantRecord, TenantStatus};
use crate::usage::attention::{self, Kind, attention};
use crate::usage::report::least_privilege;
use crate::usage::{Day, Totals, last_use, show_last_use, summary};

/// Keys whose usage is asked for at once.
const AT_ONCE: usize = 500;

pub(in crate::cli) struct Here {
    pub(in crate::cli) context: Context,
    patience: Option<Span>,
}

impl Here {
    pub(in crate::cli) const fn new(context: Context) -> Self {
        Self { context, patience: None }
    }

    fn shown(&self, record: &KeyRecord) -> Shown {
        shown::key(record, None, self.context.clock.now())
    }

    fn hints(&self, record: &KeyRecord) -> Result<Vec<String>, Failure> {
        let tenant = self.context.run(self.context.lifecycle.find_tenant(&record.tenant))?;
        Ok(hints(&self.context.config, record, &tenant))
    }

    /// With what was counted, where it is later than what the records were imported with.
    fn with_last_uses(&self, mut keys: Vec<KeyRecord>) -> Result<Vec<KeyRecord>, Failure> {
        for keys in keys.chunks_mut(AT_ONCE) {
            let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
            let counted = self.context.run(async { self.context.usages.last_uses(&ids).await.map_err(LifecycleError::from) })?;
            for (key, counted) in keys.iter_mut().zip(counted) {
                show_last_use(key, counted.as_ref());
            }
        }
        Ok(keys)
    }

    fn usages(&self, keys: &[KeyRecord], (from, to): (Day, Day)) -> Result<Vec<KeyUsage>, Failure> {
        let mut usages = Vec::with_capacity(keys.len());
        for keys in keys.chunks(AT_ONCE) {
            let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
            let read = async { self.context.usages.usage(&ids, from, to).await.map_err(LifecycleError::from) };
            usages.extend(self.context.run(read)?);
        }
        Ok(usages)
    }

    /// Keys with marks, and these.
    fn marked(&self, keys: &[KeyRecord], marked: Marked) -> Result<Vec<Shown>, Failure> {
        let now = self.context.clock.now();
        let usages = self.usages(keys, attention::window(now))?;
        let rows = keys.iter().zip(&usages).filter_map(|(key, usage)| {
            let marks = attention(key, usage, &self.context.config.keys, now);
            let is_asked = !marks.is_empty() && (!marked.due || marks.iter().any(|mark| mark.mark == Kind::RotationDue));
            is_asked.then(|| {
                let mut shown = self.shown(key);
                shown.insert("attention".into(), json!(marks));
                shown
            })
        });
        Ok(rows.collect())
    }
}

impl Desk for Here {
    fn environment(&self, word: &str) -> Result<EnvironmentName, Failure> {
        self.context.environment(word)
    }

    fn create_key(&self, new: NewKey) -> Result<(Shown, Vec<String>), Failure> {
        let issued = self.context.run(self.context.lifecycle.create(new))?;
        let shown = shown::key(&issued.record, Some(&issued.key), self.context.clock.now());
        // It is made, whatever can be said of it.
        Ok((shown, self.hints(&issued.record).unwrap_or_default()))
    }

    fn keys(&self, filter: &Filter, marked: Marked) -> Result<Page<Shown>, Failure> {
        let context = &self.context;
        if let Some(tenant) = &filter.tenant {
            context.run(context.lifecycle.find_tenant(tenant))?;
        }
        // What was counted is what `last_used_before` is about.
        let Listed { keys, unreadable } = context.run(context.lifecycle.list_keys(filter.tenant.as_deref()))?;
        let mut keys = self.with_last_uses(keys)?;
        keys.retain(|key| filter.admits(key, context.clock.now()));
        let is_marked = marked.attention || marked.due;
        let items = if is_marked { self.marked(&keys, marked)? } else { keys.iter().map(|key| self.shown(key)).collect() };
        Ok(Page { items, next: None, unreadable })
    }

    fn key(&self, id: &str) -> Result<Shown, Failure> {
        let keys = self.with_last_uses(vec![self.context.run(self.context.lifecycle.find_key(id))?])?;
        Ok(keys.first().map(|key| self.shown(key)).unwrap_or_default())
    }

    fn update_key(&self, id: &str, version: Option<u64>, edit: &Edit, expires: Option<&str>) -> Result<Changed, Failure> {
        let Context { lifecycle, clock, .. } = &self.context;
        let before = Terms::of_key(&self.context.run(lifecycle.find_key(id))?);
        let invalid = |why| LifecycleError::Invalid(vec![Fault::new("", why)]);
        let apply = |key: &mut KeyRecord| {
            let mut terms = Terms::of_key(key);
            edit.apply(&mut terms).map_err(invalid)?;
            terms.into_key(key);
            if expires.is_some() {
                key.expires_at = lifecycle.rules.expiry(expires, clock.now()).map_err(invalid)?;
            }
            Ok(())
        };
        let record = self.context.run(lifecycle.update(id, version, apply))?;
        let hints = self.hints(&record).unwrap_or_default();
        Ok(Changed { before, after: Terms::of_key(&record), shown: self.shown(&record), hints })
    }

    fn rotate(&self, id: &str, overlap: Option<Span>) -> Result<Shown, Failure> {
        let issued = self.context.run(self.context.lifecycle.rotate(id, overlap.map(|span| span.0)))?;
        let mut shown = shown::key(&issued.record, Some(&issued.key), self.context.clock.now());
        shown.extend(issued.ended.map(|until| ("cut_short".to_owned(), json!(until))));
        Ok(shown)
    }

    fn change_key(&self, id: &str, verb: KeyVerb) -> Result<Shown, Failure> {
        let lifecycle = &self.context.lifecycle;
        let record = self.context.run(async {
            match verb {
                KeyVerb::Activate => lifecycle.set_status(id, KeyStatus::Active).await,
                KeyVerb::Deactivate => lifecycle.set_status(id, KeyStatus::Inactive).await,
                KeyVerb::Revoke => lifecycle.set_status(id, KeyStatus::Revoked).await,
                KeyVerb::EndOverlap => lifecycle.end_overlap(id).await,
            }
        })?;
        Ok(self.shown(&record))
    }

    fn look_up(&self, secret: &SecretString) -> Result<Shown, Failure> {
        let lifecycle = &self.context.lifecycle;
        let Some(record) = self.context.run(lifecycle.find_by_secret(secret))? else {
            let why = lifecycle.rules.implausible(secret.expose_secret().as_bytes()).map(|why| format!(": {why}")).unwrap_or_default();
            return Err(Exit::NotFound.because(format!("no key of this store has this secret{why}")));
        };
        let presented = if lifecycle.is_previous(&record, secret) { "previous" } else { "current" };
        let keys = self.with_last_uses(vec![record])?;
        let mut shown = keys.first().map(|key| self.shown(key)).unwrap_or_default();
        shown.insert("presented".into(), presented.into());
        Ok(shown)
    }

    fn usage(&self, of: UsageOf<'_>, days: u16) -> Result<Value, Failure> {
        let (lifecycle, to) = (&self.context.lifecycle, Day::of(self.context.clock.now()));
        let from = to.plus(1 - i32::from(days));
        match of {
            UsageOf::Key(id) => {
                let record = self.context.run(lifecycle.find_key(id))?;
                let usage = self.usages(std::slice::from_ref(&record), (from, to))?.pop().unwrap_or_default();
                let last = last_use(&record, usage.last.as_ref());
                Ok(json!({
                    "id": record.id, "tenant": record.tenant, "from": from, "to": to, "days": usage.days, "total": Totals::of(&usage.days),
                    "last_used": last.as_ref().map(|last| last.at), "last_used_from": last.and_then(|last| last.from),
                    "networks": usage.networks, "scopes": usage.scopes, "report": least_privilege(&record, &usage, from),
                }))
            }
            UsageOf::Tenant(tenant) => {
                self.context.run(lifecycle.find_tenant(tenant))?;
                let keys = self.context.run(lifecycle.list_keys(Some(tenant)))?.keys;
                let usages = self.usages(&keys, (from, to))?;
                let days = summary::by_day(usages.iter().flat_map(|usage| &usage.days));
                let of_key = |(key, usage): (&KeyRecord, &KeyUsage)| {
                    let last = last_use(key, usage.last.as_ref());
                    json!({ "id": key.id, "name": key.name, "last_used": last.map(|last| last.at), "total": Totals::of(&usage.days) })
                };
                let by_key: Vec<Value> = keys.iter().zip(&usages).map(of_key).collect();
                Ok(json!({ "tenant": tenant, "from": from, "to": to, "days": days, "total": Totals::of(&days), "keys": by_key }))
            }
        }
    }

    fn create_tenant(&self, new: NewTenant) -> Result<Shown, Failure> {
        Ok(shown::fields(&self.context.run(self.context.lifecycle.create_tenant(new))?))
    }

    fn tenants(&self) -> Result<Vec<Shown>, Failure> {
        Ok(self.context.run(self.context.lifecycle.list_tenants())?.iter().map(shown::fields).collect())
    }

    fn tenant(&self, id: &str) -> Result<Shown, Failure> {
        Ok(shown::fields(&self.context.run(self.context.lifecycle.find_tenant(id))?))
    }

    fn update_tenant(&self, id: &str, version: Option<u64>, edit: &Edit) -> Result<Changed, Failure> {
        let before = Terms::of_tenant(&self.context.run(self.context.lifecycle.find_tenant(id))?);
        let apply = |tenant: &mut TenantRecord| {
            let mut terms = Terms::of_tenant(tenant);
            edit.apply(&mut terms).map_err(|why| LifecycleError::Invalid(vec![Fault::new("", why)]))?;
            terms.into_tenant(tenant);
            Ok(())
        };
        let record = self.context.run(self.context.lifecycle.update_tenant(id, version, apply))?;
        Ok(Changed { before, after: Terms::of_tenant(&record), shown: shown::fields(&record), hints: Vec::new() })
    }

    fn change_tenant(&self, id: &str, verb: TenantVerb) -> Result<Shown, Failure> {
        let status = if verb == TenantVerb::Suspend { TenantStatus::Suspended } else { TenantStatus::Active };
        Ok(shown::fields(&self.context.run(self.context.lifecycle.set_tenant_status(id, status))?))
    }

    fn delete_tenant(&self, id: &str) -> Result<(), Failure> {
        self.context.run(self.context.sessions.delete_tenant(id))
    }

    fn sessions(&self, tenant: Option<&str>, subject: Option<&str>) -> Result<Vec<Shown>, Failure> {
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let query = SessionQuery { tenant, subject, cursor: cursor.as_deref(), limit: PAGE };
            let page = self.context.run(self.context.sessions.list(&query))?;
            all.extend(page.items.iter().map(|record| session::shown(record, self.context.clock.now())));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    fn revoke_session(&self, id: &str) -> Result<Shown, Failure> {
        Ok(session::shown(&self.context.run(self.context.sessions.revoke(id))?, self.context.clock.now()))
    }

    fn revoke_sessions(&self, tenant: Option<&str>, subject: Option<&str>) -> Result<usize, Failure> {
        self.context.run(self.context.sessions.revoke_all(tenant, subject))
    }

    fn events(&self, query: &Query<'_>) -> Result<Page<Event>, Failure> {
        self.context.run(async { Ok(self.context.lifecycle.store.list_events(query).await?) })
    }

    fn denials(&self, filter: &DenialFilter, limit: usize) -> Result<Vec<Denial>, Failure> {
        let page = self.context.run(async { self.context.usages.denials(filter, None, limit).await.map_err(LifecycleError::from) })?;
        Ok(page.items)
    }

    fn status(&self) -> Result<Value, Failure> {
        status::here(&self.context)
    }

    fn wait_for(&mut self, patience: Option<Span>) {
        self.patience = patience;
    }

    fn confirmation(&self) -> Result<Option<Confirmation>, Failure> {
        let lifecycle = &self.context.lifecycle;
        // Where nothing was changed nobody can have applied it.
        let Some(patience) = self.patience.filter(|_| lifecycle.position() != Position(0)) else { return Ok(None) };
        let confirm = async { Ok(fleet::confirm(&*lifecycle.store, lifecycle.position(), patience.0).await?) };
        Ok(Some(Confirmation::of(&self.context.run(confirm)?, self.context.clock.now())))
    }

    fn unreplicated(&self) -> Option<String> {
        let Replication { wanted, acknowledged } = self.context.lifecycle.unreplicated()?;
        Some(format!("{acknowledged} of {wanted} replicas have it"))
    }

    fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    fn context(&self) -> Option<&Context> {
        Some(&self.context)
    }
}
