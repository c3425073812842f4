//! Customers manage their keys with their own keys (product.md §10): nobody sees or changes what is another's, nobody gives or gets more
//! than it has, and who lost the answer to a rotation has it again, and nothing else.

mod escalation;
mod isolation;

use std::sync::{Arc, Barrier};
use std::thread;

use serde_json::{Value, json};
use sidegate::audit::Query;

use crate::support::client::{Answer, Request, once};
use crate::support::desk::Desk;
use crate::support::fleet::Fleet;
use crate::support::http2::Http2;
use crate::support::redis::Redis;
use crate::support::seed;
use crate::support::sidecar::{Kind, Sidecar};
use crate::support::upstream::Upstream;

const PATH: &str = "[self_service]\npath = \"/v1/api-keys\"\n";
const UNTHROTTLED: &str = "[restrictions]\nguess_throttle = { failures = 1000000, per = \"1s\" }\n";
const IDEMPOTENT: &str = "[idempotency]\nmode = \"optional\"\n";
const REQUIRED: &str = "[idempotency]\nmode = \"required\"\n";
const MINUTES_10: i64 = 600_000;

fn list(secret: &str) -> Request {
    Request::get("/v1/api-keys").bearer(secret)
}

fn create(secret: &str, body: &Value) -> Request {
    Request::new("POST", "/v1/api-keys").bearer(secret).body(body.to_string())
}

fn rotate(secret: &str, id: &str) -> Request {
    Request::new("POST", &format!("/v1/api-keys/{id}/rotate")).bearer(secret)
}

fn revoke(secret: &str, id: &str) -> Request {
    Request::new("DELETE", &format!("/v1/api-keys/{id}")).bearer(secret)
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_else(|| panic!("no {name} in {body}")).to_owned()
}

/// All of an answer but what tells it from every other one.
fn bytes(answer: &Answer) -> String {
    let fields: Vec<_> = answer.head.fields.iter().filter(|(name, _)| name != "x-request-id").collect();
    format!("{} {fields:?} {}", answer.status, answer.text())
}

#[test]
fn what_is_created_has_the_restrictions_of_who_made_it() {
    let upstream = Upstream::echo();
    let sidecar =
        Sidecar::start(&format!("upstream = \"{}\"\n{PATH}[identity.headers]\nX-Project = \"{{key.metadata.project}}\"\n", upstream.url()));
    let fields = json!({
        "scopes": ["read:a"], "ip_allowlist": ["127.0.0.0/8"], "endpoints": ["* /v1/**"], "expires_at": "2099-01-01T00:00:00Z",
        "rate_limit": { "requests": 100, "per": "1s" }, "metadata": { "project": "blue" },
    });
    let maker = sidecar.home.issue_with(&fields);
    let answer = once(sidecar.address(), &create(&maker.secret, &json!({ "name": "ci" })));
    let made = sidecar.home.table().find_key(&text(&answer.json(), "id")).unwrap();
    let of_record = |record: &sidegate::key::record::KeyRecord| {
        (
            record.scopes.clone(),
            record.ip_allowlist.clone(),
            record.endpoints.clone(),
            record.expires_at,
            record.rate_limit.clone(),
            record.metadata.clone(),
        )
    };
    assert_eq!(of_record(&made), of_record(&maker.record));
    assert_eq!(made.created_by, "key:key_main");
    // And it works at once, where its maker does.
    let secret = text(&answer.json(), "key");
    assert_eq!(once(sidecar.address(), &Request::get("/v1/users").bearer(&secret)).status, 200);
    assert_eq!(once(sidecar.address(), &Request::get("/other").bearer(&secret)).status, 403);
    // A key of another project may do no more, but it does it for another: its secret is not shown.
    sidecar.home.table().put_key(&{
        let mut other = seed::key(&sidecar.home.config, "acme", &fields).record;
        other.id = "key_green".into();
        other.metadata.insert("project".into(), "green".into());
        other
    });
    assert_eq!(once(sidecar.address(), &rotate(&maker.secret, "key_green")).status, 403);
}

