//! Runs a row: set up, send, compare the answer, what the upstream saw, what the log says and what `explain` says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use secrecy::ExposeSecret as _;
use sidegate::clock::Clock;
use sidegate::key::format::generate;
use sidegate::session::authority::NewSession;
use toml::{Table, Value};

use crate::log::check_log;
use crate::row::{self, Protocol, Row, Token};
use crate::situation;
use crate::support::client::{self, Answer, Client};
use crate::support::endpoint::{Does, Endpoint};
use crate::support::http2::Http2;
use crate::support::logins::Logins;
use crate::support::process::{self, Serve};
use crate::support::seed;
use crate::support::sidecar::{Home, Kind};
use crate::support::tokens::{self, Signer};
use crate::support::upstream::{Recorded, Upstream};

/// A row that has been set up.
pub(crate) struct Stage<'a> {
    pub(crate) row: &'a Row,
    pub(crate) home: Home,
    pub(crate) serve: Serve,
    pub(crate) protocol: Protocol,
    /// Placeholders and what they stand for.
    pub(crate) words: BTreeMap<String, String>,
    /// Ids and statuses of the answers that the situation was given before the request.
    pub(crate) answered: Vec<(String, u16)>,
    /// What the same request was answered before, if the answer must be the same.
    pub(crate) before: Option<String>,
}

impl Stage<'_> {
    /// A request of the situation was answered; it has a line in the access log like any other.
    pub(crate) fn note(&mut self, answer: &Answer) -> u16 {
        self.answered.push((answer.header("X-Request-Id").unwrap().to_owned(), answer.status));
        answer.status
    }
}

pub(crate) fn run(row: &Row, kind: Kind, protocol: Protocol) {
    let main = situation::upstream(row);
    let sandbox = Upstream::echo();
    let introspection = Endpoint::start(Does::Introspect(row.opaque.iter().map(|(name, says)| (opaque(name), json(says))).collect()));
    if row.situation.as_deref() == Some("answer") {
        situation::check_answer_alone(row, &Home::from_table(kind, config(row, &main, &sandbox, &introspection)));
        return;
    }
    let home = Home::from_table(kind, config(row, &main, &sandbox, &introspection));
    let words = seed_keys(row, &home);
    let is_nobodys = |name: &str| matches!(name, "unknown" | "unknown_test" | "typo");
    let goes_on = |name: &str| is_nobodys(name) && (row.is_passed_on() || row.situation.as_deref() == Some("guesses-passed-on"));
    // Tokens are forwarded.
    let is_token = |secret: &str| secret.starts_with("eyJ") || secret.starts_with(OPAQUE);
    for (_, secret) in words.iter().filter(|(name, secret)| !goes_on(name) && !is_token(secret)) {
        main.must_never_see(secret);
        sandbox.must_never_see(secret);
    }
    let serve = Serve::start(&home.config_file());
    let mut stage = Stage { row, home, serve, protocol, words, answered: Vec::new(), before: None };
    // Asked before the request, while the situation is still the ordinary one: `explain` has no situation.
    let explained = (row.situation.is_none() && row.request.raw.is_none() && row.not_explained.is_none()).then(|| explain(&stage));
    let held = situation::before(&mut stage, &main);
    let (answer, closed) = exchange(&stage);

    check_answer(row, &answer);
    if let Some(before) = &stage.before {
        assert_eq!(timeless(&answer.text()), timeless(before), "not what it was answered before");
    }
    if row.expect.closed && protocol == Protocol::Http1 {
        assert!(closed, "the connection should be closed");
    }
    let seen = check_upstreams(&stage, &answer, &main, &sandbox);
    if let Some(explained) = explained {
        check_explained(&stage, &answer, seen.as_ref(), &explained);
    }
    check_log(stage, &answer, held);
}

