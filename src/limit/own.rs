//! Limits that records carry: a tenant's and a key's, compiled with the identity; and how a command writes one.

use http::HeaderValue;
use serde_json::{Value, json};

use super::policy_of;
use super::rule::{Kind, Rule};
use crate::config::units::Span;
use crate::key::record::KeyRecord;
use crate::tenant::TenantRecord;

/// The limits of a caller's records.
#[derive(Debug)]
pub struct OwnLimits {
    rules: Vec<Rule>,
    pub(super) policy: Option<HeaderValue>,
}

impl OwnLimits {
    /// Compiles them, of a token the tenant's alone; `None` where there is none.
    ///
    /// # Errors
    /// What cannot be read: it is not a limit that may be left out.
    pub fn compile(key: Option<&KeyRecord>, tenant: &TenantRecord) -> Result<Option<Box<Self>>, String> {
        let mut rules = Vec::new();
        let of_key = key.map(|key| (Kind::Key, &key.id, &key.rate_limit));
        for (kind, id, written) in [(Kind::Tenant, &tenant.id, &tenant.rate_limit)].into_iter().chain(of_key) {
            if let Some(written) = written {
                rules.push(Rule::of_record(kind, id, written)?);
            }
        }
        let policy = policy_of(rules.iter());
        Ok((!rules.is_empty()).then(|| Box::new(Self { rules, policy })))
    }

    /// What is wrong with a key's.
    ///
    /// # Errors
    /// That.
    pub fn check_key(key: &KeyRecord) -> Result<(), String> {
        key.rate_limit.as_ref().map_or(Ok(()), |written| Rule::of_record(Kind::Key, &key.id, written).map(drop))
    }

    /// What is wrong with a tenant's.
    ///
    /// # Errors
    /// That.
    pub fn check_tenant(tenant: &TenantRecord) -> Result<(), String> {
        tenant.rate_limit.as_ref().map_or(Ok(()), |written| Rule::of_record(Kind::Tenant, &tenant.id, written).map(drop))
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }
}

/// `100/1s`, or `100/1s/200` with its burst: a limit as records carry it.
///
/// # Errors
/// That it is none.
pub fn parse(text: &str) -> Result<Value, String> {
    let wrong = || format!("`{text}` is no limit: requests, a time and perhaps a burst, such as 100/1s or 100/1s/200");
    let mut parts = text.split('/');
    let requests: u64 = parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong)?;
    let per: Span = parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong)?;
    let burst: Option<u64> = parts.next().map(|part| part.parse().map_err(|_| wrong())).transpose()?;
    if parts.next().is_some() {
        return Err(wrong());
    }
    let mut limit = json!({ "requests": requests, "per": per.to_string() });
    if let (Some(burst), Some(fields)) = (burst, limit.as_object_mut()) {
        fields.insert("burst".into(), burst.into());
    }
    Rule::of_record(Kind::Key, "it", &limit).map(|_| limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_written_as_people_say_it() {
        assert_eq!(parse("100/1s"), Ok(json!({ "requests": 100, "per": "1s" })));
        assert_eq!(parse("5/24h/2"), Ok(json!({ "requests": 5, "per": "24h", "burst": 2 })));
        for wrong in ["", "100", "100/s", "0/1s", "1/0s", "1/1s/0", "1/1s/1/1", "-1/1s"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
