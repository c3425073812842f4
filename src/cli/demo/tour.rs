//! The requests of the demo: what is said of each, the line that repeats it, its answer, and whether that was as told.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::say;
use super::table::{TENANT, Table};
use crate::cli::{Exit, Failure};
use crate::clock;

/// How long a change in the key table may take to be seen; it takes less than 50 ms.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// What an answer is to be.
enum Told {
    /// 200, and the API was told these headers, and no credential.
    Forwarded(&'static [(&'static str, &'static str)]),
    /// This status and body.
    Refused(u16, &'static str),
}

/// One request.
struct Step<'a> {
    title: &'a str,
    method: Method,
    path: &'a str,
    headers: Vec<(&'a str, String)>,
    told: Told,
}

struct Answer {
    status: u16,
    body: String,
}

/// The tour, and how it went.
pub(super) struct Tour {
    sidecar: SocketAddr,
    played: usize,
    wrong: usize,
    key: String,
    is_told: bool,
    answers: Vec<Value>,
}

const ACME: &[(&str, &str)] = &[("x-tenant-id", TENANT), ("x-auth-environment", "live"), ("x-auth-credential", "api_key")];
const MISSING: Told = Told::Refused(401, r#"{"success":false,"error":"Authentication required","code":"AUTH_REQUIRED"}"#);
const INVALID: Told = Told::Refused(401, r#"{"success":false,"error":"Invalid API key","code":"API_KEY_INVALID"}"#);
const BLOCKED: Told = Told::Refused(403, r#"{"success":false,"error":"Test keys are not accepted here","code":"ENVIRONMENT_NOT_ALLOWED"}"#);
const WRONG_IP: Told =
    Told::Refused(403, r#"{"success":false,"error":"This IP address may not use this API key","code":"IP_NOT_ALLOWED"}"#);
const NO_SCOPE: Told =
    Told::Refused(403, r#"{"success":false,"error":"API key doesn't have permission for this resource","code":"INSUFFICIENT_SCOPE"}"#);

impl<'a> Step<'a> {
    fn get(title: &'a str, key: &str, told: Told) -> Self {
        Self { title, method: Method::GET, path: "/v1/orders/7", headers: vec![bearer(key)], told }
    }
}

fn bearer(key: &str) -> (&'static str, String) {
    ("Authorization", format!("Bearer {key}"))
}

impl Tour {
    /// `is_told`: to people, as it goes.
    pub(super) fn new(sidecar: SocketAddr, is_told: bool) -> Self {
        Self { sidecar, played: 0, wrong: 0, key: String::new(), is_told, answers: Vec::new() }
    }

    /// What was answered so far, for programs.
    pub(super) fn answers(&self) -> &[Value] {
        &self.answers
    }

    /// Requests made, and answers that were not as told.
    pub(super) fn score(&self) -> (usize, usize) {
        (self.played, self.wrong)
    }

    /// All of it.
    pub(super) async fn play(&mut self, table: &Table) -> Result<(), Failure> {
        let live = &table.live.secret;
        self.step(&Step::get(
            "A live key is let through; the API is told whose it is, and never sees the key",
            live,
            Told::Forwarded(ACME),
        ))
        .await?;
        let mut forged = Step::get("Nobody can claim to be somebody else", live, Told::Forwarded(ACME));
        forged.headers.push(("X-Tenant-Id", "somebody-else".into()));
        self.step(&forged).await?;
        let mut missing = Step::get("No key", "", MISSING);
        missing.headers.clear();
        self.step(&missing).await?;
        self.step(&Step::get("A wrong key, here by its last character", &misspelt(live), INVALID)).await?;
        self.step(&Step::get("A test key in production", &table.test.secret, BLOCKED)).await?;
        self.step(&Step::get("A key that is bound to 203.0.113.0/24, from here", &table.office.secret, WRONG_IP)).await?;
        self.step(&Step::get("A key with the scope read:orders may read orders", &table.reader.secret, Told::Forwarded(ACME))).await?;
        let mut write = Step::get("… and may not write them", &table.reader.secret, NO_SCOPE);
        write.method = Method::POST;
        self.step(&write).await?;

        table.revoke().await?;
        self.changed(&Step::get("The same key, revoked", &table.reader.secret, INVALID)).await?;
        self.key = table.rotate().await?;
        self.changed(&Step::get("The first key, rotated: the old secret is refused", live, INVALID)).await?;
        let key = self.key.clone();
        self.step(&Step::get("… and the new one let through", &key, Told::Forwarded(ACME))).await
    }

    /// Lines to try when the tour is over.
    pub(super) fn suggestions(&self, config: &Path) -> [String; 3] {
        let (config, sidegate) = (config.display(), own_name());
        [
            format!("curl -i -H 'X-API-Key: {}' http://{}/v1/orders/7", self.key, self.sidecar),
            format!("{sidegate} keys list --config {config}"),
            format!("{sidegate} explain --config {config} -H 'X-API-Key: {}' /v1/orders/7", self.key),
        ]
    }

    /// A request, told and compared.
    async fn step(&mut self, step: &Step<'_>) -> Result<(), Failure> {
        let answer = self.ask(step).await?;
        self.report(step, &answer, "");
        Ok(())
    }

    /// A request after a change in the key table, asked until the change is seen.
    async fn changed(&mut self, step: &Step<'_>) -> Result<(), Failure> {
        let began = clock::instant();
        loop {
            let answer = self.ask(step).await?;
            let waited = began.elapsed();
            if step.told.is(&answer) || waited > PATIENCE {
                self.report(step, &answer, &format!("  {} ms after the change", waited.as_millis()));
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn report(&mut self, step: &Step<'_>, answer: &Answer, when: &str) {
        self.played += 1;
        let good = step.told.is(answer);
        self.wrong += usize::from(!good);
        self.answers.push(json!({ "title": step.title, "status": answer.status, "body": answer.body, "as_told": good }));
        if !self.is_told {
            return;
        }
        let colour = if answer.status < 400 { 32 } else { 33 };
        let verdict = if good { "\x1b[32m✓\x1b[0m" } else { "\x1b[31m✗ not as told:\x1b[0m" };
        say(format_args!("\n\x1b[1m{:2}  {}\x1b[0m", self.played, step.title));
        say(format_args!("    {}", step.curl(self.sidecar)));
        say(format_args!("  {verdict} \x1b[{colour}m{}\x1b[0m  {}\x1b[2m{when}\x1b[0m", answer.status, answer.body));
    }

    async fn ask(&self, step: &Step<'_>) -> Result<Answer, Failure> {
        let asked = ask(self.sidecar, step).await;
        asked.map_err(|why| Exit::Failed.because(format!("{}: {why}", step.title)))
    }
}

impl Step<'_> {
    /// The request as a line for a shell; keys hold no character that a quote must be escaped for.
    fn curl(&self, sidecar: SocketAddr) -> String {
        let method = if self.method == Method::GET { String::new() } else { format!(" -X {}", self.method) };
        let headers: Vec<String> = self.headers.iter().map(|(name, value)| format!(" -H '{name}: {value}'")).collect();
        format!("curl{method}{} http://{sidecar}{}", headers.concat(), self.path)
    }
}

impl Told {
    fn is(&self, answer: &Answer) -> bool {
        match self {
            Self::Refused(status, body) => answer.status == *status && answer.body == *body,
            Self::Forwarded(headers) => {
                let Ok(seen) = serde_json::from_str::<Value>(&answer.body) else { return false };
                let header = |name: &str| seen.get("headers").and_then(|headers| headers.get(name)).and_then(Value::as_str);
                answer.status == 200 && headers.iter().all(|(name, value)| header(name) == Some(value)) && header("authorization").is_none()
            }
        }
    }
}

/// What this program is called from here: `cargo run` puts it on no path.
fn own_name() -> String {
    let own = std::env::current_exe().unwrap_or_else(|_| "sidegate".into());
    let here = std::env::current_dir().ok().and_then(|here| own.strip_prefix(here).ok().map(Path::to_path_buf));
    here.unwrap_or(own).display().to_string()
}

fn misspelt(key: &str) -> String {
    let mut wrong = key.to_owned();
    let last = wrong.pop();
    wrong.push(if last == Some('0') { '1' } else { '0' });
    wrong
}

async fn ask(sidecar: SocketAddr, step: &Step<'_>) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(sidecar).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(&step.method)
        .uri(step.path)
        .header(header::HOST, sidecar.to_string())
        .header(header::CONNECTION, "close");
    for (name, value) in &step.headers {
        request = request.header(*name, value);
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}
