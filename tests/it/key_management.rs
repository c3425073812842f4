//! Commands of who manages keys: updates, incidents, deletion, the audit and its replay after a restore; on both stores.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use sidegate::clock::Clock;
use sidegate::config::sections::EnvironmentName;
use sidegate::session::authority::NewSession;

use crate::support::admin::{Caller, Tokens};
use crate::support::logins::Logins;
use crate::support::process::{self, Ended};
use crate::support::sidecar::{Home, Kind, Sidecar};

struct Scene(Home);

impl Scene {
    fn new(kind: Kind) -> Self {
        let scene = Self(Home::new(kind, ""));
        scene.run(&["tenants", "create", "--id", "acme"]).ok();
        scene
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], stdin: &str) -> Ended {
        process::run_with_stdin(arguments, &self.0.config_file(), stdin)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).json()
    }

    /// A key of acme: its id and secret.
    fn key(&self, more: &[&str]) -> (String, String) {
        let name: &[&str] = if more.contains(&"--name") { &[] } else { &["--name", "ci"] };
        let shown = self.json(&[&["keys", "create", "--tenant", "acme"], name, more].concat());
        (word(&shown["id"]), word(&shown["key"]))
    }

    fn status(&self, id: &str) -> String {
        word(&self.json(&["keys", "show", id])["status"])
    }

    fn actions(&self, more: &[&str]) -> Vec<String> {
        let events = self.json(&[&["audit"], more].concat());
        events.as_array().unwrap().iter().map(|event| word(&event["action"])).collect()
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no word")).to_owned()
}

fn path(scene: &Scene, name: &str) -> String {
    scene.0.dir.path().join(name).display().to_string()
}

#[test]
fn an_update_adds_and_removes_and_leaves_the_rest() {
    for kind in Kind::BOTH {
        let scene = Scene::new(kind);
        let (id, _) = scene.key(&["--scope", "read:a", "--scope", "read:b", "--ip", "10.0.0.0/8", "--meta", "team=blue"]);
        let shown = scene.json(&[
            "keys",
            "update",
            &id,
            "--name",
            "deploys",
            "--add-scope",
            "write:c",
            "--remove-scope",
            "read:a",
            "--add-ip",
            "2001:db8::/32",
            "--remove-ip",
            "10.0.0.0/8",
            "--add-referrer",
            "https://shop.example",
            "--add-endpoint",
            "GET /v1/users",
            "--expires",
            "90d",
            "--meta",
            "region=eu",
            "--remove-meta",
            "team",
            "--rate-limit",
            "10/1s",
        ]);
        assert_eq!(shown["name"], "deploys");
        assert_eq!(shown["scopes"], json!(["read:b", "write:c"]));
        assert_eq!(shown["ip_allowlist"], json!(["2001:db8::/32"]));
        assert_eq!(shown["referrers"], json!(["https://shop.example"]));
        assert_eq!(shown["endpoints"], json!(["GET /v1/users"]));
        assert_eq!(shown["metadata"], json!({ "region": "eu" }));
        assert_eq!(shown["rate_limit"]["requests"], 10);
        assert!(shown["expires_at"].is_string() && shown["version"] == 2, "{shown:#}");
        let shown = scene.json(&[
            "keys",
            "update",
            &id,
            "--ip",
            "any",
            "--referrer",
            "any",
            "--endpoint",
            "none",
            "--expires",
            "never",
            "--rate-limit",
            "none",
        ]);
        assert!(shown.get("ip_allowlist").is_none() && shown.get("referrers").is_none() && shown.get("rate_limit").is_none(), "{shown:#}");
        assert_eq!((&shown["endpoints"], &shown["expires_at"]), (&json!([]), &Value::Null));
        assert_eq!(scene.json(&["keys", "show", &id]), shown);
    }
}

