//! A configuration as written: values with the place each came from. Layers are merged in this form and problems find
//! their line in it. It knows TOML and nothing of what the keys mean.

use std::ops::Range;

use indexmap::IndexMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::path::Step;

/// What kind of source a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SourceKind {
    /// The defaults in the code.
    BuiltIn,
    /// An embedded profile.
    Profile,
    /// The configuration file.
    File,
    /// A `SIDEGATE__…` variable.
    Environment,
    /// A flag of the command line.
    Flag,
}

/// One text that values came from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Which kind.
    pub(super) kind: SourceKind,
    /// File name, profile name or variable.
    pub(super) name: String,
    /// What spans count in.
    pub(super) text: String,
}

/// Where a value is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the source; 0 is the built-in layer.
    pub(super) source: usize,
    /// Bytes of the key, where it has one.
    pub(super) key: Option<Range<usize>>,
    /// Bytes of the value; of the header for a table.
    pub(super) value: Range<usize>,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The value.
    pub(super) value: Value,
    /// Where it is written.
    pub(super) place: Place,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Neither list nor table.
    Scalar(toml::Value),
    /// `[…]` or `[[…]]`.
    List(Vec<Node>),
    /// `{…}` or `[…]`.
    Table(Table),
}

/// A table.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// Its keys, in the order written.
    pub(super) entries: IndexMap<String, Node>,
    /// Keys that were taken out because they could not be parsed.
    pub(super) removed: Vec<String>,
}

/// The merged layers.
#[derive(Debug)]
pub(super) struct Tree {
    /// The top-level table.
    pub(super) root: Node,
    /// What places point into.
    pub(super) sources: Vec<Source>,
}

impl Node {
    /// An empty table of this source.
    pub(super) fn table(source: usize) -> Self {
        Self { value: Value::Table(Table::default()), place: Place { source, ..Place::default() } }
    }

    /// Text without TOML syntax around it.
    pub(super) fn text(text: &str, place: Place) -> Self {
        Self { value: Value::Scalar(toml::Value::String(text.to_owned())), place }
    }

    /// A parsed document.
    pub(super) fn document(table: Spanned<DeTable<'_>>, source: usize) -> Self {
        Self::parsed(Spanned::new(0..0, DeValue::Table(table.into_inner())), source, 0)
    }

    /// A parsed value that begins at byte `base` of its source.
    pub(super) fn parsed(value: Spanned<DeValue<'_>>, source: usize, base: usize) -> Self {
        let shifted = |range: Range<usize>| range.start + base..range.end + base;
        let place = Place { source, key: None, value: shifted(value.span()) };
        let value = match value.into_inner() {
            DeValue::Array(list) => Value::List(list.into_iter().map(|item| Self::parsed(item, source, base)).collect()),
            DeValue::Table(table) => {
                let entries = table.into_iter().map(|(key, value)| {
                    let mut node = Self::parsed(value, source, base);
                    node.place.key = Some(shifted(key.span()));
                    (key.into_inner().into_owned(), node)
                });
                Value::Table(Table { entries: entries.collect(), removed: Vec::new() })
            }
            DeValue::String(text) => Value::Scalar(toml::Value::String(text.into_owned())),
            DeValue::Boolean(yes) => Value::Scalar(toml::Value::Boolean(yes)),
            DeValue::Integer(number) => Value::Scalar(
                i64::from_str_radix(number.as_str(), number.radix())
                    .map_or_else(|_| toml::Value::String(number.to_string()), toml::Value::Integer),
            ),
            DeValue::Float(number) => {
                Value::Scalar(number.as_str().parse().map_or_else(|_| toml::Value::String(number.to_string()), toml::Value::Float))
            }
            // No key takes a date as such: `until = 2027-01-31T00:00:00Z` means its text.
            DeValue::Datetime(date) => Value::Scalar(toml::Value::String(date.to_string())),
        };
        Self { value, place }
    }

    /// A value of the built-in layer.
    pub(super) fn built_in(value: toml::Value) -> Self {
        let value = match value {
            toml::Value::Array(list) => Value::List(list.into_iter().map(Self::built_in).collect()),
            toml::Value::Table(table) => Value::Table(Table {
                entries: table.into_iter().map(|(key, value)| (key, Self::built_in(value))).collect(),
                removed: Vec::new(),
            }),
            scalar @ (toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)) => Value::Scalar(scalar),
        };
        Self { value, place: Place::default() }
    }

    /// The string, if it is one.
    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(value) => value.as_str(),
            Value::List(_) | Value::Table(_) => None,
        }
    }

    /// What one step leads to.
    pub(super) fn step(&self, step: &Step) -> Option<&Self> {
        match (&self.value, step) {
            (Value::Table(table), Step::Key(key)) => table.entries.get(key),
            (Value::List(list), Step::Index(index)) => list.get(*index),
            _ => None,
        }
    }

    /// What one step leads to.
    pub(super) fn step_mut(&mut self, step: &Step) -> Option<&mut Self> {
        match (&mut self.value, step) {
            (Value::Table(table), Step::Key(key)) => table.entries.get_mut(key),
            (Value::List(list), Step::Index(index)) => list.get_mut(*index),
            _ => None,
        }
    }

    /// What the steps lead to.
    pub(super) fn find(&self, steps: &[Step]) -> Option<&Self> {
        steps.iter().try_fold(self, Self::step)
    }

    /// What the steps lead to.
    pub(super) fn find_mut(&mut self, steps: &[Step]) -> Option<&mut Self> {
        steps.iter().try_fold(self, |node, step| node.step_mut(step))
    }

    /// The last node on the way that is there.
    pub(super) fn nearest(&self, steps: &[Step]) -> &Self {
        let mut node = self;
        for step in steps {
            let Some(next) = node.step(step) else { break };
            node = next;
        }
        node
    }

    /// Takes out what the steps lead to; a list that this empties goes too, since an empty list would mean something.
    pub(super) fn remove(&mut self, steps: &[Step]) -> Option<Self> {
        let (target, parents) = steps.split_last()?;
        let parent = self.find_mut(parents)?;
        let (removed, is_empty_now) = match (&mut parent.value, target) {
            (Value::Table(table), Step::Key(key)) => {
                let removed = table.entries.shift_remove(key)?;
                table.removed.push(key.clone());
                (removed, false)
            }
            (Value::List(list), Step::Index(index)) if *index < list.len() => {
                let taken = list.remove(*index);
                (taken, list.is_empty())
            }
            _ => return None,
        };
        if is_empty_now {
            self.remove(parents);
        }
        Some(removed)
    }

    /// Whether something on the way was taken out.
    pub(super) fn lost(&self, steps: &[Step]) -> bool {
        let mut node = self;
        for step in steps {
            if let (Value::Table(table), Step::Key(key)) = (&node.value, step)
                && table.removed.contains(key)
            {
                return true;
            }
            let Some(next) = node.step(step) else { return false };
            node = next;
        }
        false
    }
}

impl Tree {
    /// Where the value at the path came from; the built-in layer where nothing is there.
    pub(super) fn kind(&self, path: &str) -> SourceKind {
        self.root
            .find(&super::path::parse(path))
            .and_then(|node| self.sources.get(node.place.source))
            .map_or(SourceKind::BuiltIn, |source| source.kind)
    }

    /// Whether the value at the path was written by somebody, in a profile or above it.
    pub(super) fn is_written(&self, path: &str) -> bool {
        self.kind(path) != SourceKind::BuiltIn
    }
}
