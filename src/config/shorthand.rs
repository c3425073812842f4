//! `listen` and `upstream`: one line each for what most files need. In the tree they become the listener `public` and the
//! upstream `main`, so that everything behind knows one form; afterwards both forms say the same.

use super::path::{self, Step};
use super::problem::Problems;
use super::tree::{Node, Place, SourceKind, Table, Tree, Value};

/// Drops entries with `enabled = false`, then writes the shorthands out.
pub(super) fn expand(tree: &mut Tree, problems: &mut Problems) {
    for list in ["routes", "listeners", "key_kinds", "issuers"] {
        if let Some(Node { value: Value::List(list), .. }) = tree.root.step_mut(&key(list)) {
            list.retain(|entry| {
                !matches!(entry.step(&key("enabled")), Some(Node { value: Value::Scalar(toml::Value::Boolean(false)), .. }))
            });
        }
    }
    listen(tree, problems);
    upstream(tree, problems);
}

fn key(name: &str) -> Step {
    Step::Key(name.to_owned())
}

fn string_at(tree: &Tree, steps: &[Step]) -> Option<Node> {
    tree.root.find(steps).filter(|node| node.as_str().is_some()).cloned()
}

fn entry(fields: &[(&str, &Node)], place: Place) -> Node {
    let entries = fields.iter().map(|(name, node)| ((*name).to_owned(), (*node).clone())).collect();
    Node { value: Value::Table(Table { entries, removed: Vec::new() }), place }
}

fn listen(tree: &mut Tree, problems: &mut Problems) {
    let Some(shorthand) = string_at(tree, &[key("listen")]) else { return };
    // Who only manages has no clients, unless it is said where they come.
    if proxies_nothing(tree) && is_managed(tree) && !tree.is_written("listen") {
        return set(tree, &key("listen"), Node::text("", Place::default()));
    }
    let public = {
        let Some(Node { value: Value::List(listeners), .. }) = tree.root.step_mut(&key("listeners")) else { return };
        if listeners.is_empty() {
            if shorthand.as_str().is_some_and(|address| !address.is_empty()) {
                let name = Node::text("public", shorthand.place.clone());
                listeners.push(entry(&[("name", &name), ("address", &shorthand)], shorthand.place.clone()));
            }
            return;
        }
        listeners.iter().position(|listener| listener.step(&key("name")).and_then(Node::as_str) == Some("public"))
    };
    if let Some(index) = public {
        return agree(tree, &[key("listen")], &[key("listeners"), Step::Index(index)], "address", problems);
    }
    if tree.is_written("listen") && shorthand.as_str() != Some("") {
        let problem = problems.error("listen", "`listen` has no effect: there are [[listeners]], and none of them is named `public`");
        problem.help("remove it, or write it out: [[listeners]] name = \"public\" and address = …");
        problem.place = Some(shorthand.place);
    }
    set(tree, &key("listen"), Node::text("", Place::default()));
}

fn is_managed(tree: &Tree) -> bool {
    string_at(tree, &[key("admin"), key("listen")]).is_some_and(|listen| listen.as_str() != Some(""))
}

fn proxies_nothing(tree: &Tree) -> bool {
    let is_empty = |node: &Node| matches!(&node.value, Value::Table(table) if table.entries.is_empty());
    string_at(tree, &[key("upstream")]).is_some_and(|upstream| upstream.as_str() == Some(""))
        && tree.root.find(&[key("upstreams")]).is_none_or(is_empty)
}

fn upstream(tree: &mut Tree, problems: &mut Problems) {
    let Some(shorthand) = string_at(tree, &[key("upstream")]) else { return };
    let main = [key("upstreams"), key("main")];
    if tree.root.find(&main).is_some() {
        return agree(tree, &[key("upstream")], &main, "url", problems);
    }
    if shorthand.as_str() == Some("") {
        return;
    }
    if let Some(Node { value: Value::Table(upstreams), .. }) = tree.root.step_mut(&key("upstreams")) {
        upstreams.entries.insert("main".to_owned(), entry(&[("url", &shorthand)], shorthand.place.clone()));
    }
}

/// Makes the shorthand and the value it stands for say the same: the one of the higher layer wins; of one layer, a
/// difference is a mistake.
fn agree(tree: &mut Tree, short: &[Step], long_table: &[Step], field: &str, problems: &mut Problems) {
    let long = [long_table, &[key(field)]].concat();
    let short_kind = tree.kind(&path::print(short));
    let Some(shorthand) = string_at(tree, short) else { return };
    let wins = match string_at(tree, &long) {
        None => tree.root.find(&long).is_none(),
        Some(written) => {
            let long_kind = tree.kind(&path::print(&long));
            if short_kind == long_kind && short_kind != SourceKind::BuiltIn && written.as_str() != shorthand.as_str() {
                let (short, long) = (path::print(short), path::print(&long));
                let problem = problems.error(short.as_str(), format!("`{short}` and `{long}` say different things"));
                problem.help("the first is the short form of the second: keep one of them");
                problem.place = Some(shorthand.place.clone());
            }
            short_kind > long_kind
        }
    };
    if wins {
        if let Some(table) = tree.root.find_mut(long_table) {
            set_in(table, field, shorthand);
        }
    } else if let (Some(written), Some(name)) = (string_at(tree, &long), short.first()) {
        set(tree, name, written);
    }
}

fn set(tree: &mut Tree, name: &Step, node: Node) {
    if let Step::Key(name) = name {
        set_in(&mut tree.root, name, node);
    }
}

fn set_in(table: &mut Node, name: &str, node: Node) {
    if let Value::Table(table) = &mut table.value {
        table.entries.insert(name.to_owned(), node);
    }
}