#[test]
fn an_update_that_cannot_be_changes_nothing_and_says_why() {
    let scene = Scene::new(Kind::Embedded);
    let (id, _) = scene.key(&["--ip", "10.0.0.0/8"]);
    for (flags, code, says) in [
        (&[][..], 2, "nothing to change"),
        (&["--remove-ip", "10.0.0.0/9"], 2, "no network `10.0.0.0/9`, but 10.0.0.0/8"),
        (&["--remove-scope", "read:a"], 2, "no scope `read:a`, but none"),
        (&["--add-ip", "10.0.0.1/8"], 2, "host bits"),
        (&["--add-scope", "a*b"], 2, "a*b"),
        (&["--name", " x"], 2, "a name has"),
        (&["--ip", "10.0.0.0/8"], 2, "any"),
        (&["--name", "x", "--if-version", "7"], 7, "version 1"),
    ] {
        let ended = scene.run(&[&["keys", "update", &id], flags].concat());
        assert!(ended.code == code && ended.stderr.contains(says) && ended.stdout.is_empty(), "{flags:?}: {ended:?}");
    }
    assert_eq!(scene.run(&["keys", "update", "key_nobodys", "--name", "x"]).code, 4);
    assert_eq!(scene.json(&["keys", "show", &id])["version"], 1);
    scene.run(&["keys", "update", &id, "--name", "x", "--if-version", "1"]).ok();
    scene.run(&["keys", "revoke", &id]).ok();
    assert_eq!(scene.run(&["keys", "update", &id, "--name", "y"]).code, 7);
}

#[test]
fn who_narrows_what_was_open_or_shuts_it_is_told() {
    let scene = Scene::new(Kind::Embedded);
    let (id, _) = scene.key(&[]);
    let ended = scene.run(&["keys", "update", &id, "--add-ip", "10.0.0.0/8", "--quiet"]);
    assert!(
        ended.code == 0 && ended.stdout == format!("{id}\n") && ended.stderr.contains("any network was allowed until now"),
        "{ended:?}"
    );
    let ended = scene.run(&["keys", "update", &id, "--remove-ip", "10.0.0.0/8"]);
    assert!(ended.code == 0 && ended.stderr.contains("no network is left"), "{ended:?}");
}

#[test]
fn a_tenant_is_updated_as_a_key_is() {
    for kind in Kind::BOTH {
        let scene = Scene::new(kind);
        let shown = scene.json(&[
            "tenants",
            "update",
            "acme",
            "--name",
            "Acme",
            "--add-ip",
            "10.0.0.0/8",
            "--add-scope",
            "read:*",
            "--rate-limit",
            "9/1s",
        ]);
        assert_eq!(
            (&shown["name"], &shown["ip_allowlist"], &shown["scopes"]),
            (&json!("Acme"), &json!(["10.0.0.0/8"]), &json!(["read:*"]))
        );
        let shown =
            scene.json(&["tenants", "update", "acme", "--ip", "any", "--scope", "any", "--rate-limit", "none", "--if-version", "2"]);
        assert!(shown.get("ip_allowlist").is_none() && shown.get("scopes").is_none() && shown.get("rate_limit").is_none(), "{shown:#}");
        let ended = scene.run(&["tenants", "update", "acme", "--name", "Other", "--if-version", "2"]);
        assert!(ended.code == 7 && ended.stderr.contains("version 3"), "{ended:?}");
        assert_eq!(scene.run(&["tenants", "update", "nobody", "--name", "x"]).code, 4);
    }
}

#[test]
fn keys_are_listed_by_what_is_asked_of_them() {
    let scene = Scene::new(Kind::Embedded);
    let (one, _) = scene.key(&["--name", "Deploy EU"]);
    let (two, _) = scene.key(&["--env", "test", "--kind", "publishable"]);
    let ids = |more: &[&str]| scene.run(&[&["keys", "list", "--quiet"], more].concat()).ok();
    assert_eq!(ids(&["--name", "deploy"]), format!("{one}\n"));
    assert_eq!(ids(&["--prefix", "pk_"]), format!("{two}\n"));
    assert_eq!(ids(&["--last-used-before", "1h"]), "");
    assert_eq!(ids(&["--last-used-before", "9999-01-01"]), format!("{one}\n{two}\n"));
    assert_eq!(scene.run(&["keys", "list", "--last-used-before", "yesterday"]).code, 2);
}

#[test]
fn an_incident_revokes_by_tenant_and_age_after_a_dry_run() {
    for kind in Kind::BOTH {
        let scene = Scene::new(kind);
        scene.run(&["tenants", "create", "--id", "globex"]).ok();
        let (one, _) = scene.key(&[]);
        let (two, _) = scene.key(&[]);
        let other = word(&scene.json(&["keys", "create", "--tenant", "globex", "--name", "x"])["id"]);
        let ended = scene.run(&["keys", "revoke", "--tenant", "acme", "--dry-run"]);
        assert!(ended.stdout.contains(&one) && ended.stdout.contains(&two) && ended.stderr.contains("2 to be revoked"), "{ended:?}");
        assert_eq!(scene.run(&["keys", "revoke", "--created-before", "1h", "--json"]).json(), json!([]));
        assert_eq!((scene.status(&one), scene.status(&other)), ("active".into(), "active".into()));
        scene.run(&["keys", "revoke", &one]).ok();
        let revoked = scene.json(&["keys", "revoke", "--tenant", "acme", "--created-before", "0s"]);
        assert_eq!((revoked.as_array().unwrap().len(), &revoked[0]["id"], &revoked[0]["status"]), (1, &json!(two), &json!("revoked")));
        assert_eq!(scene.status(&other), "active");
        assert_eq!(scene.run(&["keys", "revoke", "--tenant", "nobody"]).code, 4);
        assert_eq!(scene.run(&["keys", "revoke", &one, "--tenant", "acme"]).code, 2);
        assert_eq!(scene.run(&["keys", "revoke"]).code, 2);
    }
}

