//! An authorization server: it answers as the test says, right or wrong, and records what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::upstream::{Exchange, Recorded, Upstream};

/// What the endpoint does.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The head, and nothing behind it.
    Hang,
    /// The head, and a byte now and then.
    Drip,
    Close,
    /// By what a form says of `token` (RFC 7662): this of those, and of others that they are not active.
    Introspect(BTreeMap<String, Value>),
}

pub(crate) const JSON: &str = "application/json";

impl Does {
    pub(crate) fn json(document: &Value) -> Self {
        Self::typed(JSON, document.to_string())
    }

    pub(crate) fn typed(kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Answer(200, vec![("Content-Type", kind.to_owned())], body.into())
    }
}

/// One that runs; what it does can be changed.
pub(crate) struct Endpoint {
    does: Arc<Mutex<Does>>,
    pub(crate) server: Upstream,
}

impl Endpoint {
    pub(crate) fn start(does: Does) -> Self {
        let does = Arc::new(Mutex::new(does));
        let now = Arc::clone(&does);
        let server = Upstream::start(move |exchange: &mut Exchange<'_>| {
            exchange.read_body();
            let does = now.lock().unwrap().clone();
            match does {
                Does::Answer(status, headers, body) => {
                    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                    exchange.answer(status, &headers, &body);
                }
                Does::Hang => {
                    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{");
                    exchange.wait_for_the_end();
                }
                Does::Drip => {
                    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{");
                    while !exchange.is_over() {
                        exchange.send(b" ");
                        std::thread::park_timeout(std::time::Duration::from_millis(20));
                    }
                }
                Does::Close => exchange.close(),
                Does::Introspect(known) => introspect(exchange, &known),
            }
        });
        Self { does, server: server.asked_directly() }
    }

    pub(crate) fn does(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    pub(crate) fn asked(&self) -> usize {
        self.server.recorded().len()
    }
}

/// The value of a field of a form.
pub(crate) fn field(form: &[u8], name: &str) -> Option<String> {
    let form = std::str::from_utf8(form).unwrap();
    let value = form.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned())
}

fn introspect(exchange: &mut Exchange<'_>, known: &BTreeMap<String, Value>) {
    let asked: &Recorded = &exchange.request;
    assert_eq!((asked.method.as_str(), asked.header("content-type")), ("POST", Some("application/x-www-form-urlencoded")));
    let inactive = serde_json::json!({ "active": false });
    let answer = known.get(&field(&asked.body, "token").unwrap()).unwrap_or(&inactive).to_string();
    exchange.answer(200, &[("Content-Type", JSON)], answer.as_bytes());
}
