//! The access log: one line per request, written when its answer ended, whoever ended it.
//!
//! JSON members, in this order; those in brackets are left out where there is nothing to say:
//!
//! | member | meaning |
//! | --- | --- |
//! | `timestamp` | when the line was written, RFC 3339, UTC |
//! | `http.request.method` | absent where no head could be parsed |
//! | `url.path` | as sent, key-like parts masked |
//! | [`url.query`] | by `log.query`: the names, or all of it, masked |
//! | [`network.protocol.version`] | `1.0`, `1.1` or `2`: what the client speaks |
//! | [`server.address`] | Host as sent |
//! | [`client.address`] | by `log.client_address`: the address, its /24 or /48, or nothing |
//! | [`http.response.status_code`] | absent if the client left before there was one |
//! | [`http.route`] | name of the matched route |
//! | `reason` | the rejection's reason; empty = forwarded |
//! | [`would_refuse`] | the reason that it was let through in spite of: an observed check's (of several each, with commas between), or that of a key passed on by `[migration]` |
//! | [`detail`] | what decided; never sent to the client |
//! | [`error.type`] | broken off: `client_aborted`, `upstream_aborted`, `request_timeout`, `stream_idle_timeout`, `shutdown` (we cut it off, stopping); or, its credential having ended, `key_unknown` (replaced), `key_revoked`, `key_expired`, `key_inactive`, `tenant_suspended`, `jwt_expired`, `token_inactive` |
//! | `request_id` | as in `X-Request-Id` |
//! | [`trace_id`] | with `[tracing]`: the trace that it belongs to; of a refused request only if it is recorded |
//! | [`tenant.id`], [`key.id`], [`environment`] | of the caller, once known |
//! | [`token.issuer`], [`subject`] | of a token that was verified: the issuer's name in the configuration; whom it tells of, by `log.subject` |
//! | `credential` | `api_key`, `jwt`, `opaque`, or `none` |
//! | [`credential.fingerprint`] | prefix and fingerprint of a key, or fingerprint of a token, that is not known |
//! | `duration_ms`, [`upstream_ms`] | from the head to the answer's end; until the upstream's head |
//! | [`replayed`] | `true`: the answer of an earlier request with this Idempotency-Key, given again |
//! | `http.request.body.size`, `http.response.body.size` | bytes of content; of a WebSocket, all behind its handshake |
//! | [`user_agent.original`] | |
//! | `listener` | name of the listener |
//!
//! Values are at most 1 kB. It never holds a credential, and writing it never waits.

mod json;
mod writer;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::net::IpAddr;
use std::sync::Arc;

use super::mask::Mask;
use crate::clock::Timestamp;
use crate::config::sections::{AccessLog as Which, AddressLog, Config, LogFormat, QueryLog, SubjectLog};
use crate::key::digest::Digest;
use crate::net::Network;
pub use writer::Writer;

/// `[log]`, as far as it concerns the access log.
#[derive(Debug)]
pub struct Settings {
    which: Which,
    text: bool,
    query: QueryLog,
    address: AddressLog,
    subject: SubjectLog,
    mask: Mask,
}

/// The access log: what to write, and where.
#[derive(Debug, Clone)]
pub struct AccessLog {
    settings: Arc<Settings>,
    writer: Arc<Writer>,
}

/// One request, as it is logged. Raw values; cleaning them is the log's.
#[derive(Debug)]
#[expect(missing_docs, reason = "the table above")]
pub struct Line<'a> {
    pub timestamp: Timestamp,
    pub method: Cow<'a, str>,
    pub path: Cow<'a, str>,
    pub query: Option<Cow<'a, str>>,
    pub version: Option<&'static str>,
    pub host: Option<Cow<'a, str>>,
    pub client: Option<IpAddr>,
    pub status: Option<u16>,
    pub route: Option<&'a str>,
    pub reason: &'a str,
    pub would_refuse: Cow<'a, str>,
    pub detail: Cow<'a, str>,
    pub error: Option<&'static str>,
    pub request_id: &'a str,
    pub trace_id: Option<String>,
    pub tenant: Option<&'a str>,
    pub key: Option<&'a str>,
    pub issuer: Option<&'a str>,
    pub subject: Option<Cow<'a, str>>,
    pub environment: Option<&'static str>,
    pub credential: &'static str,
    pub fingerprint: Option<String>,
    pub duration_ms: f64,
    pub upstream_ms: Option<f64>,
    pub replayed: bool,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub user_agent: Option<Cow<'a, str>>,
    pub listener: &'a str,
}

