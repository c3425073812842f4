//! Paths into a configuration: `routes[2].match`, `errors.map."401"`. The one grammar in which modules name what is wrong.
//! Reading is total: what is no path of this grammar names nothing.

use std::fmt::Write as _;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A key of a table.
    Key(String),
    /// An element of a list.
    Index(usize),
}

/// The path of `key` in the table at `parent`, quoted where the key is not bare.
#[must_use]
pub fn join(parent: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let key = if bare { key.to_owned() } else { format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\"")) };
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

/// The words of a path.
#[must_use]
pub fn print(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |mut text, step| match step {
        Step::Key(key) => join(&text, key),
        Step::Index(index) => {
            let _ = write!(text, "[{index}]");
            text
        }
    })
}

/// The steps of a path.
#[must_use]
pub fn parse(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        rest = if let Some(inside) = rest.strip_prefix('[') {
            let (digits, behind) = inside.split_once(']').unwrap_or((inside, ""));
            let Ok(index) = digits.parse() else { break };
            steps.push(Step::Index(index));
            behind
        } else if let Some(inside) = rest.strip_prefix('"') {
            let (key, behind) = quoted(inside);
            steps.push(Step::Key(key));
            behind
        } else {
            let (key, behind) = rest.split_at_checked(rest.find(['.', '[']).unwrap_or(rest.len())).unwrap_or((rest, ""));
            steps.push(Step::Key(key.to_owned()));
            behind
        };
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    steps
}

/// The text up to the closing quote, unescaped, and what is behind it.
fn quoted(text: &str) -> (String, &str) {
    let mut key = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => key.extend(chars.next()),
            c => key.push(c),
        }
    }
    (key, chars.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(
            steps in proptest::collection::vec(prop_oneof!["\\PC{1,8}".prop_map(Step::Key), (0_usize..99).prop_map(Step::Index)], 1..6)
        ) {
            prop_assert_eq!(parse(&print(&steps)), steps);
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[\\PC.\\[\\]\"]{0,20}") {
            let _ = parse(&text);
        }
    }
}
