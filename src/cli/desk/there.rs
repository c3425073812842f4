//! The desk at a running instance: each verb is a request to its management API. The configuration and the store stay there.

use std::cell::RefCell;
use std::fmt::Display;
use std::time::Duration;

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::Client;
use super::{
    Changed, Context, Desk, Edit, Exit, Failure, Globals, KeyVerb, Marked, Shown, TenantVerb, Terms, UsageOf, unknown_environment,
};
use crate::audit::{Event, Object, Query};
use crate::cli::wait::Confirmation;
use crate::clock::{Clock, Timestamp};
use crate::config::sections::EnvironmentName;
use crate::config::units::Span;
use crate::explain::Explanation;
use crate::key::filter::Filter;
use crate::key::lifecycle::NewKey;
use crate::store::usage::{Denial, DenialFilter};
use crate::store::{Page, StoreError};
use crate::tenant::lifecycle::NewTenant;

/// Records asked for at once: as many as may be.
const PAGE: usize = 1000;
/// Attempts of a change that others get in the way of.
const ATTEMPTS: usize = 8;

pub(super) struct There {
    client: Client,
    clock: Clock,
    patience: Option<Span>,
    /// What the last change was answered with: how far it has got.
    extent: RefCell<Shown>,
}

impl There {
    pub(super) fn open(url: &str, globals: &Globals) -> Result<Self, Failure> {
        if globals.store.is_some() {
            return Err(Exit::Usage.because("--store and --admin (or SIDEGATE_ADMIN): one of them says where the keys are"));
        }
        let client = Client::new(url, globals.admin_token_file.as_deref())?;
        Ok(Self { client, clock: Clock::System, patience: None, extent: RefCell::default() })
    }

    /// How the instance would judge a request, as its API wants that described.
    pub(super) fn explain(&self, asked: &Value) -> Result<Explanation, Failure> {
        typed(self.client.ask(Method::POST, "/explain", Some(asked), Duration::ZERO)?)
    }

    fn get(&self, target: &str) -> Result<Value, Failure> {
        self.client.ask(Method::GET, target, None, Duration::ZERO)
    }

    fn record(&self, target: &str) -> Result<Shown, Failure> {
        self.get(target).and_then(record)
    }

    /// All pages of a list, or as many as there are until `limit`.
    fn list(&self, path: &str, questions: &Questions, limit: usize) -> Result<Vec<Value>, Failure> {
        Ok(self.whole(path, questions, limit)?.items)
    }

    /// The same, with what cannot be read.
    fn whole(&self, path: &str, questions: &Questions, limit: usize) -> Result<Page<Value>, Failure> {
        let mut all = Page { items: Vec::new(), next: None, unreadable: Vec::new() };
        loop {
            let count = (limit - all.items.len()).min(PAGE);
            let mut asked = questions.clone();
            asked.add("limit", Some(count));
            asked.add("cursor", all.next.as_ref());
            let page = self.page(path, &asked)?;
            all.items.extend(page.items);
            all.unreadable.extend(page.unreadable);
            all.next = page.next;
            if all.next.is_none() || all.items.len() >= limit {
                return Ok(all);
            }
        }
    }

    fn page(&self, path: &str, asked: &Questions) -> Result<Page<Value>, Failure> {
        let mut page = self.record(&format!("{path}{asked}"))?;
        let Some(Value::Array(items)) = page.shift_remove("data") else { return Err(strange()) };
        let next = page.get("next").and_then(Value::as_str).map(ToOwned::to_owned);
        let ids = page.get("unreadable").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let unreadable = ids.map(|id| StoreError::Corrupt { id: id.to_owned(), why: "the instance says so".into() }).collect();
        Ok(Page { items, next, unreadable })
    }