impl Settings {
    /// Compiles `[log]`.
    #[must_use]
    pub fn compile(config: &Config) -> Self {
        let text = match config.log.format {
            LogFormat::Json => false,
            LogFormat::Text => true,
            LogFormat::Auto => io::stdout().is_terminal(),
        };
        Self {
            which: config.log.access,
            text,
            query: config.log.query,
            address: config.log.client_address,
            subject: config.log.subject,
            mask: Mask::new(&config.key_kinds),
        }
    }
}

impl AccessLog {
    /// A log that writes to `writer`.
    #[must_use]
    pub fn new(settings: Arc<Settings>, writer: Arc<Writer>) -> Self {
        Self { settings, writer }
    }

    /// Whether any line is wanted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.settings.which != Which::Off
    }

    /// An address, as far as `client_address` lets it be told.
    #[must_use]
    pub fn address(&self, ip: IpAddr) -> Option<IpAddr> {
        self.settings.address(ip)
    }

    /// The network around an address, as far as that.
    #[must_use]
    pub fn network(&self, ip: IpAddr) -> Option<Network> {
        match self.settings.address {
            AddressLog::Full => Some(Network::around(ip, 24, 64)),
            AddressLog::Network => Some(Network::around(ip, 24, 48)),
            AddressLog::Off => None,
        }
    }

    /// A client's text, without what may be a key.
    #[must_use]
    pub fn masked(&self, text: &str) -> String {
        let mut text = Cow::Borrowed(text);
        self.settings.mask.apply(&mut text);
        text.into_owned()
    }

    /// Writes the line of a request that was refused (or would be, were it not for a time let through), or was not, if such lines are wanted.
    pub fn write<'l>(&self, refused: bool, line: impl FnOnce() -> Line<'l>) {
        let wanted = match self.settings.which {
            Which::All => true,
            Which::Denied => refused,
            Which::Off => false,
        };
        if !wanted {
            return;
        }
        let mut line = line();
        self.settings.clean(&mut line);
        thread_local!(static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        BYTES.with_borrow_mut(|bytes| {
            bytes.clear();
            if self.settings.text {
                bytes.extend_from_slice(line.as_text().as_bytes());
            } else {
                json::write(&line, bytes);
            }
            bytes.push(b'\n');
            self.writer.push(bytes);
        });
    }
}

impl Settings {
    fn clean(&self, line: &mut Line<'_>) {
        for text in [&mut line.method, &mut line.path, &mut line.detail] {
            self.mask.apply(text);
        }
        for text in [&mut line.host, &mut line.user_agent].into_iter().flatten() {
            self.mask.apply(text);
        }
        line.query = match self.query {
            QueryLog::Off => None,
            QueryLog::Names => line.query.as_ref().map(|query| Cow::Owned(names(query))),
            QueryLog::Full => line.query.take(),
        };
        line.subject = line.subject.take().and_then(|subject| match self.subject {
            SubjectLog::Hash => Some(Cow::Owned(hashed(&subject))),
            SubjectLog::Plain => Some(subject),
            SubjectLog::Off => None,
        });
        for text in [&mut line.query, &mut line.subject].into_iter().flatten() {
            self.mask.apply(text);
        }
        line.client = line.client.and_then(|ip| self.address(ip));
    }

    fn address(&self, ip: IpAddr) -> Option<IpAddr> {
        match self.address {
            AddressLog::Full => Some(ip),
            AddressLog::Network => Some(Network::around(ip, 24, 48).first()),
            AddressLog::Off => None,
        }
    }
}

/// Sixteen hex digits: enough to tell people apart, and always the same.
fn hashed(subject: &str) -> String {
    Digest::of(subject.as_bytes()).0.iter().take(8).fold(String::with_capacity(16), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The names of a query: `a=1&b=2` is `a&b`.
fn names(query: &str) -> String {
    let mut out = String::new();
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            out.push('&');
        }
        out.push_str(pair.split_once('=').map_or(pair, |(name, _)| name));
    }
    out
}

