//! Whom the listener lets in: each wrong request has its clear answer, and a permission is one operation's and no other's.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Managed, make, text};
use crate::support::admin::{Caller, Tokens, problem, secret};
use crate::support::client::{Answer, Client, Request, once};
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind};

/// The request with another line in the place of the one it has.
fn with(mut request: Request, name: &str, value: &str) -> Request {
    request.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    request.header(name, value)
}

fn without(mut request: Request, name: &str) -> Request {
    request.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    request
}

#[test]
fn each_wrong_request_has_its_clear_answer() {
    let managed = Managed::start(Kind::Embedded, "");
    let console = managed.console();
    let get = || console.request("GET", "/keys", None);
    let post = |body: &Value| console.request("POST", "/keys", Some(body));
    let good = json!({ "tenant": "acme", "name": "ci" });
    let raw = || console.request("POST", "/keys", None).header("Content-Type", "application/json");
    let raw = |body: &str| without(raw(), "content-length").body(body);
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(2 << 20));
    for (what, request, status, code) in [
        ("no token", without(get(), "authorization"), 401, "token_missing"),
        ("another scheme", with(get(), "Authorization", &format!("Basic {}", secret("console"))), 401, "token_missing"),
        ("two tokens", get().bearer(&secret("console")), 401, "token_missing"),
        ("a wrong token", with(get(), "Authorization", &format!("Bearer {}", secret("other"))), 401, "token_unknown"),
        ("half a token", with(get(), "Authorization", &format!("Bearer {}", secret("console").split_at(20).0)), 401, "token_unknown"),
        ("no token, and nothing there", without(console.request("GET", "/nothing", None), "authorization"), 401, "token_missing"),
        ("a foreign Host", with(get(), "Host", "evil.example"), 421, "host_unknown"),
        ("a foreign Host and no token", without(with(get(), "Host", "evil.example:9902"), "authorization"), 421, "host_unknown"),
        ("a foreign target", Request { target: "http://evil.example/admin/v1/keys".into(), ..get() }, 421, "host_unknown"),
        ("no Host", without(get(), "host"), 400, "host_invalid"),
        ("two Hosts", get().header("Host", "localhost"), 400, "host_invalid"),
        ("a foreign Origin", post(&good).header("Origin", "https://evil.example"), 403, "origin_foreign"),
        ("an opaque Origin", post(&good).header("Origin", "null"), 403, "origin_foreign"),
        ("a page of another site", post(&good).header("Sec-Fetch-Site", "cross-site"), 403, "origin_foreign"),
        ("a form", with(post(&good), "Content-Type", "application/x-www-form-urlencoded"), 415, "content_type"),
        ("no type", without(post(&good), "content-type"), 415, "content_type"),
        ("too much", raw(&long), 413, "body_too_large"),
        ("no body", raw(""), 400, "invalid"),
        ("half of it", raw("{\"tenant\":"), 400, "invalid"),
        ("more behind it", raw("{\"tenant\":\"acme\",\"name\":\"x\"} x"), 400, "invalid"),
        ("a list", raw("[]"), 400, "invalid"),
        ("no UTF-8", without(raw("{}"), "content-length").body(&b"{\"name\":\"\xff\"}"[..]), 400, "invalid"),
        ("deep", raw(&"[".repeat(100_000)), 400, "invalid"),
        ("an unknown query", console.request("GET", "/keys?tenat=acme", None), 400, "invalid"),
        ("a doubled query", console.request("GET", "/keys?tenant=a&tenant=b", None), 400, "invalid"),
        ("no such thing", console.request("GET", "/nothing", None), 404, "not_found"),
        ("no such key", console.request("GET", "/keys/key_none", None), 404, "key_not_found"),
        ("no id", console.request("GET", "/keys/a%2Fb", None), 404, "not_found"),
        ("another method", console.request("PUT", "/keys", Some(&good)), 405, "method_not_allowed"),
        ("a wrong Idempotency-Key", post(&good).header("Idempotency-Key", "a,b"), 400, "idempotency_key_invalid"),
    ] {
        let answer = console.send(&request);
        assert_eq!(problem(&answer), (status, code.to_owned()), "{what}: {}", answer.text());
        dressed(&answer, what);
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{what}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{what}");
    }
    assert_eq!(console.get("/keys")["data"], json!([]), "nothing of that has made a key");
}

