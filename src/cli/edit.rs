//! What an update's flags change in a record: lists that are added to and taken from, words that are set. The same for keys and
//! tenants. Pure: whoever calls reads and writes the record.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::key::record::KeyRecord;
use crate::net::Network;
use crate::tenant::TenantRecord;

/// What an update may change of a key or a tenant. A tenant has no referrers and endpoints; of a key no scopes at all is none.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Terms {
    pub(super) name: String,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) ip_allowlist: Option<Vec<String>>,
    pub(super) referrers: Option<Vec<String>>,
    pub(super) endpoints: Option<Vec<String>>,
    pub(super) rate_limit: Option<Value>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Of a list that a record may lack: absent = anything is allowed, empty = nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Whole {
    /// Anything
    Any,
    /// Nothing
    None,
}

/// A change of a list: as a whole first, then what is taken away, then what is added.
#[derive(Debug, Clone, Default)]
pub(super) struct ListEdit {
    pub(super) whole: Option<Whole>,
    pub(super) remove: Vec<String>,
    pub(super) add: Vec<String>,
}

/// Where a list stands in terms.
type List = fn(&mut Terms) -> &mut Option<Vec<String>>;

/// A change of terms. Nothing given changes nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Edit {
    pub(super) name: Option<String>,
    pub(super) scopes: ListEdit,
    pub(super) networks: ListEdit,
    pub(super) origins: ListEdit,
    pub(super) endpoints: ListEdit,
    /// JSON's null takes it away.
    pub(super) rate_limit: Option<Value>,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) remove_metadata: Vec<String>,
}

impl Edit {
    /// What one entry of each list is called, how it is changed, and where it stands.
    fn lists(&self) -> [(&'static str, &ListEdit, List); 4] {
        [
            ("scope", &self.scopes, |terms| &mut terms.scopes),
            ("network", &self.networks, |terms| &mut terms.ip_allowlist),
            ("origin", &self.origins, |terms| &mut terms.referrers),
            ("endpoint", &self.endpoints, |terms| &mut terms.endpoints),
        ]
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.name.is_none()
            && self.rate_limit.is_none()
            && self.metadata.is_empty()
            && self.remove_metadata.is_empty()
            && self.lists().iter().all(|(_, edit, _)| edit.whole.is_none() && edit.remove.is_empty() && edit.add.is_empty())
    }

    /// Changes terms.
    ///
    /// # Errors
    /// What is to be taken away is not there.
    pub(super) fn apply(&self, terms: &mut Terms) -> Result<(), String> {
        if let Some(name) = &self.name {
            terms.name.clone_from(name);
        }
        for (what, edit, list) in self.lists() {
            edit.apply(what, list(terms))?;
        }
        if let Some(limit) = &self.rate_limit {
            terms.rate_limit = Some(limit.clone()).filter(|limit| !limit.is_null());
        }
        for name in &self.remove_metadata {
            terms.metadata.remove(name).ok_or_else(|| format!("there is no metadata `{name}`"))?;
        }
        terms.metadata.extend(self.metadata.iter().cloned());
        Ok(())
    }

    /// What its maker should know of the lists.
    pub(super) fn remarks(&self, mut before: Terms, mut after: Terms) -> Vec<String> {
        let lists = self.lists().into_iter();
        lists.filter_map(|(what, edit, list)| edit.remark(what, list(&mut before).as_deref(), list(&mut after).as_deref())).collect()
    }
}

impl ListEdit {
    /// Changes a list. What is to be taken away must be there: a mistyped network that silently stays allowed would be worse than
    /// a word.
    fn apply(&self, what: &str, list: &mut Option<Vec<String>>) -> Result<(), String> {
        match self.whole {
            Some(Whole::Any) => *list = None,
            Some(Whole::None) => *list = Some(Vec::new()),
            None => {}
        }
        for gone in &self.remove {
            let entries = list.as_mut().ok_or_else(|| format!("any {what} is allowed: there is no `{gone}` to take away"))?;
            let before = entries.len();
            entries.retain(|entry| !is_same(entry, gone));
            if entries.len() == before {
                let there = if entries.is_empty() { "none".to_owned() } else { entries.join(", ") };
                return Err(format!("there is no {what} `{gone}`, but {there}"));
            }
        }
        for new in &self.add {
            let entries = list.get_or_insert_default();
            if !entries.iter().any(|entry| is_same(entry, new)) {
                entries.push(new.clone());
            }
        }
        Ok(())
    }

    fn remark(&self, what: &str, before: Option<&[String]>, after: Option<&[String]>) -> Option<String> {
        match (before, after) {
            (None, Some([_, ..])) if self.whole.is_none() => {
                Some(format!("any {what} was allowed until now; from now on only what is listed"))
            }
            (before, Some([])) if before.is_none_or(|before| !before.is_empty()) && self.whole != Some(Whole::None) => {
                Some(format!("no {what} is left: nothing is allowed any more"))
            }
            _ => None,
        }
    }
}

/// Networks are the same however they are written.
fn is_same(one: &str, other: &str) -> bool {
    one == other || one.parse::<Network>().is_ok_and(|network| other.parse() == Ok(network))
}

impl Terms {
    pub(super) fn of_key(key: &KeyRecord) -> Self {
        Self {
            name: key.name.clone(),
            scopes: Some(key.scopes.clone()),
            ip_allowlist: key.ip_allowlist.clone(),
            referrers: key.referrers.clone(),
            endpoints: key.endpoints.clone(),
            rate_limit: key.rate_limit.clone(),
            metadata: key.metadata.clone(),
        }
    }

