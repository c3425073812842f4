//! Who changed what, when, from where: an event for every change of the key table, written together with the record it is about.
//! Events hold what differs before and after, and never a secret; the stored digest of a new one only so that a replay after a
//! restore can end what a rotation had ended.

pub mod replay;
pub mod words;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::key::record::{KeyRecord, PreviousSecret};
use crate::tenant::TenantRecord;

/// Who makes changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// `cli`, `sidegate`, `admin:NAME` of a token, `key:ID` of a calling key.
    pub name: String,
    /// The address it asks from; `None` = on this machine.
    pub from: Option<String>,
    /// The request it asks with.
    pub request_id: Option<String>,
}

impl Actor {
    /// On this machine.
    #[must_use]
    pub fn local(name: &str) -> Self {
        Self { name: name.to_owned(), from: None, request_id: None }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Action {
    Create,
    Import,
    Update,
    Rotate,
    EndOverlap,
    Deactivate,
    Activate,
    Revoke,
    Expose,
    Suspend,
    Resume,
    Delete,
    Purge,
    Release,
}

impl Action {
    /// Its word, behind the object's.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Import => "import",
            Self::Update => "update",
            Self::Rotate => "rotate",
            Self::EndOverlap => "end_overlap",
            Self::Deactivate => "deactivate",
            Self::Activate => "activate",
            Self::Revoke => "revoke",
            Self::Expose => "expose",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Delete => "delete",
            Self::Purge => "purge",
            Self::Release => "release",
        }
    }
}

/// What events are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Object {
    Key,
    Tenant,
    Session,
    Idempotency,
}

impl Object {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Tenant => "tenant",
            Self::Session => "session",
            Self::Idempotency => "idempotency",
        }
    }
}

/// A record that changes are audited of.
pub trait Subject: Serialize {
    /// What it is.
    const OBJECT: Object;
    /// Its id.
    fn id(&self) -> &str;
    /// The tenant it is of.
    fn tenant(&self) -> &str;
    /// The version that a change has made it.
    fn version(&self) -> u64;
    /// Hex of the stored digest of its secret.
    fn digest(&self) -> Option<&str>;
}

impl Subject for KeyRecord {
    const OBJECT: Object = Object::Key;
    fn id(&self) -> &str {
        &self.id
    }
    fn tenant(&self) -> &str {
        &self.tenant
    }
    fn version(&self) -> u64 {
        self.version
    }
    fn digest(&self) -> Option<&str> {
        Some(&self.digest)
    }
}

impl Subject for TenantRecord {
    const OBJECT: Object = Object::Tenant;
    fn id(&self) -> &str {
        &self.id
    }
    fn tenant(&self) -> &str {
        &self.id
    }
    fn version(&self) -> u64 {
        self.version
    }
    fn digest(&self) -> Option<&str> {
        None
    }
}

/// A change, as it is kept.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// From which address; `None` = on the machine of the store's user.
    #[serde(default)]
    pub from: Option<String>,
    /// With which request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What was done, such as `key.rotate`. Words of later releases are kept as they are.
    pub action: String,
    /// What it is about.
    pub object: Object,
    /// Which.
    pub id: String,
    /// Of which tenant.
    pub tenant: String,
    /// The record's version since.
    pub version: u64,
    /// What differs, as it was; `None` = there was nothing.
    #[serde(default)]
    pub before: Option<Map<String, Value>>,
    /// What differs, as it is; `None` = there is nothing any more.
    #[serde(default)]
    pub after: Option<Map<String, Value>>,
    /// Hex of the stored digest of a new secret. For replays only: [`Event::shown`] leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Event {
    /// Of the change that has made `before` into `after`.
    #[must_use]
    pub fn of<R: Subject>(actor: &Actor, action: Action, at: Timestamp, before: Option<&R>, after: &R) -> Self {
        let (mut old, mut new) = (before.map(fields), fields(after));
        if let Some(old) = &mut old {
            let same: Vec<String> =
                new.iter().filter(|(name, value)| old.get(*name) == Some(value)).map(|(name, _)| name.clone()).collect();
            for name in same {
                old.shift_remove(&name);
                new.shift_remove(&name);
            }
        }
        let is_new = before.is_none_or(|before| before.digest() != after.digest());
        Self {
            before: old,
            after: Some(new),
            digest: after.digest().filter(|_| is_new).map(ToOwned::to_owned),
            ..Self::about(actor, action, at, (R::OBJECT, after.id(), after.tenant()), after.version())
        }
    }

    /// Of the removal of a record.
    #[must_use]
    pub fn of_removal<R: Subject>(actor: &Actor, action: Action, at: Timestamp, removed: &R) -> Self {
        let object = (R::OBJECT, removed.id(), removed.tenant());
        Self { before: Some(fields(removed)), ..Self::about(actor, action, at, object, removed.version() + 1) }
    }

    /// Of what is no change of a record: object, id, tenant; the version tells two of one instant apart.
    #[must_use]
    pub fn about(actor: &Actor, action: Action, at: Timestamp, (object, id, tenant): (Object, &str, &str), version: u64) -> Self {
        Self {
            at,
            actor: actor.name.clone(),
            from: actor.from.clone(),
            request_id: actor.request_id.clone(),
            action: format!("{}.{}", object.word(), action.word()),
            object,
            id: id.to_owned(),
            tenant: tenant.to_owned(),
            version,
            before: None,
            after: None,
            digest: None,
        }
    }

    /// As people are shown it.
    #[must_use]
    pub fn shown(self) -> Self {
        Self { digest: None, ..self }
    }

    /// Where it stands in lists: sorts by time; also the cursor behind it.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.instant(), self.name())
    }

    /// What tells it from every other event of the same record.
    #[must_use]
    pub fn instant(&self) -> String {
        format!("{:016}/{:010}", self.at.0.max(0), self.version)
    }

    fn name(&self) -> String {
        format!("{}/{}", self.object.word(), self.id)
    }
}

