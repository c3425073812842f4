//! The grammar of routes and endpoints: `GET,HEAD /api/v1/{resource}/**`.

use std::fmt;

use http::Method;
use smallvec::SmallVec;

/// Segments of a template, at most: the table is as deep, and is walked and dropped by recursion.
pub const SEGMENTS_MAX: usize = 64;

/// Methods of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Methods {
    /// `*`
    Any,
    /// `GET,POST`; GET includes HEAD.
    Named(SmallVec<[Method; 4]>),
}

/// One step of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Exactly this, decoded.
    Static(Box<str>),
    /// Any one non-empty segment.
    Capture(Box<str>),
    /// Everything from here on, also nothing; always the last.
    Rest,
}

/// A parsed `METHODS /template`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its methods.
    pub methods: Methods,
    /// Its path.
    pub steps: Vec<Step>,
}

impl Methods {
    /// Whether it is one of them by name, counting HEAD as GET where only GET is named.
    #[must_use]
    pub fn contain(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::Named(named) => named.contains(method) || (*method == Method::HEAD && named.contains(&Method::GET)),
        }
    }
}

/// What precedence compares: static before capture before `**`, left to right; then named methods before `*`.
pub type Rank = (Vec<u8>, u8);

impl Template {
    /// Its place among others; the lowest that matches wins.
    #[must_use]
    pub fn rank(&self) -> Rank {
        let steps = self.steps.iter().map(|step| match step {
            Step::Static(_) => 0,
            Step::Capture(_) => 1,
            Step::Rest => 2,
        });
        (steps.collect(), u8::from(self.methods == Methods::Any))
    }
}

impl Template {
    /// Whether it matches whatever the other one does. Judged step by step: two that cover a third only together cover nothing.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let methods = match (&self.methods, &other.methods) {
            (Methods::Any, _) => true,
            (Methods::Named(_), Methods::Any) => false,
            (mine, Methods::Named(theirs)) => theirs.iter().all(|method| mine.contain(method)),
        };
        methods && cover(&self.steps, &other.steps)
    }
}

fn cover(mine: &[Step], theirs: &[Step]) -> bool {
    match (mine.split_first(), theirs.split_first()) {
        (Some((Step::Rest, _)), _) | (None, None) => true,
        (Some((Step::Static(one), mine)), Some((Step::Static(other), theirs))) => one == other && cover(mine, theirs),
        // A capture stands for no empty segment.
        (Some((Step::Capture(_), mine)), Some((Step::Static(text), theirs))) => !text.is_empty() && cover(mine, theirs),
        (Some((Step::Capture(_), mine)), Some((Step::Capture(_), theirs))) => cover(mine, theirs),
        (Some((Step::Static(_) | Step::Capture(_), _)), _) | (None, Some(_)) => false,
    }
}

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (methods, path) = text.split_once(' ').ok_or_else(|| {
            format!("`{text}` is not a route: methods, one space, a path template, such as \"GET,HEAD /v1/{{resource}}/**\"")
        })?;
        Ok(Self { methods: parse_methods(methods)?, steps: parse_steps(path)? })
    }
}

fn parse_methods(text: &str) -> Result<Methods, String> {
    if text == "*" {
        return Ok(Methods::Any);
    }
    let method = |word: &str| {
        let valid = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        valid
            .then(|| Method::from_bytes(word.as_bytes()).ok())
            .flatten()
            .filter(|method| !matches!(method.as_str(), "CONNECT" | "TRACE" | "TRACK"))
            .ok_or_else(|| format!("`{word}` is not a method that can be served: upper case, such as GET,POST, or *"))
    };
    let named: SmallVec<[Method; 4]> = text.split(',').map(method).collect::<Result<_, _>>()?;
    for (index, method) in named.iter().enumerate() {
        if named.iter().skip(index + 1).any(|other| other == method) {
            return Err(format!("{method} is named twice"));
        }
    }
    Ok(Methods::Named(named))
}

