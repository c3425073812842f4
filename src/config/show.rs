//! The effective configuration as TOML, with the origin of each value on request.

use toml::de::DeTable;

use super::path::Step;
use super::render;
use super::sections::Config;
use super::tree::{Node, SourceKind, Tree, Value};

/// The configuration as TOML; passwords in URLs are starred.
pub(super) fn effective(config: &Config, tree: &Tree, with_origins: bool) -> String {
    let mut text = match toml::Value::try_from(config).and_then(|config| toml::to_string_pretty(&config)) {
        Ok(text) => text,
        Err(error) => return format!("# {error}\n"),
    };
    if with_origins {
        text = annotated(&text, tree);
    }
    render::without_passwords(&text)
}

/// The text with a comment behind each `key = value`.
fn annotated(text: &str, tree: &Tree) -> String {
    let Ok(document) = DeTable::parse(text) else { return text.to_owned() };
    let mut notes = Vec::new();
    note(text, &Node::document(document, 0), &mut Vec::new(), tree, &mut notes);
    notes.sort_unstable();
    let mut out = String::with_capacity(text.len() * 2);
    let mut written = 0;
    for (end, words) in notes {
        out.push_str(text.get(written..end).unwrap_or_default());
        out.push_str("  # ");
        out.push_str(&words);
        written = end;
    }
    out.push_str(text.get(written..).unwrap_or_default());
    out
}

fn note(text: &str, node: &Node, at: &mut Vec<Step>, tree: &Tree, notes: &mut Vec<(usize, String)>) {
    let begins = |with: &str| node.place.value.is_empty() || text.get(node.place.value.clone()).is_some_and(|text| text.starts_with(with));
    let children: Vec<(Step, &Node)> = match &node.value {
        Value::Table(table) if !begins("{") || at.is_empty() => {
            table.entries.iter().map(|(key, node)| (Step::Key(key.clone()), node)).collect()
        }
        Value::List(list) if begins("[[") => list.iter().enumerate().map(|(index, node)| (Step::Index(index), node)).collect(),
        Value::Scalar(_) | Value::List(_) | Value::Table(_) => {
            let origin = tree.root.find(at).and_then(|node| origin(tree, node));
            notes.push((node.place.value.end, origin.map_or_else(|| "default".to_owned(), |origin| format!("from {origin}"))));
            return;
        }
    };
    for (step, child) in children {
        at.push(step);
        note(text, child, at, tree, notes);
        at.pop();
    }
}

/// Where a value is written; `None` for defaults.
pub(super) fn origin(tree: &Tree, node: &Node) -> Option<String> {
    let source = tree.sources.get(node.place.source).filter(|source| source.kind != SourceKind::BuiltIn)?;
    let name = render::origin(source);
    let byte = node.place.key.as_ref().map_or(node.place.value.start, |key| key.start);
    Some(render::line_of(source, byte).map_or(name.clone(), |line| format!("{name}:{line}")))
}
