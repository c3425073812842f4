//! Prefixes of keys: a prefix must tell kind and environment, always the same ones.

use crate::config::problem::Problems;
use crate::config::sections::{Config, EnvironmentName};

/// Longest prefix.
const PREFIX_MAX: usize = 32;

struct Prefix<'a> {
    text: &'a str,
    kind: &'a str,
    environment: EnvironmentName,
    path: String,
}

pub(super) fn check(config: &Config, problems: &mut Problems) {
    let prefixes = all(config);
    for (index, kind) in config.key_kinds.iter().enumerate() {
        if kind.prefixes.live.is_none() && kind.prefixes.test.is_none() {
            problems
                .error(format!("key_kinds[{index}].prefixes"), format!("the kind `{}` has no prefix", kind.name))
                .help("such as prefixes = { live = \"sk_live_\", test = \"sk_test_\" }");
        }
    }
    for prefix in &prefixes {
        if prefix.text.len() > PREFIX_MAX || !prefix.text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
            problems.error(prefix.path.as_str(), format!("a prefix is at most {PREFIX_MAX} letters, digits, `_` and `-`"));
        }
    }
    for (index, second) in prefixes.iter().enumerate() {
        for first in prefixes.iter().take(index) {
            compare(first, second, problems);
        }
    }
}

fn all(config: &Config) -> Vec<Prefix<'_>> {
    let mut prefixes = Vec::new();
    for (index, kind) in config.key_kinds.iter().enumerate() {
        let (issued, legacy) = (&kind.prefixes, &kind.legacy_prefixes);
        for (environment, issued, legacy) in
            [(EnvironmentName::Live, &issued.live, &legacy.live), (EnvironmentName::Test, &issued.test, &legacy.test)]
        {
            let name = environment.name();
            let mut add = |text, path| prefixes.push(Prefix { text, kind: &kind.name, environment, path });
            if let Some(text) = issued {
                add(text.as_str(), format!("key_kinds[{index}].prefixes.{name}"));
            }
            for (at, text) in legacy.iter().enumerate() {
                add(text.as_str(), format!("key_kinds[{index}].legacy_prefixes.{name}[{at}]"));
            }
        }
    }
    prefixes
}

fn compare(first: &Prefix<'_>, second: &Prefix<'_>, problems: &mut Problems) {
    let what = |prefix: &Prefix<'_>| format!("{} keys of kind `{}`", prefix.environment.name(), prefix.kind);
    if first.text == second.text {
        let words = if first.text.is_empty() { "the empty prefix".to_owned() } else { format!("the prefix `{}`", first.text) };
        problems.error(second.path.as_str(), format!("{words} already stands for {}", what(first)));
        return;
    }
    if first.text.is_empty() || second.text.is_empty() || (first.kind == second.kind && first.environment == second.environment) {
        return;
    }
    let (short, long) = if first.text.len() < second.text.len() { (first, second) } else { (second, first) };
    let Some(rest) = long.text.strip_prefix(short.text) else { return };
    if rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        problems
            .error(
                second.path.as_str(),
                format!("`{}` and `{}` overlap: a key of the first may begin like the second", short.text, long.text),
            )
            .help("end prefixes in `_`, which is not a character of keys");
    } else {
        problems.warn(
            second.path.as_str(),
            format!(
                "`{}` begins with `{}`: the longer wins, so such keys are {}, never {}",
                long.text,
                short.text,
                what(long),
                what(short)
            ),
        );
    }
}