#[test]
fn the_keys_of_all_tenants_are_revoked_by_age_only_where_somebody_says_so() {
    for kind in Kind::BOTH {
        let scene = Scene::new(kind);
        scene.run(&["tenants", "create", "--id", "globex"]).ok();
        let (one, _) = scene.key(&[]);
        let other = word(&scene.json(&["keys", "create", "--tenant", "globex", "--name", "x"])["id"]);
        let ended = scene.run(&["keys", "revoke", "--created-before", "0s"]);
        assert!(ended.code == 2 && ended.stderr.contains("--yes revokes 2 keys of 2 tenants"), "{ended:?}");
        for future in [&["--yes"][..], &["--dry-run"], &["--tenant", "acme"]] {
            let ended = scene.run(&[&["keys", "revoke", "--created-before", "9999-01-01"], future].concat());
            assert!(ended.code == 2 && ended.stderr.contains("still to come"), "{ended:?}");
        }
        let tried = scene.run(&["keys", "revoke", "--created-before", "0s", "--dry-run"]);
        assert!(tried.code == 0 && tried.stderr.contains("2 to be revoked"), "{tried:?}");
        assert_eq!((scene.status(&one), scene.status(&other)), ("active".into(), "active".into()));
        scene.run(&["keys", "revoke", "--created-before", "0s", "--yes"]).ok();
        assert_eq!((scene.status(&one), scene.status(&other)), ("revoked".into(), "revoked".into()));
    }
}

#[test]
fn what_a_scanner_delivers_is_revoked_and_summed_up_and_no_secret_is_told() {
    let scene = Scene::new(Kind::Embedded);
    let (one, secret) = scene.key(&[]);
    let (two, _) = scene.key(&[]);
    let lines = format!("{secret}\n\nsk_live_{}\n{two}\n{one}\n", "0".repeat(38));
    let tried = scene.run_with(&["keys", "revoke", "--stdin", "--dry-run"], &lines);
    assert!(tried.code == 4 && scene.status(&one) == "active", "{tried:?}");
    let ended = scene.run_with(&["keys", "revoke", "--stdin"], &lines);
    assert_eq!((ended.code, scene.status(&one), scene.status(&two)), (4, "revoked".into(), "revoked".into()));
    assert!(
        ended.stderr.contains("line 3 of stdin is no key") && ended.stderr.contains("2 revoked, 0 revoked before, 1 not found"),
        "{ended:?}"
    );
    for said in [tried, ended] {
        assert!(!said.stdout.contains("sk_live_") && !said.stderr.contains("sk_live_"), "{said:?}");
    }
}

#[test]
fn a_tenant_is_deleted_with_its_keys_after_they_are_exported() {
    for kind in Kind::BOTH {
        let scene = Scene::new(kind);
        let (id, secret) = scene.key(&["--scope", "read:a"]);
        let file = path(&scene, "acme.ndjson");
        let ended = scene.run(&["tenants", "delete", "acme", "--export", &file]);
        assert!(ended.code == 2 && ended.stderr.contains("--yes") && scene.status(&id) == "active", "{ended:?}");
        scene.run(&["tenants", "delete", "acme", "--export", &file, "--yes"]).ok();
        assert_eq!((scene.run(&["tenants", "show", "acme"]).code, scene.run(&["keys", "show", &id]).code), (4, 4));
        assert_eq!(scene.run_with(&["keys", "verify"], &secret).code, 4);
        assert!(scene.actions(&["--tenant", "acme"]).starts_with(&["tenant.delete".to_owned(), "key.purge".to_owned()]));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(&id) && text.contains("\"active\"") && !text.contains(&secret), "{text}");
        // What was exported can be brought back; and is never written over.
        scene.run(&["keys", "import", &file, "--create-tenants"]).ok();
        assert_eq!(word(&scene.run_with(&["keys", "verify", "--json"], &secret).json()["id"]), id);
        let ended = scene.run(&["tenants", "delete", "acme", "--export", &file, "--yes"]);
        assert!(ended.code == 1 && ended.stderr.contains("is there already") && scene.status(&id) == "active", "{ended:?}");
    }
}

