//! What a record must be to be written: every rule of the contract about keys and tenants, told all at once.
//! A record that could not be served is refused here, when somebody is there to read why.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::kind::{KeyKinds, Prefix};
use super::record::KeyRecord;
use crate::clock::Timestamp;
use crate::config::problem::Problems;
use crate::config::sections::{Config, EnvironmentName};
use crate::config::units::Span;
use crate::identity::template::IdentityHeaders;
use crate::identity::{Identity, Ids};
use crate::limit::own::OwnLimits;
use crate::net::IpSet;
use crate::policy::endpoint::Endpoints;
use crate::policy::referrer::Referrers;
use crate::policy::scope::check_grant;
use crate::tenant::TenantRecord;

/// Longest name of a key or tenant, and longest metadata value, in bytes.
const TEXT_MAX: usize = 256;
/// Longest id and metadata name.
const ID_MAX: usize = 64;

/// Something that is wrong with a record: where, and in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Path of the field, such as `scopes[1]`; empty = no single one.
    pub field: Cow<'static, str>,
    /// What is wrong, said so that the field needs no naming.
    pub why: String,
}

impl Fault {
    /// Of a field.
    #[must_use]
    pub fn new(field: impl Into<Cow<'static, str>>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// The rules, compiled from the configuration.
#[derive(Debug)]
pub struct Rules {
    /// Kinds of keys and their prefixes.
    pub kinds: KeyKinds,
    /// Keys a tenant may have, revoked ones not counted.
    pub max_per_tenant: usize,
    /// How long a replaced secret still works where the command names no time.
    pub rotate_overlap: Duration,
    headers: Arc<IdentityHeaders>,
    /// `[scopes]`; empty = any scope.
    vocabulary: BTreeSet<String>,
    default_life: Option<Duration>,
    max_life: Option<Duration>,
}

impl Rules {
    /// Compiles `[[key_kinds]]`, `[keys]`, `[scopes]` and `[identity.headers]`.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut life = |key: &str, text: &str| -> Option<Option<Duration>> {
            if text.is_empty() {
                return Some(None);
            }
            problems.parse::<Span>(&format!("keys.{key}"), text).map(Span::nonzero)
        };
        let default_life = life("default_expires_in", &config.keys.default_expires_in);
        let max_life = life("max_expires_in", &config.keys.max_expires_in);
        if let (Some(Some(default)), Some(Some(max))) = (default_life, max_life)
            && default > max
        {
            problems.error("keys.default_expires_in", "default_expires_in is longer than keys.max_expires_in");
        }
        for scope in config.scopes.keys() {
            if let Err(why) = check_grant(scope) {
                problems.error(format!("scopes.\"{scope}\""), why);
            }
        }
        let kinds = KeyKinds::compile(config, problems);
        let headers = IdentityHeaders::compile(config, problems);
        Some(Self {
            kinds: kinds?,
            max_per_tenant: config.keys.max_per_tenant,
            rotate_overlap: config.keys.rotate_overlap.0,
            headers: Arc::new(headers?),
            vocabulary: config.scopes.keys().cloned().collect(),
            default_life: default_life?,
            max_life: max_life?,
        })
    }

    /// What is wrong with a key's record; nothing = it may be written.
    #[must_use]
    pub fn check_key(&self, key: &KeyRecord, tenant: &TenantRecord) -> Vec<Fault> {
        let mut wrong = self.check_common("key id", &key.id, &key.name, &key.scopes, &key.metadata);
        let lists = [
            ("ip_allowlist", key.ip_allowlist.as_ref().and_then(|list| IpSet::parse(list).err())),
            ("referrers", key.referrers.as_ref().and_then(|list| Referrers::parse(list).err())),
            ("endpoints", key.endpoints.as_ref().and_then(|list| Endpoints::parse(list).err())),
        ];
        wrong.extend(lists.into_iter().filter_map(|(field, why)| Some(Fault::new(field, format!("{field}: {}", why?)))));
        wrong.extend(OwnLimits::check_key(key).err().map(|why| Fault::new("rate_limit", why)));
        if wrong.is_empty() {
            // The rest is what serving the key would find: header values, and what is wrong with its tenant.
            let ids = Ids { key: key.id.as_str().into(), tenant: tenant.id.as_str().into() };
            wrong.extend(Identity::compile(ids, key, tenant, &self.headers).err().map(|why| Fault::new("", why)));
        }
        wrong
    }

    /// Whether the upstream is told the same of both keys' metadata.
    #[must_use]
    pub fn tells_alike(&self, one: &KeyRecord, other: &KeyRecord) -> bool {
        self.headers.key_metadata().all(|name| one.metadata.get(name) == other.metadata.get(name))
    }

