//! The management API, as a company's backend calls it: tokens in files, and a client that holds one.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::Value;
use tempfile::TempDir;

use super::client::{Answer, Request, once};
use super::stream::Address;

/// Tokens, each with its permissions, in a directory of their own.
pub(crate) struct Tokens {
    pub(crate) dir: TempDir,
    all: Vec<(String, String)>,
}

/// Who may do everything.
pub(crate) const CONSOLE: &str = "console";

/// The secret of a token of this name.
pub(crate) fn secret(name: &str) -> String {
    format!("{name}-0123456789abcdef0123456789abcdef")
}

impl Tokens {
    /// `console`, which may do everything.
    pub(crate) fn console() -> Self {
        Self::new(&[(CONSOLE, "*")])
    }

    /// Names, and the permissions of each.
    pub(crate) fn new(tokens: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, _) in tokens {
            std::fs::write(dir.path().join(name), secret(name)).unwrap();
        }
        Self { dir, all: tokens.iter().map(|(name, allow)| ((*name).to_owned(), (*allow).to_owned())).collect() }
    }

    /// For proxy.toml.
    pub(crate) fn config(&self, listen: &str) -> String {
        let mut text = format!("[admin]\nlisten = \"{listen}\"\n");
        for (name, allow) in &self.all {
            let allow: Vec<&str> = allow.split_whitespace().collect();
            let file = self.dir.path().join(name);
            writeln!(text, "[[admin.tokens]]\nname = \"{name}\"\nfile = \"{}\"\nallow = {allow:?}", file.display()).unwrap();
        }
        text
    }
}

/// A client that holds a token.
#[derive(Clone)]
pub(crate) struct Caller {
    address: Address,
    secret: String,
}

impl Caller {
    pub(crate) fn new(address: impl Into<Address>, name: &str) -> Self {
        Self::with_secret(address, &secret(name))
    }

    pub(crate) fn console(address: SocketAddr) -> Self {
        Self::new(address, CONSOLE)
    }

    pub(crate) fn with_secret(address: impl Into<Address>, secret: &str) -> Self {
        Self { address: address.into(), secret: secret.to_owned() }
    }

    /// A request with the token, to be changed before it is sent.
    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Request {
        let mut request = Request::new(method, &format!("/admin/v1{path}")).bearer(&self.secret);
        request.headers[0].1 = "localhost".into();
        match body {
            Some(body) => request.header("Content-Type", "application/json").body(body.to_string()),
            None if method == "GET" => request,
            None => request.header("Content-Length", "0"),
        }
    }

    pub(crate) fn send(&self, request: &Request) -> Answer {
        once(self.address.clone(), request)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.send(&self.request(method, path, body))
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        ok(&self.ask("GET", path, None))
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        ok(&self.ask("POST", path, Some(body)))
    }

    #[track_caller]
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Value {
        ok(&self.ask("PATCH", path, Some(body)))
    }
}

/// What a request that succeeds is answered.
#[track_caller]
pub(crate) fn ok(answer: &Answer) -> Value {
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    answer.json()
}

/// Status and code of a refusal, which is a problem like any other.
#[track_caller]
pub(crate) fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let content = answer.json();
    assert_eq!(content["status"], answer.status, "{content}");
    assert!(!content["title"].as_str().unwrap().is_empty() && !content["detail"].as_str().unwrap().is_empty(), "{content}");
    (answer.status, content["code"].as_str().unwrap().to_owned())
}