#[test]
fn the_audit_is_listed_by_what_is_asked_and_holds_no_digest() {
    for kind in Kind::BOTH {
        let scene = Scene::new(kind);
        let (id, secret) = scene.key(&["--scope", "read:a"]);
        scene.run(&["keys", "update", &id, "--add-scope", "write:b"]).ok();
        let rotated = word(&scene.json(&["keys", "rotate", &id])["key"]);
        scene.run(&["keys", "revoke", &id]).ok();
        let all = ["key.revoke", "key.rotate", "key.update", "key.create", "tenant.create"];
        assert_eq!(scene.actions(&[]), all);
        assert_eq!(scene.actions(&["--key", &id]), all[..4]);
        assert_eq!(scene.actions(&["--action", "revoke"]), all[..1]);
        assert_eq!(scene.actions(&["--action", "key.update", "--actor", "cli", "--tenant", "acme", "--since", "1h"]), all[2..3]);
        assert!(scene.actions(&["--actor", "admin"]).is_empty() && scene.actions(&["--until", "1h"]).is_empty());
        let ended = scene.run(&["audit", "--limit", "2"]);
        let lines: Vec<&str> = ended.stdout.lines().collect();
        assert!(lines.len() == 2 && ended.stderr.contains("there are more"), "{ended:?}");
        let columns: Vec<&str> = lines[0].split('\t').collect();
        assert_eq!((columns[2], columns[3], columns[4], columns[5]), ("local", "key.revoke", id.as_str(), "status active -> revoked"));
        let file = path(&scene, "audit.ndjson");
        scene.run(&["audit", "export", &file]).ok();
        let exported = std::fs::read_to_string(&file).unwrap();
        let first: Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
        assert_eq!((exported.lines().count(), &first["action"]), (5, &json!("tenant.create")));
        assert_eq!(scene.run(&["audit", "export", "-", "--since", "1h"]).ok(), exported);

        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let shown = scene.run(&["audit", "--json"]).ok();
        for secret in [&secret, &rotated] {
            let digest = crate::support::seed::digest(secret);
            assert!(exported.contains(&digest) && !shown.contains(&digest), "the file has digests, the list has none");
            assert!(!exported.contains(secret.as_str()) && !shown.contains(secret.as_str()));
        }
    }
}

/// A copy of a store, and the way back to it.
struct Copy(Vec<(Vec<u8>, Vec<u8>)>);

impl Copy {
    fn take(scene: &Scene) -> Self {
        let Some(redis) = &scene.0.redis else {
            let files = std::fs::read_dir(scene.0.dir.path()).unwrap().map(|entry| entry.unwrap().path());
            let files = files.filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with("data"));
            return Self(files.map(|file| (file.to_str().unwrap().as_bytes().to_vec(), std::fs::read(&file).unwrap())).collect());
        };
        let mut connection = redis.connection();
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
        Self(keys.into_iter().map(|key| (key.clone(), redis::cmd("DUMP").arg(&key).query(&mut connection).unwrap())).collect())
    }

    fn restore(&self, scene: &Scene) {
        let Some(redis) = &scene.0.redis else {
            for (file, bytes) in &self.0 {
                std::fs::write(std::str::from_utf8(file).unwrap(), bytes).unwrap();
            }
            return;
        };
        let mut connection = redis.connection();
        redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
        for (key, dump) in &self.0 {
            redis::cmd("RESTORE").arg(key).arg(0).arg(dump).exec(&mut connection).unwrap();
        }
    }
}