#[test]
fn a_life_is_as_asked_as_configured_and_never_longer_than_the_makers() {
    let upstream = Upstream::echo();
    let text_of = format!("upstream = \"{}\"\n{PATH}[keys]\ndefault_expires_in = \"30d\"\nmax_expires_in = \"90d\"\n", upstream.url());
    let sidecar = Sidecar::with_manual_clock(Kind::Embedded, &text_of);
    let free = sidecar.home.issue();
    let short = seed::key(&sidecar.home.config, "acme", &json!({ "id": "key_short", "expires_at": "2026-06-11T12:00:00Z" }));
    sidecar.home.table().put_key(&short.record);
    let end = |secret: &str, body: Value| {
        let answer = once(sidecar.address(), &create(secret, &body));
        let id = answer.json()["id"].as_str().map(ToOwned::to_owned);
        let end = id.and_then(|id| sidecar.home.table().find_key(&id).unwrap().expires_at).map(|end| end.to_string());
        (answer.status, end.unwrap_or_default())
    };
    let at = |day: &str| (201, format!("{day}T12:00:00Z"));
    assert_eq!(end(&free.secret, json!({ "name": "a" })), at("2026-07-01"));
    assert_eq!(end(&free.secret, json!({ "name": "a", "expires_in": "90d" })), at("2026-08-30"));
    assert_eq!(end(&free.secret, json!({ "name": "a", "expires_in": 86400 })), at("2026-06-02"));
    assert_eq!(end(&free.secret, json!({ "name": "a", "expires_in": "91d" })).0, 400);
    assert_eq!(end(&short.secret, json!({ "name": "a" })), at("2026-06-11"));
    assert_eq!(end(&short.secret, json!({ "name": "a", "expires_in": "10d" })), at("2026-06-11"));
    assert_eq!(end(&short.secret, json!({ "name": "a", "expires_in": "11d" })).0, 403);
}

#[test]
fn the_old_secret_is_told_of_its_end_for_as_long_as_it_works() {
    let upstream = Upstream::echo();
    let text_of = format!("upstream = \"{}\"\n{PATH}[keys]\nrotate_overlap = \"1h\"\n", upstream.url());
    let sidecar = Sidecar::with_manual_clock(Kind::Embedded, &text_of);
    let old = sidecar.home.issue_with(&json!({ "endpoints": ["* /v1/**"] })).secret;
    let new = text(&once(sidecar.address(), &rotate(&old, "key_main")).json(), "key");
    let told = |answer: &Answer| {
        (answer.status, answer.header("Deprecation").map(ToOwned::to_owned), answer.header("Sunset").map(ToOwned::to_owned))
    };
    let ended = |status| (status, Some("@1780315200".to_owned()), Some("Mon, 01 Jun 2026 13:00:00 GMT".to_owned()));
    for (path, status) in [("/v1/users", 200), ("/v1/api-keys", 200), ("/other", 403)] {
        assert_eq!(told(&once(sidecar.address(), &Request::get(path).bearer(&old))), ended(status), "{path}");
        assert_eq!(told(&Http2::connect(sidecar.address()).send(&Request::get(path).bearer(&old))), ended(status), "{path}");
        assert_eq!(told(&once(sidecar.address(), &Request::get(path).bearer(&new))), (status, None, None), "{path}");
    }
    sidecar.clock.advance(3_600_000);
    assert_eq!(told(&once(sidecar.address(), &Request::get("/v1/users").bearer(&old))), (401, None, None));
    assert_eq!(told(&once(sidecar.address(), &Request::get("/v1/users").bearer(&new))), (200, None, None));
}

#[test]
fn a_replaced_secret_looks_and_changes_nothing_while_it_works() {
    let upstream = Upstream::echo();
    let text_of = format!("upstream = \"{}\"\n{PATH}[keys]\nrotate_overlap = \"1h\"\n{IDEMPOTENT}", upstream.url());
    for kind in Kind::BOTH {
        let sidecar = Sidecar::with_manual_clock(kind, &text_of);
        let old = sidecar.home.issue().secret;
        let other = seed::key(&sidecar.home.config, "acme", &json!({ "id": "key_other" }));
        sidecar.home.table().put_key(&other.record);
        let ask = |request: Request| once(sidecar.address(), &request.header("Idempotency-Key", "rot_1"));
        let first = ask(rotate(&old, "key_main"));
        let new = text(&first.json(), "key");
        let refused = [
            create(&old, &json!({ "name": "x" })),
            rotate(&old, "key_main"),
            rotate(&old, "key_other"),
            revoke(&old, "key_other"),
            revoke(&old, "key_main"),
        ];
        for request in refused {
            let answer = once(sidecar.address(), &request);
            assert_eq!((answer.status, text(&answer.json(), "code").as_str()), (403, "CREDENTIAL_NOT_ALLOWED"), "{}", request.target);
        }
        let listed = once(sidecar.address(), &list(&old));
        assert_eq!((listed.status, listed.text()), (200, once(sidecar.address(), &list(&new)).text()));
        let again = ask(rotate(&old, "key_main"));
        assert_eq!((again.status, again.header("Idempotent-Replayed"), again.text()), (200, Some("true"), first.text()));
        assert_eq!(sidecar.home.table().find_key("key_main").unwrap().version, 2);
        assert_eq!(once(sidecar.address(), &revoke(&new, "key_other")).status, 200);
    }
}

