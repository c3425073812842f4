//! What an update's flags change in a record: lists that are added to and taken from, words that are set. The same for keys and
//! tenants. Pure: whoever calls reads and writes the record.

use std::collections::BTreeMap;

use crate::net::Network;

/// Of a list that a record may lack: absent = anything is allowed, empty = nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Whole {
    /// Anything
    Any,
    /// Nothing
    None,
}

/// A change of a list: as a whole first, then what is taken away, then what is added.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListEdit<'a> {
    pub(super) whole: Option<Whole>,
    pub(super) remove: &'a [String],
    pub(super) add: &'a [String],
}

impl ListEdit<'_> {
    pub(super) const fn is_nothing(&self) -> bool {
        self.whole.is_none() && self.remove.is_empty() && self.add.is_empty()
    }

    /// Changes a list; `what` one entry of it is called. What is to be taken away must be there: a mistyped network that silently
    /// stays allowed would be worse than a word.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn apply(&self, what: &str, list: &mut Option<Vec<String>>) -> Result<(), String> {
        match self.whole {
            Some(Whole::Any) => *list = None,
            Some(Whole::None) => *list = Some(Vec::new()),
            None => {}
        }
        for gone in self.remove {
            let entries = list.as_mut().ok_or_else(|| format!("any {what} is allowed: there is no `{gone}` to take away"))?;
            let before = entries.len();
            entries.retain(|entry| !is_same(entry, gone));
            if entries.len() == before {
                let there = if entries.is_empty() { "none".to_owned() } else { entries.join(", ") };
                return Err(format!("there is no {what} `{gone}`, but {there}"));
            }
        }
        for new in self.add {
            let entries = list.get_or_insert_default();
            if !entries.iter().any(|entry| is_same(entry, new)) {
                entries.push(new.clone());
            }
        }
        Ok(())
    }

    /// What its maker should know of that.
    pub(super) fn remark(&self, what: &str, before: Option<&[String]>, after: Option<&[String]>) -> Option<String> {
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

/// Changes metadata.
///
/// # Errors
/// What is to be taken away is not there.
pub(super) fn metadata(map: &mut BTreeMap<String, String>, set: &[(String, String)], remove: &[String]) -> Result<(), String> {
    for name in remove {
        map.remove(name).ok_or_else(|| format!("there is no metadata `{name}`"))?;
    }
    map.extend(set.iter().cloned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    fn edited(before: Option<&[&str]>, whole: Option<Whole>, remove: &[&str], add: &[&str]) -> Result<Option<Vec<String>>, String> {
        let mut entries = before.map(list);
        let (remove, add) = (list(remove), list(add));
        ListEdit { whole, remove: &remove, add: &add }.apply("network", &mut entries).map(|()| entries)
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
        let edit = ListEdit { whole: None, remove: &[], add: &list(&["a"]) };
        assert!(edit.remark("network", None, Some(&list(&["a"]))).is_some());
        assert!(edit.remark("network", Some(&list(&["b"])), Some(&list(&["b", "a"]))).is_none());
        assert!(edit.remark("network", Some(&list(&["b"])), Some(&[])).is_some());
    }
}
