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
    scene.sidecar.clock.advance(1_000);
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
