//! Which keys a list is of: the same questions, with the same answers, of the command line and the management API.
//! A pure function of a record and the time; never asks the store.

use super::lifecycle::standing;
use super::record::KeyRecord;
use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;

/// The words for [`Filter::status`]: what [`standing`] says.
pub const STATUSES: [&str; 4] = ["active", "inactive", "expired", "revoked"];

/// What is asked for; what is not given is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// Of this environment.
    pub environment: Option<EnvironmentName>,
    /// One of [`STATUSES`].
    pub status: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// This is part of its name, in upper or lower case.
    pub name: Option<String>,
    /// Its prefix begins with this.
    pub prefix: Option<String>,
    /// Not used since: the last use, or else the creation, is before this time.
    pub last_used_before: Option<Timestamp>,
    /// Made before this time.
    pub created_before: Option<Timestamp>,
}

impl Filter {
    /// Whether a key is asked for.
    #[must_use]
    pub fn admits(&self, key: &KeyRecord, now: Timestamp) -> bool {
        let contains = |part: &str| key.name.to_lowercase().contains(&part.to_lowercase());
        self.tenant.as_ref().is_none_or(|tenant| key.tenant == *tenant)
            && self.environment.is_none_or(|environment| key.environment == environment)
            && self.status.as_ref().is_none_or(|status| standing(key, now) == status)
            && self.kind.as_ref().is_none_or(|kind| key.kind == *kind)
            && self.name.as_deref().is_none_or(contains)
            && self.prefix.as_ref().is_none_or(|prefix| key.prefix.starts_with(prefix.as_str()))
            && self.last_used_before.is_none_or(|end| key.last_used.unwrap_or(key.created_at) < end)
            && self.created_before.is_none_or(|end| key.created_at < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::record::KeyStatus;
    use crate::store::contract::key;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn each_question_alone_tells_a_key_from_another() {
        let yes = KeyRecord { created_at: Timestamp(5), ..key("key_1", "acme", "s1") };
        let no = KeyRecord {
            name: "Elsewhere".into(),
            kind: "publishable".into(),
            prefix: "pk_test_".into(),
            environment: EnvironmentName::Test,
            status: KeyStatus::Revoked,
            created_at: Timestamp(10),
            ..key("key_2", "globex", "s2")
        };
        let one = |filter: Filter| assert!(filter.admits(&yes, NOW) && !filter.admits(&no, NOW), "{filter:?}");
        one(Filter { tenant: Some("acme".into()), ..Filter::default() });
        one(Filter { environment: Some(yes.environment), ..Filter::default() });
        one(Filter { status: Some("active".into()), ..Filter::default() });
        one(Filter { kind: Some(yes.kind.clone()), ..Filter::default() });
        one(Filter { name: Some(yes.name.to_uppercase()), ..Filter::default() });
        one(Filter { prefix: Some("sk_".into()), ..Filter::default() });
        one(Filter { created_before: Some(Timestamp(10)), ..Filter::default() });
        one(Filter { last_used_before: Some(Timestamp(10)), ..Filter::default() });
        assert!(Filter::default().admits(&yes, NOW) && Filter::default().admits(&no, NOW));
    }

    #[test]
    fn a_key_that_is_used_is_not_unused_however_old() {
        let old = KeyRecord { created_at: Timestamp(1), last_used: Some(Timestamp(100)), ..key("key_1", "acme", "s1") };
        let unused = |before| Filter { last_used_before: Some(Timestamp(before)), ..Filter::default() }.admits(&old, NOW);
        assert!(unused(101) && !unused(100));
    }

    #[test]
    fn what_is_past_its_end_is_expired_and_no_longer_active() {
        let ended = KeyRecord { expires_at: Some(NOW), ..key("key_1", "acme", "s1") };
        for status in STATUSES {
            let filter = Filter { status: Some(status.into()), ..Filter::default() };
            assert_eq!(filter.admits(&ended, NOW), status == "expired", "{status}");
        }
    }
}
