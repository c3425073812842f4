//! A row of the contract, and how the files are read. See `tests/contract/README.md` for what the fields mean.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Table;

use crate::support::sidecar::{Kind, merge};

/// `tests/contract/<profile>/<file>.toml`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// proxy.toml of every row of the file.
    #[serde(default)]
    config: Table,
    row: Vec<Row>,
}

/// One `[[row]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// The rejection's reason; absent: the request is admitted.
    pub(crate) reason: Option<String>,
    /// Which sentence of a seed document this row is the proof of.
    pub(crate) seed: Option<String>,
    /// More of proxy.toml.
    #[serde(default)]
    pub(crate) config: Table,
    /// What differs from the tenant that every row has.
    #[serde(default)]
    pub(crate) tenant: Table,
    /// What differs from the key that every row has.
    #[serde(default)]
    pub(crate) key: Table,
    /// Keys besides it, by the name they have in placeholders.
    #[serde(default)]
    pub(crate) keys: std::collections::BTreeMap<String, Table>,
    /// Tokens, by the name they have in placeholders: their claims, and how they are made.
    #[serde(default)]
    pub(crate) tokens: std::collections::BTreeMap<String, Token>,
    /// Opaque tokens, by the name they have in placeholders: what `{introspection}` answers about them.
    #[serde(default)]
    pub(crate) opaque: std::collections::BTreeMap<String, Table>,
    /// Sessions, by the name their refresh tokens have in placeholders; `{NAME.access}` is the access token.
    #[serde(default)]
    pub(crate) sessions: std::collections::BTreeMap<String, Session>,
    #[serde(default)]
    pub(crate) request: Request,
    /// A request before it, where the situation has one; absent: the same.
    pub(crate) first: Option<Request>,
    /// What happens around the request; see `situation.rs`.
    pub(crate) situation: Option<String>,
    #[serde(default)]
    pub(crate) expect: Expect,
    #[serde(default)]
    pub(crate) upstream: Upstream,
    /// Why `explain` cannot judge the request.
    pub(crate) not_explained: Option<String>,
    #[serde(skip)]
    pub(crate) profile: String,
    #[serde(skip)]
    pub(crate) file: String,
}

/// A token of HS256, signed with the secret in `{secret_file}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Token {
    /// Beside `exp`.
    pub(crate) claims: Table,
    /// Seconds until it expires.
    pub(crate) expires_in: i64,
    /// What the header claims.
    pub(crate) alg: String,
    /// Signed with this instead.
    pub(crate) secret: Option<String>,
}

/// A session, begun on the terms of the row's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Session {
    pub(crate) tenant: String,
    pub(crate) subject: String,
    pub(crate) environment: sidegate::config::sections::EnvironmentName,
    pub(crate) scopes: Vec<String>,
    /// Whether somebody has ended it.
    pub(crate) revoked: bool,
}

impl Default for Session {
    fn default() -> Self {
        let environment = sidegate::config::sections::EnvironmentName::Live;
        Self { tenant: "acme".into(), subject: "ada".into(), environment, scopes: Vec::new(), revoked: false }
    }
}

impl Default for Token {
    fn default() -> Self {
        Self { claims: Table::new(), expires_in: 3600, alg: "HS256".into(), secret: None }
    }
}

/// What is sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
    /// Header lines; `{key}` is the secret, `{unknown}` a well-formed one nobody has, `{typo}` one with a wrong checksum.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
    /// The client's address, as the trusted proxy in front tells it.
    pub(crate) from: Option<String>,
    /// All bytes of the request instead.
    pub(crate) raw: Option<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: "GET".into(),
            target: "/v1/users".into(),
            host: "api.example".into(),
            headers: vec!["Authorization: Bearer {key}".into()],
            body: String::new(),
            from: None,
            raw: None,
        }
    }
}

/// What is answered.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    pub(crate) status: Option<u16>,
    /// The JSON, member order and all; `{request_id}` stands for the header's.
    pub(crate) body: Option<String>,
    pub(crate) content_type: Option<String>,
    /// `WWW-Authenticate`; every 401 has it.
    pub(crate) challenge: Option<String>,
    /// Header lines that are there.
    pub(crate) headers: Vec<String>,
    /// Header names that are not.
    pub(crate) absent: Vec<String>,
    /// Whether the connection is closed.
    pub(crate) closed: bool,
    /// What the access line's detail contains.
    pub(crate) detail: Option<String>,
    /// The reason that it is let through in spite of.
    pub(crate) would_refuse: Option<String>,
}

/// What the upstream saw.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Upstream {
    /// Which one.
    pub(crate) name: String,
    pub(crate) method: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) headers: Vec<String>,
    pub(crate) absent: Vec<String>,
    pub(crate) body: Option<String>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self { name: "main".into(), method: None, target: None, headers: Vec::new(), absent: Vec::new(), body: None }
    }
}

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Row {
    pub(crate) fn title(&self) -> String {
        format!("{}/{}: {}", self.profile, self.file, self.name)
    }

    /// Whether an admitted request is forwarded: Sidegate answers preflights itself.
    pub(crate) fn reaches_upstream(&self) -> bool {
        self.upstream.name != "none"
    }

    /// Whether the credential, being nobody's here, goes on to the upstream.
    pub(crate) fn is_passed_on(&self) -> bool {
        matches!(self.expect.would_refuse.as_deref(), Some("key_unknown" | "credential_malformed"))
    }

    /// Whether a client of HTTP/2 can send the request at all.
    pub(crate) fn is_said_in_http2(&self) -> bool {
        let of_a_connection = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "host"];
        let names = || self.request.headers.iter().map(|line| line.split(':').next().unwrap_or_default().to_ascii_lowercase());
        self.request.raw.is_none()
            && self.situation.as_deref() != Some("answer")
            && self.request.method != "CONNECT"
            && self.request.target.starts_with(['/', '*'])
            && self.request.target.parse::<http::uri::PathAndQuery>().is_ok()
            && self.request.host.parse::<http::uri::Authority>().is_ok()
            && !names().any(|name| of_a_connection.contains(&name.as_str()))
    }

    pub(crate) fn stores(&self) -> Vec<Kind> {
        match self.situation.as_deref() {
            // No socket is opened, so no store is asked.
            Some("answer") => vec![Kind::Embedded],
            _ => Kind::BOTH.to_vec(),
        }
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract")
}

fn sorted(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Every row of every file.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    for dir in sorted(&directory()).into_iter().filter(|path| path.is_dir()) {
        let profile = dir.file_name().unwrap().to_str().unwrap().to_owned();
        for path in sorted(&dir) {
            let text = std::fs::read_to_string(&path).unwrap();
            let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for mut row in file.row {
                let mut config = file.config.clone();
                merge(&mut config, std::mem::take(&mut row.config));
                row.config = config;
                row.profile.clone_from(&profile);
                path.file_stem().unwrap().to_str().unwrap().clone_into(&mut row.file);
                rows.push(row);
            }
        }
    }
    rows
}
