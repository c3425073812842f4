//! `Idempotency-Key` on the management API.

use std::collections::BTreeSet;
use std::thread;

use serde_json::{Value, json};

use super::{Managed, text};
use crate::support::admin::{Caller, Tokens, problem};
use crate::support::client::Answer;
use crate::support::redis::Redis;
use crate::support::sidecar::Kind;

fn once(caller: &Caller, path: &str, body: &Value, key: &str) -> Answer {
    caller.send(&caller.request("POST", path, Some(body)).header("Idempotency-Key", key))
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

#[test]
fn the_same_key_again_gets_the_same_secret_and_makes_no_other() {
    for kind in Kind::BOTH {
        let managed = Managed::with(kind, Tokens::new(&[("console", "*"), ("other", "*")]), "");
        let console = managed.console();
        let body = json!({ "tenant": "acme", "name": "ci" });
        let first = once(&console, "/keys", &body, "a-1");
        let again = once(&console, "/keys", &body, "\"a-1\"");
        assert_eq!((first.status, again.status, is_replayed(&first), is_replayed(&again)), (201, 201, false, true));
        assert_eq!(first.json(), again.json());
        for header in ["etag", "location", "content-type", "cache-control"] {
            assert_eq!(first.header(header), again.header(header), "{header}");
        }
        assert_ne!(first.header("x-request-id"), again.header("x-request-id"));
        let differs = once(&console, "/keys", &json!({ "tenant": "acme", "name": "cd" }), "a-1");
        assert_eq!(problem(&differs), (422, "idempotency_param_mismatch".into()));
        let elsewhere = once(&console, "/tenants", &body, "a-1");
        assert_eq!(problem(&elsewhere), (422, "idempotency_param_mismatch".into()));
        // Another token's key of the same name is another.
        let foreign = once(&managed.caller("other"), "/keys", &body, "a-1");
        assert!(foreign.status == 201 && !is_replayed(&foreign) && foreign.json()["id"] != first.json()["id"]);
        assert_eq!(console.get("/keys")["data"].as_array().unwrap().len(), 2);
        let rotate = format!("/keys/{}/rotate", text(&first.json(), "id"));
        let (rotated, again) = (once(&console, &rotate, &json!({}), "b-1"), once(&console, &rotate, &json!({}), "b-1"));
        assert!(rotated.status == 200 && is_replayed(&again) && rotated.json() == again.json());
        assert_eq!(console.get(&format!("/keys/{}", text(&first.json(), "id")))["version"], 2);
    }
}

#[test]
fn what_was_refused_may_be_tried_again() {
    let managed = Managed::start(Kind::Embedded, "");
    let console = managed.console();
    let body = json!({ "tenant": "later", "name": "ci" });
    assert_eq!(problem(&once(&console, "/keys", &body, "c-1")).0, 404);
    console.post("/tenants", &json!({ "id": "later" }));
    let made = once(&console, "/keys", &body, "c-1");
    assert_eq!((made.status, is_replayed(&made)), (201, false));
    assert_eq!(problem(&once(&console, "/keys", &json!({ "name": 3 }), "c-2")).0, 400);
    assert_eq!(once(&console, "/keys", &body, "c-2").status, 201);
}

/// Asks until the store is reached.
fn answered(ask: &dyn Fn() -> Answer) {
    let began = sidegate::clock::instant();
    while ask().status == 503 {
        assert!(began.elapsed() < crate::support::PATIENCE);
    }
}

#[test]
fn what_failed_before_anything_was_written_may_be_tried_again() {
    let kept = Redis::start();
    let more = format!("[store]\ncommand_timeout = \"500ms\"\n[idempotency]\nstore_url = \"{}\"\n", kept.url());
    let mut managed = Managed::start(Kind::Redis, &more);
    let console = managed.console();
    let key = text(&super::make(&console, "ci"), "id");
    answered(&|| once(&console, "/keys/lookup", &json!({ "key": "none" }), "e-1"));
    managed.sidecar.home.redis.as_mut().unwrap().stop();
    let asked = [("/keys".to_owned(), json!({ "tenant": "acme", "name": "cd" })), (format!("/keys/{key}/revoke"), json!({}))];
    for (path, body) in &asked {
        let away = once(&console, path, body, &format!("e{}", path.len()));
        assert_eq!(problem(&away), (503, "store_unavailable".into()), "{path}");
        assert!(text(&away.json(), "detail").contains("nothing was changed"), "{}", away.text());
    }
    managed.sidecar.home.redis.as_mut().unwrap().run();
    // As it was before: the server has kept nothing.
    answered(&|| console.ask("POST", "/tenants", Some(&json!({ "id": "acme" }))));
    for ((path, body), expected) in asked.iter().zip([201, 404]) {
        let again = once(&console, path, body, &format!("e{}", path.len()));
        assert_eq!((again.status, is_replayed(&again)), (expected, false), "{path}: {}", again.text());
    }
}

#[test]
fn of_many_at_once_one_is_done() {
    let managed = Managed::start(Kind::Redis, "");
    let console = managed.console();
    let body = json!({ "tenant": "acme", "name": "ci" });
    let answers: Vec<Answer> = thread::scope(|scope| {
        let all: Vec<_> = (0..20).map(|_| scope.spawn(|| once(&console, "/keys", &body, "d-1"))).collect();
        all.into_iter().map(|each| each.join().unwrap()).collect()
    });
    let made: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 201).collect();
    let secrets: BTreeSet<String> = made.iter().map(|answer| text(&answer.json(), "key")).collect();
    assert_eq!((secrets.len(), made.iter().filter(|answer| !is_replayed(answer)).count()), (1, 1));
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(problem(answer), (409, "idempotency_conflict".into()));
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(console.get("/keys")["data"].as_array().unwrap().len(), 1);
}
