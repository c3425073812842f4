//! The layers and how they are laid over each other: built-in < profile < file < environment < flags.
//! Nothing is judged here but whether a text is TOML at all.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::path::{self, Step};
use super::problem::Problems;
use super::sections::Config;
use super::tree::{Node, Place, Source, SourceKind, Table, Tree, Value};
use super::{Sources, profiles, suggest};

/// Tables whose keys are the user's own words: a layer that has one replaces it as a whole.
const WHOLE: [&[&str]; 3] = [&["identity", "headers"], &["scopes"], &["ops", "probes"]];
/// The same, wherever the key stands.
const WHOLE_ANYWHERE: [&str; 2] = ["add_headers", "claims"];
/// Lists of tables that merge by `name`.
const BY_NAME: [&str; 4] = ["routes", "listeners", "key_kinds", "issuers"];

/// The built-in layer alone.
pub(super) fn built_in() -> Tree {
    let root = toml::Value::try_from(Config::default()).map_or_else(|_| Node::table(0), Node::built_in);
    Tree { root, sources: vec![Source { kind: SourceKind::BuiltIn, name: String::new(), text: String::new() }] }
}

/// Lays all layers over each other. `file` is the configuration file's name and text.
pub(super) fn merged(file: Option<(&Path, String)>, sources: &Sources, problems: &mut Problems) -> Tree {
    let mut tree = built_in();
    let file = file.map(|(path, text)| document(&mut tree, SourceKind::File, &path.display().to_string(), text, problems));
    if let Some((name, place)) = profile_named(&tree, file.as_ref(), sources) {
        if let Some(text) = profiles::find(&name) {
            let profile = document(&mut tree, SourceKind::Profile, &name, text.to_owned(), problems);
            merge(&mut tree.root, profile, &mut Vec::new(), SourceKind::Profile);
        } else {
            let problem = problems.error("profile", format!("there is no profile `{name}`"));
            problem.help(suggest::among(&name, profiles::names()));
            problem.place = place;
        }
    }
    if let Some(file) = file {
        merge(&mut tree.root, file, &mut Vec::new(), SourceKind::File);
    }
    for (kind, pairs) in [(SourceKind::Environment, &sources.environment), (SourceKind::Flag, &sources.flags)] {
        for (name, value) in pairs {
            if let Some(layer) = assignment(&mut tree, kind, name, value, problems) {
                merge(&mut tree.root, layer, &mut Vec::new(), kind);
            }
        }
    }
    tree
}

/// The profile that the file, the environment or a flag names, the highest layer first.
fn profile_named(tree: &Tree, file: Option<&Node>, sources: &Sources) -> Option<(String, Option<Place>)> {
    let assigned = |pairs: &[(String, String)], name: &str| {
        pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| (value.clone(), None::<Place>))
    };
    let written = file.and_then(|file| file.step(&Step::Key("profile".into())));
    assigned(&sources.flags, "profile")
        .or_else(|| assigned(&sources.environment, &format!("{}PROFILE", super::VARIABLE_PREFIX)))
        .or_else(|| written.and_then(|node| Some((node.as_str()?.to_owned(), Some(node.place.clone())))))
        .or_else(|| tree.root.step(&Step::Key("profile".into())).and_then(|node| Some((node.as_str()?.to_owned(), None))))
        .filter(|(name, _)| !name.is_empty())
}

/// A TOML document; what is no TOML is reported, and the rest of it used.
fn document(tree: &mut Tree, kind: SourceKind, name: &str, text: String, problems: &mut Problems) -> Node {
    let source = tree.sources.len();
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in &errors {
        let problem = problems.error("", error.message());
        problem.place = error.span().map(|value| Place { source, key: None, value });
        if error.message() == "duplicate key"
            && let Some(key) = error.span().and_then(|span| text.get(span))
        {
            problem.message = format!("`{key}` is given twice");
        }
    }
    let node = Node::document(table, source);
    tree.sources.push(Source { kind, name: name.to_owned(), text });
    node
}

