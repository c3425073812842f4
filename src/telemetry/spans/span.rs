//! What is told of a sampled request: that it was answered, and that the upstream was asked. Names are OpenTelemetry's (HTTP semantic
//! conventions 1.x). A trace goes to more people than a log: of the caller it has the tenant and the address that the log may have;
//! no key, no subject, no query, no user agent. The log has those, under the same trace id.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::Context;
use crate::clock::Timestamp;
use crate::forward::upstream::Target;

/// A sampled request.
#[derive(Debug)]
#[expect(missing_docs, reason = "the access log's table tells them")]
pub struct Span {
    pub context: Context,
    pub began: Timestamp,
    pub took: Duration,
    pub method: Method,
    pub scheme: &'static str,
    /// Masked.
    pub path: String,
    /// `METHODS /template`
    pub template: Option<Arc<str>>,
    pub version: Option<&'static str>,
    /// As far as it may be told.
    pub client: Option<IpAddr>,
    pub status: Option<u16>,
    pub reason: &'static str,
    pub would_refuse: Cow<'static, str>,
    pub error: Option<&'static str>,
    pub tenant: Option<Arc<str>>,
    pub environment: Option<&'static str>,
    pub request_id: String,
    pub listener: Arc<str>,
    /// Where it was sent, if it was.
    pub asked: Option<Asked>,
}

/// What was asked of an upstream.
#[derive(Debug)]
pub struct Asked {
    /// The upstream.
    pub target: Arc<Target>,
    /// How long after the request had begun.
    pub after: Duration,
    /// Whether it answered.
    pub answered: bool,
}

/// A value of an attribute.
#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Number(i64),
}

pub(super) type Attributes<'a> = Vec<(&'static str, Value<'a>)>;

fn text<'a>(text: impl Into<Cow<'a, str>>) -> Value<'a> {
    Value::Text(text.into())
}

impl Span {
    /// The template's path.
    fn route(&self) -> Option<&str> {
        self.template.as_deref()?.split_once(' ').map(|(_, path)| path)
    }

    /// What is not registered could be anything.
    fn known_method(&self) -> Option<&str> {
        let known = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::HEAD,
            Method::OPTIONS,
            Method::TRACE,
            Method::CONNECT,
        ];
        known.contains(&self.method).then(|| self.method.as_str())
    }

    /// Of few values, as names of spans must be.
    pub(super) fn name(&self) -> String {
        let method = self.known_method().unwrap_or("HTTP");
        self.route().map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
    }

    /// Of the span towards the upstream.
    pub(super) fn client_name(&self) -> String {
        self.known_method().unwrap_or("HTTP").to_owned()
    }

    /// Whether it is our fault or the upstream's.
    pub(super) fn has_failed(&self) -> bool {
        self.status.is_some_and(|status| status >= 500) || self.error.is_some_and(|error| error != "client_aborted")
    }

    /// Whether the upstream has, from where we see it.
    pub(super) fn upstream_has_failed(&self, asked: &Asked) -> bool {
        !asked.answered || self.has_failed() || self.status.is_some_and(|status| status >= 400)
    }

    fn error_type(&self, failed: bool) -> Option<Cow<'_, str>> {
        let said = self.error.or_else(|| (!self.reason.is_empty()).then_some(self.reason)).map(Cow::Borrowed);
        failed.then(|| said.or_else(|| self.status.map(|status| status.to_string().into()))).flatten()
    }

    fn common(&self, failed: bool) -> Attributes<'_> {
        let mut all = vec![("http.request.method", text(self.known_method().unwrap_or("_OTHER")))];
        all.extend(self.status.map(|status| ("http.response.status_code", Value::Number(status.into()))));
        all.extend(self.error_type(failed).map(|error| ("error.type", text(error))));
        all
    }

    /// Of the span that says that it was answered.
    pub(super) fn server(&self) -> Attributes<'_> {
        let mut all = self.common(self.has_failed() || self.error.is_some());
        all.push(("url.path", text(&*self.path)));
        all.push(("url.scheme", text(self.scheme)));
        let client = self.client.map(|ip| ip.to_string());
        let optional = [
            ("http.route", self.route().map(Cow::from)),
            ("network.protocol.version", self.version.map(Cow::from)),
            ("client.address", client.map(Cow::from)),
            ("sidegate.reason", (!self.reason.is_empty()).then_some(self.reason).map(Cow::from)),
            ("sidegate.would_refuse", (!self.would_refuse.is_empty()).then_some(Cow::Borrowed(&*self.would_refuse))),
            ("tenant.id", self.tenant.as_deref().map(Cow::from)),
            ("deployment.environment.name", self.environment.map(Cow::from)),
        ];
        all.extend(optional.into_iter().filter_map(|(name, value)| Some((name, Value::Text(value?)))));
        all.push(("sidegate.request_id", text(&*self.request_id)));
        all.push(("sidegate.listener", text(&*self.listener)));
        all
    }

    /// Of the span that says that the upstream was asked.
    pub(super) fn client<'a>(&'a self, asked: &'a Asked) -> Attributes<'a> {
        let mut all = self.common(self.upstream_has_failed(asked));
        if !asked.answered {
            // The status is ours.
            all.retain(|(name, _)| *name != "http.response.status_code");
        }
        if let Some((host, port)) = asked.target.place() {
            all.push(("server.address", text(host)));
            all.push(("server.port", Value::Number(port.into())));
        }
        all.push(("url.full", text(format!("{}{}", asked.target.origin(), self.path))));
        all.push(("sidegate.upstream", text(&*asked.target.name)));
        all
    }
}

#[cfg(test)]
pub(super) fn example() -> Span {
    Span {
        context: Context::root(true),
        began: Timestamp(1_000),
        took: Duration::from_micros(1_500),
        method: Method::GET,
        scheme: "http",
        path: "/v1/users/7".to_owned(),
        template: Some("GET /v1/users/{id}".into()),
        version: Some("1.1"),
        client: None,
        status: Some(200),
        reason: "",
        would_refuse: Cow::Borrowed(""),
        error: None,
        tenant: Some("acme".into()),
        environment: Some("live"),
        request_id: "req-12345".to_owned(),
        listener: "public".into(),
        asked: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute<'a>(attributes: &'a Attributes<'_>, name: &str) -> Option<&'a Value<'a>> {
        attributes.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    #[test]
    fn a_span_has_a_name_of_few_values() {
        assert_eq!(example().name(), "GET /v1/users/{id}");
        assert_eq!(Span { template: None, ..example() }.name(), "GET");
        let odd = Span { method: "BREW".parse().unwrap(), template: Some("* /pots/{id}".into()), ..example() };
        assert_eq!(odd.name(), "HTTP /pots/{id}");
        assert_eq!(attribute(&odd.server(), "http.request.method"), Some(&text("_OTHER")));
    }

    #[test]
    fn a_refusal_is_no_failure_but_a_fault_of_ours_or_the_upstreams_is() {
        let refused = Span { status: Some(403), reason: "ip_denied", ..example() };
        assert!(!refused.has_failed());
        assert_eq!(attribute(&refused.server(), "sidegate.reason"), Some(&text("ip_denied")));
        assert_eq!(attribute(&refused.server(), "error.type"), None);
        let late = Span { status: Some(504), reason: "upstream_timeout", ..example() };
        assert!(late.has_failed());
        assert_eq!(attribute(&late.server(), "error.type"), Some(&text("upstream_timeout")));
        let gone = Span { status: None, error: Some("client_aborted"), ..example() };
        assert!(!gone.has_failed());
        assert_eq!(attribute(&gone.server(), "error.type"), Some(&text("client_aborted")));
    }
}
