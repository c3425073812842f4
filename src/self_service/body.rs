//! Bodies of self-service: JSON, no member that is not asked for, nothing twice. Whatever their Content-Type says: `curl -d` says
//! another. What is wrong is told by its place, never by what stands there.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};

use crate::clock::Timestamp;
use crate::config::units::Span;
use crate::json::{self, Wrong};
use crate::key::lifecycle::NewKey;
use crate::key::record::KeyRecord;
use crate::rejection::{Refusal, Rejection};

/// Longest body.
pub(crate) const BODY_MAX: u64 = 64 << 10;

/// What a new key is to be. What is left out is as the caller has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    pub(super) name: String,
    #[serde(default)]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) scopes: Option<Vec<String>>,
    #[serde(default)]
    pub(super) ip_allowlist: Option<Vec<String>>,
    #[serde(default)]
    pub(super) referrers: Option<Vec<String>>,
    #[serde(default)]
    pub(super) endpoints: Option<Vec<String>>,
    #[serde(default, deserialize_with = "life")]
    pub(super) expires_in: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Create {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        parse(body)
    }

    /// The key that is to be made. What is left out is as the caller has it: absent would be more, and what the upstream is told of a
    /// key is no business of who makes another.
    pub(super) fn completed_by(self, caller: &KeyRecord, expires_at: Option<Timestamp>) -> NewKey {
        NewKey {
            tenant: caller.tenant.clone(),
            name: self.name,
            environment: caller.environment,
            kind: self.kind.unwrap_or_else(|| caller.kind.clone()),
            scopes: self.scopes.unwrap_or_else(|| caller.scopes.clone()),
            ip_allowlist: self.ip_allowlist.or_else(|| caller.ip_allowlist.clone()),
            referrers: self.referrers.or_else(|| caller.referrers.clone()),
            endpoints: self.endpoints.or_else(|| caller.endpoints.clone()),
            rate_limit: caller.rate_limit.clone(),
            expires: expires_at.map(|end| end.to_string()),
            metadata: caller.metadata.clone(),
        }
    }
}

/// No content, or an empty object.
pub(super) fn nothing(body: &[u8]) -> Result<(), Refusal> {
    if body.is_empty() { Ok(()) } else { parse::<Nothing>(body).map(drop) }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    json::read(body).map_err(|Wrong { error, .. }| {
        let why = if error.line() == 0 { "no JSON object".into() } else { format!("line {}, column {}", error.line(), error.column()) };
        Rejection::BodyInvalid.because(why).before_sending()
    })
}

/// `"90d"`, or seconds.
fn life<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Life {
        Span(String),
        Seconds(u64),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => None,
        Some(Life::Span(text)) => Some(text.parse::<Span>().map_err(D::Error::custom)?.0),
        Some(Life::Seconds(seconds)) => Some(Duration::from_secs(seconds)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_of_known_members_is_refused_and_nothing_of_it_is_repeated() {
        for bad in [
            "",
            "null",
            "[\"ci\"]",
            "\"secret-1\"",
            "{}",
            "{\"name\":1}",
            "{\"name\":\"ci\",\"name\":\"ci\"}",
            "[\"ci\",null,null,null,null,null,null]",
            "{\"name\":\"ci\",\"secret-1\":1}",
            "{\"name\":\"ci\",\"scopes\":\"secret-1\"}",
            "{\"name\":\"ci\",\"expires_in\":\"secret-1\"}",
            "{\"name\":\"ci\",\"expires_in\":-1}",
            "{\"name\":\"ci\",\"expires_in\":1.5}",
            "{\"name\":\"ci\"} {}",
            "{\"name\":\"ci\"",
            "{\"name\":\"\\ud800\"}",
        ] {
            let refusal = Create::parse(bad.as_bytes()).err().unwrap_or_else(|| panic!("{bad}"));
            assert!(refusal.rejection == Rejection::BodyInvalid && refusal.unsent, "{bad}");
            assert!(!refusal.detail.contains("secret"), "{bad}: {}", refusal.detail);
        }
        assert!(nothing(b"").is_ok() && nothing(b" {} ").is_ok());
        assert!(nothing(b"{\"overlap\":\"1h\"}").is_err() && nothing(b"[]").is_err());
    }

    #[test]
    fn a_life_is_said_as_in_proxy_toml_or_in_seconds() {
        let life = |text: &str| Create::parse(format!("{{\"name\":\"ci\",\"expires_in\":{text}}}").as_bytes()).unwrap().expires_in;
        assert_eq!(life("\"90d\""), Some(Duration::from_hours(90 * 24)));
        assert_eq!(life("3600"), Some(Duration::from_hours(1)));
        assert_eq!(life("null"), None);
    }
}