/// A variable or a flag as a layer of one value. A value that stands for a list or a table is TOML; any other is text,
/// and whether that is a number is for the key's type to say (see [`super::parse`]).
fn assignment(tree: &mut Tree, kind: SourceKind, name: &str, value: &str, problems: &mut Problems) -> Option<Node> {
    let source = tree.sources.len();
    let steps = match kind {
        SourceKind::Environment => variable_steps(name),
        SourceKind::BuiltIn | SourceKind::Profile | SourceKind::File | SourceKind::Flag => path::parse(name),
    };
    let base = name.len() + 1;
    let place = Place { source, key: Some(0..name.len()), value: base..base + value.len() };
    let is_compound = matches!(tree.root.find(&steps), Some(Node { value: Value::List(_) | Value::Table(_), .. }));
    tree.sources.push(Source { kind, name: name.to_owned(), text: format!("{name}={value}") });
    let mut node = Node::text(value, place.clone());
    if is_compound {
        let Ok(parsed) = DeValue::parse(value) else {
            let problem = problems.error(path::print(&steps), "the value of a list or table is written as in proxy.toml");
            problem.help(format!("such as {name}='[\"…\"]'"));
            problem.place = Some(place);
            return None;
        };
        node.value = Node::parsed(parsed, source, base).value;
    }
    for step in steps.into_iter().rev() {
        let Step::Key(key) = step else { continue };
        node =
            Node { value: Value::Table(Table { entries: [(key, node)].into_iter().collect(), removed: Vec::new() }), place: place.clone() };
    }
    Some(node)
}

/// `SIDEGATE__STORE__URL` → `store.url`.
fn variable_steps(name: &str) -> Vec<Step> {
    name.strip_prefix(super::VARIABLE_PREFIX).unwrap_or(name).split("__").map(|step| Step::Key(step.to_ascii_lowercase())).collect()
}

/// Lays `layer` over `base`. Named lists of a profile replace what is below; those of higher layers merge into it.
fn merge(base: &mut Node, layer: Node, at: &mut Vec<String>, kind: SourceKind) {
    let Node { value, place } = layer;
    let is_document = matches!(kind, SourceKind::Profile | SourceKind::File);
    match (&mut base.value, value) {
        (Value::Table(below), Value::Table(above)) if !is_whole(at) => {
            for (key, node) in above.entries {
                match below.entries.get_mut(&key) {
                    Some(lower) => {
                        at.push(key);
                        merge(lower, node, at, kind);
                        at.pop();
                    }
                    None => drop(below.entries.insert(key, node)),
                }
            }
            // A variable within a table is not where the table is written.
            if !is_document {
                return;
            }
        }
        (Value::List(below), Value::List(above)) if kind != SourceKind::Profile && is_by_name(at) => merge_by_name(below, above),
        (_, value) => base.value = value,
    }
    base.place = place;
}

fn is_whole(at: &[String]) -> bool {
    WHOLE.iter().any(|whole| whole.iter().eq(at.iter())) || at.last().is_some_and(|key| WHOLE_ANYWHERE.contains(&key.as_str()))
}

fn is_by_name(at: &[String]) -> bool {
    matches!(at, [key] if BY_NAME.contains(&key.as_str()))
}

/// Entries replace the one of the same name below; two of one layer are kept, and are reported as duplicates later.
fn merge_by_name(below: &mut Vec<Node>, above: Vec<Node>) {
    let name = |node: &Node| node.step(&Step::Key("name".into())).and_then(Node::as_str).map(str::to_owned);
    let mut open: Vec<Option<String>> = below.iter().map(name).collect();
    for entry in above {
        let same = name(&entry).and_then(|wanted| open.iter().position(|known| known.as_ref() == Some(&wanted)));
        match same.and_then(|index| below.get_mut(index).zip(open.get_mut(index))) {
            Some((lower, slot)) => {
                *lower = entry;
                *slot = None;
            }
            None => below.push(entry),
        }
    }
}
