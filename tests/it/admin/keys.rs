//! Keys over the API: their whole life, lists page by page, compare-and-set, revocation in bulk.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Managed, make, text};
use crate::support::admin::problem;
use crate::support::client::{Client, Request, once};
use crate::support::sidecar::Kind;
use crate::support::upstream::Upstream;

fn proxied(more: &str) -> (Upstream, Managed) {
    let upstream = Upstream::echo();
    let managed = Managed::start(Kind::Embedded, &format!("upstream = \"{}\"\n{more}", upstream.url()));
    (upstream, managed)
}

#[test]
fn a_key_lives_over_the_api_as_over_the_command_line() {
    let (_upstream, managed) = proxied("");
    let console = managed.console();
    let status = |key: &str| once(managed.sidecar.address(), &Request::get("/v1/users").bearer(key)).status;
    let made = console.ask(
        "POST",
        "/keys",
        Some(&json!({ "tenant": "acme", "name": "ci", "scopes": ["read:*"], "metadata": { "a": "1" }, "expires_in": "90d" })),
    );
    assert_eq!((made.status, made.header("etag")), (201, Some("\"1\"")));
    let (key, id) = (text(&made.json(), "key"), text(&made.json(), "id"));
    assert_eq!(made.header("location"), Some(format!("/admin/v1/keys/{id}").as_str()));
    assert_eq!(status(&key), 200);
    let of = |action: &str| format!("/keys/{id}{action}");
    let changed = console.ask("PATCH", &of("?wait=5s"), Some(&json!({ "name": "deploy", "scopes": null, "ip_allowlist": ["127.0.0.0/8"], "metadata": { "a": null, "b": "2" }, "expires_at": null })));
    let shown = changed.json();
    assert_eq!((changed.status, changed.header("etag")), (200, Some("\"2\"")), "{shown}");
    assert_eq!(shown["confirmation"]["confirmed"], shown["confirmation"]["of"], "{shown}");
    assert_eq!((&shown["confirmation"]["of"], &shown["confirmation"]["missing"]), (&json!(1), &json!([])), "{shown}");
    let shown = console.get(&of(""));
    let has = |field: &str, value: Value| assert_eq!(shown[field], value, "{shown}");
    has("name", json!("deploy"));
    has("scopes", json!([]));
    has("ip_allowlist", json!(["127.0.0.0/8"]));
    has("metadata", json!({ "b": "2" }));
    has("expires_at", Value::Null);
    has("created_by", json!("admin:console"));
    assert!(shown.get("key").is_none() && shown.get("digest").is_none(), "{shown}");
    let rotated = console.post(&of("/rotate?wait"), &json!({ "overlap": "1h" }));
    let new = text(&rotated, "key");
    assert_eq!((status(&key), status(&new)), (200, 200));
    let again = console.post(&of("/rotate?wait"), &json!({ "overlap": "1h" }));
    assert_eq!((&again["id"], again["cut_short"].is_string()), (&json!(id), true), "{again}");
    let newest = text(&again, "key");
    let ended = console.post(&of("/end-overlap?wait"), &json!({}));
    assert!(ended.get("previous_until").is_none() && ended.get("key").is_none(), "{ended}");
    assert_eq!((status(&key), status(&new), status(&newest)), (401, 401, 200));
    assert_eq!(console.post(&of("/deactivate?wait=5s"), &json!({}))["status"], "inactive");
    assert_eq!(status(&newest), 401);
    assert_eq!(console.post(&of("/activate?wait=5s"), &json!({}))["status"], "active");
    assert_eq!(status(&newest), 200);
    assert_eq!(console.post(&of("/revoke?wait=5s"), &json!({}))["status"], "revoked");
    assert_eq!(status(&newest), 401);
    let refused = console.ask("POST", &of("/activate"), None);
    assert_eq!(problem(&refused), (409, "state_conflict".into()));
    let found = console.post("/keys/lookup", &json!({ "key": newest }));
    assert_eq!((&found["id"], &found["status"], &found["presented"]), (&json!(id), &json!("revoked"), &json!("current")));
    assert_eq!(problem(&console.ask("POST", "/keys/lookup", Some(&json!({ "key": key })))), (404, "key_not_found".into()));
    assert_eq!(problem(&console.ask("POST", &of("/rotate?wait=2m"), None)).0, 400);
}

