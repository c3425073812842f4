//! Where a rewritten head's fields go: into the map that HTTP/2 is made of.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Takes the fields of a head, in their order.
pub(super) trait Fields {
    /// One.
    fn field(&mut self, name: &HeaderName, value: &HeaderValue);

    /// One that we say, in visible ASCII.
    fn text(&mut self, name: &HeaderName, value: &[u8]);
}

impl Fields for HeaderMap {
    fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name, value.clone());
    }

    fn text(&mut self, name: &HeaderName, value: &[u8]) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            self.append(name, value);
        }
    }
}