    /// What is wrong with a tenant's record.
    #[must_use]
    pub fn check_tenant(&self, tenant: &TenantRecord) -> Vec<Fault> {
        let scopes = tenant.scopes.as_deref().unwrap_or_default();
        let mut wrong = self.check_common("tenant id", &tenant.id, &tenant.name, scopes, &tenant.metadata);
        let allowlist = tenant.ip_allowlist.as_ref().and_then(|list| IpSet::parse(list).err());
        wrong.extend(allowlist.map(|why| Fault::new("ip_allowlist", why)));
        wrong.extend(OwnLimits::check_tenant(tenant).err().map(|why| Fault::new("rate_limit", why)));
        wrong
    }

    /// What keys and tenants have alike.
    fn check_common(&self, id_is: &str, id: &str, name: &str, scopes: &[String], metadata: &BTreeMap<String, String>) -> Vec<Fault> {
        let single = [("id", check_id(id_is, id)), ("name", check_name(name))];
        let mut wrong: Vec<Fault> = single.into_iter().filter_map(|(field, said)| Some(Fault::new(field, said.err()?))).collect();
        wrong.extend(self.check_scopes(scopes));
        wrong.extend(check_metadata(metadata));
        wrong
    }

    /// The prefix that a new key of this kind gets.
    ///
    /// # Errors
    /// Which kinds there are instead.
    pub fn issue(&self, kind: &str, environment: EnvironmentName) -> Result<&Prefix, String> {
        self.kinds.issue(kind, environment).ok_or_else(|| {
            let issued: BTreeSet<String> = self
                .kinds
                .prefixes()
                .iter()
                .filter(|prefix| prefix.issued)
                .map(|prefix| format!("{} ({})", prefix.kind, prefix.environment.name()))
                .collect();
            let issued: Vec<String> = issued.into_iter().collect();
            format!("no kind `{kind}` for {} keys; [[key_kinds]] has {}", environment.name(), issued.join(", "))
        })
    }

    /// Why no key can have this secret, told from its form alone; `None` = one could.
    #[must_use]
    pub fn implausible(&self, secret: &[u8]) -> Option<String> {
        match self.kinds.classify(secret) {
            None => Some("it begins with no prefix of [[key_kinds]]".into()),
            Some(prefix) if !prefix.admits(secret) => Some("its checksum is wrong: mistyped or cut off".into()),
            Some(_) => None,
        }
    }

    /// When a key made now ends: `asked` is `90d`, a time in RFC 3339, or `never`; unset = as configured.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn expiry(&self, asked: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, String> {
        let after = |life: Duration| {
            let end = now.plus_millis(Span(life).as_millis()).in_range();
            end.map_err(|why| format!("a life of {} is too long: {why}", Span(life)))
        };
        let latest = self.max_life.map(after).transpose()?;
        let end = match asked {
            None => self.default_life.or(self.max_life).map(after).transpose()?,
            Some("never") => None,
            Some(text) => match text.parse::<Span>() {
                Ok(span) => Some(after(span.0)?),
                Err(_) => Some(text.parse::<Timestamp>().map_err(|_| {
                    format!("`{text}` is no expiry: a life such as 90d, a time in RFC 3339 such as 2026-12-31T23:59:59Z, or never")
                })?),
            },
        };
        match (end, latest) {
            (Some(end), _) if end <= now => Err("the expiry is not in the future".into()),
            (None, Some(latest)) => Err(format!("a key must end: keys.max_expires_in allows {latest} at the latest")),
            (Some(end), Some(latest)) if end > latest => Err(format!("{end} is too late: keys.max_expires_in allows {latest}")),
            (end, _) => Ok(end),
        }
    }

    /// What is wrong with scopes that are to be granted.
    #[must_use]
    pub fn check_scopes(&self, scopes: &[String]) -> Vec<Fault> {
        let each = scopes.iter().enumerate();
        each.filter_map(|(index, scope)| Some(Fault::new(format!("scopes[{index}]"), self.check_scope(scope).err()?))).collect()
    }

    fn check_scope(&self, scope: &str) -> Result<(), String> {
        check_grant(scope)?;
        let known = match scope.strip_suffix('*') {
            _ if self.vocabulary.is_empty() => true,
            Some(prefix) => self.vocabulary.iter().any(|word| word.starts_with(prefix)),
            None => self.vocabulary.contains(scope),
        };
        if known { Ok(()) } else { Err(format!("`{scope}` is not in [scopes]{}", self.nearest(scope))) }
    }

    fn nearest(&self, scope: &str) -> String {
        let near = self.vocabulary.iter().map(|word| (strsim::damerau_levenshtein(word, scope), word)).min();
        near.filter(|(distance, _)| *distance <= 3).map_or_else(String::new, |(_, word)| format!("; did you mean `{word}`?"))
    }
}