/// Every page of a list.
fn pages(console: &crate::support::admin::Caller, path: &str) -> Vec<Vec<String>> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = console.get(&format!("{path}{cursor}"));
        pages.push(page["data"].as_array().unwrap().iter().map(|key| text(key, "id")).collect());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}

#[test]
fn pages_have_every_key_once_in_the_order_of_creation() {
    for kind in Kind::BOTH {
        let managed = Managed::start(kind, "");
        let console = managed.console();
        console.post("/tenants", &json!({ "id": "globex" }));
        let mut made = Vec::new();
        for number in 0..25 {
            let (tenant, environment) = (["acme", "globex"][number % 2], ["live", "test", "live"][number % 3]);
            let body = json!({ "tenant": tenant, "name": format!("Key {number}"), "environment": environment });
            made.push((text(&console.post("/keys", &body), "id"), tenant, environment));
        }
        let all: Vec<String> = made.iter().map(|(id, ..)| id.clone()).collect();
        // Those of one millisecond are in the order of their ids.
        let set = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
        for limit in [1, 10, 24, 25, 26] {
            let pages = pages(&console, &format!("/keys?limit={limit}"));
            assert!(pages[..pages.len() - 1].iter().all(|page| page.len() == limit), "{limit}: {pages:?}");
            let listed = pages.concat();
            assert_eq!((listed.len(), set(&listed)), (25, set(&all)), "{limit}");
        }
        let of = |query: &str, is: &dyn Fn(&(String, &str, &str)) -> bool| {
            let expected: Vec<String> = made.iter().filter(|key| is(key)).map(|(id, ..)| id.clone()).collect();
            assert!(!expected.is_empty());
            let listed = pages(&console, &format!("/keys?limit=3{query}")).concat();
            assert_eq!((listed.len(), set(&listed)), (expected.len(), set(&expected)), "{query}");
        };
        of("&tenant=acme", &|key| key.1 == "acme");
        of("&environment=test", &|key| key.2 == "test");
        of("&tenant=globex&environment=test", &|key| key.1 == "globex" && key.2 == "test");
        of("&name=key+24", &|key| key.0 == all[24]);
        of("&prefix=sk_test_", &|key| key.2 == "test");
        of("&status=active&kind=secret&created_before=2999-01-01T00:00:00Z", &|_| true);
        assert_eq!(pages(&console, "/keys?status=revoked"), [Vec::<String>::new()]);
        assert_eq!(pages(&console, "/keys?tenant=nobody"), [Vec::<String>::new()]);
        assert_eq!(pages(&console, "/tenants?limit=1").concat().len(), 2);
    }
}

#[test]
fn a_change_of_another_version_changes_nothing_and_names_the_one_there_is() {
    let managed = Managed::start(Kind::Embedded, "");
    let console = managed.console();
    let id = text(&make(&console, "one"), "id");
    let path = format!("/keys/{id}");
    assert_eq!(console.patch(&path, &json!({ "name": "two", "version": 1 }))["version"], 2);
    for body in [json!({ "name": "three", "version": 1 }), json!({ "name": "three", "version": 3 })] {
        let refused = console.ask("PATCH", &path, Some(&body));
        assert_eq!(problem(&refused), (409, "version_conflict".into()));
        assert_eq!(refused.json()["version"], 2);
    }
    let tagged = |tag: &str, body: &Value| console.send(&console.request("PATCH", &path, Some(body)).header("If-Match", tag));
    assert_eq!(problem(&tagged("\"1\"", &json!({ "name": "three" }))), (409, "version_conflict".into()));
    assert_eq!(problem(&tagged("\"2\"", &json!({ "name": "three", "version": 1 }))).0, 400);
    assert_eq!(problem(&tagged("two", &json!({ "name": "three" }))).0, 400);
    assert_eq!(console.get(&path)["name"], "two");
    assert_eq!(tagged("\"2\"", &json!({ "name": "three" })).json()["version"], 3);
    assert_eq!(tagged("*", &json!({ "name": "four" })).json()["version"], 4);
    assert_eq!(console.patch(&path, &json!({ "name": "four" }))["version"], 4, "nothing is no change");
    assert_eq!(console.patch("/tenants/acme", &json!({ "name": "Acme", "version": 1 }))["version"], 2);
    let refused = console.ask("PATCH", "/tenants/acme", Some(&json!({ "name": "Other", "version": 1 })));
    assert_eq!((problem(&refused), refused.json()["version"].as_u64()), ((409, "version_conflict".into()), Some(2)));
}