    /// Changes something, and remembers how far that has got.
    fn change(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Shown, Failure> {
        let mut asked = Questions::default();
        asked.add("wait", self.patience);
        let patience = self.patience.map_or(Duration::ZERO, |span| span.0);
        let mut shown = record(self.client.ask(method, &format!("{path}{asked}"), body, patience)?)?;
        let extent = ["confirmation", "replication"].into_iter().filter_map(|name| Some((name.to_owned(), shown.shift_remove(name)?)));
        *self.extent.borrow_mut() = extent.collect();
        Ok(shown)
    }

    /// Reads, edits and writes by the version that was read; again, where another change came first and nobody named a version.
    fn update(&self, path: &str, version: Option<u64>, edit: &Edit, expires: Option<&str>) -> Result<Changed, Failure> {
        let mut conflict = None;
        for _ in 0..ATTEMPTS {
            let found = self.record(path)?;
            let before: Terms = typed(Value::Object(found.clone()))?;
            let mut after = before.clone();
            edit.apply(&mut after).map_err(|why| Exit::Usage.because(why))?;
            let mut change = after.patch(&before);
            change.extend(expires.map(ending));
            change.insert("version".into(), version.map_or_else(|| found.get("version").cloned().unwrap_or_default(), Value::from));
            match self.change(Method::PATCH, path, Some(&Value::Object(change))) {
                Err(error) if error.exit == Exit::Conflict && version.is_none() => conflict = Some(error),
                changed => {
                    let shown = changed?;
                    let after = typed(Value::Object(shown.clone()))?;
                    return Ok(Changed { before, after, shown, hints: Vec::new() });
                }
            }
        }
        Err(conflict.unwrap_or_else(strange))
    }
}

/// An end, as the API takes it: a time, null, or a life.
fn ending(text: &str) -> (String, Value) {
    let (name, value) = match text {
        "never" => ("expires_at", Value::Null),
        text if text.parse::<Span>().is_ok() => ("expires_in", json!(text)),
        text => ("expires_at", json!(text)),
    };
    (name.to_owned(), value)
}

fn key(id: &str) -> String {
    format!("/keys/{}", encoded(id))
}

fn tenant(id: &str) -> String {
    format!("/tenants/{}", encoded(id))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn record(answer: Value) -> Result<Shown, Failure> {
    if let Value::Object(shown) = answer { Ok(shown) } else { Err(strange()) }
}

fn records(answers: Vec<Value>) -> Result<Vec<Shown>, Failure> {
    answers.into_iter().map(record).collect()
}

fn typed<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|_| strange())
}

fn strange() -> Failure {
    Exit::Failed.because("the management API answers what this release does not understand: is the instance of another one?")
}

/// The query of a request.
#[derive(Debug, Clone, Default)]
struct Questions(Vec<String>);

impl Questions {
    fn add(&mut self, name: &str, value: Option<impl Display>) {
        self.0.extend(value.map(|value| format!("{name}={}", encoded(&value.to_string()))));
    }
}

impl Display for Questions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "?{}", self.0.join("&")) }
    }
}

impl Desk for There {
    fn environment(&self, word: &str) -> Result<EnvironmentName, Failure> {
        let known = [EnvironmentName::Live, EnvironmentName::Test].into_iter();
        let mut found = known.filter(|name| word.eq_ignore_ascii_case(name.name()));
        found.next().ok_or_else(|| unknown_environment(word, "live or test; labels are known where the configuration is"))
    }

    fn create_key(&self, new: NewKey) -> Result<(Shown, Vec<String>), Failure> {
        let mut body = record(json!({
            "tenant": new.tenant, "name": new.name, "environment": new.environment.name(), "kind": new.kind, "scopes": new.scopes,
            "ip_allowlist": new.ip_allowlist, "referrers": new.referrers, "endpoints": new.endpoints, "rate_limit": new.rate_limit,
            "metadata": new.metadata,
        }))?;
        body.extend(new.expires.as_deref().map(ending));
        Ok((self.change(Method::POST, "/keys", Some(&Value::Object(body)))?, Vec::new()))
    }

    fn keys(&self, filter: &Filter, marked: Marked) -> Result<Page<Shown>, Failure> {
        if let Some(id) = &filter.tenant {
            self.tenant(id)?;
        }
        let mut asked = Questions::default();
        asked.add("tenant", filter.tenant.as_ref());
        asked.add("environment", filter.environment.map(EnvironmentName::name));
        asked.add("status", filter.status.as_ref());
        asked.add("kind", filter.kind.as_ref());
        asked.add("name", filter.name.as_ref());
        asked.add("prefix", filter.prefix.as_ref());
        asked.add("last_used_before", filter.last_used_before);
        asked.add("created_before", filter.created_before);
        asked.add("attention", Some(true).filter(|_| marked.attention || marked.due));
        asked.add("due", Some(true).filter(|_| marked.due));
        let Page { items, next, unreadable } = self.whole("/keys", &asked, usize::MAX)?;
        Ok(Page { items: records(items)?, next, unreadable })
    }

    fn key(&self, id: &str) -> Result<Shown, Failure> {
        self.record(&key(id))
    }

    fn update_key(&self, id: &str, version: Option<u64>, edit: &Edit, expires: Option<&str>) -> Result<Changed, Failure> {
        self.update(&key(id), version, edit, expires)
    }

    fn rotate(&self, id: &str, overlap: Option<Span>) -> Result<Shown, Failure> {
        let body = json!({ "overlap": overlap.map(|span| span.to_string()) });
        self.change(Method::POST, &format!("{}/rotate", key(id)), Some(&body))
    }

    fn change_key(&self, id: &str, verb: KeyVerb) -> Result<Shown, Failure> {
        self.change(Method::POST, &format!("{}/{}", key(id), verb.word()), None)
    }

    fn look_up(&self, secret: &SecretString) -> Result<Shown, Failure> {
        record(self.client.ask(Method::POST, "/keys/lookup", Some(&json!({ "key": secret.expose_secret() })), Duration::ZERO)?)
    }