#[test]
fn after_a_restore_a_replay_takes_again_what_had_been_taken_and_gives_nothing() {
    for kind in Kind::BOTH {
        let scene = Scene::new(kind);
        scene.run(&["tenants", "create", "--id", "globex"]).ok();
        let (revoked, _) = scene.key(&[]);
        let (off, _) = scene.key(&[]);
        let (rotated, old) = scene.key(&[]);
        let (narrowed, _) = scene.key(&["--scope", "read:a"]);
        let (again, _) = scene.key(&[]);
        let copy = Copy::take(&scene);
        scene.run(&["keys", "revoke", &revoked]).ok();
        scene.run(&["keys", "deactivate", &off]).ok();
        let new = word(&scene.json(&["keys", "rotate", &rotated])["key"]);
        scene.run(&["tenants", "suspend", "globex"]).ok();
        scene.run(&["keys", "update", &narrowed, "--remove-scope", "read:a"]).ok();
        scene.run(&["keys", "deactivate", &again]).ok();
        scene.run(&["keys", "activate", &again]).ok();
        let (young, _) = scene.key(&[]);
        let file = path(&scene, "audit.ndjson");
        scene.run(&["audit", "export", &file]).ok();
        copy.restore(&scene);
        assert_eq!((scene.status(&revoked), scene.run_with(&["keys", "verify"], &new).code), ("active".into(), 4), "the copy is back");

        let tried = scene.run(&["audit", "replay", &file, "--dry-run"]);
        assert!(tried.code == 0 && tried.stderr.contains("4 to be done again"), "{tried:?}");
        assert_eq!(scene.status(&revoked), "active");
        let replayed = scene.json(&["audit", "replay", &file]);
        let outcome = |id: &str, action: &str| {
            let rows = replayed.as_array().unwrap().iter().filter(|row| row["id"] == id && row["action"] == action);
            rows.map(|row| word(&row["outcome"])).collect::<Vec<_>>()
        };
        assert_eq!(outcome(&revoked, "key.revoke"), ["done again"]);
        assert_eq!(outcome(&off, "key.deactivate"), ["done again"]);
        assert_eq!(outcome(&rotated, "key.rotate"), ["done again"]);
        assert_eq!(outcome("globex", "tenant.suspend"), ["done again"]);
        assert_eq!(outcome(&narrowed, "key.update"), ["left to you"]);
        assert_eq!((outcome(&again, "key.deactivate"), outcome(&again, "key.activate")), (vec![], vec!["left to you".to_owned()]));
        assert_eq!(outcome(&young, "key.create"), ["the record is gone"]);

        assert_eq!(
            (scene.status(&revoked), scene.status(&off), scene.status(&again)),
            ("revoked".into(), "inactive".into(), "active".into())
        );
        assert_eq!(scene.json(&["tenants", "show", "globex"])["status"], "suspended");
        let found = scene.run_with(&["keys", "verify", "--json"], &new).json();
        assert_eq!(
            (word(&found["id"]), word(&found["presented"]), word(&found["last4"])),
            (rotated.clone(), "current".into(), new.get(42..).unwrap().to_owned())
        );
        assert_eq!(scene.run_with(&["keys", "verify"], &old).code, 4, "the replaced secret is dead again");
        let events = scene.json(&["audit", "--key", &revoked]);
        assert!(word(&events[0]["actor"]).starts_with("cli") && events[0]["before"]["status"] == "active", "{events:#}");

        let twice = scene.run(&["audit", "replay", &file]);
        assert!(twice.code == 0 && twice.stderr.contains("0 done again"), "{twice:?}");
        let version = scene.json(&["keys", "show", &rotated])["version"].clone();
        assert_eq!(version, 2, "nothing was written twice");
    }
}

#[test]
fn a_replay_ends_sessions_again_for_the_reason_that_they_had() {
    for kind in Kind::BOTH {
        let signing = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(signing.path(), crate::support::admin::secret("signing")).unwrap();
        let scene = Scene(Home::new(kind, &format!("[sessions]\nsigning_key_files = [\"{}\"]\n", signing.path().display())));
        scene.run(&["tenants", "create", "--id", "acme"]).ok();
        let begin = |subject: &str| {
            let new = NewSession { tenant: "acme".into(), subject: subject.into(), environment: EnvironmentName::Live, scopes: Vec::new() };
            Logins::open(&scene.0.config, Clock::System).begin(new);
        };
        let ends = |subject: &str| Logins::open(&scene.0.config, Clock::System).ends(subject);
        ["ada", "bob", "eve"].into_iter().for_each(begin);
        let copy = Copy::take(&scene);
        scene.run(&["sessions", "revoke", "--subject", "ada"]).ok();
        scene.run(&["sessions", "revoke", "--subject", "bob"]).ok();
        let file = path(&scene, "audit.ndjson");
        scene.run(&["audit", "export", &file]).ok();
        copy.restore(&scene);
        assert_eq!((ends("ada"), ends("bob")), (vec![String::new()], vec![String::new()]), "the copy is back");
        // One of them was ended by a refresh token that came twice.
        let exported = std::fs::read_to_string(&file).unwrap();
        let of_bob = exported
            .lines()
            .map(|line| if line.contains("bob") { line.replace("\"reason\":\"revoked\"", "\"reason\":\"reuse\"") } else { line.into() });
        std::fs::write(&file, of_bob.collect::<Vec<String>>().join("\n")).unwrap();
        let tried = scene.run(&["audit", "replay", &file, "--dry-run"]);
        assert!(tried.code == 0 && tried.stderr.contains("2 to be done again"), "{tried:?}");
        scene.run(&["audit", "replay", &file]).ok();
        assert_eq!((ends("ada"), ends("bob"), ends("eve")), (vec!["revoked".into()], vec!["reuse".into()], vec![String::new()]));
        let twice = scene.run(&["audit", "replay", &file]);
        assert!(twice.code == 0 && twice.stderr.contains("0 done again"), "{twice:?}");
    }
}

