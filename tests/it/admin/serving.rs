//! The listener itself: where it may be, which tokens count after a reload, and a sidecar that only manages.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::text;
use crate::support::admin::{Caller, Tokens, ok, problem, secret};
use crate::support::client::{Request, once};
use crate::support::process::{self, Serve, run};
use crate::support::redis::Redis;
use crate::support::sidecar::{Home, Kind};
use crate::support::stream::Address;
use crate::support::upstream::Upstream;

/// The addresses that a process says it listens on.
fn listening(serve: &Serve, n: usize) -> Vec<SocketAddr> {
    serve.stderr.wait(n, |line| line.strip_prefix("listening on ").and_then(|address| address.parse().ok()))
}

#[test]
fn tokens_are_read_again_and_every_line_of_a_file_counts() {
    let tokens = Tokens::console();
    let home = Home::new(Kind::Embedded, &format!("[ops]\nsocket = \"control.sock\"\n{}", tokens.config("127.0.0.1:0")));
    let serve = Serve::start(&home.config_file());
    let admin = listening(&serve, 2)[1];
    let status = |secret: &str| Caller::with_secret(admin, secret).ask("GET", "/keys", None).status;
    let (old, new) = (secret("console"), secret("another"));
    assert_eq!((status(&old), status(&new)), (200, 401));
    let file = tokens.dir.path().join("console");
    for (content, old_may, new_may) in [(format!("{new}\n{old}\n"), 200, 200), (new.clone(), 401, 200)] {
        std::fs::write(&file, content).unwrap();
        run(&["reload"], &home.config_file()).ok();
        assert_eq!((status(&old), status(&new)), (old_may, new_may));
    }
    // What could not be a token changes nothing.
    std::fs::write(&file, "short").unwrap();
    let refused = run(&["reload"], &home.config_file());
    assert!(refused.code == 3 && refused.stderr.contains("admin.tokens[0].file"), "{refused:?}");
    assert_eq!(status(&new), 200);
    // Permissions too; and where it listens needs a restart.
    std::fs::write(&file, &new).unwrap();
    let config = std::fs::read_to_string(home.config_file()).unwrap();
    std::fs::write(home.config_file(), config.replace("[\"*\"]", "[\"usage:read\"]")).unwrap();
    run(&["reload"], &home.config_file()).ok();
    assert_eq!(problem(&Caller::with_secret(admin, &new).ask("GET", "/keys", None)), (403, "permission_missing".into()));
    let elsewhere = std::fs::read_to_string(home.config_file()).unwrap();
    let elsewhere = elsewhere.replace("[admin]\nlisten = \"127.0.0.1:0\"", "[admin]\nlisten = \"localhost:0\"");
    std::fs::write(home.config_file(), elsewhere).unwrap();
    let report = run(&["reload", "--json"], &home.config_file()).json();
    assert_eq!(report["needs_restart"], json!(["admin.listen"]), "{report}");
    let (_, stdout, stderr) = serve.stop();
    for word in [&old, &new] {
        assert!(!stdout.text().contains(word) && !stderr.text().contains(word), "a token is in the log");
    }
}

