//! A rewritten head in the form that its upstream takes: the bytes of HTTP/1.1, made once however often they are sent, or
//! the parts that HTTP/2 is made of. It knows no rules: what is written into it is [`super::headers`]'.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::facts::out_of_table;
use crate::http1::outbox;

/// Room for an ordinary request's head, bytes.
const ORDINARY: usize = 1000;

/// A head that may be sent.
#[derive(Debug)]
pub enum Head {
    /// To an upstream of HTTP/1.1.
    Http1(Encoded),
    /// To one of HTTP/2.
    Http2(Box<Parts>),
}

/// A head as bytes, but for the field that delimits the content, and for what is sent with chunks only.
#[derive(Debug)]
pub struct Encoded {
    method: Method,
    lines: Vec<u8>,
    announced: Option<HeaderValue>,
}

/// Takes the fields of a head, in their order.
pub(super) trait Fields {
    /// One.
    fn field(&mut self, name: &HeaderName, value: &HeaderValue);

    /// One that we say, in visible ASCII.
    fn text(&mut self, name: &HeaderName, value: &[u8]);

    /// The same, of a value that no other request has.
    fn once(&mut self, name: &HeaderName, value: &[u8]);

    /// The trailers that come behind the content.
    fn announce(&mut self, names: HeaderValue);
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

    fn once(&mut self, name: &HeaderName, value: &[u8]) {
        if let Ok(mut value) = HeaderValue::from_bytes(value) {
            out_of_table(&mut value);
            self.append(name, value);
        }
    }

    fn announce(&mut self, names: HeaderValue) {
        self.append(header::TRAILER, names);
    }
}

impl Fields for Encoded {
    fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.text(name, value.as_bytes());
    }

    fn text(&mut self, name: &HeaderName, value: &[u8]) {
        outbox::field(&mut self.lines, name.as_str().as_bytes(), value);
    }

    fn once(&mut self, name: &HeaderName, value: &[u8]) {
        self.text(name, value);
    }

    fn announce(&mut self, names: HeaderValue) {
        self.announced = Some(names);
    }
}

impl Encoded {
    /// A request line.
    pub(super) fn new(method: Method, target: &str) -> Self {
        let mut lines = Vec::with_capacity(ORDINARY);
        lines.extend_from_slice(method.as_str().as_bytes());
        lines.push(b' ');
        // What was sent as `http://host?query` has no path.
        if !target.starts_with(['/', '*']) {
            lines.push(b'/');
        }
        lines.extend_from_slice(target.as_bytes());
        lines.extend_from_slice(b" HTTP/1.1\r\n");
        Self { method, lines, announced: None }
    }

    /// What is asked for.
    pub(super) const fn method(&self) -> &Method {
        &self.method
    }

    /// The request line and all fields but those that concern the content.
    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// The trailers that come behind the content.
    pub(super) const fn announced(&self) -> Option<&HeaderValue> {
        self.announced.as_ref()
    }
}

#[cfg(test)]
impl From<&Parts> for Encoded {
    fn from(parts: &Parts) -> Self {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut encoded = Self::new(parts.method.clone(), target);
        for (name, value) in &parts.headers {
            match *name {
                header::TRAILER => encoded.announce(value.clone()),
                _ => encoded.field(name, value),
            }
        }
        encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::X_REQUEST_ID;

    #[test]
    fn what_no_other_request_has_stays_out_of_the_table_of_http_2_and_nothing_else_does() {
        let mut headers = HeaderMap::new();
        headers.once(&X_REQUEST_ID, b"an id");
        headers.text(&header::USER_AGENT, b"a name");
        assert!(headers.get(X_REQUEST_ID).is_some_and(HeaderValue::is_sensitive));
        assert!(!headers.get(header::USER_AGENT).is_some_and(HeaderValue::is_sensitive));
    }
}