fn config(row: &Row, main: &Upstream, sandbox: &Upstream, introspection: &Endpoint) -> Table {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let words = BTreeMap::from([
        ("main".to_owned(), main.url()),
        ("sandbox".to_owned(), sandbox.url()),
        ("closed".to_owned(), format!("http://{closed}")),
        ("secret_file".to_owned(), SECRET_FILE.clone()),
        ("introspection".to_owned(), introspection.server.url()),
    ]);
    let Value::Table(mut table) = filled(&Value::Table(row.config.clone()), &words) else { unreachable!() };
    let named_upstream = table.get("upstreams").and_then(|upstreams| upstreams.get("main")).and_then(|main| main.get("url")).is_some();
    if !named_upstream {
        table.insert("upstream".into(), Value::String(main.url()));
    }
    if row.profile != "built-in" {
        table.insert("profile".into(), Value::String(row.profile.clone()));
    }
    if row.request.from.is_some() {
        let trusted = Table::from_iter([("trusted_proxies".to_owned(), Value::Array(vec![Value::String("127.0.0.1".into())]))]);
        table.entry("client_ip").or_insert(Value::Table(trusted));
    }
    table
}

fn filled(value: &Value, words: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text, words)),
        Value::Array(items) => Value::Array(items.iter().map(|item| filled(item, words)).collect()),
        Value::Table(table) => Value::Table(table.iter().map(|(key, value)| (key.clone(), filled(value, words))).collect()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => value.clone(),
    }
}

/// Replaces `{word}`; `{long:9000}` is that many letters.
pub(crate) fn fill(text: &str, words: &BTreeMap<String, String>) -> String {
    let mut out = text.to_owned();
    for (name, word) in words {
        out = out.replace(&format!("{{{name}}}"), word);
    }
    if let Some((front, rest)) = out.split_once("{long:") {
        let (count, tail) = rest.split_once('}').unwrap();
        out = format!("{front}{}{tail}", "a".repeat(count.parse().unwrap()));
    }
    out
}

/// A file with the secret that tokens are signed with.
static SECRET_FILE: LazyLock<String> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contract-secret");
    std::fs::write(&path, tokens::SECRET).unwrap();
    path.display().to_string()
});

/// What an opaque token begins with.
const OPAQUE: &str = "opaque~";

/// With every character that RFC 6750 allows and a form does not.
fn opaque(name: &str) -> String {
    format!("{OPAQUE}{name}+/.==")
}

fn token(row: &Token) -> String {
    let mut claims = json(&row.claims);
    claims["exp"] = (Clock::System.now().0 / 1000 + row.expires_in).into();
    let signer = Signer::secret(row.secret.as_deref().unwrap_or(tokens::SECRET).as_bytes());
    signer.over(serde_json::json!({ "alg": row.alg, "typ": "JWT" }).to_string(), claims.to_string())
}

/// Begins the row's sessions; returns their tokens.
fn begin_sessions(row: &Row, home: &Home) -> Vec<(String, String)> {
    if row.sessions.is_empty() {
        return Vec::new();
    }
    let logins = Logins::open(&home.config, Clock::System);
    let mut words = Vec::new();
    for (name, session) in &row.sessions {
        if session.tenant != "acme" {
            home.table().put_tenant(&seed::tenant(&serde_json::json!({ "id": session.tenant })));
        }
        let new = NewSession {
            tenant: session.tenant.clone(),
            subject: session.subject.clone(),
            environment: session.environment,
            scopes: session.scopes.clone(),
        };
        let login = logins.begin(new);
        if session.revoked {
            logins.end(&session.subject);
        }
        words.extend([(name.clone(), login.refresh), (format!("{name}.access"), login.access)]);
    }
    words
}

fn json(table: &Table) -> serde_json::Value {
    serde_json::to_value(table).unwrap()
}

