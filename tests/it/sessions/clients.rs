//! Clients of the token endpoint: a token for a key may do what the key may where the key may, and ends with it.

use super::*;
use crate::support::node::agreed;
use crate::support::seed;

const FORM: &str = "application/x-www-form-urlencoded";

fn credentials(id: &str, secret: &str, more: &str) -> Request {
    let body = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}{more}");
    Request::new("POST", "/oauth/token").header("Content-Type", FORM).body(body)
}

fn scene() -> Scene {
    let routes = "[[routes]]\nname = \"write\"\nmatch = \"POST /v1/**\"\nscopes = [\"write\"]\n[[routes]]\nname = \"read\"\nmatch = \"GET /**\"\nscopes = [\"read\"]\n";
    Scene::new(Kind::Embedded, &format!("token_path = \"/oauth/token\"\n{routes}"))
}

fn client(scene: &Scene, fields: &Value) -> seed::Issued {
    let issued = seed::key(&scene.sidecar.home.config, "acme", fields);
    scene.sidecar.home.table().put_key(&issued.record);
    issued
}

#[test]
fn a_clients_token_does_what_its_key_may_where_its_key_may_and_no_more() {
    let scene = scene();
    let fields = json!({ "id": "key_client", "scopes": ["read", "write"], "endpoints": ["* /v1/**", "POST /oauth/token"] });
    let key = client(&scene, &fields);
    let answer = once(scene.sidecar.address(), &credentials("key_client", &key.secret, "&scope=read"));
    assert_eq!((answer.status, answer.header("cache-control"), answer.json().get("refresh_token")), (200, Some("no-store"), None));
    let token = text(&answer.json(), "access_token");
    let status = |method: &str, path: &str| once(scene.sidecar.address(), &Request::new(method, path).bearer(&token).body("{}")).status;
    assert_eq!(once(scene.sidecar.address(), &Request::get("/v1/a").bearer(&token)).status, 200);
    // Narrowed, and under the key's own endpoints.
    assert_eq!((status("POST", "/v1/a"), once(scene.sidecar.address(), &Request::get("/v2/a").bearer(&token)).status), (403, 403));
    for wider in ["&scope=read+admin", "&scope=*"] {
        let refused = once(scene.sidecar.address(), &credentials("key_client", &key.secret, wider));
        assert_eq!((refused.status, refused.json()), (400, json!({ "error": "invalid_scope" })));
    }
}

#[test]
fn a_clients_token_ends_with_its_key() {
    let scene = scene();
    let key = client(&scene, &json!({ "id": "key_client", "scopes": ["read"] }));
    let token = text(&once(scene.sidecar.address(), &credentials("key_client", &key.secret, "")).json(), "access_token");
    let is_good = || once(scene.sidecar.address(), &Request::get("/v1/a").bearer(&token)).status == 200;
    assert!(is_good());
    scene.admin("console").post("/keys/key_client/deactivate?wait=5s", &json!({}));
    assert!(!is_good());
    scene.admin("console").post("/keys/key_client/activate?wait=5s", &json!({}));
    agreed("it is on again", is_good);
    scene.admin("console").post("/keys/key_client/rotate?wait=5s", &json!({ "overlap": "0s" }));
    assert!(!is_good());
    let refused = once(scene.sidecar.address(), &credentials("key_client", &key.secret, ""));
    assert_eq!((refused.status, refused.json()), (401, json!({ "error": "invalid_client" })));
}

#[test]
fn guesses_at_the_token_endpoint_are_guesses() {
    let scene =
        Scene::new(Kind::Embedded, "token_path = \"/oauth/token\"\n[restrictions]\nguess_throttle = { failures = 3, per = \"1h\" }\n");
    let guess = || {
        let secret = secrecy::ExposeSecret::expose_secret(&sidegate::key::format::generate("gately_sk_live_").unwrap()).to_owned();
        once(scene.sidecar.address(), &credentials("key_main", &secret, "")).status
    };
    let known = || once(scene.sidecar.address(), &Request::get("/api/v1/members").bearer(&scene.key)).status;
    assert_eq!(known(), 200);
    assert_eq!([guess(), guess(), guess(), guess()], [401, 401, 401, 429]);
    // Who is known is not throttled.
    assert_eq!((known(), once(scene.sidecar.address(), &credentials("key_main", &scene.key, "")).status), (200, 200));
}

#[test]
fn a_clients_token_ends_with_the_secret_it_was_given_for() {
    let scene = scene();
    let key = client(&scene, &json!({ "id": "key_client", "scopes": ["read"] }));
    let token = |secret: &str| text(&once(scene.sidecar.address(), &credentials("key_client", secret, "")).json(), "access_token");
    let old = token(&key.secret);
    let rotated = scene.admin("console").post("/keys/key_client/rotate?wait=5s", &json!({ "overlap": "24h" }));
    // All of it in one second, and the last by the old secret.
    let tokens = [old, token(&text(&rotated, "key")), token(&key.secret)];
    let good = || tokens.each_ref().map(|token| once(scene.sidecar.address(), &Request::get("/v1/a").bearer(token)).status == 200);
    assert_eq!(good(), [true; 3]);
    scene.admin("console").post("/keys/key_client/end-overlap?wait=5s", &json!({}));
    assert_eq!(good(), [false, true, false]);
}