impl Line<'_> {
    fn as_text(&self) -> String {
        let mut out = format!("{} {} {}", self.timestamp, if self.method.is_empty() { "-" } else { &self.method }, self.path);
        if let Some(query) = &self.query {
            let _ = write!(out, "?{query}");
        }
        match self.status {
            Some(status) => drop(write!(out, " {status}")),
            None => out.push_str(" -"),
        }
        let _ = write!(out, " {:.1}ms", self.duration_ms);
        let client = self.client.map(|ip| ip.to_string());
        let words = [
            ("reason", Some(self.reason)),
            ("would_refuse", Some(&*self.would_refuse)),
            ("detail", Some(&*self.detail)),
            ("error", self.error),
            ("client", client.as_deref()),
            ("tenant", self.tenant),
            ("key", self.key),
            ("issuer", self.issuer),
            ("subject", self.subject.as_deref()),
            ("fingerprint", self.fingerprint.as_deref()),
            ("route", self.route),
            ("id", Some(self.request_id)),
            ("trace", self.trace_id.as_deref()),
        ];
        for (name, word) in words {
            if let Some(word) = word.filter(|word| !word.is_empty()) {
                let _ = if word.contains(' ') { write!(out, " {name}={word:?}") } else { write!(out, " {name}={word}") };
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line() -> Line<'static> {
        Line {
            timestamp: Timestamp(0),
            method: "GET".into(),
            path: "/v1/sk_live_secret".into(),
            query: Some("a=1&key=sk_live_secret&b".into()),
            version: Some("2"),
            host: Some("api.example".into()),
            client: Some("2001:db8:1:2::3".parse().unwrap()),
            status: Some(403),
            route: Some("users"),
            reason: "ip_denied",
            would_refuse: Cow::Borrowed(""),
            detail: "key".into(),
            error: None,
            request_id: "req-12345",
            trace_id: None,
            tenant: Some("acme"),
            key: Some("key_1"),
            issuer: None,
            subject: None,
            environment: Some("live"),
            credential: "api_key",
            fingerprint: None,
            duration_ms: 1.5,
            upstream_ms: None,
            replayed: false,
            request_bytes: 0,
            response_bytes: 77,
            user_agent: Some("a\"b\n".into()),
            listener: "public",
        }
    }

    fn written(settings: &str, lines: Vec<Line<'_>>) -> String {
        let config: Config = toml::from_str(&format!("[log]\n{settings}")).unwrap();
        let kept = Kept::default();
        let writer = Arc::new(Writer::start(Box::new(kept.clone())).unwrap());
        let log = AccessLog::new(Arc::new(Settings::compile(&config)), Arc::clone(&writer));
        for line in lines {
            log.write(!line.reason.is_empty(), || line);
        }
        writer.close();
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_is_one_json_object_without_any_credential() {
        let text = written("format = \"json\"", vec![line()]);
        assert_eq!(
            text,
            concat!(
                r#"{"timestamp":"1970-01-01T00:00:00Z","http.request.method":"GET","url.path":"/v1/[masked]","url.query":"a&key&b","#,
                r#""network.protocol.version":"2","server.address":"api.example","client.address":"2001:db8:1:2::3","http.response.status_code":403,"http.route":"users","#,
                r#""reason":"ip_denied","detail":"key","request_id":"req-12345","tenant.id":"acme","key.id":"key_1","environment":"live","#,
                r#""credential":"api_key","duration_ms":1.5,"http.request.body.size":0,"http.response.body.size":77,"#,
                r#""user_agent.original":"a\"b\\x0a","listener":"public"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn settings_say_which_lines_and_how_much_of_them() {
        let value = |settings: &str| {
            serde_json::from_str::<serde_json::Value>(&written(&format!("format = \"json\"\n{settings}"), vec![line()])).unwrap()
        };
        assert_eq!(value("query = \"full\"")["url.query"], "a=1&key=[masked]&b");
        assert!(value("query = \"off\"").get("url.query").is_none());
        assert_eq!(value("client_address = \"network\"")["client.address"], "2001:db8:1::");
        assert!(value("client_address = \"off\"").get("client.address").is_none());
        let admitted = || Line { reason: "", ..line() };
        assert_eq!(written("access = \"denied\"", vec![admitted(), line(), admitted()]).lines().count(), 1);
        assert_eq!(written("access = \"all\"", vec![admitted(), line()]).lines().count(), 2);
        assert_eq!(written("access = \"off\"", vec![admitted(), line()]), "");
    }

    #[test]
    fn a_subject_is_told_as_the_settings_say() {
        let value = |settings: &str| {
            let line = Line { key: None, issuer: Some("users"), subject: Some("ada@example.com".into()), credential: "jwt", ..line() };
            serde_json::from_str::<serde_json::Value>(&written(&format!("format = \"json\"\n{settings}"), vec![line])).unwrap()
        };
        let hashed = value("");
        assert_eq!((&hashed["token.issuer"], hashed["subject"].as_str().unwrap().len()), (&"users".into(), 16));
        assert_eq!(value("subject = \"plain\"")["subject"], "ada@example.com");
        assert!(value("subject = \"off\"").get("subject").is_none());
    }

    #[test]
    fn text_is_for_people() {
        let text = written("format = \"text\"", vec![line()]);
        assert_eq!(
            text,
            "1970-01-01T00:00:00Z GET /v1/[masked]?a&key&b 403 1.5ms reason=ip_denied detail=key client=2001:db8:1:2::3 tenant=acme key=key_1 route=users id=req-12345\n"
        );
    }
}
