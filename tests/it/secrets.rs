//! A plaintext key exists in the answer to create and rotate, and nowhere else.

use std::cell::Cell;
use std::path::Path;

use serde_json::Value;

use crate::support::client::{Answer, Request, once};
use crate::support::process::{self, Serve};
use crate::support::sidecar::{Home, Kind};
use crate::support::upstream::Upstream;

/// Every byte under a directory, with where it is.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => all.extend(files(&entry.path())),
            kind if kind.is_file() => all.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap())),
            _ => {}
        }
    }
    all
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

fn plaintext_is_nowhere(kind: Kind) {
    let upstream = Upstream::echo();
    let home = Home::new(
        kind,
        &format!(
            "upstream = \"{}\"\ndeployment = \"development\"\n[[key_kinds]]\nname = \"secret\"\nprefixes = {{ live = \"sk_live_\", test = \"sk_test_\" }}\nchecksum = \"optional\"",
            upstream.url()
        ),
    );
    let config = home.config_file();
    let serve = Serve::start(&config);
    let mut output = String::new();
    let mut run = |arguments: &[&str], stdin: &str| {
        let ended = process::run_with_stdin(arguments, &config, stdin);
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.stderr);
        output.push_str(&ended.stderr);
        ended.stdout
    };
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();

    run(&["tenants", "create", "--id", "acme", "--name", "Acme"], "");
    let live = json(run(&["keys", "create", "--tenant", "acme", "--name", "live", "--json"], ""));
    let test = json(run(&["keys", "create", "--tenant", "acme", "--name", "test", "--env", "test", "--json"], ""));
    let revoked = json(run(&["keys", "create", "--tenant", "acme", "--name", "revoked", "--json"], ""));
    let rotated = json(run(&["keys", "rotate", &text(&live, "id"), "--overlap", "1h", "--json"], ""));
    let mut secrets: Vec<String> = [&live, &test, &revoked, &rotated].iter().map(|shown| text(shown, "key")).collect();
    let mut shown = Vec::new();
    shown.push(run(&["keys", "revoke", &text(&revoked, "id"), "--json"], ""));
    shown.push(run(&["keys", "list", "--json"], ""));
    shown.push(run(&["keys", "show", &text(&live, "id"), "--json"], ""));
    shown.push(run(&["keys", "verify", "--json"], &format!("{}\n", secrets[3])));
    shown.push(run(&["tenants", "list", "--json"], ""));
    let imported = "sk_live_imported0123456789";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{{\"tenant\":\"acme\",\"name\":\"imported\",\"key\":\"{imported}\"}}\n")).unwrap();
    shown.push(run(&["keys", "import", file.path().to_str().unwrap(), "--json"], ""));
    secrets.push(imported.to_owned());
    // Nobody's, but a secret all the same: somebody's elsewhere.
    secrets.push("sk_live_nobodys0123456789".to_owned());
    secrets.push("not-one-of-ours-0123456789".to_owned());

    for secret in &secrets {
        upstream.must_never_see(secret);
        for request in [
            Request::get("/v1/users").bearer(secret),
            Request::get("/v1/users").header("X-API-Key", secret),
            Request::get(&format!("/v1/users?key={secret}")),
            Request::get("/v1/users").header("Authorization", &format!("Basic {secret}")),
            Request::get("/v1/users").bearer(secret).header("Connection", "x-tenant-id"),
        ] {
            once(serve.address, &request);
        }
    }
    // What nobody can tell from a name is not hidden where names are.
    for secret in secrets.iter().filter(|secret| secret.starts_with("sk_")) {
        once(serve.address, &Request::get(&format!("/v1/{secret}/x")));
        once(serve.address, &Request::get("/v1/users").header("X-Request-Id", &format!("id-{secret}")));
    }
    let sent = secrets.len() * 7 - 2;
    let lines = serve.access(sent).len();
    assert_eq!(lines, sent);
    let (status, stdout, stderr) = serve.stop();
    assert!(status.success());
    output.push_str(&stdout.text());
    output.push_str(&stderr.text());
    // What was counted and refused is in the store by now.
    for arguments in [&["denials", "--json", "--limit", "1000"][..], &["keys", "usage", "--tenant", "acme", "--json"]] {
        let told = process::run(arguments, &config).ok();
        assert!(told.contains("credential_missing") || told.contains("request_invalid"), "{told}");
        shown.push(told);
    }
    shown.push(process::run(&["keys", "list", "--attention", "--json"], &config).ok());

    let mut places: Vec<(String, Vec<u8>)> = vec![("what was printed".into(), output.into_bytes())];
    places.extend(shown.into_iter().map(|text| ("what a command showed".to_owned(), text.into_bytes())));
    search(&home, places, &secrets, &text(&live, "id"));
}