#[test]
fn no_secret_is_shown_to_who_may_ask_less_often() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n{PATH}", upstream.url()));
    let slow = sidecar.home.issue_with(&json!({ "rate_limit": { "requests": 100, "per": "1s" } })).secret;
    for (id, limit, status) in [
        ("key_free", json!({}), 403),
        ("key_fast", json!({ "rate_limit": { "requests": 101, "per": "1s" } }), 403),
        ("key_slow", json!({ "rate_limit": { "requests": 100, "per": "2s" } }), 200),
    ] {
        let mut other = seed::key(&sidecar.home.config, "acme", &limit).record;
        other.id = id.into();
        sidecar.home.table().put_key(&other);
        assert_eq!(once(sidecar.address(), &rotate(&slow, id)).status, status, "{id}");
    }
}

/// A request with this secret.
type Asked = fn(&str) -> Request;

fn lost_answer(kind: Kind) {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::with_manual_clock(kind, &format!("upstream = \"{}\"\n{PATH}{UNTHROTTLED}{REQUIRED}", upstream.url()));
    let dead = sidecar.home.issue().secret;
    let stranger = seed::key(&sidecar.home.config, "acme", &json!({})).secret;
    let ask = |request: Request, key: &str| once(sidecar.address(), &request.header("Idempotency-Key", key));
    let first = ask(rotate(&dead, "key_main"), "rot_1");
    assert_eq!((first.status, first.header("Idempotent-Replayed")), (200, None));
    let again = ask(rotate(&dead, "key_main"), "rot_1");
    assert_eq!((again.status, again.header("Idempotent-Replayed"), again.text()), (200, Some("true"), first.text()));

    // Whatever else it asks for is answered as if nobody had ever had it, byte for byte.
    let others: [(Asked, &str); 8] = [
        (|secret| rotate(secret, "key_main"), "rot_2"),
        (|secret| rotate(secret, "key_other"), "rot_1"),
        (|secret| rotate(secret, "key_main").body("{}"), "rot_1"),
        (|secret| rotate(secret, "key_main").body("x".repeat(70_000)), "rot_1"),
        (|secret| create(secret, &json!({ "name": "x" })), "rot_1"),
        (|secret| revoke(secret, "key_main"), "rot_1"),
        (list, "rot_1"),
        (|_| Request::get("/"), "rot_1"),
    ];
    for (request, key) in others {
        let unknown = bytes(&ask(request(&stranger), key));
        assert_eq!(bytes(&ask(request(&dead), key)), unknown, "{:?} {key}", request("").target);
        assert!(unknown.starts_with("401"), "{unknown}");
    }
    let without_key = |secret: &str| bytes(&once(sidecar.address(), &rotate(secret, "key_main")));
    assert_eq!(without_key(&dead), without_key(&stranger));

    sidecar.clock.advance(MINUTES_10 - 1);
    assert_eq!(ask(rotate(&dead, "key_main"), "rot_1").text(), first.text());
    sidecar.clock.advance(1);
    assert_eq!(bytes(&ask(rotate(&dead, "key_main"), "rot_1")), bytes(&ask(rotate(&stranger, "key_main"), "rot_1")));

    // The new one may do all that the old one did, but have the answer again.
    let new = text(&first.json(), "key");
    assert_eq!(once(sidecar.address(), &list(&new)).status, 200);
    assert_eq!(ask(rotate(&new, "key_main"), "rot_1").status, 409);
    assert_eq!(upstream.recorded().len(), 0);
}

#[test]
fn who_lost_the_answer_to_a_rotation_has_it_again_for_ten_minutes_and_nothing_else() {
    lost_answer(Kind::Embedded);
}

#[test]
fn who_lost_the_answer_to_a_rotation_has_it_again_for_ten_minutes_and_nothing_else_on_redis() {
    lost_answer(Kind::Redis);
}

#[test]
fn a_lost_answer_is_not_given_for_a_key_that_was_revoked_meanwhile() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n{PATH}{REQUIRED}", upstream.url()));
    let dead = sidecar.home.issue().secret;
    let ask = || once(sidecar.address(), &rotate(&dead, "key_main").header("Idempotency-Key", "rot_1"));
    let new = text(&ask().json(), "key");
    assert_eq!(ask().status, 200);
    assert_eq!(once(sidecar.address(), &revoke(&new, "key_main")).status, 200);
    assert_eq!(ask().status, 401);
}

