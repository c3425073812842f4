//! Opaque tokens: one question each however many wait, an answer for its time and not a moment longer, and whatever the endpoint does
//! nobody is let through for it. The time is the test's.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::thread;

use serde_json::{Value, json};

use crate::support::client::{Client, Request, once};
use crate::support::endpoint::{Does, Endpoint, JSON, field};
use crate::support::node::agreed;
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;

/// With every kind of character that a token may have.
const TOKEN: &str = "ab~c+d/e.f_g-h==";
const UNGUARDED: &str = "[restrictions]\nguess_throttle = { failures = 100000, per = \"1s\" }\n";

fn active(more: &Value) -> Value {
    let mut says = json!({ "active": true, "org_id": "acme", "sub": "ada", "scope": "read:a" });
    for (name, value) in more.as_object().unwrap() {
        says[name] = value.clone();
    }
    says
}

fn knows(tokens: &[(&str, Value)]) -> Does {
    Does::Introspect(tokens.iter().map(|(token, says)| ((*token).to_owned(), says.clone())).collect::<BTreeMap<_, _>>())
}

struct Scene {
    sidecar: Sidecar,
    endpoint: Endpoint,
    _upstream: Upstream,
    _files: tempfile::TempDir,
}

impl Scene {
    fn start(does: Does, more: &str) -> Self {
        Self::before(Upstream::echo(), does, more)
    }

    fn before(upstream: Upstream, does: Does, more: &str) -> Self {
        let (endpoint, files) = (Endpoint::start(does), tempfile::tempdir().unwrap());
        let text = format!("upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n{more}\n{}", upstream.url(), section(&endpoint, &files));
        let sidecar = Sidecar::with_manual_clock(Kind::Embedded, &text);
        sidecar.home.issue();
        Self { sidecar, endpoint, _upstream: upstream, _files: files }
    }

    fn status(&self, token: &str) -> u16 {
        once(self.sidecar.address(), &Request::get("/a").bearer(token)).status
    }

    fn answers(&self, outcome: &str) -> u64 {
        let text = once(self.sidecar.ops(), &Request::get("/metrics")).text();
        let series = format!("sidegate_introspections_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }
}

fn section(endpoint: &Endpoint, files: &tempfile::TempDir) -> String {
    let file = files.path().join("secret");
    std::fs::write(&file, "p:w d%\nan older one\n").unwrap();
    format!(
        "[introspection]\nurl = \"{}/introspect?realm=a\"\nclient_id = \"side gate\"\nclient_secret_file = \"{}\"\n",
        endpoint.server.url(),
        file.display()
    )
}

#[test]
fn the_question_is_that_of_the_standards() {
    let scene = Scene::start(knows(&[(TOKEN, active(&json!({})))]), "");
    assert_eq!(scene.status(TOKEN), 200);
    let asked = scene.endpoint.server.only();
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/introspect?realm=a"));
    // RFC 6749 §2.3.1: name and secret as a form has them. `side%20gate:p%3Aw%20d%25`
    assert_eq!(asked.header("authorization"), Some("Basic c2lkZSUyMGdhdGU6cCUzQXclMjBkJTI1"));
    assert_eq!(field(&asked.body, "token").as_deref(), Some(TOKEN));
    assert_eq!(field(&asked.body, "token_type_hint").as_deref(), Some("access_token"));
}

#[test]
fn a_token_is_asked_about_once_for_its_time_and_ahead_of_its_end_while_it_is_used() {
    let scene = Scene::start(knows(&[(TOKEN, active(&json!({})))]), "");
    for _ in 0..5 {
        assert_eq!(scene.status(TOKEN), 200);
    }
    assert_eq!(scene.endpoint.asked(), 1);
    // In the last fifth of its time it is asked about again, and nobody waits for that.
    scene.sidecar.clock.advance(23_999);
    assert_eq!((scene.status(TOKEN), scene.endpoint.asked()), (200, 1));
    scene.sidecar.clock.advance(1);
    assert_eq!(scene.status(TOKEN), 200);
    agreed("it is asked about again", || scene.answers("active") == 2);
    scene.sidecar.clock.advance(23_999);
    assert_eq!((scene.status(TOKEN), scene.endpoint.asked()), (200, 2));
    // What nobody uses is not asked about; whoever comes behind its end waits for an answer.
    scene.sidecar.clock.advance(60_000);
    assert_eq!((scene.status(TOKEN), scene.endpoint.asked()), (200, 3));
}

#[test]
fn what_is_withdrawn_ends_with_its_answer_and_no_answer_is_used_beyond_the_tokens_own_end() {
    let scene = Scene::start(knows(&[(TOKEN, active(&json!({})))]), "");
    assert_eq!(scene.status(TOKEN), 200);
    scene.endpoint.does(knows(&[]));
    scene.sidecar.clock.advance(23_999);
    assert_eq!(scene.status(TOKEN), 200);
    // Whoever asks ahead learns it, and then it is refused at once.
    scene.sidecar.clock.advance(1);
    assert_eq!(scene.status(TOKEN), 200);
    agreed("it is known to be withdrawn", || scene.answers("inactive") == 1);
    agreed("it is refused", || scene.status(TOKEN) == 401);

    let end = scene.sidecar.clock.now().0 / 1000 + 7;
    scene.endpoint.does(knows(&[("short", active(&json!({ "exp": end })))]));
    let left = end * 1000 - scene.sidecar.clock.now().0;
    assert_eq!(scene.status("short"), 200);
    scene.sidecar.clock.advance(left - 1);
    assert_eq!(scene.status("short"), 200);
    // The endpoint still says that it is active.
    scene.sidecar.clock.advance(1);
    assert_eq!(scene.status("short"), 401);
}

#[test]
fn a_hundred_requests_with_a_new_token_are_one_question_and_one_guess() {
    let scene = Scene::start(Does::Hang, "");
    let address = scene.sidecar.address();
    let clients: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = Client::connect(address);
            client.send(Request::get("/a").bearer(TOKEN).bytes());
            client
        })
        .collect();
    let statuses: Vec<u16> = clients.into_iter().map(|mut client| client.answer("GET").status).collect();
    assert_eq!(statuses, vec![503; 100]);
    assert_eq!((scene.endpoint.asked(), scene.answers("failed")), (1, 1));
}

