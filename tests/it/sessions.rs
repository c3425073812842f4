//! Sessions from login to logout: gately's flow by the clock, many refreshes at once over two sidecars, a stolen token, and an end that
//! reaches every sidecar; and nothing of a refresh token anywhere.

mod clients;
mod ends;
mod keys;
mod traces;

use serde_json::{Value, json};
use sidegate::clock::Clock;

use crate::support::admin::{Caller, Tokens, ok};
use crate::support::client::{Answer, Request, once};
use crate::support::logins::Login;
use crate::support::sidecar::{Home, Kind, NOW, Sidecar};
use crate::support::tokens::Signer;
use crate::support::upstream::Upstream;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const REFRESH: &str = "/api/v1/auth/refresh";
/// Who may begin sessions and nothing else.
const LOGIN: &str = "login";

/// gately's API with sessions, and a key of its one project.
struct Scene {
    sidecar: Sidecar,
    key: String,
    /// With the signing key, and the admin's tokens.
    _files: (tempfile::TempDir, Tokens),
    upstream: Upstream,
}

/// What proxy.toml says of sessions, with a new Ed25519 key in this directory.
fn signing(files: &tempfile::TempDir) -> String {
    let file = files.path().join("signing.pem");
    std::fs::write(&file, Signer::generate("EdDSA").private_pem()).unwrap();
    format!("[sessions]\nsigning_key_files = [\"{}\"]\n", file.display())
}

fn tokens() -> Tokens {
    Tokens::new(&[("console", "*"), (LOGIN, "sessions:create")])
}

impl Scene {
    fn new(kind: Kind, more: &str) -> Self {
        Self::with(Upstream::echo(), kind, more)
    }

    fn with(upstream: Upstream, kind: Kind, more: &str) -> Self {
        let (files, tokens) = (tempfile::tempdir().unwrap(), tokens());
        let text =
            format!("profile = \"gately\"\nupstream = \"{}\"\n{}{more}\n{}", upstream.url(), signing(&files), tokens.config("127.0.0.1:0"));
        let home = Home::new(kind, &format!("{text}\n[runtime]\nworkers = 1\n[ops]\nlisten = \"127.0.0.1:0\"\n"));
        let key = home.issue().secret;
        let sidecar = Sidecar::in_home(home, Clock::manual(NOW.parse().unwrap())).in_touch();
        Self { sidecar, key, _files: (files, tokens), upstream }
    }

    fn admin(&self, token: &str) -> Caller {
        Caller::new(self.sidecar.listener("admin"), token)
    }

    /// As the API's own login handler has it.
    fn login(&self, subject: &str) -> Login {
        login(&self.admin(LOGIN), &json!({ "tenant": "acme", "subject": subject }))
    }

    fn refresh(&self, refresh: &str) -> Answer {
        once(self.sidecar.address(), &refreshing(&self.key, refresh))
    }

    /// The next pair.
    #[track_caller]
    fn refreshed(&self, refresh: &str) -> Login {
        pair(&self.refresh(refresh))
    }

    fn profile(&self, access: &str) -> Answer {
        once(self.sidecar.address(), &Request::get("/api/v1/user/profile").bearer(access))
    }
}

fn login(admin: &Caller, new: &Value) -> Login {
    let answer = admin.ask("POST", "/sessions", Some(new));
    let shown = ok(&answer);
    assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")));
    Login { access: text(&shown, "access_token"), refresh: text(&shown, "refresh_token") }
}

fn refreshing(key: &str, refresh: &str) -> Request {
    let body = json!({ "refresh_token": refresh }).to_string();
    Request::new("POST", REFRESH).bearer(key).header("Content-Type", "application/json").body(body)
}