/// Writes the row's tenant and keys; returns the placeholders of their secrets.
fn seed_keys(row: &Row, home: &Home) -> BTreeMap<String, String> {
    let table = home.table();
    table.put_tenant(&seed::tenant(&json(&row.tenant)));
    let mut words = BTreeMap::new();
    let main = std::iter::once(("key", &row.key));
    for (name, overrides) in main.chain(row.keys.iter().map(|(name, key)| (name.as_str(), key))) {
        let mut overrides = json(overrides);
        let fields = overrides.as_object_mut().unwrap();
        if name != "key" {
            fields.entry("id").or_insert(format!("key_{name}").into());
        }
        let previous_until = fields.remove("previous_until");
        let kind = fields.get("kind").and_then(|kind| kind.as_str()).unwrap_or("secret").to_owned();
        let environment = fields.get("environment").and_then(|name| name.as_str()).unwrap_or("live").to_owned();
        let prefix = seed::prefix(&home.config, &kind, &environment);
        if let Some(until) = previous_until {
            let secret = generate(&prefix).unwrap().expose_secret().to_owned();
            fields.insert("previous".into(), serde_json::json!({ "digest": seed::digest(&secret), "until": until }));
            words.insert("previous".into(), secret);
        }
        let issued = seed::key(&home.config, "acme", &overrides);
        table.put_key(&issued.record);
        words.insert(name.to_owned(), issued.secret);
    }
    words.extend(begin_sessions(row, home));
    words.extend(row.tokens.iter().map(|(name, row)| (name.clone(), token(row))));
    words.extend(row.opaque.keys().map(|name| (name.clone(), opaque(name))));
    let prefix = seed::prefix(&home.config, "secret", "live");
    let unknown = generate(&prefix).unwrap().expose_secret().to_owned();
    words.insert("typo".into(), with_another_end(&unknown));
    words.insert("unknown".into(), unknown);
    words.insert("unknown_test".into(), generate(&seed::prefix(&home.config, "secret", "test")).unwrap().expose_secret().to_owned());
    let credentials = base64(&format!("{}:", words["key"]));
    words.insert("basic".into(), credentials);
    words.insert("client".into(), base64(&format!("key_main:{}", words["key"])));
    words
}

fn with_another_end(key: &str) -> String {
    let (front, last) = key.split_at(key.len() - 1);
    format!("{front}{}", if last == "0" { "1" } else { "0" })
}

fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let digit = (bits >> (18 - 6 * index) & 63) as usize;
            out.push(if index <= chunk.len() { char::from(ALPHABET[digit]) } else { '=' });
        }
    }
    out
}

pub(crate) fn secrets(words: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    words.values().map(String::as_str)
}

pub(crate) fn request_bytes(stage: &Stage<'_>, request: &row::Request) -> Vec<u8> {
    if let Some(raw) = &request.raw {
        return fill(raw, &stage.words).into_bytes();
    }
    let mut lines = vec![format!("{} {} HTTP/1.1", request.method, request.target), format!("Host: {}", request.host)];
    lines.extend(request.headers.iter().cloned());
    if let Some(from) = &request.from {
        lines.push(format!("X-Forwarded-For: {from}"));
    }
    let body = fill(&request.body, &stage.words);
    if !body.is_empty() {
        lines.push(format!("Content-Length: {}", body.len()));
    }
    format!("{}\r\n\r\n{body}", fill(&lines.join("\r\n"), &stage.words)).into_bytes()
}

/// The same request as [`request_bytes`] writes.
fn request(stage: &Stage<'_>) -> client::Request {
    let request = &stage.row.request;
    let filled = |text: &str| fill(text, &stage.words);
    let mut sent = client::Request::new(&request.method, &filled(&request.target));
    sent.headers.clear();
    sent = sent.header("Host", &request.host);
    for line in &request.headers {
        let (name, value) = line.split_once(':').unwrap();
        sent = sent.header(name, filled(value).trim());
    }
    if let Some(from) = &request.from {
        sent = sent.header("X-Forwarded-For", from);
    }
    if request.body.is_empty() { sent } else { sent.body(filled(&request.body)) }
}