#[test]
fn a_bulk_revocation_takes_what_it_is_told_and_says_what_it_did() {
    let managed = Managed::start(Kind::Embedded, "");
    let console = managed.console();
    console.post("/tenants", &json!({ "id": "globex" }));
    let made: Vec<Value> = (0..4).map(|number| make(&console, &number.to_string())).collect();
    let (ids, keys): (Vec<String>, Vec<String>) = made.iter().map(|key| (text(key, "id"), text(key, "key"))).unzip();
    let other = text(&console.post("/keys", &json!({ "tenant": "globex", "name": "other" })), "id");
    let status = |id: &str| text(&console.get(&format!("/keys/{id}")), "status");
    let revoke = |body: &Value| console.post("/keys/revoke?wait=5s", body);
    let dry = revoke(&json!({ "tenant": "acme", "dry_run": true }));
    assert_eq!((dry["revoked"].as_array().unwrap().len(), &dry["dry_run"], status(&ids[0]).as_str()), (4, &json!(true), "active"));
    let named = revoke(&json!({ "ids": [ids[0], ids[0], "key_none", "no/id"], "keys": [keys[1], keys[0], "sk_live_nobodys"] }));
    assert_eq!(named["revoked"], json!([ids[0], ids[1]]));
    let failed: Vec<&Value> = named["failed"].as_array().unwrap().iter().map(|failed| &failed["field"]).collect();
    assert_eq!(failed, ["ids[2]", "ids[3]", "keys[2]"]);
    assert_eq!(named["confirmation"]["missing"], json!([]));
    assert!(!named.to_string().contains("nobodys"), "a secret is not told again: {named}");
    let again = revoke(&json!({ "ids": [ids[0]] }));
    assert_eq!((&again["revoked"], &again["already_revoked"]), (&json!([]), &json!([ids[0]])));
    assert_eq!(revoke(&json!({ "tenant": "acme", "created_before": "2001-01-01T00:00:00Z" }))["revoked"], json!([]));
    assert_eq!(revoke(&json!({ "tenant": "acme" }))["revoked"].as_array().unwrap().len(), 2);
    assert_eq!((status(&ids[3]).as_str(), status(&other).as_str()), ("revoked", "active"));
    assert_eq!(revoke(&json!({ "created_before": "2999-01-01T00:00:00Z" }))["revoked"], json!([other]));
    for wrong in [json!({}), json!({ "ids": [] }), json!({ "ids": ["a"], "tenant": "acme" })] {
        assert_eq!(problem(&console.ask("POST", "/keys/revoke", Some(&wrong))).0, 400, "{wrong}");
    }
    assert_eq!(problem(&console.ask("POST", "/keys/revoke", Some(&json!({ "tenant": "nobody" })))), (404, "tenant_not_found".into()));
}

/// Whenever a key is revoked there is another: as if somebody had made it meanwhile; so many in a row.
fn made_meanwhile(managed: &Managed, times: usize) -> rusqlite::Connection {
    let url = &managed.sidecar.home.config.store.url;
    let raw = rusqlite::Connection::open(url.strip_prefix("embedded:").unwrap()).unwrap();
    raw.busy_timeout(crate::support::PATIENCE).unwrap();
    raw.execute_batch(&format!(
        "CREATE TRIGGER meanwhile AFTER UPDATE ON keys WHEN json_extract(NEW.record, '$.status') = 'revoked' AND length(NEW.id) < 24 + {times} BEGIN
           INSERT INTO keys (id, tenant, place, version, record) VALUES (NEW.id || 'x', NEW.tenant, NEW.place || 'x', 1,
             json_set(NEW.record, '$.id', NEW.id || 'x', '$.version', 1, '$.status', 'active', '$.digest', lower(hex(randomblob(32)))));
         END"
    ))
    .unwrap();
    raw
}