#[test]
fn the_way_to_more_events_leaves_none_out_that_were_of_one_moment() {
    let managed = Tokens::console();
    let text = format!("deployment = \"development\"\n{}", managed.config("127.0.0.1:0"));
    let sidecar = Sidecar::with_manual_clock(Kind::Embedded, &text);
    let console = Caller::console(sidecar.listener("admin"));
    for (name, later) in [("one", 0), ("two", 0), ("three", 1000), ("four", 0)] {
        sidecar.clock.advance(later);
        console.post("/tenants", &json!({ "id": name }));
    }
    let list = |more: &[&str]| process::run(&[&["audit", "--limit", "3"], more].concat(), &sidecar.home.config_file());
    let first = list(&[]);
    let until = first.stderr.split_once("--until ").unwrap_or_else(|| panic!("{first:?}")).1.trim().to_owned();
    let rest = list(&["--until", &until]);
    let shown = first.stdout + &rest.stdout;
    assert!(["one", "two", "three", "four"].iter().all(|name| shown.contains(&format!("\t{name}\t"))), "{shown}");
    // Where all that is shown is of one moment, only more of them lead on.
    let stuck = process::run(&["audit", "--limit", "1", "--until", &until], &sidecar.home.config_file());
    assert!(stuck.stderr.contains("there are more: --limit") && !stuck.stderr.contains("--until"), "{stuck:?}");
}

#[test]
fn a_replay_of_what_is_no_export_says_which_lines() {
    let scene = Scene::new(Kind::Embedded);
    let (id, _) = scene.key(&[]);
    let ended = scene.run_with(&["audit", "replay", "-"], &format!("sk_live_secret\n\n{{\"id\":\"{id}\"}}\n"));
    assert!(ended.code == 1 && ended.stderr.contains("line 1 of -") && ended.stderr.contains("line 3 of -"), "{ended:?}");
    assert!(!ended.stderr.contains("sk_live_") && scene.status(&id) == "active");
    assert_eq!(scene.run(&["audit", "replay", "/nowhere/audit.ndjson"]).code, 1);
}

#[test]
fn completions_and_manual_pages_are_of_the_commands_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| process::run_plain(arguments, dir.path());
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell]).ok();
        assert!(script.contains("tenants") && script.contains("created-before"), "{shell}");
    }
    assert_eq!(run(&["completions", "tcsh"]).code, 2);
    let page = run(&["man", "keys", "create"]).ok();
    assert!(page.contains(".TH") && page.contains("rate\\-limit"), "{page}");
    assert_eq!(run(&["man", "nonsense"]).code, 4);
    run(&["man", "--output", "pages"]).ok();
    for page in ["sidegate.1", "sidegate-keys-create.1", "sidegate-audit-replay.1"] {
        assert!(std::fs::read_to_string(dir.path().join("pages").join(page)).unwrap().contains(".TH"), "{page}");
    }
}

/// A running sidecar with a management API, and commands that know nothing but it: no configuration, no store.
struct Remote {
    scene: Scene,
    _serve: process::Serve,
    elsewhere: tempfile::TempDir,
}

const TOKEN: &str = "adm_0123456789abcdef0123456789abcdef";