fn exchange(stage: &Stage<'_>) -> (Answer, bool) {
    if stage.protocol == Protocol::Http2 {
        return (Http2::connect(stage.serve.address).send(&request(stage)), false);
    }
    let mut client = Client::connect(stage.serve.address);
    client.send(request_bytes(stage, &stage.row.request));
    let answer = client.answer(&stage.row.request.method);
    let closed = stage.row.expect.closed && client.is_closed();
    (answer, closed)
}

pub(crate) fn check_answer(row: &Row, answer: &Answer) {
    let expect = &row.expect;
    let shown = format!("{} {:?}\n{}", answer.status, answer.head.fields, answer.text());
    assert_eq!(answer.status, expect.status.unwrap_or(200), "{shown}");
    let request_id = answer.header("X-Request-Id").unwrap_or_else(|| panic!("no X-Request-Id: {shown}"));
    if let Some(body) = &expect.body {
        let expected = body.replace("{request_id}", request_id);
        if row.request.method == "HEAD" {
            assert!(answer.body.is_empty());
        } else if row.reason.is_some() {
            let compact = |text: &str| serde_json::to_string(&serde_json::from_str::<serde_json::Value>(text).unwrap()).unwrap();
            assert_eq!(answer.text(), compact(&expected), "the body");
        } else {
            assert!(is_like(&answer.text(), &expected), "the body:\n{}\n{expected}", answer.text());
        }
    }
    if row.reason.is_some() {
        assert_eq!(answer.header("Content-Type"), Some(expect.content_type.as_deref().unwrap_or("application/json")), "{shown}");
        assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{shown}");
        assert_eq!(answer.header("WWW-Authenticate"), expect.challenge.as_deref(), "{shown}");
    }
    for line in &expect.headers {
        let (name, value) = line.split_once(": ").unwrap();
        assert_eq!(answer.header(name), Some(value), "{shown}");
    }
    for name in &expect.absent {
        assert_eq!(answer.head.all(name).count(), 0, "{name} should be absent: {shown}");
    }
}