    fn usage(&self, of: UsageOf<'_>, days: u16) -> Result<Value, Failure> {
        match of {
            UsageOf::Key(id) => self.get(&format!("{}/usage?days={days}", key(id))),
            UsageOf::Tenant(id) => self.get(&format!("/usage?tenant={}&days={days}", encoded(id))),
        }
    }

    fn create_tenant(&self, new: NewTenant) -> Result<Shown, Failure> {
        let body = json!({
            "id": new.id, "name": new.name, "ip_allowlist": new.ip_allowlist, "scopes": new.scopes, "rate_limit": new.rate_limit,
            "metadata": new.metadata,
        });
        self.change(Method::POST, "/tenants", Some(&body))
    }

    fn tenants(&self) -> Result<Vec<Shown>, Failure> {
        records(self.list("/tenants", &Questions::default(), usize::MAX)?)
    }

    fn tenant(&self, id: &str) -> Result<Shown, Failure> {
        self.record(&tenant(id))
    }

    fn update_tenant(&self, id: &str, version: Option<u64>, edit: &Edit) -> Result<Changed, Failure> {
        self.update(&tenant(id), version, edit, None)
    }

    fn change_tenant(&self, id: &str, verb: TenantVerb) -> Result<Shown, Failure> {
        let verb = if verb == TenantVerb::Suspend { "suspend" } else { "resume" };
        self.change(Method::POST, &format!("{}/{verb}", tenant(id)), None)
    }

    fn delete_tenant(&self, id: &str) -> Result<(), Failure> {
        self.client.ask(Method::DELETE, &tenant(id), None, Duration::ZERO).map(drop)
    }

    fn sessions(&self, tenant: Option<&str>, subject: Option<&str>) -> Result<Vec<Shown>, Failure> {
        let mut asked = Questions::default();
        asked.add("tenant", tenant);
        asked.add("subject", subject);
        records(self.list("/sessions", &asked, usize::MAX)?)
    }

    fn revoke_session(&self, id: &str) -> Result<Shown, Failure> {
        self.change(Method::DELETE, &format!("/sessions/{}", encoded(id)), None)
    }

    fn revoke_sessions(&self, tenant: Option<&str>, subject: Option<&str>) -> Result<usize, Failure> {
        let body = json!({ "tenant": tenant, "subject": subject, "all": tenant.is_none() && subject.is_none() });
        let shown = self.change(Method::POST, "/sessions/revoke", Some(&body))?;
        shown.get("revoked").and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok()).ok_or_else(strange)
    }

    fn events(&self, query: &Query<'_>) -> Result<Page<Event>, Failure> {
        let mut asked = Questions::default();
        asked.add("tenant", query.tenant);
        asked.add("key", query.of.and_then(|(object, id)| (object == Object::Key).then_some(id)));
        asked.add("since", query.since);
        asked.add("until", query.until);
        asked.add("cursor", query.cursor);
        asked.add("limit", Some(query.limit.min(PAGE)));
        asked.add("order", Some("asc").filter(|_| query.oldest_first));
        let page = self.page("/audit", &asked)?;
        let items = page.items.into_iter().map(typed).collect::<Result<_, _>>()?;
        Ok(Page { items, next: page.next, unreadable: page.unreadable })
    }

    fn denials(&self, filter: &DenialFilter, limit: usize) -> Result<Vec<Denial>, Failure> {
        let mut asked = Questions::default();
        asked.add("request", filter.request_id.as_ref());
        asked.add("key", filter.key.as_ref());
        asked.add("tenant", filter.tenant.as_ref());
        asked.add("reason", filter.reason.as_ref());
        asked.add("since", filter.since);
        self.list("/denials", &asked, limit)?.into_iter().map(typed).collect()
    }

    fn status(&self) -> Result<Value, Failure> {
        let status = self.get("/status")?;
        match status.pointer("/store/reachable") {
            Some(Value::Bool(false)) => Err(Exit::Unreachable.because("the instance is there, its store does not answer")),
            _ => Ok(status),
        }
    }

    fn wait_for(&mut self, patience: Option<Span>) {
        self.patience = patience;
    }

    fn confirmation(&self) -> Result<Option<Confirmation>, Failure> {
        match self.extent.borrow().get("confirmation") {
            None => Ok(None),
            Some(Value::Null) => {
                Err(Exit::Unreachable.because("it is done; which sidecars have applied it is not known: the store does not answer"))
            }
            Some(confirmation) => typed(confirmation.clone()).map(Some),
        }
    }

    fn unreplicated(&self) -> Option<String> {
        let extent = self.extent.borrow();
        let said = |name| extent.get("replication")?.get(name)?.as_u64();
        Some(format!("{} of {} replicas have it", said("acknowledged")?, said("wanted")?))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn context(&self) -> Option<&Context> {
        None
    }
}
