//! From the merged tree to the typed configuration. serde stops at the first mistake, so: record it with its place,
//! take that value out, try again. What was taken out has its default, and whoever judges later can ask the tree for it.

use serde::Deserialize as _;
use serde_path_to_error::Segment;
use toml::de::DeValue;

use super::deserialize::Typed;
use super::path::{self, Step};
use super::problem::Problems;
use super::sections::Config;
use super::suggest;
use super::tree::{Node, SourceKind, Tree, Value};

/// So many mistakes are told at once.
const MISTAKES_MAX: usize = 50;

struct Mistake {
    steps: Vec<Step>,
    message: String,
}

/// The typed configuration; what could not be parsed is taken out of the tree.
pub(super) fn parse(tree: &mut Tree, problems: &mut Problems) -> Config {
    let mut recorded = 0;
    while recorded < MISTAKES_MAX {
        let mistake = match deserialize(&tree.root) {
            Ok(config) => return config,
            Err(mistake) => mistake,
        };
        if read_as_toml(tree, &mistake.steps) {
            continue;
        }
        if record(tree, &mistake, problems) {
            recorded += 1;
        }
        if !stand_in(tree, &mistake) && tree.root.remove(&mistake.steps).is_none() {
            return Config::default();
        }
    }
    problems.error("", format!("more than {MISTAKES_MAX} mistakes; the rest of the configuration was not judged"));
    Config::default()
}

fn deserialize(root: &Node) -> Result<Config, Mistake> {
    let mut track = serde_path_to_error::Track::new();
    Config::deserialize(serde_path_to_error::Deserializer::new(Typed(root), &mut track)).map_err(|error| Mistake {
        steps: track
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Map { key } => Some(Step::Key(key.clone())),
                Segment::Seq { index } => Some(Step::Index(*index)),
                Segment::Enum { .. } | Segment::Unknown => None,
            })
            .collect(),
        message: error.to_string(),
    })
}

/// Puts an empty text where a key is missing, so that the rest of its table is judged too. The key counts as taken out:
/// nothing more is told of it. Where the key takes no text, the table goes.
fn stand_in(tree: &mut Tree, mistake: &Mistake) -> bool {
    if let Some((Step::Key(key), parents)) = mistake.steps.split_last()
        && let Some(Node { value: Value::Table(table), .. }) = tree.root.find(parents)
        && table.removed.contains(key)
    {
        tree.root.remove(parents);
        return true;
    }
    let Some(key) = missing_field(&mistake.message) else { return false };
    let Some(Node { value: Value::Table(table), place }) = tree.root.find_mut(&mistake.steps) else { return false };
    table.entries.insert(key.to_owned(), Node::text("", place.clone()));
    table.removed.push(key.to_owned());
    true
}

fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

/// The text of a variable or flag, where the key takes no text: `SIDEGATE__CACHE__MAX_ENTRIES=5000` is a number.
fn read_as_toml(tree: &mut Tree, steps: &[Step]) -> bool {
    let Some(node) = tree.root.find_mut(steps) else { return false };
    let is_text =
        tree.sources.get(node.place.source).is_some_and(|source| matches!(source.kind, SourceKind::Environment | SourceKind::Flag));
    let Some(parsed) = node.as_str().filter(|_| is_text).and_then(|text| DeValue::parse(text).ok()) else { return false };
    let parsed = Node::parsed(parsed, node.place.source, node.place.value.start);
    if parsed.as_str().is_some() {
        return false;
    }
    node.value = parsed.value;
    true
}