#[test]
fn guesses_are_remembered_for_a_moment_and_throttled() {
    let scene = Scene::start(knows(&[(TOKEN, active(&json!({})))]), "");
    assert_eq!([scene.status("guess"), scene.status("guess"), scene.status("guess")], [401; 3]);
    assert_eq!(scene.endpoint.asked(), 1);
    for number in 1..20 {
        assert_eq!(scene.status(&format!("guess{number}")), 401);
    }
    let throttled = once(scene.sidecar.address(), &Request::get("/a").bearer("another"));
    assert_eq!((throttled.status, scene.endpoint.asked()), (429, 20));
}

#[test]
fn many_tokens_at_once_ask_no_more_questions_than_there_is_room_for() {
    let scene = Scene::start(Does::Hang, UNGUARDED);
    let address = scene.sidecar.address();
    thread::scope(|threads| {
        for number in 0..100 {
            threads.spawn(move || assert_eq!(once(address, &Request::get("/a").bearer(&format!("token{number}"))).status, 503));
        }
    });
    assert_eq!((scene.endpoint.asked(), scene.answers("failed"), scene.answers("spared")), (64, 64, 36));
}

#[test]
fn whatever_else_the_endpoint_answers_nobody_is_let_through_and_nobody_is_told_that_the_token_is_bad() {
    let good = active(&json!({})).to_string();
    let scene = Scene::start(knows(&[(TOKEN, active(&json!({})))]), UNGUARDED);
    let elsewhere = Endpoint::start(knows(&[("new", active(&json!({})))]));
    let redirect =
        |status| Does::Answer(status, vec![("Location", elsewhere.server.url()), ("Content-Type", JSON.to_owned())], good.clone().into());
    assert_eq!(scene.status(TOKEN), 200);
    for (number, does) in [
        Does::Close,
        Does::Answer(401, vec![("Content-Type", JSON.to_owned())], b"{\"error\":\"invalid_client\"}".to_vec()),
        Does::Answer(500, vec![("Content-Type", JSON.to_owned())], good.clone().into()),
        redirect(302),
        redirect(307),
        Does::typed("text/html", good.clone()),
        Does::typed("application/token-introspection+jwt", "e30.e30.x"),
        Does::typed(JSON, format!("{good}{}", " ".repeat(1 << 20))),
        Does::typed(JSON, "{\"active\":"),
        Does::typed(JSON, "[true]"),
        Does::typed(JSON, "{}"),
        Does::typed(JSON, "{\"active\":\"true\",\"org_id\":\"acme\"}"),
        Does::typed(JSON, "{\"active\":1,\"org_id\":\"acme\"}"),
        Does::typed(JSON, "{\"active\":false,\"active\":true,\"org_id\":\"acme\"}"),
        Does::json(&active(&json!({ "exp": "tomorrow" }))),
        Does::json(&active(&json!({ "exp": -1 }))),
        Does::json(&active(&json!({ "exp": 1e300 }))),
    ]
    .into_iter()
    .enumerate()
    {
        let failed = scene.answers("failed");
        scene.endpoint.does(does.clone());
        let answer = once(scene.sidecar.address(), &Request::get("/a").bearer(&format!("new{number}")));
        assert_eq!((answer.status, answer.header("Retry-After").is_some()), (503, true), "{does:?}");
        assert_eq!(scene.answers("failed"), failed + 1, "{does:?}");
        // What was answered before is used meanwhile.
        assert_eq!(scene.status(TOKEN), 200, "{does:?}");
    }
    assert_eq!(elsewhere.asked(), 0, "a redirect was followed");
    // For its time, and not a moment longer.
    scene.endpoint.does(Does::Close);
    scene.sidecar.clock.advance(29_999);
    assert_eq!(scene.status(TOKEN), 200);
    scene.sidecar.clock.advance(1);
    assert_eq!(scene.status(TOKEN), 503);
    scene.endpoint.does(knows(&[(TOKEN, active(&json!({})))]));
    assert_eq!(scene.status(TOKEN), 200);
}