impl Remote {
    fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
        std::fs::write(dir.path().join("other"), "adm_ffffffffffffffffffffffffffffffff\n").unwrap();
        let path = dir.path().display();
        let scene = Scene(Home::new(
            kind,
            &format!(
                "[admin]\nlisten = \"unix:{path}/admin.sock\"\n[[admin.tokens]]\nname = \"console\"\nfile = \"{path}/token\"\nallow = [\"*\"]"
            ),
        ));
        let serve = process::Serve::start(&scene.0.config_file());
        Self { scene, _serve: serve, elsewhere: dir }
    }

    fn run_with(&self, arguments: &[&str], stdin: &str) -> Ended {
        let path = self.elsewhere.path();
        let admin = format!("unix:{}", path.join("admin.sock").display());
        let token = path.join("token").display().to_string();
        let flags = ["--admin", admin.as_str(), "--admin-token-file", token.as_str()];
        process::run_plain_with_stdin(&[arguments, &flags].concat(), path, stdin)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, "")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).json()
    }
}

#[test]
fn the_same_verbs_work_at_a_running_instance_and_leave_what_they_would_at_the_store() {
    for kind in Kind::BOTH {
        let remote = Remote::new(kind);
        let (scene, json) = (&remote.scene, |arguments: &[&str]| remote.json(arguments));
        let tenant = json(&["tenants", "create", "--id", "acme", "--name", "Acme", "--ip", "10.0.0.0/8"]);
        assert_eq!(tenant, scene.json(&["tenants", "show", "acme"]));
        assert_eq!(json(&["tenants", "update", "acme", "--ip", "any", "--meta", "plan=pro"]), scene.json(&["tenants", "show", "acme"]));
        let made = json(&["keys", "create", "--tenant", "acme", "--name", "ci", "--scope", "read:a", "--expires", "90d"]);
        let (id, secret) = (word(&made["id"]), word(&made["key"]));
        assert_eq!(
            (json(&["keys", "show", &id]), json(&["tenants", "list"])),
            (scene.json(&["keys", "show", &id]), scene.json(&["tenants", "list"]))
        );
        let updated = json(&[
            "keys",
            "update",
            &id,
            "--add-scope",
            "write:b",
            "--add-ip",
            "10.0.0.0/8",
            "--expires",
            "never",
            "--meta",
            "a=b",
            "--rate-limit",
            "9/1s",
        ]);
        assert_eq!(
            (&updated["scopes"], &updated["version"], &updated["expires_at"]),
            (&json!(["read:a", "write:b"]), &json!(2), &Value::Null)
        );
        assert_eq!(
            json(&["keys", "update", &id, "--remove-scope", "read:a", "--ip", "any", "--remove-meta", "a", "--rate-limit", "none"]),
            scene.json(&["keys", "show", &id])
        );
        let ended = remote.run(&["keys", "update", &id, "--name", "x", "--if-version", "2"]);
        assert!(ended.code == 7 && ended.stderr.contains("version 3"), "{ended:?}");
        let rotated = remote.run(&["keys", "rotate", &id, "--overlap", "1h", "--wait", "--json"]);
        assert!(rotated.stderr.contains("1 of 1 sidecar confirmed"), "{rotated:?}");
        let new = word(&rotated.json()["key"]);
        let found = remote.run_with(&["keys", "verify", "--json"], &secret);
        assert!(found.stderr.contains("previous secret: it works until"), "{found:?}");
        assert_eq!(found.json()["presented"], "previous");
        json(&["keys", "rotate", &id, "--end-overlap"]);
        assert_eq!(remote.run_with(&["keys", "verify"], &secret).code, 4);
        assert_eq!(remote.run(&["keys", "deactivate", &id]).ok(), format!("{id} inactive\n"));
        assert_eq!(remote.run(&["keys", "activate", &id]).ok(), format!("{id} active\n"));
        for filter in [
            &[][..],
            &["--tenant", "acme", "--env", "live", "--status", "active", "--name", "CI", "--prefix", "sk_"],
            &["--status", "revoked"],
        ] {
            let list = [&["keys", "list"], filter].concat();
            assert_eq!(json(&list), scene.json(&list), "{filter:?}");
        }
        assert_eq!(json(&["keys", "list", "--attention"]), scene.json(&["keys", "list", "--attention"]));
        assert_eq!(json(&["keys", "usage", &id]), scene.json(&["keys", "usage", &id]));
        assert_eq!(json(&["keys", "usage", &id, "--report"]), scene.json(&["keys", "usage", &id, "--report"]));
        assert_eq!(json(&["denials"]), scene.json(&["denials"]));
        let held = format!("X-API-Key: {new}");
        for (asked, code) in [
            (&["explain", "/v1/users"][..], 5),
            (&["explain", "-X", "POST", "-H", &held, "--from", "198.51.100.7", "http://api.example/v1/users?a=b"], 0),
            (&["explain", "--key", &id, "/v1/users"], 0),
        ] {
            let (there, here) = (remote.run(&[asked, &["--json"]].concat()), scene.run(&[asked, &["--json"]].concat()));
            assert_eq!((there.code, here.code), (code, code), "{asked:?}: {there:?} {here:?}");
            // Every request has an id of its own.
            let alike = |mut told: Value| {
                for part in ["answer", "forward"] {
                    let headers = told[part]["headers"].as_array_mut();
                    if let Some(headers) = headers {
                        headers.retain(|header| header[0] != "x-request-id");
                    }
                }
                told
            };
            let read = |ended: Ended| alike(serde_json::from_str(&ended.stdout).unwrap());
            let (there, here) = (read(there), read(here));
            assert_eq!(there, here, "{asked:?}");
            let said = remote.run(asked);
            assert!(said.code == code && said.stdout.contains("✓ client address") && !said.stdout.contains(&new), "{said:?}");
        }
        assert_eq!(remote.run(&["explain", "--key", "key_none", "/"]).code, 4);
        assert_eq!(json(&["status"])["sidecars"].as_array().map(Vec::len), Some(1));
        let other = word(&json(&["keys", "create", "--tenant", "acme", "--name", "other"])["id"]);
        let ended = remote.run_with(&["keys", "revoke", "--stdin", "--wait"], &format!("{new}\n{other}\nsk_live_nobodys\n"));
        assert!(ended.code == 4 && ended.stderr.contains("2 revoked") && ended.stderr.contains("1 of 1 sidecar confirmed"), "{ended:?}");
        assert!(!ended.stderr.contains("sk_live_") && scene.status(&id) == "revoked" && scene.status(&other) == "revoked", "{ended:?}");
        let events = json(&["audit", "--limit", "5"]);
        assert_eq!((events.clone(), &events[0]["actor"]), (scene.json(&["audit", "--limit", "5"]), &json!("admin:console")));
        remote.run(&["tenants", "suspend", "acme"]).ok();
        remote.run(&["tenants", "resume", "acme"]).ok();
        remote.run(&["tenants", "delete", "acme", "--yes"]).ok();
        assert_eq!(scene.run(&["tenants", "show", "acme"]).code, 4);
    }
}