/// Ids of keys and tenants: `[A-Za-z0-9._-]{1,64}`, and more than dots.
///
/// # Errors
/// That it is none.
pub fn check_id(what: &str, id: &str) -> Result<(), String> {
    let fine = (1..=ID_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && id.bytes().any(|byte| byte != b'.');
    if fine { Ok(()) } else { Err(format!("`{}` is no {what}: 1 to {ID_MAX} of A-Z a-z 0-9 . _ -", id.escape_debug())) }
}

fn check_name(name: &str) -> Result<(), String> {
    let fine = (1..=TEXT_MAX).contains(&name.len()) && !name.chars().any(char::is_control) && name.trim() == name;
    if fine { Ok(()) } else { Err(format!("a name has 1 to {TEXT_MAX} bytes, no control characters, and no space at its ends")) }
}

/// Values as they are injected: visible ASCII without `, ; " \`, inner spaces allowed.
fn check_metadata(metadata: &BTreeMap<String, String>) -> Vec<Fault> {
    let value_is_fine = |value: &str| {
        (1..=TEXT_MAX).contains(&value.len())
            && value.trim() == value
            && value.bytes().all(|byte| (byte == b' ' || byte.is_ascii_graphic()) && !matches!(byte, b',' | b';' | b'"' | b'\\'))
    };
    let field = |name: &str| format!("metadata.{}", name.escape_debug());
    let names = metadata.keys().filter_map(|name| Some(Fault::new(field(name), check_id("metadata name", name).err()?)));
    let mut wrong: Vec<Fault> = names.collect();
    wrong.extend(metadata.iter().filter(|(_, value)| !value_is_fine(value)).map(|(name, _)| {
        let rule = format!("1 to {TEXT_MAX} bytes of visible ASCII without , ; \" \\ (inner spaces are fine)");
        Fault::new(field(name), format!("metadata `{}`: {rule}", name.escape_debug()))
    }));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{key, tenant};

    fn rules(toml: &str) -> Rules {
        let mut problems = Problems::default();
        let rules = Rules::compile(&toml::from_str(toml).unwrap(), &mut problems);
        rules.unwrap_or_else(|| panic!("{:?}", problems.list()))
    }

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let mut record = key("key/1", "acme", "s");
        record.name = " x".into();
        record.scopes = vec!["a b".into(), "read:*".into()];
        record.metadata = [("plan".into(), "a,b".into()), ("no name".into(), "x".into())].into();
        assert_eq!(rules("").check_key(&record, &tenant("acme")).len(), 5);
        assert!(rules("").check_key(&key("key_1", "acme", "s"), &tenant("acme")).is_empty());
    }

    #[test]
    fn what_could_not_be_served_is_not_written() {
        for spoil in [
            |key: &mut KeyRecord| key.ip_allowlist = Some(vec!["10.0.0.1/8".into()]),
            |key: &mut KeyRecord| key.referrers = Some(vec!["shop.example".into()]),
            |key: &mut KeyRecord| key.endpoints = Some(vec!["nonsense".into()]),
        ] {
            let mut record = key("key_1", "acme", "s");
            spoil(&mut record);
            assert_eq!(rules("").check_key(&record, &tenant("acme")).len(), 1);
        }
    }

    #[test]
    fn a_vocabulary_makes_other_scopes_errors() {
        let rules = rules("[scopes]\n\"read:customers\" = \"Read customers\"\n");
        assert!(rules.check_scope("read:customers").is_ok());
        assert!(rules.check_scope("read:*").is_ok());
        assert!(rules.check_scope("write:*").is_err());
        assert!(rules.check_scope("read:costumers").unwrap_err().contains("did you mean `read:customers`?"));
    }

    #[test]
    fn a_life_is_bounded_by_the_configuration() {
        let free = rules("");
        assert_eq!(free.expiry(None, NOW), Ok(None));
        assert_eq!(free.expiry(Some("90d"), NOW), Ok(Some(NOW.plus_millis(90 * 86_400_000))));
        assert_eq!(free.expiry(Some("2026-12-31T23:59:59Z"), NOW).unwrap().unwrap().to_string(), "2026-12-31T23:59:59Z");
        for bad in ["tomorrow", "0s", "2001-01-01T00:00:00Z", ""] {
            assert!(free.expiry(Some(bad), NOW).is_err(), "{bad}");
        }
        assert!(free.expiry(Some("3000000d"), NOW).unwrap_err().contains("too long"));
        let bounded = rules("[keys]\ndefault_expires_in = \"30d\"\nmax_expires_in = \"90d\"\n");
        assert_eq!(bounded.expiry(None, NOW), Ok(Some(NOW.plus_millis(30 * 86_400_000))));
        assert!(bounded.expiry(Some("91d"), NOW).is_err());
        assert!(bounded.expiry(Some("never"), NOW).is_err());
    }

    #[test]
    fn an_unknown_kind_is_answered_with_those_there_are() {
        let why = rules("").issue("private", EnvironmentName::Live).unwrap_err();
        assert!(why.contains("publishable (live)") && why.contains("secret (test)"), "{why}");
    }
}