#[track_caller]
fn pair(answer: &Answer) -> Login {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let session = &answer.json()["session"];
    Login { access: text(session, "access_token"), refresh: text(session, "refresh_token") }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

fn is_invalid(answer: &Answer) -> bool {
    answer.status == 401 && answer.json() == json!({ "success": false, "error": "Invalid or expired token", "code": "INVALID_TOKEN" })
}

fn gately_by_the_clock(kind: Kind) {
    let scene = Scene::new(kind, "");
    // The key is for servers, the token for the member who has logged in.
    assert_eq!(once(scene.sidecar.address(), &Request::get("/api/v1/members").bearer(&scene.key)).status, 200);
    let first = scene.login("ada");
    let seen = scene.profile(&first.access);
    assert_eq!(seen.status, 200, "{}", seen.text());
    let told = scene.upstream.recorded().pop().unwrap();
    let headers = ["x-project-id", "x-auth-subject", "x-auth-credential"].map(|name| told.header(name).unwrap_or_default().to_owned());
    assert_eq!(headers, ["acme", "ada", "jwt"]);
    // An hour, and what clocks may differ by.
    scene.sidecar.clock.advance(HOUR_MS + 29_000);
    assert_eq!(scene.profile(&first.access).status, 200);
    scene.sidecar.clock.advance(1_000);
    assert!(is_invalid(&scene.profile(&first.access)));
    let second = scene.refreshed(&first.refresh);
    assert_eq!(scene.profile(&second.access).status, 200);
    // Seven days without a refresh; each one begins them anew.
    scene.sidecar.clock.advance(7 * DAY_MS - 1);
    let third = scene.refreshed(&second.refresh);
    scene.sidecar.clock.advance(7 * DAY_MS);
    assert!(is_invalid(&scene.refresh(&third.refresh)));
    assert!(is_invalid(&scene.profile(&third.access)));
}

#[test]
fn gatelys_flow_runs_by_the_clock_on_the_embedded_store() {
    gately_by_the_clock(Kind::Embedded);
}

#[test]
fn gatelys_flow_runs_by_the_clock_on_redis() {
    gately_by_the_clock(Kind::Redis);
}

#[test]
fn the_old_token_gets_its_pair_again_for_a_moment_and_then_ends_the_session() {
    let scene = Scene::new(Kind::Embedded, "");
    let first = scene.login("ada");
    let second = scene.refreshed(&first.refresh);
    scene.sidecar.clock.advance(9_999);
    let again = scene.refreshed(&first.refresh);
    assert_eq!((&again.access, &again.refresh), (&second.access, &second.refresh));
    // In another's name it is nothing, and ends nothing.
    let other = crate::support::seed::key(&scene.sidecar.home.config, "acme", &json!({ "id": "key_other" }));
    scene.sidecar.home.table().put_key(&other.record);
    assert!(is_invalid(&once(scene.sidecar.address(), &refreshing(&other.secret, &first.refresh))));
    let third = scene.refreshed(&second.refresh);
    assert_eq!(scene.profile(&third.access).status, 200);
    scene.sidecar.clock.advance(1);
    assert!(is_invalid(&scene.refresh(&first.refresh)));
    // All of the family is dead: the thief's and the owner's.
    assert!(is_invalid(&scene.refresh(&third.refresh)));
    let events = scene.admin("console").get("/audit?tenant=acme");
    let revoked: Vec<&Value> = events["data"].as_array().unwrap().iter().filter(|event| event["action"] == "session.revoke").collect();
    assert_eq!(revoked.len(), 1, "{events}");
    assert_eq!((&revoked[0]["after"]["reason"], &revoked[0]["after"]["subject"]), (&json!("reuse"), &json!("ada")));
    let listed = scene.admin("console").get("/sessions?subject=ada");
    assert_eq!((&listed["data"][0]["status"], &listed["data"][0]["reason"]), (&json!("revoked"), &json!("reuse")));
}

#[test]
fn a_login_is_for_who_may_begin_sessions_and_says_what_is_wrong() {
    let scene = Scene::new(Kind::Embedded, "");
    let login = scene.admin(LOGIN);
    let status = |method: &str, path: &str, body: Value| login.ask(method, path, Some(&body)).status;
    for (body, expected) in [
        (json!({ "tenant": "acme", "subject": "ada", "scopes": ["read:a"], "environment": "test" }), 201),
        (json!({ "tenant": "globex", "subject": "ada" }), 404),
        (json!({ "tenant": "acme" }), 400),
        (json!({ "tenant": "acme", "subject": "" }), 400),
        (json!({ "tenant": "acme", "subject": "a b" }), 400),
        (json!({ "tenant": "acme", "subject": "ada", "scopes": ["a b"] }), 400),
        (json!({ "tenant": "acme", "subject": "ada", "password": "x" }), 400),
        // Of these a token would be made that is too long for anybody to take.
        (json!({ "tenant": "acme", "subject": "ada", "scopes": (0..40).map(|n| format!("{n:0250}")).collect::<Vec<_>>() }), 400),
    ] {
        assert_eq!(status("POST", "/sessions", body.clone()), expected, "{body}");
    }
    for (method, path) in [("GET", "/sessions"), ("GET", "/keys"), ("GET", "/tenants"), ("GET", "/audit"), ("DELETE", "/sessions/ses_1")] {
        assert_eq!(login.ask(method, path, None).status, 403, "{method} {path}");
    }
    assert_eq!(status("POST", "/sessions/revoke", json!({ "all": true })), 403, "who may begin sessions ends none");
    assert_eq!(status("POST", "/keys", json!({ "tenant": "acme", "name": "x" })), 403);
    scene.admin("console").post("/tenants/acme/suspend", &json!({}));
    assert_eq!(status("POST", "/sessions", json!({ "tenant": "acme", "subject": "ada" })), 409);
}