#[test]
fn exit_codes_at_a_running_instance_are_those_at_the_store() {
    let remote = Remote::new(Kind::Embedded);
    remote.run(&["tenants", "create", "--id", "acme"]).ok();
    let id = word(&remote.json(&["keys", "create", "--tenant", "acme", "--name", "ci"])["id"]);
    let code = |arguments: &[&str]| remote.run(arguments).code;
    assert_eq!(code(&["keys", "show", "key_nobodys"]), 4);
    assert_eq!(code(&["keys", "revoke", "key_nobodys"]), 4);
    assert_eq!(code(&["keys", "list", "--tenant", "nobody"]), 4);
    assert_eq!(code(&["keys", "create", "--tenant", "nobody", "--name", "x"]), 4);
    assert_eq!(code(&["tenants", "create", "--id", "acme"]), 7);
    assert_eq!(code(&["keys", "create", "--tenant", "acme", "--name", "x", "--scope", "a*b"]), 2);
    assert_eq!(code(&["keys", "create", "--tenant", "acme", "--name", "x", "--expires", "soon"]), 2);
    assert_eq!(code(&["keys", "update", &id, "--remove-ip", "10.0.0.0/8"]), 2);
    assert_eq!(code(&["keys", "list", "--store", "embedded:x"]), 2);
    for local in [&["keys", "export"][..], &["keys", "import", "-"], &["audit", "export", "-"], &["audit", "replay", "-"]] {
        let ended = remote.run(local);
        assert!(ended.code == 2 && ended.stderr.contains("at the store itself"), "{local:?}: {ended:?}");
    }
    let dir = remote.elsewhere.path();
    let socket = format!("unix:{}", dir.join("admin.sock").display());
    let run = |arguments: &[&str]| process::run_plain(arguments, dir);
    let ended = run(&["keys", "list", "--admin", &socket, "--admin-token-file", "other"]);
    assert!(ended.code == 5 && !ended.stderr.contains("adm_"), "{ended:?}");
    assert_eq!(run(&["keys", "list", "--admin", &socket]).code, 2);
    assert_eq!(run(&["keys", "list", "--admin", "unix:/nowhere/admin.sock", "--admin-token-file", "token"]).code, 6);
    assert_eq!(run(&["keys", "list", "--admin", "http://admin.example", "--admin-token-file", "token"]).code, 2);
}
