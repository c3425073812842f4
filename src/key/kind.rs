//! Kinds of keys and their prefixes: what a presented credential claims to be, told from its first characters alone,
//! and what a new key of a kind begins with.

use crate::config::problem::Problems;
use crate::config::sections::{Checksum, Config, EnvironmentName};

use super::format;

/// All kinds.
#[derive(Debug)]
pub struct KeyKinds {
    /// Longest prefix first, so that the first that fits is the longest.
    prefixes: Box<[Prefix]>,
}

/// A prefix, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// What keys begin with; may be empty for one kind.
    pub text: std::sync::Arc<str>,
    /// Name of the kind.
    pub kind: Box<str>,
    /// Environment of keys with this prefix.
    pub environment: EnvironmentName,
    /// Whether new keys get it; legacy prefixes are only accepted.
    pub issued: bool,
    /// Whether keys of it without our checksum are looked up.
    pub checksum: Checksum,
}

impl KeyKinds {
    /// Compiles `[[key_kinds]]`. Prefixes that are equal among kinds or environments are reported where the whole list is checked.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut prefixes = Vec::new();
        let mut sound = true;
        for (index, kind) in config.key_kinds.iter().enumerate() {
            let issued = [(EnvironmentName::Live, "live", &kind.prefixes.live), (EnvironmentName::Test, "test", &kind.prefixes.test)];
            let legacy =
                [(EnvironmentName::Live, "live", &kind.legacy_prefixes.live), (EnvironmentName::Test, "test", &kind.legacy_prefixes.test)];
            let issued = issued.into_iter().flat_map(|(environment, word, text)| {
                text.iter().map(move |text| (environment, format!("key_kinds[{index}].prefixes.{word}"), text, true))
            });
            let legacy = legacy.into_iter().flat_map(|(environment, word, list)| {
                list.iter()
                    .enumerate()
                    .map(move |(at, text)| (environment, format!("key_kinds[{index}].legacy_prefixes.{word}[{at}]"), text, false))
            });
            for (environment, path, text, issued) in issued.chain(legacy) {
                if let Err(why) = check_prefix(text) {
                    problems.error(path, why);
                    sound = false;
                }
                prefixes.push(Prefix {
                    text: text.as_str().into(),
                    kind: kind.name.as_str().into(),
                    environment,
                    issued,
                    checksum: kind.checksum,
                });
            }
        }
        prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.text.len()));
        sound.then(|| Self { prefixes: prefixes.into() })
    }

    /// What a presented credential claims to be: the longest prefix that fits it.
    #[must_use]
    pub fn classify(&self, credential: &[u8]) -> Option<&Prefix> {
        self.prefixes.iter().find(|prefix| credential.starts_with(prefix.text.as_bytes()))
    }

    /// What a new key of this kind begins with; `None` where the kind has no such environment.
    #[must_use]
    pub fn issue(&self, kind: &str, environment: EnvironmentName) -> Option<&Prefix> {
        self.prefixes.iter().find(|prefix| prefix.issued && &*prefix.kind == kind && prefix.environment == environment)
    }

    /// All prefixes, longest first.
    #[must_use]
    pub fn prefixes(&self) -> &[Prefix] {
        &self.prefixes
    }
}

impl Prefix {
    /// Whether a credential of this prefix may be one of ours at all: refused offline if not.
    #[must_use]
    pub fn admits(&self, credential: &[u8]) -> bool {
        self.checksum == Checksum::Optional || format::is_native(credential, self.text.len())
    }
}

fn check_prefix(text: &str) -> Result<(), String> {
    let fine = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if fine { Ok(()) } else { Err(format!("`{text}` is not a prefix: up to 64 letters, digits, _ and -")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(toml: &str) -> KeyKinds {
        KeyKinds::compile(&toml::from_str(toml).unwrap(), &mut Problems::default()).unwrap()
    }

    #[test]
    fn the_longest_prefix_wins() {
        let kinds = kinds(
            r#"
            [[key_kinds]]
            name = "secret"
            prefixes = { live = "sk_", test = "sk_test_" }
            legacy_prefixes = { live = ["old-"] }
            [[key_kinds]]
            name = "publishable"
            prefixes = { live = "" }
            checksum = "optional"
            "#,
        );
        let kind = |text: &str| kinds.classify(text.as_bytes()).map(|prefix| (prefix.kind.to_string(), prefix.environment));
        assert_eq!(kind("sk_test_x"), Some(("secret".into(), EnvironmentName::Test)));
        assert_eq!(kind("sk_tes"), Some(("secret".into(), EnvironmentName::Live)));
        assert_eq!(kind("old-1"), Some(("secret".into(), EnvironmentName::Live)));
        assert_eq!(kind("whatever"), Some(("publishable".into(), EnvironmentName::Live)));
        assert_eq!(kinds.issue("secret", EnvironmentName::Live).map(|prefix| &*prefix.text), Some("sk_"));
        assert_eq!(kinds.issue("publishable", EnvironmentName::Test), None);
        assert!(!kinds.classify(b"sk_x").unwrap().admits(b"sk_x"));
        assert!(kinds.classify(b"whatever").unwrap().admits(b"whatever"));
    }
}