fn parse_steps(path: &str) -> Result<Vec<Step>, String> {
    let body = path.strip_prefix('/').ok_or_else(|| format!("`{path}`: a path template begins with /"))?;
    let count = body.split('/').count();
    if count > SEGMENTS_MAX {
        return Err(format!("a path template has at most {SEGMENTS_MAX} segments"));
    }
    let mut steps = Vec::with_capacity(count);
    for (index, segment) in body.split('/').enumerate() {
        let last = index + 1 == count;
        steps.push(parse_step(segment, last, path)?);
    }
    let names: Vec<&str> = steps.iter().filter_map(Step::capture).collect();
    for (index, name) in names.iter().enumerate() {
        if names.iter().skip(index + 1).any(|other| other == name) {
            return Err(format!("`{path}` captures {{{name}}} twice"));
        }
    }
    Ok(steps)
}

fn parse_step(segment: &str, last: bool, path: &str) -> Result<Step, String> {
    if segment == "**" {
        return if last { Ok(Step::Rest) } else { Err(format!("`{path}`: ** stands only at the end")) };
    }
    if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let valid =
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return if valid {
            Ok(Step::Capture(name.into()))
        } else {
            Err(format!("`{{{name}}}` is not a capture: a letter, then letters, digits and _"))
        };
    }
    if segment.is_empty() && !last {
        return Err(format!("`{path}` has an empty segment, which no request can match"));
    }
    if matches!(segment, "." | "..") {
        return Err(format!("`{path}` has a dot segment, which no request can match"));
    }
    if segment.contains(['*', '{', '}', '%', '\\', '?', '#', ' ']) || segment.chars().any(char::is_control) {
        return Err(format!(
            "`{segment}`: a segment is literal text, a whole {{capture}} or a final **; it is written decoded, without % ? # \\"
        ));
    }
    Ok(Step::Static(segment.into()))
}

impl Step {
    /// Its name, if it is a capture.
    #[must_use]
    pub fn capture(&self) -> Option<&str> {
        match self {
            Self::Capture(name) => Some(name),
            Self::Static(_) | Self::Rest => None,
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.methods {
            Methods::Any => f.write_str("*")?,
            Methods::Named(named) => {
                for (index, method) in named.iter().enumerate() {
                    write!(f, "{}{method}", if index == 0 { "" } else { "," })?;
                }
            }
        }
        f.write_str(" ")?;
        self.steps.iter().try_for_each(|step| match step {
            Step::Static(text) => write!(f, "/{text}"),
            Step::Capture(name) => write!(f, "/{{{name}}}"),
            Step::Rest => f.write_str("/**"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_print_as_they_are_written() {
        for text in ["* /**", "GET /", "GET,HEAD /api/v1/{resource}/**", "POST /v1/tokens", "DELETE /v1/a/", "GET /é"] {
            assert_eq!(text.parse::<Template>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_template_covers_what_it_matches_in_any_case() {
        let covers = |one: &str, other: &str| one.parse::<Template>().unwrap().covers(&other.parse().unwrap());
        for (one, other) in [
            ("* /**", "GET /x/{id}"),
            ("* /x/**", "* /x"),
            ("GET /x/**", "HEAD /x/**"),
            ("GET,POST /x/{id}", "POST /x/7"),
            ("GET /x/{a}/{b}", "GET /x/{c}/y"),
        ] {
            assert!(covers(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("GET /**", "* /x"),
            ("HEAD /x", "GET /x"),
            ("GET /x/{id}", "GET /x/**"),
            ("GET /x/{id}", "GET /x/"),
            ("GET /x/7", "GET /x/{id}"),
            ("GET /x/**", "GET /y"),
            ("GET /x", "GET /x/y"),
        ] {
            assert!(!covers(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_template_is_not_deeper_than_the_stack() {
        assert!(format!("GET {}", "/a".repeat(SEGMENTS_MAX)).parse::<Template>().is_ok());
        assert!(format!("GET {}", "/a".repeat(SEGMENTS_MAX + 1)).parse::<Template>().is_err());
    }

    #[test]
    fn what_no_request_could_match_is_refused() {
        for text in [
            "",
            "/x",
            "GET",
            "GET x",
            "get /x",
            "GET, POST /x",
            "GET,GET /x",
            "GET,, /x",
            "CONNECT /x",
            "TRACE /x",
            "GET //x",
            "GET /a//b",
            "GET /../x",
            "GET /./x",
            "GET /a*",
            "GET /**/a",
            "GET /{a}/{a}",
            "GET /{}",
            "GET /{1}",
            "GET /a{b}",
            "GET /%41",
            "GET /a?x",
            "GET /a#b",
            "GET /a\\b",
            "GET /a b",
        ] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
    }
}