#[test]
fn a_token_that_stands_for_a_key_opens_nothing_that_is_closed_to_keys() {
    let route = |name: &str, more: &str| format!("[[routes]]\nname = \"{name}\"\nmatch = \"GET /{name}/**\"\n{more}\n");
    let routes = [
        route("users", "credentials = [\"jwt\"]"),
        route("all", "credentials = [\"jwt\", \"api_key\"]"),
        route("public", "kinds = [\"publishable\"]"),
    ];
    let kinds = "[[key_kinds]]\nname = \"publishable\"\nprefixes = { live = \"gately_pk_live_\", test = \"gately_pk_test_\" }\n";
    let scene = Scene::new(Kind::Embedded, &format!("token_path = \"/oauth/token\"\n{kinds}{}", routes.concat()));
    let key = client(&scene, &json!({ "id": "key_client" }));
    let token = text(&once(scene.sidecar.address(), &credentials("key_client", &key.secret, "")).json(), "access_token");
    let user = scene.login("ada").access;
    let status = |token: &str, path: &str| once(scene.sidecar.address(), &Request::get(path).bearer(token)).status;
    let paths = ["/users/a", "/all/a", "/public/a"];
    assert_eq!(paths.map(|path| status(&token, path)), [403, 200, 403]);
    assert_eq!(paths.map(|path| status(&key.secret, path)), [403, 200, 403]);
    assert_eq!(paths.map(|path| status(&user, path)), [200; 3]);
}

#[test]
fn a_key_and_the_tokens_that_stand_for_it_are_counted_as_one() {
    for counted in ["local", "fleet"] {
        let limit = format!("[rate_limits.each]\nby = [\"key\"]\nrequests = 4\nper = \"1h\"\ncounted = \"{counted}\"\n");
        let route = "[[routes]]\nname = \"all\"\nmatch = \"GET /**\"\nrate_limits = [\"each\"]\n";
        let scene = Scene::new(Kind::Redis, &format!("token_path = \"/oauth/token\"\n{limit}{route}"));
        let key = client(&scene, &json!({ "id": "key_client" }));
        let token = || text(&once(scene.sidecar.address(), &credentials("key_client", &key.secret, "")).json(), "access_token");
        let (one, two) = (token(), token());
        let status = |credential: &str| once(scene.sidecar.address(), &Request::get("/a").bearer(credential)).status;
        assert_eq!([&key.secret, &one, &two, &key.secret].map(|credential| status(credential)), [200; 4], "{counted}");
        assert_eq!([&key.secret, &one, &two].map(|credential| status(credential)), [429; 3], "{counted}");
    }
}

#[test]
fn two_users_of_one_name_in_two_tenants_are_two() {
    for by in ["subject", "key"] {
        let limit = format!("[rate_limits.each]\nby = [\"{by}\"]\nrequests = 1\nper = \"1h\"\ndefault = true\n");
        let scene = Scene::new(Kind::Embedded, &limit);
        scene.admin("console").post("/tenants", &json!({ "id": "globex" }));
        let begin = |tenant: &str| login(&scene.admin(LOGIN), &json!({ "tenant": tenant, "subject": "ada" })).access;
        let (ours, again, theirs) = (begin("acme"), begin("acme"), begin("globex"));
        assert_eq!([ours, again, theirs].map(|token| scene.profile(&token).status), [200, 429, 200], "{by}");
    }
}

#[test]
fn a_key_that_ended_while_the_body_was_on_its_way_gets_nothing() {
    let ends: [(&str, &str); 2] = [("/keys/key_client/revoke?wait=5s", "key"), ("/tenants/acme/suspend?wait=5s", "tenant")];
    for (end, what) in ends {
        for kind in ["application/json", "application/grpc"] {
            let scene = Scene::new(Kind::Embedded, "");
            let key = client(&scene, &json!({ "id": "key_client" }));
            let session = scene.login("ada");
            let request = refreshing(&key.secret, &session.refresh);
            let body = request.body.clone();
            let mut head = Request { body: Vec::new(), ..request };
            head.headers.retain(|(name, _)| name != "Content-Type");
            let head = head.header("Content-Type", kind).header("Expect", "100-continue");
            let mut slow = crate::support::client::Client::connect(scene.sidecar.address());
            slow.send(head.bytes());
            // It was admitted.
            let told = b"HTTP/1.1 100 Continue\r\n\r\n";
            assert_eq!(slow.bytes(told.len()), told);
            scene.admin("console").post(end, &json!({}));
            slow.send(&body);
            let answer = slow.answer("POST");
            assert!(!answer.text().contains("refresh_token"), "{what} {kind}: {}", answer.text());
            assert!(answer.status == 401 || kind == "application/grpc" && answer.header("grpc-status") == Some("16"), "{what} {kind}");
            if what == "key" {
                // Nor was it used up.
                scene.refreshed(&session.refresh);
            }
        }
    }
}

#[test]
fn refresh_tokens_that_a_key_guesses_are_guesses() {
    let scene = Scene::new(Kind::Embedded, "[restrictions]\nguess_throttle = { failures = 3, per = \"1h\" }\n");
    let first = scene.login("ada");
    // Those that are good cost nothing.
    let last = (0..5).fold(first.refresh, |token, _| scene.refreshed(&token).refresh);
    let guess = || scene.refresh(&last.replacen("rt_", "rt_x", 1)).status;
    assert_eq!([guess(), guess(), guess(), guess()], [401, 401, 401, 429]);
}
