//! Endpoints that a key may call: the grammar of routes; captures only stand for "any segment".

use http::Method;

use super::Case;
use crate::facts::path::CanonicalPath;
use crate::gate::trace::Note;
use crate::rejection::{Refusal, Rejection};
use crate::route::table::Table;
use crate::route::template::{Methods, Template};

/// What the check looks at.
pub(super) fn look(case: &Case<'_>) -> Note {
    let allowed = case
        .identity
        .particulars()
        .endpoints
        .as_ref()
        .map_or("any", |endpoints| if endpoints.words.is_empty() { "none" } else { &endpoints.words });
    Note::new(format!("{} {}; the key allows {allowed}", case.facts.method, case.facts.path.raw())).record(case, "endpoints")
}

/// The key's `endpoints`.
pub(super) fn check(case: &Case<'_>) -> Result<(), Refusal> {
    match &case.identity.particulars().endpoints {
        Some(endpoints) if !endpoints.allow(&case.facts.method, &case.facts.path) => {
            Err(Rejection::EndpointDenied.because("not among the key's endpoints"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Allowed endpoints.
#[derive(Debug, Default)]
pub struct Endpoints {
    table: Table<()>,
    /// As they are written in the record, for `explain`.
    words: Box<str>,
}

impl Endpoints {
    /// From the words of a record.
    ///
    /// # Errors
    /// The first entry that is no `METHODS /template`.
    pub fn parse<S: AsRef<str>>(list: &[S]) -> Result<Self, String> {
        let mut table = Table::default();
        for entry in list {
            let Template { methods, steps } = entry.as_ref().parse()?;
            let each = match methods {
                Methods::Any => vec![Methods::Any],
                Methods::Named(named) => named.into_iter().map(|method| Methods::Named([method].into_iter().collect())).collect(),
            };
            for methods in each {
                // The same endpoint twice is the same permission.
                let _ = table.insert(&Template { methods, steps: steps.clone() }, ());
            }
        }
        let words: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
        Ok(Self { table, words: words.join(", ").into() })
    }

    /// Whether one of them matches.
    #[must_use]
    pub fn allow(&self, method: &Method, path: &CanonicalPath) -> bool {
        self.table.find(method, &path.segments(), &|(), _| true).is_some()
    }
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;

    use super::*;

    #[test]
    fn what_one_entry_names_is_allowed_and_nothing_else() {
        let endpoints = Endpoints::parse(&["GET /v1/users/{id}", "GET,PUT /v1/users/{id}", "* /v1/files/**"]).unwrap();
        let allow = |method: Method, target: &'static str| {
            endpoints.allow(&method, &CanonicalPath::parse(PathAndQuery::from_static(target)).unwrap())
        };
        assert!(allow(Method::GET, "/v1/users/7") && allow(Method::HEAD, "/v1/users/7") && allow(Method::PUT, "/v1/users/7"));
        assert!(allow(Method::DELETE, "/v1/files/a/b"));
        assert!(!allow(Method::DELETE, "/v1/users/7") && !allow(Method::GET, "/v1/users") && !allow(Method::GET, "/v1/users/7/keys"));
        assert!(Endpoints::parse(&["/v1/users"]).is_err());
        assert!(
            !Endpoints::parse::<&str>(&[]).unwrap().allow(&Method::GET, &CanonicalPath::parse(PathAndQuery::from_static("/")).unwrap())
        );
    }
}