/// The text without what goes by while it is asked for again.
fn timeless(text: &str) -> String {
    let Some((front, rest)) = text.split_once("\"expires_in\":") else { return text.to_owned() };
    format!("{front}{}", rest.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

/// Whether the text is as expected, `{any}` standing for whatever is there up to the next quotation mark.
fn is_like(text: &str, expected: &str) -> bool {
    let Some((front, behind)) = expected.split_once("{any}") else { return text == expected };
    text.strip_prefix(front).is_some_and(|rest| {
        let skipped = rest.split('"').next().unwrap_or(rest).len();
        (0..=skipped).filter_map(|skip| rest.get(skip..)).any(|rest| is_like(rest, behind))
    })
}

/// What the upstream was to see, and nothing else; the request that reached it.
fn check_upstreams(stage: &Stage<'_>, answer: &Answer, main: &Upstream, sandbox: &Upstream) -> Option<Recorded> {
    let row = stage.row;
    let situational = row.situation.as_deref().is_some_and(situation::reaches_upstream);
    if row.reason.is_some() || !row.reaches_upstream() {
        let seen: Vec<Recorded> = main.recorded().into_iter().chain(sandbox.recorded()).collect();
        assert!(seen.is_empty() || situational, "a refused request reached the upstream: {seen:?}");
        if row.situation.as_deref().is_some_and(situation::runs_once) {
            assert_eq!(seen.len(), 1, "it ran again: {seen:?}");
        }
        return None;
    }
    let (reached, other) = if row.upstream.name == "main" { (main, sandbox) } else { (sandbox, main) };
    assert_eq!(other.recorded().len(), 0, "the wrong upstream was reached");
    let seen = reached.only();
    let shown = format!("{} {} {:?}", seen.method, seen.target, seen.head.fields);
    assert_eq!(seen.method, *row.upstream.method.as_ref().unwrap_or(&row.request.method), "{shown}");
    assert_eq!(seen.target, *row.upstream.target.as_ref().unwrap_or(&row.request.target), "{shown}");
    assert_eq!(seen.header("x-request-id"), answer.header("X-Request-Id"), "{shown}");
    if let Some(body) = &row.upstream.body {
        assert_eq!(String::from_utf8_lossy(&seen.body), *body);
    }
    for line in &row.upstream.headers {
        let (name, value) = line.split_once(": ").unwrap();
        assert_eq!(seen.header(name), Some(fill(value, &stage.words).as_str()), "{name}: {shown}");
    }
    for name in &row.upstream.absent {
        assert_eq!(seen.head.all(name).count(), 0, "{name} should be absent: {shown}");
    }
    Some(seen)
}

/// The same request, asked of `explain`.
fn explain(stage: &Stage<'_>) -> serde_json::Value {
    let request = &stage.row.request;
    let mut arguments = vec!["explain".to_owned(), "--json".into(), "-X".into(), request.method.clone()];
    let host = std::iter::once(format!("Host: {}", request.host));
    let from = request.from.iter().map(|from| format!("X-Forwarded-For: {from}"));
    for header in host.chain(request.headers.iter().cloned()).chain(from) {
        arguments.extend(["-H".into(), fill(&header, &stage.words)]);
    }
    arguments.extend(["--from".into(), "127.0.0.1".into()]);
    arguments.push(fill(&request.target, &stage.words));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = process::run(&arguments, &stage.home.config_file());
    assert_eq!(ended.code, if stage.row.reason.is_some() { 5 } else { 0 }, "explain: {}{}", ended.stdout, ended.stderr);
    for secret in secrets(&stage.words) {
        assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "explain shows a secret");
    }
    serde_json::from_str(&ended.stdout).unwrap()
}

/// The same reason, the same answer, and where it is let through the same headers for the upstream.
fn check_explained(stage: &Stage<'_>, answer: &Answer, seen: Option<&Recorded>, explained: &serde_json::Value) {
    let row = stage.row;
    assert_eq!(explained["reason"].as_str(), Some(row.reason.as_deref().unwrap_or_default()), "{explained:#}");
    assert_eq!(explained["would_refuse"].as_str(), Some(row.expect.would_refuse.as_deref().unwrap_or_default()), "{explained:#}");
    let told = &explained["answer"];
    if row.reason.is_some() {
        assert_eq!(told["status"], answer.status, "{explained:#}");
        let own_id = told["headers"].as_array().unwrap().iter().find(|line| line[0] == "x-request-id").unwrap()[1].as_str().unwrap();
        if row.request.method != "HEAD" {
            assert_eq!(told["body"].as_str().unwrap().replace(own_id, answer.header("X-Request-Id").unwrap()), answer.text());
        }
    }
    let Some(seen) = seen else { return };
    let of_the_message = ["x-request-id", "content-length", "transfer-encoding", "connection"];
    // A credential is not shown, whosever it is.
    let is_hidden = |name: &str| (row.is_passed_on() || !row.opaque.is_empty()) && matches!(name, "authorization" | "x-api-key");
    let comparable = |name: &str| !of_the_message.contains(&name) && !is_hidden(name);
    // A token that is forwarded is not shown.
    let masked = |value: &str| secrets(&stage.words).fold(value.to_owned(), |value, secret| value.replace(secret, "[masked]"));
    let fields = seen.head.fields.iter().filter(|(name, _)| comparable(name));
    let mut sent: Vec<(String, String)> = fields.map(|(name, value)| (name.clone(), masked(value))).collect();
    let lines = explained["forward"]["headers"].as_array().unwrap_or_else(|| panic!("{explained:#}"));
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut foretold: Vec<(String, String)> = lines.iter().map(|line| (text(&line[0]), text(&line[1]))).collect();
    foretold.retain(|(name, _)| comparable(name));
    sent.sort();
    foretold.sort();
    assert_eq!(foretold, sent, "what explain says is forwarded, and what was");
}
