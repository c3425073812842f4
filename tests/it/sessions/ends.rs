//! The end of a session reaches its access tokens wherever they are: on other sidecars at once, in running exchanges within a second.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;
use crate::support::client::Client;
use crate::support::fleet::Fleet;
use crate::support::logins::Logins;
use crate::support::node::agreed;
use crate::support::process;
use crate::support::redis::Redis;
use sidegate::session::authority::NewSession;

/// One second is promised; a busy machine may take its time on top.
const BOUND: Duration = Duration::from_secs(3);

#[test]
fn a_revoked_session_is_over_on_every_sidecar() {
    let (redis, files) = (Redis::start(), tempfile::tempdir().unwrap());
    // Only what is told of can be what ends a token here.
    let text = format!("profile = \"gately\"\n[cache]\nttl = \"1h\"\n{}", signing(&files));
    let fleet = Fleet::start(&vec![redis.url(); 3], &text);
    fleet.home().issue();
    let logins = Logins::open(&fleet.home().config, Clock::System);
    let environment = sidegate::config::sections::EnvironmentName::Live;
    let new = |subject: &str| NewSession { tenant: "acme".into(), subject: subject.into(), environment, scopes: Vec::new() };
    let (ada, bob) = (logins.begin(new("ada")), logins.begin(new("bob")));
    let ask = |access: &str| -> Vec<u16> {
        fleet.addresses().into_iter().map(|at| once(at, &Request::get("/api/v1/members").bearer(access)).status).collect()
    };
    assert_eq!((ask(&ada.access), ask(&bob.access)), (vec![200; 3], vec![200; 3]));
    let ended = process::run(&["sessions", "revoke", "--subject", "ada", "--wait"], &fleet.home().config_file());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("1 revoked") && ended.stderr.contains("3 of 3 sidecars confirmed"), "{}{}", ended.stdout, ended.stderr);
    assert_eq!((ask(&ada.access), ask(&bob.access)), (vec![401; 3], vec![200; 3]));
    let all = process::run(&["sessions", "revoke", "--all", "--wait", "--json"], &fleet.home().config_file()).json();
    assert_eq!(all["revoked"], 1);
    assert_eq!(ask(&bob.access), vec![401; 3]);
}

#[test]
fn what_runs_ends_with_its_session() {
    let (tell, gone) = channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::start(move |exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n");
        exchange.wait_for_the_end();
        tell.lock().unwrap().send(()).unwrap();
    });
    let scene = Scene::with(upstream, Kind::Embedded, "");
    let login = scene.login("ada");
    let mut client = Client::connect(scene.sidecar.address());
    client.send(Request::get("/events").bearer(&login.access).bytes());
    assert!(client.head().first_line.contains("200"));
    let listed = scene.admin("console").get("/sessions?tenant=acme");
    let id = text(&listed["data"][0], "id");
    let shown = ok(&scene.admin("console").ask("DELETE", &format!("/sessions/{id}?wait=5s"), None));
    assert_eq!((&shown["status"], &shown["confirmation"]["confirmed"]), (&json!("revoked"), &json!(1)), "{shown}");
    gone.recv_timeout(BOUND).unwrap();
    assert!(is_invalid(&scene.profile(&login.access)) && is_invalid(&scene.refresh(&login.refresh)));
    // Once more it is as good as once.
    let again = ok(&scene.admin("console").ask("DELETE", &format!("/sessions/{id}"), None));
    assert_eq!(again["version"], shown["version"]);
    assert_eq!(scene.admin("console").ask("DELETE", "/sessions/ses_nobody", None).status, 404);
}

#[test]
fn a_suspended_tenant_ends_its_sessions_and_a_resumed_one_goes_on() {
    let scene = Scene::new(Kind::Redis, "");
    let login = scene.login("ada");
    assert_eq!(scene.profile(&login.access).status, 200);
    scene.admin("console").post("/tenants/acme/suspend?wait=5s", &json!({}));
    assert!(is_invalid(&scene.profile(&login.access)));
    assert_eq!(scene.refresh(&login.refresh).status, 401);
    scene.admin("console").post("/tenants/acme/resume?wait=5s", &json!({}));
    assert_eq!(scene.profile(&login.access).status, 200);
    scene.refreshed(&login.refresh);
}

#[test]
fn many_are_ended_by_tenant_or_subject_and_nobody_else() {
    let scene = Scene::new(Kind::Embedded, "");
    scene.admin("console").post("/tenants", &json!({ "id": "globex" }));
    let begin = |tenant: &str, subject: &str| login(&scene.admin(LOGIN), &json!({ "tenant": tenant, "subject": subject }));
    let logins = [begin("acme", "ada"), begin("acme", "bob"), begin("globex", "ada"), begin("globex", "eve")];
    let good = || logins.iter().map(|login| scene.profile(&login.access).status == 200).collect::<Vec<_>>();
    let revoke = |body: Value| scene.admin("console").ask("POST", "/sessions/revoke?wait=5s", Some(&body));
    assert_eq!(good(), [true; 4]);
    for nothing in [json!({}), json!({ "all": true, "tenant": "acme" }), json!({ "all": false })] {
        assert_eq!(revoke(nothing).status, 400);
    }
    assert_eq!(ok(&revoke(json!({ "tenant": "globex", "subject": "ada" })))["revoked"], 1);
    assert_eq!(good(), [true, true, false, true]);
    assert_eq!(ok(&revoke(json!({ "tenant": "acme" })))["revoked"], 2);
    assert_eq!(good(), [false, false, false, true]);
    assert_eq!(ok(&revoke(json!({ "all": true })))["revoked"], 1);
    assert_eq!(good(), [false; 4]);
    let page = scene.admin("console").get("/sessions?limit=3");
    let rest = scene.admin("console").get(&format!("/sessions?limit=3&cursor={}", text(&page, "next")));
    assert_eq!((page["data"].as_array().unwrap().len(), rest["data"].as_array().unwrap().len()), (3, 1));
}

#[test]
fn the_command_line_shows_sessions_and_ends_them_by_id() {
    let scene = Scene::new(Kind::Embedded, "");
    let (ada, bob) = (scene.login("ada"), scene.login("bob"));
    let run = |arguments: &[&str]| process::run(arguments, &scene.sidecar.home.config_file());
    assert_eq!(run(&["sessions", "list", "--tenant", "acme", "--quiet"]).ok().lines().count(), 2);
    let id = run(&["sessions", "list", "--subject", "ada", "--quiet"]).ok().trim().to_owned();
    assert!(run(&["sessions", "list"]).ok().contains("ada"));
    let ended = run(&["sessions", "revoke", "ses_nobody", &id, "--wait"]);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(ended.stdout.contains(&format!("{id} revoked")), "{}", ended.stdout);
    agreed("it is over here too", || scene.profile(&ada.access).status == 401);
    assert_eq!(scene.profile(&bob.access).status, 200);
    let left = run(&["sessions", "list", "--subject", "bob", "--json"]).json();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["ended_at"]), (1, &Value::Null));
    for wrong in [&["sessions", "revoke"][..], &["sessions", "revoke", "--all", "--tenant", "acme"], &["sessions", "revoke", "x", "--all"]]
    {
        assert_eq!(run(wrong).code, 2, "{wrong:?}");
    }
}