/// A record as its owner may see it: no digest of any secret, and what every record has alike is left out.
fn fields(record: &impl Serialize) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(record) else { return Map::new() };
    for name in ["format", "id", "digest", "version"] {
        fields.shift_remove(name);
    }
    let previous = fields.shift_remove("previous").and_then(|previous| serde_json::from_value::<PreviousSecret>(previous).ok());
    let previous = previous.filter(|previous| !previous.is_dead());
    fields.extend(previous.map(|previous| ("previous_until".to_owned(), previous.until.to_string().into())));
    fields.retain(|_, value| !value.is_null());
    fields
}

/// Which events are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<'a> {
    /// Of this tenant.
    pub tenant: Option<&'a str>,
    /// About this one.
    pub of: Option<(Object, &'a str)>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Behind this place.
    pub cursor: Option<&'a str>,
    /// At most so many.
    pub limit: usize,
    /// The oldest first; else the newest.
    pub oldest_first: bool,
}

impl Query<'_> {
    /// The least place that is asked for, and the least that is behind all of them.
    pub(crate) fn bounds(&self) -> (String, String) {
        let place = |at: Option<Timestamp>, none: &str| at.map_or_else(|| none.to_owned(), |at| format!("{:016}/", at.0.max(0)));
        let (mut from, mut to) = (place(self.since, "0"), place(self.until, ":"));
        if let Some(cursor) = self.cursor {
            if self.oldest_first {
                // The least string behind it.
                from = from.max(format!("{cursor}\0"));
            } else {
                to = to.min(cursor.to_owned());
            }
        }
        (from, to)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::contract::key;

    fn actor() -> Actor {
        Actor { name: "admin:console".into(), from: Some("127.0.0.1".into()), request_id: Some("req-12345678".into()) }
    }

    #[test]
    fn an_event_holds_what_differs_and_no_secret() {
        let before = key("key_1", "acme", "s1");
        let mut after = KeyRecord { scopes: vec!["read:b".into()], version: 2, ..before.clone() };
        after.previous = Some(PreviousSecret { digest: before.digest.clone(), until: Timestamp(1_800_000_000_000) });
        after.digest = "ab".repeat(32);
        let event = Event::of(&actor(), Action::Rotate, Timestamp(1_700_000_000_001), Some(&before), &after);
        assert_eq!(event.action, "key.rotate");
        assert_eq!(Value::from(event.before.clone().unwrap()), json!({ "scopes": ["read:a"] }));
        assert_eq!(Value::from(event.after.clone().unwrap()), json!({ "scopes": ["read:b"], "previous_until": "2027-01-15T08:00:00Z" }));
        assert_eq!(event.digest.as_deref(), Some(after.digest.as_str()));
        let shown = serde_json::to_string(&event.clone().shown()).unwrap();
        assert!(!shown.contains(&after.digest) && !shown.contains(&before.digest), "{shown}");
        assert_eq!(serde_json::from_str::<Event>(&serde_json::to_string(&event).unwrap()).unwrap(), event);
    }

    #[test]
    fn a_secret_that_stays_is_in_no_event() {
        let before = key("key_1", "acme", "s1");
        let after = KeyRecord { name: "other".into(), version: 2, ..before.clone() };
        let event = Event::of(&actor(), Action::Update, Timestamp(0), Some(&before), &after);
        assert_eq!((event.digest, Value::from(event.after.unwrap())), (None, json!({ "name": "other" })));
        let removed = Event::of_removal(&actor(), Action::Purge, Timestamp(0), &after);
        assert!(removed.after.is_none() && removed.digest.is_none() && removed.version == 3);
    }
}