#[test]
fn who_asked_what_is_one_line_each() {
    let tokens = Tokens::console();
    let home = Home::new(Kind::Embedded, &tokens.config("127.0.0.1:0"));
    let serve = Serve::start(&home.config_file());
    let console = Caller::console(listening(&serve, 2)[1]);
    console.post("/tenants", &json!({ "id": "acme" }));
    let key = text(&console.post("/keys", &json!({ "tenant": "acme", "name": "x" })), "key");
    console.ask("GET", &format!("/keys/{key}"), None);
    console.send(&Request::get("/admin/v1/keys"));
    let lines: Vec<Value> =
        serve.stderr.wait(4, |line| serde_json::from_str(line).ok().filter(|line: &Value| line["message"] == "management request"));
    let told: Vec<(&str, &str, u64)> = lines
        .iter()
        .map(|line| (line["token"].as_str().unwrap(), line["path"].as_str().unwrap(), line["status"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("console", "/admin/v1/tenants", 201),
            ("console", "/admin/v1/keys", 201),
            ("console", "/admin/v1/keys/[masked]", 404),
            ("-", "/admin/v1/keys", 421),
        ]
    );
    assert!(!serve.stderr.text().contains(key.split_at(8).1));
}

#[test]
fn a_unix_socket_is_for_its_group_and_needs_a_token_all_the_same() {
    let tokens = Tokens::console();
    // Relative to the file.
    let home = Home::new(Kind::Embedded, &tokens.config("unix:admin.sock"));
    let serve = Serve::start(&home.config_file());
    let socket = home.dir.path().join("admin.sock");
    serve.stderr.find(|line| line.contains("admin.sock").then_some(()));
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let at = || Address::Unix(socket.clone());
    assert_eq!(problem(&once(at(), &Request::get("/admin/v1/keys"))), (401, "token_missing".into()));
    // Whatever Host says: no browser can be led here.
    let named = Caller::new(at(), "console").request("GET", "/keys", None);
    assert_eq!(
        once(
            at(),
            &Request {
                headers: named.headers.into_iter().skip(1).chain([("Host".into(), "x".into())]).collect(),
                ..Request::get("/admin/v1/keys")
            }
        )
        .status,
        200
    );
    let made = ok(&Caller::new(at(), "console").ask("POST", "/tenants", Some(&json!({ "id": "acme" }))));
    assert_eq!(made["id"], "acme");
    let events = Caller::new(at(), "console").get("/audit");
    assert_eq!((&events["data"][0]["actor"], &events["data"][0]["from"]), (&json!("admin:console"), &Value::Null));
    assert!(serve.stop().0.success());
    assert!(!socket.exists());
}

#[test]
fn check_and_serve_refuse_a_listener_that_anybody_could_use() {
    let tokens = Tokens::console();
    let home = Home::new(Kind::Embedded, "");
    let good = std::fs::read_to_string(home.config_file()).unwrap();
    for (listen, with_tokens, words) in [
        ("0.0.0.0:9902", true, "needs TLS"),
        ("[::]:9902", true, "needs TLS"),
        ("admin.example:9902", true, "needs TLS"),
        ("127.0.0.1:0", false, "needs a token"),
        ("unix:admin.sock", false, "needs a token"),
    ] {
        let admin = if with_tokens { tokens.config(listen) } else { format!("[admin]\nlisten = \"{listen}\"\n") };
        std::fs::write(home.config_file(), format!("{good}\n{admin}")).unwrap();
        for command in ["check", "serve"] {
            let ended = run(&[command], &home.config_file());
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(ended.code == 3 && said.contains(words) && said.contains("^^^") && said.contains("listen = "), "{listen}: {said}");
        }
    }
    for listen in ["127.0.0.1:0", "[::1]:0", "localhost:0", "unix:admin.sock"] {
        std::fs::write(home.config_file(), format!("{good}\n{}", tokens.config(listen))).unwrap();
        let ended = run(&["check"], &home.config_file());
        assert!(ended.code == 0 && ended.stdout.contains("management"), "{listen}: {ended:?}");
    }
    let wrong = tokens.config("127.0.0.1:0").replace("[\"*\"]", "[\"keys\", \"tenant\"]");
    std::fs::write(home.config_file(), format!("{good}\n{wrong}")).unwrap();
    let said = run(&["check"], &home.config_file()).stdout;
    assert!(said.contains("`tenant` is no permission") && said.contains("^^^"), "{said}");
}

fn certify(dir: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed(vec!["admin.example".to_owned()]).unwrap();
    std::fs::write(dir.join(format!("{name}.crt")), made.cert.pem()).unwrap();
    std::fs::write(dir.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
}

#[test]
fn with_a_certificate_it_may_be_anywhere_and_follows_the_files() {
    let (tokens, dir) = (Tokens::console(), tempfile::tempdir().unwrap());
    certify(dir.path(), "first");
    let at = dir.path().display();
    let home = Home::new(Kind::Embedded, "[ops]\nsocket = \"control.sock\"\n");
    let good = std::fs::read_to_string(home.config_file()).unwrap();
    let names = "allowed_hosts = [\"admin.example\"]\n[[admin";
    let encrypted = format!("tls = {{ cert_file = \"{at}/tls.crt\", key_file = \"{at}/tls.key\" }}\n{names}");
    let anywhere = tokens.config("0.0.0.0:0").replacen("[[admin", &encrypted, 1);
    std::fs::write(home.config_file(), format!("{good}\n{anywhere}")).unwrap();
    let serve = Serve::start(&home.config_file());
    let port = listening(&serve, 2)[1].port();
    let curl = |ca: &str, more: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "--resolve", &format!("admin.example:{port}:127.0.0.1"), "--cacert", &format!("{at}/{ca}.crt")])
            .args(["-H", &format!("Authorization: Bearer {}", secret("console"))])
            .args(more)
            .arg(format!("https://admin.example:{port}/admin/v1/keys"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let empty = "{\"data\":[],\"next\":null,\"unreadable\":[]}";
    assert_eq!(curl("first", &[]), empty);
    assert!(curl("first", &["-H", "Host: localhost"]).contains("host_unknown"));
    certify(dir.path(), "second");
    run(&["reload"], &home.config_file()).ok();
    assert_eq!((curl("first", &[]).as_str(), curl("second", &[]).as_str()), ("", empty));
    // Without a certificate it would have to be elsewhere: where it is, it stays encrypted.
    let elsewhere = tokens.config("127.0.0.1:0").replacen("[[admin", names, 1);
    std::fs::write(home.config_file(), format!("{good}\n{elsewhere}")).unwrap();
    let report = run(&["reload", "--json"], &home.config_file()).json();
    assert_eq!(report["needs_restart"], json!(["admin.listen"]), "{report}");
    assert_eq!(curl("second", &[]), empty);
}

#[test]
fn a_deployment_that_only_manages_opens_no_public_listener() {
    let (tokens, dir, redis) = (Tokens::console(), tempfile::tempdir().unwrap(), Redis::start());
    let config = dir.path().join("proxy.toml");
    let common =
        format!("[ops]\nlisten = \"127.0.0.1:0\"\nsocket = \"\"\n[store]\nurl = \"{}\"\n[shutdown]\ndrain_delay = \"0s\"\n", redis.url());
    std::fs::write(&config, format!("upstream = \"\"\n{common}{}", tokens.config("127.0.0.1:0"))).unwrap();
    let checked = run(&["check"], &config);
    assert!(checked.code == 0 && checked.stdout.contains("no problems") && !checked.stdout.contains("listener"), "{checked:?}");
    let manager = Serve::start(&config);
    let told = listening(&manager, 2);
    let console = Caller::console(told[1]);
    assert_eq!(once(told[0], &Request::get("/readyz")).status, 200);
    assert_eq!(manager.stderr.text().matches("listening on").count(), 2);
    console.post("/tenants", &json!({ "id": "acme" }));
    let made = console.post("/keys", &json!({ "tenant": "acme", "name": "x" }));
    // Where requests are proxied, on the same store, that is a key.
    let upstream = Upstream::echo();
    let other = dir.path().join("other.toml");
    std::fs::write(
        &other,
        format!("upstream = \"{}\"\nlisten = \"127.0.0.1:0\"\n{common}", upstream.url())
            .replace("listen = \"127.0.0.1:0\"\nsocket", "listen = \"\"\nsocket"),
    )
    .unwrap();
    let proxy = Serve::start(&other);
    let status = || once(proxy.address, &Request::get("/").bearer(&text(&made, "key"))).status;
    assert_eq!(status(), 200);
    let revoked = console.post(&format!("/keys/{}/revoke?wait=5s", text(&made, "id")), &json!({}));
    assert_eq!((&revoked["confirmation"]["of"], status()), (&json!(2), 401), "{revoked}");
    assert!(manager.stop().0.success());
    // Without it that would be a mistake, and is told.
    std::fs::write(&config, format!("upstream = \"\"\n{common}")).unwrap();
    let warned = run(&["check"], &config).stdout;
    assert!(warned.contains("nothing is forwarded") && warned.contains("listener public"), "{warned}");
}

/// Every byte under a directory, with where it is.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

fn plaintext_is_told_once(kind: Kind) {
    let upstream = Upstream::echo();
    let tokens = Tokens::console();
    let home = Home::new(kind, &format!("upstream = \"{}\"\n{}", upstream.url(), tokens.config("127.0.0.1:0")));
    let serve = Serve::start(&home.config_file());
    let console = Caller::console(listening(&serve, 2)[1]);
    console.post("/tenants", &json!({ "id": "acme" }));
    let once_only =
        |path: &str, body: &Value| ok(&console.send(&console.request("POST", path, Some(body)).header("Idempotency-Key", "once-1")));
    let made = once_only("/keys", &json!({ "tenant": "acme", "name": "x" }));
    let id = text(&made, "id");
    let rotated = console.post(&format!("/keys/{id}/rotate"), &json!({ "overlap": "1h" }));
    let secrets = [text(&made, "key"), text(&rotated, "key"), "sk_live_nobodysSecret0123456789".to_owned()];
    let mut shown = String::new();
    for secret in &secrets {
        upstream.must_never_see(secret);
        for answer in [
            console.ask("POST", "/keys/lookup", Some(&json!({ "key": secret }))),
            console.ask("POST", "/explain", Some(&json!({ "target": "/v1/users", "credential": secret }))),
            console.ask(
                "POST",
                "/explain",
                Some(&json!({ "target": format!("/v1/users?key={secret}"), "headers": [["X-API-Key", secret]] })),
            ),
            console.ask("GET", &format!("/keys/{secret}"), None),
            console.ask("GET", &format!("/nothing/{secret}?key={secret}"), None),
            console.ask("POST", "/keys/revoke", Some(&json!({ "keys": [secret], "dry_run": true }))),
            console.ask("POST", "/keys/revoke", Some(&json!({ "ids": [secret], "dry_run": true }))),
        ] {
            shown += &answer.text();
        }
        once(serve.address, &Request::get("/v1/users").bearer(secret));
    }
    for path in ["/keys", &format!("/keys/{id}"), "/audit", "/denials", &format!("/keys/{id}/usage"), "/usage?tenant=acme", "/status"] {
        shown += &console.get(path).to_string();
    }
    assert!(shown.contains(&id));
    let (status, stdout, stderr) = serve.stop();
    assert!(status.success());
    let mut places = vec![
        ("an answer".to_owned(), shown.into_bytes()),
        ("the log".to_owned(), format!("{}{}", stdout.text(), stderr.text()).into_bytes()),
    ];
    places.extend(files(home.dir.path()));
    if let Some(redis) = &home.redis {
        places.push(("Redis".into(), redis.dump()));
    }
    for secret in secrets.iter().chain([&secret("console")]) {
        let (_, tail) = secret.split_at(secret.len() / 2);
        for (place, bytes) in &places {
            assert!(memchr::memmem::find(bytes, tail.as_bytes()).is_none(), "{secret} is in {place}");
        }
    }
    let again = process::run(&["keys", "show", &id, "--json"], &home.config_file()).json();
    assert!(again.get("key").is_none());
}

#[test]
fn plaintext_is_told_once_and_is_nowhere_else_in_redis() {
    plaintext_is_told_once(Kind::Redis);
}

#[test]
fn plaintext_is_told_once_and_is_nowhere_else_in_the_embedded_store() {
    plaintext_is_told_once(Kind::Embedded);
}