/// No secret is in any of these places, or in the directories and the store of a home, where this id is.
pub(crate) fn search(home: &Home, mut places: Vec<(String, Vec<u8>)>, secrets: &[String], id: &str) {
    places.extend(files(home.dir.path()));
    if let Some(redis) = &home.redis {
        places.push(("Redis".into(), redis.dump()));
        places.extend(files(redis.dir()));
    }
    for secret in secrets {
        // The part behind the prefix is the secret; half of it is too much already.
        let (_, tail) = secret.split_at(secret.len() / 2);
        for (place, bytes) in &places {
            let found = memchr::memmem::find(bytes, tail.as_bytes()).is_some();
            assert!(!found, "{secret} is in {place}: {}", String::from_utf8_lossy(bytes));
        }
    }
    // The search finds what is there.
    let stored = places.iter().any(|(_, bytes)| memchr::memmem::find(bytes, id.as_bytes()).is_some());
    assert!(stored, "nothing was searched");
}

/// Customers make and replace keys themselves; answers are kept and given again, and one is lost.
fn plaintext_of_self_service_is_nowhere(kind: Kind) {
    let upstream = Upstream::echo();
    let text_of = "[self_service]\npath = \"/v1/api-keys\"\n[idempotency]\nmode = \"optional\"\n[log]\nquery = \"full\"";
    let home = Home::new(kind, &format!("upstream = \"{}\"\n{text_of}", upstream.url()));
    let first = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    let asked = Cell::new(0);
    let ask = |request: &Request| {
        asked.set(asked.get() + 1);
        once(serve.address, request)
    };
    let create = |secret: &str, name: &str| Request::new("POST", "/v1/api-keys").bearer(secret).body(format!("{{\"name\":\"{name}\"}}"));
    let rotate = |secret: &str, id: &str| Request::new("POST", &format!("/v1/api-keys/{id}/rotate")).bearer(secret);
    let mut secrets = vec![first.clone()];
    let mut made = |answer: Answer, status: u16| {
        assert_eq!(answer.status, status, "{}", answer.text());
        secrets.push(text(&answer.json(), "key"));
        (text(&answer.json(), "id"), text(&answer.json(), "key"))
    };
    made(ask(&create(&first, "plain")), 201);
    let kept = create(&first, "kept").header("Idempotency-Key", "new_1");
    let (id, _) = made(ask(&kept), 201);
    made(ask(&kept), 201);
    made(ask(&rotate(&first, &id)), 200);
    let own = rotate(&first, "key_main").header("Idempotency-Key", "rot_1");
    let (_, current) = made(ask(&own), 200);
    made(ask(&own), 200);
    // What is refused is not repeated either.
    assert_eq!(ask(&create(&current, &format!(" {first}"))).status, 400);
    assert_eq!(ask(&rotate(&first, "key_main")).status, 401);
    let listed = ask(&Request::get("/v1/api-keys").bearer(&current)).text();
    let revoked = ask(&Request::new("DELETE", &format!("/v1/api-keys/{id}")).bearer(&current)).text();
    for secret in &secrets {
        upstream.must_never_see(secret);
    }
    assert_eq!(serve.access(asked.get()).len(), asked.get());
    let (status, stdout, stderr) = serve.stop();
    assert!(status.success());
    let printed = format!("{}{}", stdout.text(), stderr.text());
    let places = [("an answer", listed), ("an answer", revoked), ("what was printed", printed)];
    search(&home, places.map(|(place, text)| (place.to_owned(), text.into_bytes())).into(), &secrets, &id);
}

#[test]
fn plaintext_of_self_service_is_nowhere_in_redis_or_in_what_is_printed() {
    plaintext_of_self_service_is_nowhere(Kind::Redis);
}

#[test]
fn plaintext_of_self_service_is_nowhere_in_the_embedded_store_or_in_what_is_printed() {
    plaintext_of_self_service_is_nowhere(Kind::Embedded);
}

#[test]
fn plaintext_keys_are_nowhere_in_redis_or_in_what_is_printed() {
    plaintext_is_nowhere(Kind::Redis);
}

#[test]
fn plaintext_keys_are_nowhere_in_the_embedded_store_or_in_what_is_printed() {
    plaintext_is_nowhere(Kind::Embedded);
}
