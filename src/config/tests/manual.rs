//! The top-level proxy.toml against the code.

use std::collections::BTreeSet;

use super::*;

const MANUAL: &str = include_str!("../../../proxy.toml");

/// The manual with its defaults, and on request its examples, uncommented.
fn uncommented(with_examples: bool) -> String {
    let line = |line: &str| {
        let text = line.strip_prefix('#').unwrap_or(line);
        let example = text.strip_prefix('#');
        match (example, text.starts_with(' ') && !text.starts_with("  {")) {
            (Some(example), _) if with_examples => format!("{example}\n"),
            (Some(_), _) | (None, true) => "\n".to_owned(),
            (None, false) => format!("{text}\n"),
        }
    };
    MANUAL.lines().map(line).collect()
}

#[test]
fn as_it_stands_it_changes_nothing() {
    assert_eq!(clean(MANUAL), defaults());
    assert_eq!(loaded(MANUAL).report(), "");
}

#[test]
fn what_it_calls_defaults_are_the_defaults() {
    assert_eq!(clean(&uncommented(false)), defaults());
}

#[test]
fn its_examples_are_right_but_for_files_that_are_elsewhere() {
    let loaded = loaded(&uncommented(true));
    for problem in loaded.problems.list().iter().filter(|problem| problem.severity == Severity::Error) {
        assert!(problem.message.starts_with("cannot read /"), "{}", loaded.report());
    }
    assert_eq!(loaded.config.listeners[0].limits, ListenerLimits::default());
    assert_eq!(loaded.config.cors.unwrap().max_age, sections::Cors::default().max_age);
}

#[test]
fn it_has_every_key() {
    fn keys(node: &Node, at: &str, out: &mut BTreeSet<String>, is_counted: &impl Fn(&Node) -> bool) {
        if !is_counted(node) {
            return;
        }
        out.insert(at.to_owned());
        match &node.value {
            Value::Scalar(_) => {}
            Value::List(list) => list.iter().for_each(|node| keys(node, &format!("{at}[]"), out, is_counted)),
            Value::Table(table) => {
                table.entries.iter().for_each(|(key, node)| keys(node, &format!("{at}.{key}"), out, is_counted));
            }
        }
    }
    let loaded = loaded(&uncommented(true));
    let (mut known, mut written) = (BTreeSet::new(), BTreeSet::new());
    let effective = Node::built_in(toml::Value::try_from(&loaded.config).unwrap());
    keys(&effective, "", &mut known, &|_| true);
    let is_written = |node: &Node| node.place.source == 0 || loaded.tree.sources[node.place.source].kind == SourceKind::File;
    keys(&loaded.tree.root, "", &mut written, &is_written);
    let missing: Vec<&String> = known.difference(&written).collect();
    assert!(missing.is_empty(), "proxy.toml says nothing of {missing:?}");
}
