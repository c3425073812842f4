//! A browser. An `EventSource` cannot send a key: its operator opens the stream's route, or the page reads it by fetch with a
//! publishable key that is bound to the page's address.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use super::api::EVENTS;
use super::script::{ENOUGH, spawn, tool};
use super::{Front, api};
use crate::support::seed;
use crate::support::upstream::Recorded;

const ROUTES: &str = r#"
[restrictions]
secret_key_in_browser = "reject"
[[routes]]
name = "page"
match = "GET /page"
auth = "none"
[[routes]]
name = "open"
match = "GET /events/open"
auth = "none"
[[routes]]
name = "words"
match = "POST /seen/**"
auth = "none"
[[routes]]
name = "rest"
match = "* /**"
kinds = ["publishable", "secret"]
"#;

/// A chromium that shows a page; it leaves with all its processes.
struct Browser {
    child: Child,
    _profile: TempDir,
}

impl Browser {
    fn show(url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = tool("chromium");
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-breakpad", "--disable-dev-shm-usage"])
            // Nothing but this machine can be reached.
            .args(["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-proxy-server", "--ignore-certificate-errors"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        Self { child: spawn(&mut command), _profile: profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // What it has started is of its group.
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.child.id())]).status();
        let _ = self.child.wait();
    }
}

/// What a page did that the sidecar served, over HTTP/1.1 or, by TLS, HTTP/2.
fn shown(tls: bool) -> Vec<Recorded> {
    let upstream = api::start();
    let front = Front::of(&upstream.url(), ROUTES);
    let origin = if tls { format!("https://{}", front.https) } else { format!("http://{}", front.serve.address) };
    let page = json!({ "id": "key_page", "kind": "publishable", "referrers": [origin] });
    let page = seed::key(&front.home.config, "acme", &page);
    front.home.table().put_key(&page.record);
    upstream.must_never_see(front.key());
    upstream.must_never_see(&page.secret);
    let browser = Browser::show(&format!("{origin}/page#{}&{}", page.secret, front.key()));
    let is_last = |request: &Recorded| ["/seen/done", "/seen/failed"].iter().any(|word| request.target.starts_with(word));
    let all = upstream.wait_within(ENOUGH, |all| all.iter().any(is_last));
    drop(browser);
    let versions: Vec<String> = front.serve.access(all.len()).iter().map(|line| line["network.protocol.version"].to_string()).collect();
    assert!(versions.iter().all(|version| version == if tls { "\"2\"" } else { "\"1.1\"" }), "{versions:?}");
    all
}

fn assert_streamed(all: &[Recorded]) {
    let targets: Vec<&str> = all.iter().map(|request| request.target.as_str()).collect();
    let acknowledged = |stream: &str| (1..=EVENTS).map(|event| format!("/seen/{stream}/{event}")).collect::<Vec<_>>();
    let expected = [
        vec!["/page".to_owned(), "/events/open".to_owned()],
        acknowledged("open"),
        // It comes back, as an EventSource does, and is told that this was all.
        vec!["/events/open".to_owned(), "/events/keyed".to_owned()],
        acknowledged("keyed"),
        vec!["/seen/403-SECRET_KEY_IN_BROWSER/1".to_owned(), "/seen/done/1".to_owned()],
    ];
    assert_eq!(targets, expected.concat());
    for request in all {
        let is_keyed = request.target == "/events/keyed";
        let told = ["x-auth-credential", "x-tenant-id", "x-auth-key-id", "authorization"].map(|name| request.header(name));
        let expected = if is_keyed { [Some("api_key"), Some("acme"), Some("key_page"), None] } else { [Some("none"), None, None, None] };
        assert_eq!(told, expected, "{}", request.target);
    }
    let opened: Vec<&Recorded> = all.iter().filter(|request| request.target == "/events/open").collect();
    assert!(opened.iter().all(|request| request.header("accept") == Some("text/event-stream")));
    let last = opened.iter().map(|request| request.header("last-event-id").map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(last, [None, Some(EVENTS.to_string())]);
}

#[test]
fn an_event_source_gets_each_event_when_it_is_sent_over_http1() {
    assert_streamed(&shown(false));
}

#[test]
fn an_event_source_gets_each_event_when_it_is_sent_over_http2() {
    assert_streamed(&shown(true));
}