#[test]
fn keys_that_are_made_while_all_are_revoked_are_revoked_too() {
    let managed = Managed::start(Kind::Embedded, "");
    let console = managed.console();
    let id = text(&make(&console, "ci"), "id");
    let raw = made_meanwhile(&managed, 3);
    let done = console.post("/keys/revoke", &json!({ "tenant": "acme" }));
    assert_eq!((done["revoked"].as_array().unwrap().len(), &done["more"], &done["failed"]), (4, &json!(false), &json!([])));
    assert_eq!(text(&console.get(&format!("/keys/{id}xxx")), "status"), "revoked");
    raw.execute_batch("DROP TRIGGER meanwhile").unwrap();
    // Who makes them faster than that is told of.
    make(&console, "ci");
    let _raw = made_meanwhile(&managed, 9);
    let done = console.post("/keys/revoke", &json!({ "tenant": "acme" }));
    assert_eq!((done["revoked"].as_array().unwrap().len(), &done["more"]), (5, &json!(true)));
    assert_eq!(console.post("/keys/revoke", &json!({ "tenant": "acme", "dry_run": true }))["more"], false);
    let ended = crate::support::process::run(&["keys", "revoke", "--tenant", "acme"], &managed.sidecar.home.config_file());
    assert_eq!((ended.code, ended.stderr.contains("5 revoked")), (0, true), "{ended:?}");
    make(&console, "ci");
    let ended = crate::support::process::run(&["keys", "revoke", "--tenant", "acme"], &managed.sidecar.home.config_file());
    assert_eq!((ended.code, ended.stderr.contains("keys are still being made")), (1, true), "{ended:?}");
}

#[test]
fn what_cannot_be_read_is_told_wherever_all_of_it_is_asked_for() {
    let managed = Managed::start(Kind::Embedded, "");
    let console = managed.console();
    let (one, other) = (text(&make(&console, "one"), "id"), text(&make(&console, "other"), "id"));
    let raw = rusqlite::Connection::open(managed.sidecar.home.config.store.url.strip_prefix("embedded:").unwrap()).unwrap();
    assert_eq!(raw.execute("UPDATE keys SET record = '{' WHERE id = ?1", [&one]).unwrap(), 1);
    assert_eq!(raw.execute("UPDATE audit SET event = '{' WHERE id = ?1", [&other]).unwrap(), 1);
    let config = managed.sidecar.home.config_file();
    let run = |arguments: &[&str]| crate::support::process::run(arguments, &config);

    let keys = console.get("/keys?tenant=acme");
    assert_eq!((keys["data"].as_array().unwrap().len(), &keys["unreadable"]), (1, &json!([one])));
    let events = console.get("/audit?tenant=acme");
    assert_eq!((events["data"].as_array().unwrap().len(), &events["unreadable"]), (2, &json!([other])));
    for query in ["", "?limit=10"] {
        let lines = console.request("GET", &format!("/audit{query}"), None).header("Accept", "application/x-ndjson");
        let mut client = Client::connect(managed.sidecar.listener("admin"));
        client.send(lines.bytes());
        assert!(client.try_answer("GET").is_none(), "half of an audit looks whole");
    }
    let listed = run(&["audit", "--tenant", "acme"]);
    assert!(listed.stderr.contains(&format!("left out: unreadable record {other}")), "{listed:?}");

    let revoked = run(&["keys", "revoke", "--tenant", "acme"]);
    assert!(
        revoked.code == 1 && revoked.stderr.contains(&one) && revoked.stderr.contains("1 revoked, 0 revoked before, 1 not"),
        "{revoked:?}"
    );
    let done = console.post("/keys/revoke", &json!({ "tenant": "acme" }));
    assert_eq!((&done["failed"], &done["more"]), (&json!([{ "field": one, "code": "unreadable" }]), &json!(false)));
    let refused = run(&["tenants", "delete", "acme", "--yes"]);
    assert!(refused.code == 1 && refused.stderr.contains(&one), "{refused:?}");
    console.post("/tenants/acme/suspend", &json!({}));
    assert!(problem(&console.ask("DELETE", "/tenants/acme", None)).0 >= 400);
    assert_eq!(text(&console.get("/tenants/acme"), "status"), "suspended");
}

#[test]
fn a_tenant_has_as_many_keys_as_it_may() {
    let managed = Managed::start(Kind::Embedded, "[keys]\nmax_per_tenant = 1\n");
    let console = managed.console();
    make(&console, "one");
    let refused = console.ask("POST", "/keys", Some(&json!({ "tenant": "acme", "name": "two" })));
    assert_eq!(problem(&refused), (409, "key_limit".into()));
}
