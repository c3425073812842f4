//! Tenants, the audit, explain, usage, denials and status over the API.

use serde_json::{Value, json};

use super::{Managed, make, text};
use crate::support::admin::{Caller, Tokens, ok, problem};
use crate::support::client::{Request, once};
use crate::support::process::{Serve, run};
use crate::support::sidecar::{Home, Kind};
use crate::support::upstream::Upstream;

#[test]
fn a_tenant_lives_and_is_gone_when_all_of_it_is_revoked() {
    let managed = Managed::start(Kind::Embedded, "");
    let console = managed.console();
    let taken = console.ask("POST", "/tenants", Some(&json!({ "id": "acme" })));
    assert_eq!(problem(&taken), (409, "state_conflict".into()));
    let wrong = console.ask("POST", "/tenants", Some(&json!({ "id": "a/b", "ip_allowlist": ["x"], "scopes": ["a b"] })));
    assert_eq!(problem(&wrong).0, 400);
    let wrong = wrong.json();
    let fields: Vec<&Value> = wrong["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
    assert_eq!(fields, ["id", "scopes[0]", "ip_allowlist"]);
    let changed = console.patch("/tenants/acme", &json!({ "name": "Acme", "scopes": ["read:*"], "metadata": { "plan": "pro" } }));
    assert_eq!((&changed["name"], &changed["metadata"]), (&json!("Acme"), &json!({ "plan": "pro" })));
    let id = text(&make(&console, "ci"), "id");
    assert_eq!(problem(&console.ask("DELETE", "/tenants/acme", None)), (409, "state_conflict".into()));
    assert_eq!(console.post("/tenants/acme/suspend?wait=5s", &json!({}))["status"], "suspended");
    assert_eq!(console.post("/tenants/acme/resume", &json!({}))["status"], "active");
    console.post("/tenants/acme/suspend", &json!({}));
    assert_eq!(problem(&console.ask("DELETE", "/tenants/acme", None)), (409, "state_conflict".into()));
    console.post(&format!("/keys/{id}/revoke"), &json!({}));
    let gone = console.ask("DELETE", "/tenants/acme", None);
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    assert_eq!(problem(&console.ask("GET", "/tenants/acme", None)), (404, "tenant_not_found".into()));
    assert_eq!(problem(&console.ask("GET", &format!("/keys/{id}"), None)), (404, "key_not_found".into()));
    let actions: Vec<String> =
        console.get("/audit?tenant=acme&order=asc")["data"].as_array().unwrap().iter().map(|event| text(event, "action")).collect();
    assert_eq!(
        actions,
        [
            "tenant.create",
            "tenant.update",
            "key.create",
            "tenant.suspend",
            "tenant.resume",
            "tenant.suspend",
            "key.revoke",
            "key.purge",
            "tenant.delete"
        ]
    );
}

#[test]
fn the_audit_tells_who_what_and_from_where_page_by_page_or_line_by_line() {
    for kind in Kind::BOTH {
        let managed = Managed::with(kind, Tokens::new(&[("console", "*"), ("ci", "keys")]), "");
        let console = managed.console();
        let ci = managed.caller("ci");
        let made = ok(
            &ci.send(&ci.request("POST", "/keys", Some(&json!({ "tenant": "acme", "name": "x" }))).header("X-Request-Id", "request-0001"))
        );
        let id = text(&made, "id");
        for number in 0..5 {
            console.patch(&format!("/keys/{id}"), &json!({ "name": format!("n{number}") }));
        }
        console.post(&format!("/keys/{id}/rotate"), &json!({}));
        let all = console.get(&format!("/audit?key={id}&order=asc"));
        let events = all["data"].as_array().unwrap();
        assert_eq!((events.len(), &all["next"]), (7, &Value::Null));
        let first = &events[0];
        let has = |field: &str, value: &str| assert_eq!(first[field], value, "{first}");
        has("actor", "admin:ci");
        has("from", "127.0.0.1");
        has("request_id", "request-0001");
        has("action", "key.create");
        assert_eq!((&events[1]["before"], &events[1]["after"]), (&json!({ "name": "x" }), &json!({ "name": "n0" })));
        assert!(!all.to_string().contains(&text(&made, "key")) && !all.to_string().contains("digest"), "{all}");
        // Newest first, in pages.
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = console.get(&format!("/audit?key={id}&limit=3{cursor}"));
            paged.extend(page["data"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        paged.reverse();
        assert_eq!(&paged, events);
        let lines = |query: &str| {
            let answer = console.send(&console.request("GET", &format!("/audit{query}"), None).header("Accept", "application/x-ndjson"));
            assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
            answer.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(&lines(&format!("?key={id}&order=asc")), events);
        assert_eq!(lines("?limit=2").len(), 2);
        let since = text(&events[6], "at");
        assert_eq!(console.get(&format!("/audit?key={id}&until={since}&order=asc"))["data"].as_array().unwrap().len(), 6);
    }
}

#[test]
fn explain_says_what_the_command_says() {
    let upstream = Upstream::echo();
    let tokens = Tokens::console();
    let text_of = format!(
        "upstream = \"{}\"\n[[routes]]\nname = \"users\"\nmatch = \"* /v1/**\"\nscopes = [\"read:users\"]\n{}",
        upstream.url(),
        tokens.config("127.0.0.1:0")
    );
    let home = Home::new(Kind::Embedded, &text_of);
    let serve = Serve::start(&home.config_file());
    let told: Vec<std::net::SocketAddr> =
        serve.stderr.wait(2, |line| line.strip_prefix("listening on ").and_then(|text| text.parse().ok()));
    let console = Caller::console(told[1]);
    console.post("/tenants", &json!({ "id": "acme" }));
    let good = console.post("/keys", &json!({ "tenant": "acme", "name": "good", "scopes": ["read:*"] }));
    let bad = console.post("/keys", &json!({ "tenant": "acme", "name": "bad", "ip_allowlist": ["192.0.2.0/24"] }));
    for (body, arguments) in [
        (json!({ "target": "/v1/users?a=b", "key": good["id"] }), vec!["--key", good["id"].as_str().unwrap(), "/v1/users?a=b"]),
        (
            json!({ "method": "POST", "target": "/v1/users", "key": bad["id"], "from": "198.51.100.7", "tls": true }),
            vec!["-X", "POST", "--key", bad["id"].as_str().unwrap(), "--from", "198.51.100.7", "--tls", "/v1/users"],
        ),
        (json!({ "target": "/v1/users" }), vec!["/v1/users"]),
        (json!({ "target": "/v1/../users" }), vec!["/v1/../users"]),
        (json!({ "target": "/v1/users", "headers": [["X-API-Key", good["key"]]] }), vec!["-H", "X-API-Key", "/v1/users"]),
    ] {
        let mut told = console.post("/explain", &body);
        let arguments: Vec<String> = arguments
            .iter()
            .map(|word| if *word == "X-API-Key" { format!("X-API-Key: {}", text(&good, "key")) } else { (*word).to_owned() })
            .collect();
        let mut words: Vec<&str> = vec!["explain", "--json"];
        words.extend(arguments.iter().map(String::as_str));
        let mut command: Value = serde_json::from_str(&run(&words, &home.config_file()).stdout).unwrap();
        // Each has an id of its own.
        for explained in [&mut told, &mut command] {
            for pointer in ["/answer", "/forward"] {
                if let Some(headers) = explained.pointer_mut(&format!("{pointer}/headers")).and_then(Value::as_array_mut) {
                    headers.retain(|header| header[0] != "x-request-id");
                }
            }
            if let Some(body) = explained.pointer_mut("/answer/body") {
                *body = Value::Null;
            }
        }
        assert_eq!(told, command, "{body}");
    }
    let with = |credential: &Value| console.post("/explain", &json!({ "target": "/v1/users", "credential": credential }));
    assert_eq!(with(&good["key"])["reason"], "");
    // Unknown ones are answered as often as they are asked for.
    for _ in 0..40 {
        let unknown = with(&json!(format!("{}x", text(&good, "key"))));
        assert_eq!(unknown["reason"], "key_unknown", "{unknown}");
    }
    assert_eq!(
        problem(&console.ask("POST", "/explain", Some(&json!({ "target": "/", "key": "key_none" })))),
        (404, "key_not_found".into())
    );
    assert!(upstream.recorded().is_empty());
}

#[test]
fn usage_and_denials_are_told_as_they_were_counted() {
    let upstream = Upstream::echo();
    let tokens = Tokens::console();
    let home = Home::new(
        Kind::Embedded,
        &format!("upstream = \"{}\"\n[keys]\nlast_used_resolution = \"1ms\"\n{}", upstream.url(), tokens.config("127.0.0.1:0")),
    );
    let start = || {
        let serve = Serve::start(&home.config_file());
        let told: Vec<std::net::SocketAddr> =
            serve.stderr.wait(2, |line| line.strip_prefix("listening on ").and_then(|text| text.parse().ok()));
        (serve, Caller::console(told[1]))
    };
    let (serve, console) = start();
    console.post("/tenants", &json!({ "id": "acme" }));
    let used = make(&console, "used");
    let idle = text(&make(&console, "idle"), "id");
    let narrow = console.post("/keys", &json!({ "tenant": "acme", "name": "narrow", "ip_allowlist": ["192.0.2.0/24"] }));
    for _ in 0..7 {
        assert_eq!(once(serve.address, &Request::get("/v1/users").bearer(&text(&used, "key"))).status, 200);
    }
    let refused = once(serve.address, &Request::get("/v1/users").bearer(&text(&narrow, "key")));
    assert_eq!(refused.status, 403);
    // What was gathered is written down at the end, at the latest.
    assert!(serve.stop().0.success());
    let (_serve, console) = start();
    let id = text(&used, "id");
    let usage = console.get(&format!("/keys/{id}/usage"));
    assert_eq!((&usage["total"]["requests"], usage["days"].as_array().unwrap().len()), (&json!(7), 1), "{usage}");
    assert!(usage["last_used"].is_string() && usage["report"].is_object(), "{usage}");
    assert_eq!(console.get(&format!("/keys/{id}"))["last_used"], usage["last_used"]);
    let tenant = console.get("/usage?tenant=acme&days=2");
    assert_eq!((&tenant["total"]["requests"], tenant["keys"].as_array().unwrap().len()), (&json!(8), 3), "{tenant}");
    let request = refused.header("x-request-id").unwrap();
    let denials = console.get(&format!("/denials?request={request}"));
    assert_eq!((&denials["data"][0]["reason"], &denials["data"][0]["key"]), (&json!("ip_denied"), &narrow["id"]), "{denials}");
    assert_eq!(console.get("/denials?reason=key_unknown")["data"], json!([]));
    let listed = |query: &str| -> Vec<String> {
        console.get(&format!("/keys{query}"))["data"].as_array().unwrap().iter().map(|key| text(key, "id")).collect()
    };
    assert_eq!(listed(&format!("?last_used_before={}", text(&usage, "last_used"))), [idle, text(&narrow, "id")]);
    assert!(listed("?due=true").is_empty() && listed("?attention=true").is_empty());
    assert_eq!(problem(&console.ask("GET", "/usage?tenant=nobody", None)), (404, "tenant_not_found".into()));
}

#[test]
fn status_tells_of_this_sidecar_and_the_others() {
    let managed = Managed::start(Kind::Redis, "");
    let console = managed.console();
    let status = console.get("/status");
    assert_eq!((&status["store"]["reachable"], &status["sidecar"]["state"]), (&json!(true), &json!("serving")), "{status}");
    assert_eq!(status["sidecar"]["pid"], std::process::id());
}