#[test]
fn a_refused_change_leaves_its_idempotency_key_free() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n{PATH}{REQUIRED}", upstream.url()));
    let secret = sidecar.home.issue().secret;
    let ask = |body: &Value| once(sidecar.address(), &create(&secret, body).header("Idempotency-Key", "new_1"));
    assert_eq!(ask(&json!({ "name": "" })).status, 400);
    assert_eq!(ask(&json!({ "name": "ci", "scopes": ["more"] })).status, 403);
    let made = ask(&json!({ "name": "ci" }));
    assert_eq!(made.status, 201);
    let again = ask(&json!({ "name": "ci" }));
    assert_eq!((again.header("Idempotent-Replayed"), again.text()), (Some("true"), made.text()));
}

#[test]
fn when_the_answer_is_there_every_sidecar_knows_what_has_ended_and_has_the_answer_again() {
    let redis = Redis::start();
    let fleet = Fleet::start(&vec![redis.url(); 3], &format!("{PATH}{REQUIRED}"));
    let admin = fleet.table().issue(&fleet.home().config, &json!({}), &json!({ "id": "key_admin" })).secret;
    let mut poll = fleet.poll();
    for round in 0..5 {
        let id = format!("key_{round}");
        let issued = seed::key(&fleet.home().config, "acme", &json!({ "id": id }));
        fleet.table().put_key(&issued.record);
        let ask = |secret: &str| Request::get("/v1/users").bearer(secret);
        poll.until(&ask(&issued.secret), 200, sidegate::clock::instant());
        let again = rotate(&issued.secret, &id).header("Idempotency-Key", &id);
        let rotated = once(fleet.addresses()[0], &again);
        assert_eq!(rotated.status, 200, "{}", rotated.text());
        let new = text(&rotated.json(), "key");
        assert!(poll.ask(&ask(&issued.secret)).iter().all(|answer| answer.status == 401));
        assert!(poll.ask(&ask(&new)).iter().all(|answer| answer.status == 200));
        // Also one that has never seen the request.
        assert!(poll.ask(&again).iter().all(|answer| answer.text() == rotated.text()));
        assert_eq!(once(fleet.addresses()[1], &revoke(&admin, &id)).status, 200);
        assert!(poll.ask(&ask(&new)).iter().all(|answer| answer.status == 401));
    }
}

#[test]
fn of_rotations_at_once_each_is_seen_or_refused_and_the_audit_has_just_those() {
    let redis = Redis::start();
    let fleet = Fleet::start(&vec![redis.url(); 2], PATH);
    let config = &fleet.home().config;
    let admin = fleet.table().issue(config, &json!({}), &json!({ "id": "key_admin" })).secret;
    let target = seed::key(config, "acme", &json!({ "id": "key_target" }));
    fleet.table().put_key(&target.record);
    let (addresses, barrier) = (fleet.addresses(), Arc::new(Barrier::new(20)));
    let clients: Vec<_> = (0..20)
        .map(|index| {
            let (address, barrier, request) = (addresses[index % 2], Arc::clone(&barrier), rotate(&admin, "key_target"));
            thread::spawn(move || {
                barrier.wait();
                once(address, &request)
            })
        })
        .collect();
    let answers: Vec<Answer> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, text(&refused.json(), "code")), (409, "VERSION_CONFLICT".to_owned()));
    }
    println!("20 rotations at once: {} won", won.len());
    assert!(!won.is_empty());
    let version = fleet.table().find_key("key_target").unwrap().version;
    assert_eq!(version, 1 + won.len() as u64);
    let works = |answer: &&&Answer| once(addresses[0], &Request::get("/").bearer(&text(&answer.json(), "key"))).status == 200;
    assert_eq!(won.iter().filter(works).count(), 1, "the last one's secret works, no other");

    let desk = Desk::open(config);
    let query = Query { tenant: Some("acme"), limit: 100, oldest_first: true, ..Query::default() };
    let events = desk.run(desk.store.list_events(&query)).items;
    let mut asked: Vec<&str> = won.iter().map(|answer| answer.header("X-Request-Id").unwrap()).collect();
    let rotations: Vec<_> = events.iter().filter(|event| event.action == "key.rotate").collect();
    let mut audited: Vec<&str> = rotations.iter().map(|event| event.request_id.as_deref().unwrap()).collect();
    asked.sort_unstable();
    audited.sort_unstable();
    assert_eq!(asked, audited);
    for event in rotations {
        assert_eq!((event.actor.as_str(), event.from.as_deref(), event.id.as_str()), ("key:key_admin", Some("127.0.0.1"), "key_target"));
    }
}