/// Adds the mistake to the problems, unless it only follows from one that is there.
fn record(tree: &Tree, mistake: &Mistake, problems: &mut Problems) -> bool {
    let Mistake { steps, message } = mistake;
    let node = tree.root.nearest(steps);
    // What stands in for a missing key.
    if tree.root.lost(steps) {
        return false;
    }
    let (words, legal) = message.rsplit_once(", expected ").unwrap_or((message, ""));
    let legal: Vec<&str> = legal.split('`').skip(1).step_by(2).collect();
    let named = words.split_once('`').and_then(|(_, rest)| rest.rsplit_once('`')).map_or("", |(name, _)| name);
    let (message, help) = if words.starts_with("missing field") {
        if matches!(&node.value, Value::Table(table) if table.removed.iter().any(|key| key == named)) {
            return false;
        }
        (format!("the key `{named}` is missing"), None)
    } else if words.starts_with("unknown field") {
        (format!("unknown key `{named}`"), Some(elsewhere(named, &legal)))
    } else if words.starts_with("unknown variant") {
        (format!("`{named}` is not a value of this key"), Some(suggest::among(named, legal)))
    } else {
        let words = plain_words(message);
        let number = match &node.value {
            Value::Scalar(toml::Value::Integer(number)) if *number >= 0 => Some(*number),
            Value::Scalar(_) | Value::List(_) | Value::Table(_) => None,
        };
        let help = match (words.as_str(), steps.as_slice()) {
            (words, [.., Step::Key(key)]) if number.is_some() => number.and_then(|number| quoted(words, key, number)),
            ("expected a list, found a table", [Step::Key(list)]) => Some(format!("write it with double brackets: [[{list}]]")),
            ("expected a table, found a list", [Step::Key(table)]) => Some(format!("write it with single brackets: [{table}]")),
            _ => None,
        };
        (words, help)
    };
    let mut place = node.place.clone();
    if words.starts_with("unknown field")
        && let Some(key) = place.key.clone()
    {
        place.value = key;
    }
    let problem = problems.error(path::print(steps), message);
    problem.help = help;
    problem.place = Some(place);
    true
}

/// Help for a number where a text with a unit is expected.
fn quoted(words: &str, key: &str, number: i64) -> Option<String> {
    let text = match (words.strip_prefix("expected a ")?.split(',').next()?, key) {
        ("duration", _) => format!("{number}s"),
        ("size", _) => format!("{number}B"),
        ("rate", _) => format!("{number}B/s"),
        ("string", "listen" | "address") => format!("[::]:{number}"),
        _ => return None,
    };
    Some(format!("write {key} = \"{text}\""))
}

/// Help for a key that is not legal where it stands: the nearest that is, else the section where it would be.
fn elsewhere(key: &str, legal: &[&str]) -> String {
    if let Some(near) = suggest::nearest(key, legal.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let mut sections = Vec::new();
    if let Node { value: Value::Table(top), .. } = super::layers::built_in().root {
        if top.entries.contains_key(key) {
            return format!("`{key}` is a key of the top level: write it above the first [section]");
        }
        for (name, section) in &top.entries {
            if matches!(&section.value, Value::Table(table) if table.entries.contains_key(key)) {
                sections.push(format!("[{name}]"));
            }
        }
    }
    if sections.is_empty() { suggest::among(key, legal.iter().copied()) } else { format!("`{key}` is a key of {}", sections.join(" and ")) }
}

/// serde's words for types in those of TOML.
fn plain_words(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    let expected = match expected {
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "a map" => "a table",
        "f64" => "a number",
        "u16" | "u32" | "u64" | "usize" => "a whole number",
        other => other,
    };
    let expected = match (found.starts_with("invalid value: integer"), message.rsplit(' ').next()) {
        (true, Some("u16")) => "a whole number from 0 to 65535",
        (true, Some("u32")) => "a whole number from 0 to 4294967295",
        (true, Some("u64" | "usize")) => "a whole number that is not negative",
        _ => expected,
    };
    let found = found.strip_prefix("invalid type: ").or_else(|| found.strip_prefix("invalid value: ")).unwrap_or(found);
    let found = match found {
        "sequence" => "a list",
        "map" => "a table",
        other => other,
    };
    format!("expected {expected}, found {found}")
}
