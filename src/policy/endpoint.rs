//! Endpoints that a key may call: the grammar of routes, without captures.

use http::Method;

/// Allowed endpoints.
#[derive(Debug)]
pub struct Endpoints {}

impl Endpoints {
    /// From the words of a record.
    ///
    /// # Errors
    /// The first entry that is no `METHODS /template`.
    pub fn parse<S: AsRef<str>>(_list: &[S]) -> Result<Self, String> {
        todo!()
    }

    /// Whether one of them matches.
    #[must_use]
    pub fn allow(&self, _method: &Method, _path: &crate::facts::CanonicalPath) -> bool {
        todo!()
    }
}