#[test]
fn while_the_endpoint_is_away_it_is_asked_ahead_once_a_second_and_no_oftener() {
    let scene = Scene::start(knows(&[(TOKEN, active(&json!({})))]), "");
    assert_eq!(scene.status(TOKEN), 200);
    scene.endpoint.does(Does::Close);
    scene.sidecar.clock.advance(24_000);
    for round in 1..=5 {
        for _ in 0..10 {
            assert_eq!(scene.status(TOKEN), 200);
        }
        agreed("the question ended", || scene.answers("failed") == round);
        for _ in 0..10 {
            assert_eq!(scene.status(TOKEN), 200);
        }
        assert_eq!(scene.answers("failed"), round);
        scene.sidecar.clock.advance(1_000);
    }
}

/// An answer that has no end.
fn endless() -> Upstream {
    Upstream::start(|exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun");
        exchange.wait_for_the_end();
    })
}

#[test]
fn a_running_exchange_ends_with_the_answer_that_is_not_renewed() {
    let scene = Scene::before(endless(), knows(&[(TOKEN, active(&json!({})))]), "[cache]\nttl = \"2h\"\n");
    let mut client = Client::connect(scene.sidecar.address());
    client.send(Request::get("/a").bearer(TOKEN).bytes());
    let head = client.head();
    assert!(head.first_line.contains(" 200 "), "{head:?}");
    let (told, seen) = channel();
    thread::scope(|threads| {
        let reading = threads.spawn(move || {
            let is_whole = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                client.content(&head, &mut |bytes| told.send(bytes.len()).unwrap());
            }));
            assert!(is_whole.is_err(), "the answer came to an end");
        });
        assert_eq!(seen.recv(), Ok(5));
        // It is renewed as often as it is active, and while nobody answers nobody says that it is not.
        scene.sidecar.clock.advance(30_000);
        agreed("it is renewed", || scene.answers("active") == 2);
        scene.endpoint.does(Does::Close);
        scene.sidecar.clock.advance(30_000);
        agreed("nobody answers", || scene.answers("failed") > 1);
        assert!(!reading.is_finished());
        scene.endpoint.does(knows(&[]));
        reading.join().unwrap();
    });
    let text = once(scene.sidecar.ops(), &Request::get("/metrics")).text();
    assert!(text.contains("sidegate_exchanges_ended_total{reason=\"token_inactive\"} 1"), "{text}");
}

#[test]
fn the_log_names_an_opaque_token_by_its_fingerprint_and_a_reload_with_another_client_asks_anew() {
    let (upstream, endpoint) = (Upstream::echo(), Endpoint::start(knows(&[(TOKEN, active(&json!({})))])));
    let files = tempfile::tempdir().unwrap();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n{}", upstream.url(), section(&endpoint, &files)));
    home.issue();
    let serve = Serve::start(&home.config_file());
    let status = |token: &str| once(serve.address, &Request::get("/a").bearer(token)).status;
    assert_eq!((status(TOKEN), status("unknown-token"), status(TOKEN), endpoint.asked()), (200, 401, 200, 2));
    let lines = serve.access(3);
    assert_eq!((&lines[0]["credential"], &lines[0]["token.issuer"]), (&json!("opaque"), &json!("introspection")));
    assert!(lines[1]["credential.fingerprint"].as_str().is_some_and(|shown| shown.starts_with("opaque…/")), "{}", lines[1]);
    std::fs::write(files.path().join("secret"), "another").unwrap();
    crate::support::process::signal(serve.id(), "HUP");
    agreed("it is asked about again", || status(TOKEN) == 200 && endpoint.asked() == 3);
    assert_ne!(endpoint.server.recorded()[0].header("authorization"), endpoint.server.recorded()[2].header("authorization"));
    let written = format!("{}{}", serve.stdout.text(), serve.stderr.text());
    assert!(!written.contains(TOKEN) && !written.contains("unknown-token") && !written.contains("p:w d%"));
}
