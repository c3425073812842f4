//! The effective configuration as TOML, with the origin of each value on request.

use super::path::{self, Step};
use super::render;
use super::sections::Config;
use super::tree::{Node, SourceKind, Tree, Value};

/// The configuration as TOML; passwords in URLs are starred.
pub(super) fn effective(config: &Config, tree: &Tree, with_origins: bool) -> String {
    let text = match toml::to_string_pretty(config) {
        Ok(text) => text,
        Err(error) => return format!("# {error}\n"),
    };
    text.lines().map(render::starred).map(|line| line + "\n").collect()
}

/// Where a value is written; `None` for defaults.
pub(super) fn origin(tree: &Tree, node: &Node) -> Option<String> {
    let source = tree.sources.get(node.place.source).filter(|source| source.kind != SourceKind::BuiltIn)?;
    let name = render::origin(source);
    let byte = node.place.key.as_ref().map_or(node.place.value.start, |key| key.start);
    Some(render::line_of(source, byte).map_or(name.clone(), |line| format!("{name}:{line}")))
}
