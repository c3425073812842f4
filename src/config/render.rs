//! Problems as people read them: file, line, the line itself with a caret, what to do. A secret that was written where it
//! should not be is starred in what is shown.

use std::fmt::{self, Write as _};
use std::ops::Range;

use serde::Serialize;

use super::path;
use super::problem::{Problem, Severity};
use super::tree::{Place, Source, SourceKind, Tree};

/// A problem with its place, for `--json`.
#[derive(Debug, Serialize)]
pub struct Located<'a> {
    severity: Severity,
    path: &'a str,
    /// File, profile, variable or "command line"; absent where nobody wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

/// In one line: `proxy.toml:12:3: what is wrong (what to do about it)`.
impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            f.write_str(file)?;
            if let (Some(line), Some(column)) = (self.line, self.column) {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        self.help.map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

/// A place in lines and columns.
struct Spot<'a> {
    line: usize,
    column: usize,
    text: &'a str,
    width: usize,
}

/// The problem with its place found.
pub(super) fn locate<'a>(problem: &'a Problem, tree: &'a Tree) -> Located<'a> {
    let (source, spot) = find(problem, tree);
    Located {
        severity: problem.severity,
        path: &problem.path,
        file: source.map(origin),
        line: spot.as_ref().map(|spot| spot.line),
        column: spot.as_ref().map(|spot| spot.column),
        message: without_passwords(&problem.message),
        help: problem.help.as_deref(),
    }
}

/// The problem in several lines.
pub(super) fn write(out: &mut String, problem: &Problem, tree: &Tree) {
    let word = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let (source, spot) = find(problem, tree);
    let _ = writeln!(out, "{word}: {}", without_passwords(&problem.message));
    let mut margin = String::from(" ");
    if let Some(source) = source {
        match spot {
            Some(Spot { line, column, text, width }) => {
                margin = " ".repeat(line.to_string().len());
                let lead: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                let _ = writeln!(out, "{margin}--> {}:{line}:{column}", origin(source));
                let _ = writeln!(out, "{margin} |\n{line} | {}\n{margin} | {lead}{}", starred(text), "^".repeat(width));
            }
            None => drop(writeln!(out, "{margin}--> {}", origin(source))),
        }
    }
    if let Some(help) = &problem.help {
        let _ = writeln!(out, "{margin} = help: {help}");
    }
}

/// What a source is called.
pub(super) fn origin(source: &Source) -> String {
    match source.kind {
        SourceKind::BuiltIn => "built-in default".to_owned(),
        SourceKind::Profile => format!("profile {}", source.name),
        SourceKind::File => source.name.clone(),
        SourceKind::Environment => format!("environment variable {}", source.name),
        SourceKind::Flag => format!("command line ({})", source.name),
    }
}

/// The line of a byte, from 1; only texts have lines.
pub(super) fn line_of(source: &Source, byte: usize) -> Option<usize> {
    has_lines(source).then(|| source.text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1)
}

fn has_lines(source: &Source) -> bool {
    matches!(source.kind, SourceKind::Profile | SourceKind::File)
}

/// Whether the problem's place comes before another's: in the order of sources and lines.
pub(super) fn order(problem: &Problem, tree: &Tree) -> (Severity, usize, usize) {
    let place = place(problem, tree);
    (problem.severity, place.source, place.key.as_ref().map_or(place.value.start, |key| key.start))
}

fn place<'a>(problem: &'a Problem, tree: &'a Tree) -> &'a Place {
    problem.place.as_ref().unwrap_or_else(|| &tree.root.nearest(&path::parse(&problem.path)).place)
}

/// Where a problem is: the source (not the built-in layer: nobody can edit that), and the spot in it.
fn find<'a>(problem: &'a Problem, tree: &'a Tree) -> (Option<&'a Source>, Option<Spot<'a>>) {
    let place = place(problem, tree);
    let Some(source) = tree.sources.get(place.source).filter(|source| source.kind != SourceKind::BuiltIn) else { return (None, None) };
    // The value of a variable is not shown: it may be a secret, and there is no line to find it by.
    (Some(source), has_lines(source).then(|| spot(source, place)).flatten())
}

fn spot<'a>(source: &'a Source, place: &Place) -> Option<Spot<'a>> {
    let value = source.text.get(place.value.clone())?;
    let range = match &place.key {
        // Of a value of several lines, the key is the better place.
        Some(key) if value.is_empty() || value.contains('\n') => key,
        _ => &place.value,
    };
    if range.is_empty() && range.end == 0 && place.key.is_none() {
        return None;
    }
    let before = source.text.get(..range.start)?;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let text = source.text.get(line_start..)?.lines().next().unwrap_or_default();
    let marked = source.text.get(range.clone())?.lines().next().unwrap_or_default();
    Some(Spot {
        line: line_of(source, range.start)?,
        column: source.text.get(line_start..range.start)?.chars().count() + 1,
        text,
        width: marked.chars().count().max(1),
    })
}

/// A line of a configuration with passwords in URLs, and values of keys that sound like secrets, starred; its length stays.
pub(super) fn starred(line: &str) -> String {
    let mut hidden = passwords(line);
    if let Some((key, value)) = line.split_once('=')
        && sounds_secret(key)
    {
        let start = key.len() + 1 + value.find(|c: char| !c.is_whitespace()).unwrap_or(value.len());
        hidden.push(start..line.len());
    }
    star(line, &hidden)
}

/// The text with passwords in URLs starred.
#[must_use]
pub fn without_passwords(text: &str) -> String {
    star(text, &passwords(text))
}

fn star(text: &str, hidden: &[Range<usize>]) -> String {
    text.char_indices().map(|(at, c)| if hidden.iter().any(|range| range.contains(&at)) { '*' } else { c }).collect()
}

fn passwords(text: &str) -> Vec<Range<usize>> {
    let password = |at: usize| {
        let start = at + "://".len();
        let rest = text.get(start..)?;
        let url = rest.get(..rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`')).unwrap_or(rest.len()))?;
        let user_info = url.get(..url.rfind('@')?)?;
        let colon = user_info.find(':')?;
        Some(start + colon + 1..start + user_info.len())
    };
    text.match_indices("://").filter_map(|(at, _)| password(at)).collect()
}

fn sounds_secret(key: &str) -> bool {
    let key = key.trim().to_ascii_lowercase();
    ["password", "secret", "pepper", "token"].iter().any(|word| key.contains(word))
        && !["file", "path", "browser", "tokens"].iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_starred_in_place() {
        assert_eq!(starred(r#"url = "redis://u:p4ss@host:6379/0""#), r#"url = "redis://u:****@host:6379/0""#);
        assert_eq!(without_passwords("`rediss://:a@b@h` is wrong"), "`rediss://:***@h` is wrong");
        assert_eq!(starred(r#"password = "hunter2""#), "password = *********");
        for plain in [
            r#"url = "redis://host:6379""#,
            r#"password_file = "/run/secrets/p""#,
            r#"secret_key_in_browser = "flag""#,
            r#"upstream = "http://[::1]:80""#,
        ] {
            assert_eq!(starred(plain), plain);
        }
    }
}