    pub(super) fn into_key(self, key: &mut KeyRecord) {
        key.name = self.name;
        key.scopes = self.scopes.unwrap_or_default();
        (key.ip_allowlist, key.referrers, key.endpoints) = (self.ip_allowlist, self.referrers, self.endpoints);
        (key.rate_limit, key.metadata) = (self.rate_limit, self.metadata);
    }

    pub(super) fn of_tenant(tenant: &TenantRecord) -> Self {
        Self {
            name: tenant.name.clone(),
            scopes: tenant.scopes.clone(),
            ip_allowlist: tenant.ip_allowlist.clone(),
            rate_limit: tenant.rate_limit.clone(),
            metadata: tenant.metadata.clone(),
            ..Self::default()
        }
    }

    pub(super) fn into_tenant(self, tenant: &mut TenantRecord) {
        (tenant.name, tenant.scopes, tenant.ip_allowlist) = (self.name, self.scopes, self.ip_allowlist);
        (tenant.rate_limit, tenant.metadata) = (self.rate_limit, self.metadata);
    }

    /// The merge patch that makes these of others: what differs, null for what is taken away.
    pub(super) fn patch(&self, before: &Self) -> Map<String, Value> {
        let mut patch = Map::new();
        let mut differs = |name: &str, old: Value, new: Value| {
            if old != new {
                patch.insert(name.to_owned(), new);
            }
        };
        differs("name", json!(before.name), json!(self.name));
        differs("scopes", json!(before.scopes), json!(self.scopes));
        differs("ip_allowlist", json!(before.ip_allowlist), json!(self.ip_allowlist));
        differs("referrers", json!(before.referrers), json!(self.referrers));
        differs("endpoints", json!(before.endpoints), json!(self.endpoints));
        differs("rate_limit", json!(before.rate_limit), json!(self.rate_limit));
        let set = self.metadata.iter().filter(|(name, value)| before.metadata.get(*name) != Some(value));
        let gone = before.metadata.keys().filter(|name| !self.metadata.contains_key(*name));
        let words: Map<String, Value> =
            set.map(|(name, value)| (name.clone(), json!(value))).chain(gone.map(|name| (name.clone(), Value::Null))).collect();
        if !words.is_empty() {
            patch.insert("metadata".to_owned(), Value::Object(words));
        }
        patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    fn edited(before: Option<&[&str]>, whole: Option<Whole>, remove: &[&str], add: &[&str]) -> Result<Option<Vec<String>>, String> {
        let mut entries = before.map(list);
        ListEdit { whole, remove: list(remove), add: list(add) }.apply("network", &mut entries).map(|()| entries)
    }

    #[test]
    fn a_list_is_set_then_taken_from_then_added_to() {
        assert_eq!(edited(Some(&["a", "b"]), None, &["a"], &["c", "b"]), Ok(Some(list(&["b", "c"]))));
        assert_eq!(edited(Some(&["a"]), Some(Whole::Any), &[], &[]), Ok(None));
        assert_eq!(edited(Some(&["a"]), Some(Whole::None), &[], &["c"]), Ok(Some(list(&["c"]))));
        assert_eq!(edited(None, None, &[], &["c"]), Ok(Some(list(&["c"]))));
        assert_eq!(edited(Some(&["a"]), None, &["a"], &[]), Ok(Some(Vec::new())));
    }

    #[test]
    fn what_is_not_there_cannot_be_taken_away() {
        assert!(edited(None, None, &["a"], &[]).unwrap_err().contains("any network is allowed"));
        assert!(edited(Some(&["b"]), None, &["a"], &[]).unwrap_err().contains("no network `a`, but b"));
    }

    #[test]
    fn a_network_is_the_same_however_it_is_written() {
        assert_eq!(edited(Some(&["10.0.0.7"]), None, &["10.0.0.7/32"], &[]), Ok(Some(Vec::new())));
        assert_eq!(edited(Some(&["2001:db8::/32"]), None, &[], &["2001:DB8:0::/32"]), Ok(Some(list(&["2001:db8::/32"]))));
    }

    #[test]
    fn who_narrows_or_shuts_is_told() {
        let edit = ListEdit { add: list(&["a"]), ..ListEdit::default() };
        assert!(edit.remark("network", None, Some(&list(&["a"]))).is_some());
        assert!(edit.remark("network", Some(&list(&["b"])), Some(&list(&["b", "a"]))).is_none());
        assert!(edit.remark("network", Some(&list(&["b"])), Some(&[])).is_some());
    }

    #[test]
    fn a_patch_says_what_differs_and_makes_one_of_the_other() {
        let before = Terms {
            name: "ci".into(),
            scopes: Some(list(&["a"])),
            ip_allowlist: Some(list(&["10.0.0.0/8"])),
            metadata: [("team".to_owned(), "blue".to_owned()), ("plan".to_owned(), "pro".to_owned())].into(),
            ..Terms::default()
        };
        let edit = Edit {
            networks: ListEdit { whole: Some(Whole::Any), ..ListEdit::default() },
            metadata: vec![("region".into(), "eu".into())],
            remove_metadata: list(&["team"]),
            ..Edit::default()
        };
        let mut after = before.clone();
        edit.apply(&mut after).unwrap();
        let patch = after.patch(&before);
        assert_eq!(Value::from(patch), json!({ "ip_allowlist": null, "metadata": { "region": "eu", "team": null } }));
        assert!(before.patch(&before).is_empty());
    }
}