#[test]
fn a_list_is_no_object_and_no_name_stands_twice() {
    let managed = Managed::start(Kind::Embedded, "");
    let console = managed.console();
    let made = make(&console, "ci");
    let (id, secret) = (text(&made, "id"), text(&made, "key"));
    let rotate = format!("/keys/{id}/rotate");
    let limits = |limit: &str| format!(r#"{{"tenant":"acme","name":"x","rate_limit":{limit}}}"#);
    for (method, path, body, field) in [
        ("POST", rotate.as_str(), "[]".to_owned(), ""),
        ("POST", &rotate, r#"["1h"]"#.into(), ""),
        ("POST", "/keys/lookup", json!([secret]).to_string(), ""),
        ("POST", "/keys/revoke", r#"[[],[],"acme",null,false]"#.into(), ""),
        ("POST", "/keys/revoke", r#"[[],[],"acme",null]"#.into(), ""),
        ("POST", "/tenants", r#"["other",null,null,null,null,null]"#.into(), ""),
        ("POST", "/sessions/revoke", "[null,null,true]".into(), ""),
        ("PATCH", &format!("/keys/{id}"), "[1]".into(), ""),
        ("POST", "/keys", r#"{"tenant":"acme","name":"x","metadata":{"plan":"free","plan":"paid"}}"#.into(), "metadata.plan"),
        ("PATCH", &format!("/keys/{id}"), r#"{"metadata":{"plan":"free","plan":null}}"#.into(), "metadata.plan"),
        ("POST", "/keys", limits(r#"{"requests":1,"requests":9,"per":"1s"}"#), "rate_limit.requests"),
        ("POST", "/keys", limits(r#"[9,"1s",null,null,null]"#), "rate_limit"),
    ] {
        let request = without(console.request(method, path, None).header("Content-Type", "application/json"), "content-length");
        let answer = console.send(&request.body(body.clone()));
        assert_eq!(problem(&answer), (400, "invalid".to_owned()), "{method} {path} {body}: {}", answer.text());
        assert_eq!(answer.json()["errors"][0]["field"], field, "{method} {path} {body}: {}", answer.text());
        assert!(!answer.text().contains(&secret));
    }
    let keys = console.get("/keys");
    assert_eq!(keys["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&keys["data"][0]["version"], &keys["data"][0]["status"]),
        (&json!(1), &json!("active")),
        "nothing of that has changed a key"
    );
}

#[track_caller]
fn dressed(answer: &Answer, what: &str) {
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{what}");
    assert!(answer.header("x-request-id").is_some_and(|id| id.len() >= 8), "{what}");
    assert!(answer.head.fields.iter().all(|(name, _)| !name.to_lowercase().starts_with("access-control-")), "{what}");
}

#[test]
fn what_is_wrong_is_told_with_its_field() {
    let managed = Managed::start(Kind::Embedded, "[scopes]\n\"read:a\" = \"Read\"\n");
    let console = managed.console();
    for (body, fields) in [
        (json!({ "name": "x" }), vec!["tenant"]),
        (json!({ "tenant": "acme", "name": "x", "colour": 1 }), vec!["colour"]),
        (json!({ "tenant": "acme", "name": "x", "scopes": ["read:a", 3] }), vec!["scopes[1]"]),
        (
            json!({ "tenant": "acme", "name": " x", "scopes": ["read:a", "read:b"], "metadata": { "a": "b,c" } }),
            vec!["name", "scopes[1]", "metadata.a"],
        ),
        (
            json!({ "tenant": "acme", "name": "x", "ip_allowlist": ["10.0.0.1/8"], "referrers": ["x"], "endpoints": ["x"] }),
            vec!["ip_allowlist", "referrers", "endpoints"],
        ),
        (json!({ "tenant": "acme", "name": "x", "rate_limit": { "requests": 0, "per": "1s" } }), vec!["rate_limit"]),
        (json!({ "tenant": "acme", "name": "x", "kind": "none" }), vec!["kind"]),
        (json!({ "tenant": "acme", "name": "x", "environment": "production" }), vec!["environment"]),
        (json!({ "tenant": "acme", "name": "x", "expires_at": "tomorrow" }), vec!["expires_at"]),
        (json!({ "tenant": "acme", "name": "x", "expires_at": "2001-01-01T00:00:00Z" }), vec!["expires_at"]),
        (json!({ "tenant": "acme", "name": "x", "expires_in": "soon" }), vec!["expires_in"]),
        (json!({ "tenant": "acme", "name": "x", "expires_in": "1d", "expires_at": null }), vec!["expires_in"]),
    ] {
        let answer = console.ask("POST", "/keys", Some(&body));
        assert_eq!(problem(&answer).0, 400, "{body}");
        let content = answer.json();
        let errors: Vec<&str> = content["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
        // Of what cannot be read, the first is told.
        assert!(
            errors.iter().all(|field| fields.iter().any(|known| field == known || field.is_empty() && *known == "tenant")),
            "{body}: {content}"
        );
        assert_eq!(errors.len(), fields.len(), "{body}: {content}");
    }
    let answer = console.ask("POST", "/keys", Some(&json!({ "tenant": "nobody", "name": "x" })));
    assert_eq!(problem(&answer), (404, "tenant_not_found".into()));
    assert_eq!(answer.json()["errors"][0]["field"], "tenant");
    for (path, field) in [
        ("/keys?limit=0", "limit"),
        ("/keys?limit=1001", "limit"),
        ("/keys?cursor=x", "cursor"),
        ("/keys?environment=both", "environment"),
        ("/keys?attention=perhaps", "attention"),
        ("/keys?last_used_before=x", "last_used_before"),
        ("/audit?order=up", "order"),
        ("/denials?reason=none", "reason"),
        ("/denials?cursor=eA", "cursor"),
        ("/usage", "tenant"),
        ("/usage?tenant=acme&days=401", "days"),
    ] {
        let answer = console.ask("GET", path, None);
        assert_eq!(problem(&answer).0, 400, "{path}");
        let told = text(&answer.json()["errors"][0], "field");
        assert!(told == field || (told.is_empty() && path == "/usage"), "{path}: {}", answer.text());
    }
}

#[test]
fn a_permission_is_one_operations_and_no_others() {
    let permissions = [
        "keys:read",
        "keys:write",
        "tenants:read",
        "tenants:write",
        "sessions:read",
        "sessions:write",
        "sessions:create",
        "usage:read",
        "usage:write",
        "audit:read",
        "audit:write",
        "explain:read",
        "explain:write",
        "system:read",
        "system:write",
    ];
    let names: Vec<String> = permissions.iter().map(|permission| permission.replace(':', "-")).collect();
    let all: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(permissions).chain([("console", "*"), ("half", "keys tenants:read")]).collect();
    let managed = Managed::with(Kind::Embedded, Tokens::new(&all), "");
    let document = managed.console().get("/openapi.json");
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/admin/v1").unwrap();
        for method in item.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            operations += 1;
            let needed = needed(&method, path);
            for (name, allow) in &all {
                let answer = managed.caller(name).ask(&method, &path.replace("{id}", "none"), None);
                let may = needed.is_none_or(|needed| match *allow {
                    "*" => true,
                    "keys tenants:read" => needed.starts_with("keys:") || needed == "tenants:read",
                    "sessions:write" => matches!(needed, "sessions:write" | "sessions:create"),
                    allow => allow == needed,
                });
                let lacks = answer.status == 403;
                assert_eq!(!lacks, may, "{name}: {method} {path}: {} {}", answer.status, answer.text());
                if let Some(needed) = needed.filter(|_| lacks) {
                    assert_eq!(problem(&answer).1, "permission_missing");
                    assert!(text(&answer.json(), "detail").ends_with(needed), "{}", answer.text());
                }
            }
        }
    }
    assert!(operations >= 24);
}

#[test]
fn silent_connections_keep_nobody_out() {
    let tokens = Tokens::console();
    let home = Home::new(Kind::Embedded, &format!("deployment = \"development\"\n{}", tokens.config("127.0.0.1:0")));
    let serve = Serve::start(&home.config_file());
    let listening: Vec<SocketAddr> =
        serve.stderr.wait(2, |line| line.strip_prefix("listening on ").and_then(|address| address.parse().ok()));
    let silent: Vec<Client> = (0..80).map(|_| Client::connect(listening[1])).collect();
    assert_eq!(Caller::console(listening[1]).ask("GET", "/status", None).status, 200);
    serve.stderr.wait(1, |line| line.contains("as many connections as it takes").then_some(()));
    drop(silent);
}

#[test]
fn one_address_speaks_on_half_of_the_room_and_on_no_more() {
    let managed = Managed::start(Kind::Embedded, "");
    let address = managed.sidecar.listener("admin");
    let console = managed.caller("console");
    let talk = || {
        let mut client = Client::connect(address);
        client.send(console.request("GET", "/status", None).bytes());
        client.try_answer("GET").map(|answer| (answer.status, client))
    };
    let kept: Vec<(u16, Client)> = (0..32).map_while(|_| talk()).collect();
    assert!(kept.len() == 32 && kept.iter().all(|(status, _)| *status == 200), "{}", kept.len());
    assert!(talk().is_none());
}

#[test]
fn who_is_not_let_in_is_not_kept() {
    let managed = Managed::start(Kind::Embedded, "");
    let console = managed.console();
    let mut client = Client::connect(managed.sidecar.listener("admin"));
    client.send(without(console.request("GET", "/keys", None), "authorization").bytes());
    let answer = client.answer("GET");
    assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
    client.send(console.request("GET", "/keys", None).bytes());
    assert!(client.try_answer("GET").is_none());
}

/// The permission that an operation needs; `None` = any token.
fn needed(method: &str, path: &str) -> Option<&'static str> {
    let is_read = method == "GET";
    Some(match path.split('/').nth(1).unwrap() {
        "keys" if path.ends_with("/usage") => "usage:read",
        "keys" if is_read || path == "/keys/lookup" => "keys:read",
        "keys" => "keys:write",
        "tenants" if is_read => "tenants:read",
        "tenants" => "tenants:write",
        "sessions" if is_read => "sessions:read",
        "sessions" if (method, path) == ("POST", "/sessions") => "sessions:create",
        "sessions" => "sessions:write",
        "usage" | "denials" => "usage:read",
        "audit" => "audit:read",
        "explain" => "explain:read",
        "status" => "system:read",
        "openapi.json" => return None,
        other => panic!("no permission is known for {other}"),
    })
}

#[test]
fn head_is_get_without_its_body_and_a_connection_serves_one_after_the_other() {
    let managed = Managed::start(Kind::Embedded, "");
    let console = managed.console();
    let mut client = Client::connect(managed.sidecar.listener("admin"));
    client.send(Request { method: "HEAD".into(), ..console.request("GET", "/keys", None) }.bytes());
    let head = client.answer("HEAD");
    assert_eq!((head.status, head.body.len()), (200, 0));
    client.send(console.request("GET", "/keys", None).header("X-Request-Id", "my-request-1").bytes());
    let get = client.answer("GET");
    assert_eq!((get.status, get.header("x-request-id")), (200, Some("my-request-1")));
}

#[test]
fn a_request_id_that_shows_a_key_is_replaced() {
    let managed = Managed::start(Kind::Embedded, "");
    let console = managed.console();
    let made = make(&console, "ci");
    let (path, secret) = (format!("/keys/{}", text(&made, "id")), text(&made, "key"));
    let change = |id: &str| console.request("PATCH", &path, Some(&json!({ "name": id.get(..5) }))).header("X-Request-Id", id);
    for (id, is_kept) in [("request-1".to_owned(), true), (secret.clone(), false), (format!("id-{secret}"), false)] {
        let answer = console.send(&change(&id));
        assert_eq!((answer.status, answer.header("x-request-id") == Some(&id)), (200, is_kept), "{}", answer.text());
    }
    let audit = console.get("/audit").to_string();
    assert!(audit.contains("request-1") && !audit.contains(&secret), "{audit}");
}

#[test]
fn a_pasted_secret_in_a_path_or_an_id_is_in_no_log() {
    let managed = Managed::start(Kind::Embedded, "");
    let console = managed.console();
    let made = make(&console, "ci");
    let answer = once(managed.sidecar.listener("admin"), &console.request("GET", &format!("/keys/{}", text(&made, "key")), None));
    assert_eq!(answer.status, 404);
    let named = console.request("GET", "/keys", None).header("X-Request-Id", &text(&made, "key"));
    let answer = once(managed.sidecar.listener("admin"), &named);
    assert!(answer.status == 200 && answer.header("x-request-id").is_some_and(|id| id.len() == 36), "{answer:?}");
}
