//! The profiles that are part of the program: whole sets of defaults, in proxy.toml's own format.

use super::suggest;

/// Name and text of each.
pub const ALL: [(&str, &str); 5] = [
    ("standard", include_str!("profiles/standard.toml")),
    ("gately", include_str!("profiles/gately.toml")),
    ("g-tateth", include_str!("profiles/g-tateth.toml")),
    ("gatelithix", include_str!("profiles/gatelithix.toml")),
    ("problem-json", include_str!("profiles/problem-json.toml")),
];

/// The text of a profile.
#[must_use]
pub fn find(name: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The text of a profile, or words on why there is none.
///
/// # Errors
/// There is none of this name.
pub fn named(name: &str) -> Result<&'static str, String> {
    find(name).ok_or_else(|| format!("there is no profile `{name}`: {}", suggest::among(name, names())))
}

/// The names.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}
