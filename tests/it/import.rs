//! Many keys at once: an import that is killed is resumed with nothing lost or doubled, no plaintext reaches the disk,
//! and what one table exports another imports.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use sidegate::clock::{Clock, instant};
use sidegate::store::open;

use crate::support::PATIENCE;
use crate::support::client::{Request, once};
use crate::support::process::{self, Serve};
use crate::support::seed::digest;
use crate::support::sidecar::{Home, Kind};
use crate::support::upstream::Upstream;

const KEYS: usize = 20_000;
const OPTIONAL: &str = "[[key_kinds]]\nname = \"secret\"\nprefixes = { live = \"sk_live_\", test = \"sk_test_\" }\nchecksum = \"optional\"";

fn secret(number: usize) -> String {
    format!("sk_live_number{number:06}")
}

/// Keys of forty tenants: with id or without, in plain text or as digests.
fn file_of(keys: usize) -> String {
    let mut text = String::new();
    for number in 0..keys {
        let (tenant, secret) = (number % 40, secret(number));
        let id = if number % 2 == 0 { format!("\"id\":\"key_{number:06}\",") } else { String::new() };
        let key = if number % 4 < 2 { format!("\"key\":\"{secret}\"") } else { format!("\"digest\":\"sha256:{}\"", digest(&secret)) };
        writeln!(text, "{{{id}\"tenant\":\"tenant-{tenant:02}\",{key}}}").unwrap();
    }
    text
}

/// Waits for something to be so; never how long it takes.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = instant();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE * 6, "{what} never came");
        std::thread::yield_now();
    }
}

/// Waits for the first key in the table.
fn first_key(home: &Home) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(&home.config.store, &Clock::System).await.unwrap().store;
        let began = instant();
        while store.list_keys(None, None, 1).await.unwrap().items.is_empty() {
            assert!(began.elapsed() < PATIENCE * 6, "no key was written");
            tokio::task::yield_now().await;
        }
    });
}

fn start(arguments: &[&str], home: &Home) -> Child {
    let mut command = process::command(arguments, &home.config_file());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The digests in the table, each with its id.
fn exported(home: &Home) -> Vec<(String, String)> {
    let text = process::run(&["keys", "export"], &home.config_file()).ok();
    let field = |line: &serde_json::Value, name: &str| line[name].as_str().unwrap().to_owned();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .map(|line: serde_json::Value| (field(&line, "digest"), field(&line, "id")))
        .collect()
}

fn killed_and_resumed(kind: Kind) {
    let home = Home::new(kind, OPTIONAL);
    let file = home.dir.path().join("keys.ndjson");
    std::fs::write(&file, file_of(KEYS)).unwrap();
    let import = ["keys", "import", file.to_str().unwrap(), "--create-tenants"];
    let mut killed = start(&import, &home);
    first_key(&home);
    process::signal(killed.id(), "KILL");
    assert!(!killed.wait().unwrap().success(), "it was done before it was killed");
    let written = exported(&home).len();
    assert!((1..KEYS).contains(&written), "{written}");

    let resume = [&import[..], &["--resume", "--json"]].concat();
    let report = process::run(&resume, &home.config_file()).json();
    assert_eq!((&report["skipped"], &report["imported"], &report["refused"]), (&written.into(), &(KEYS - written).into(), &0.into()));
    let keys = exported(&home);
    assert_eq!(keys.len(), KEYS);
    let digests: HashSet<String> = keys.iter().map(|(digest, _)| digest.clone()).collect();
    let ids: HashSet<&String> = keys.iter().map(|(_, id)| id).collect();
    assert_eq!((digests.len(), ids.len()), (KEYS, KEYS));
    assert!((0..KEYS).all(|number| digests.contains(&format!("sha256:{}", digest(&secret(number))))));
    let again = process::run(&resume, &home.config_file()).json();
    assert_eq!((&again["skipped"], &again["imported"]), (&KEYS.into(), &0.into()));
    assert_eq!(exported(&home), keys);
    assert!(!home.dir.path().join("keys.ndjson.rejected.ndjson").exists());
}

#[test]
fn an_import_killed_in_the_middle_is_resumed_with_nothing_lost_or_doubled_in_redis() {
    killed_and_resumed(Kind::Redis);
}

#[test]
fn an_import_killed_in_the_middle_is_resumed_with_nothing_lost_or_doubled_in_a_file() {
    killed_and_resumed(Kind::Embedded);
}

#[test]
fn an_import_whose_store_goes_away_says_how_to_go_on() {
    let mut home = Home::new(Kind::Redis, OPTIONAL);
    let file = home.dir.path().join("keys.ndjson");
    std::fs::write(&file, file_of(KEYS)).unwrap();
    let import = start(&["keys", "import", file.to_str().unwrap(), "--create-tenants"], &home);
    first_key(&home);
    home.redis.as_mut().unwrap().stop();
    let output = import.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(6), "{stderr}");
    assert!(stderr.contains("--resume"), "{stderr}");
}

/// What is in the unnamed files that a process has open.
fn unnamed_files(id: u32) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{id}/fd")) else { return Vec::new() };
    let entries = entries.map_while(Result::ok).map(|entry| entry.path());
    let deleted = |path: &Path| std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().ends_with("(deleted)"));
    entries.filter(|path| deleted(path)).filter_map(|path| std::fs::read(path).ok()).collect()
}

#[test]
fn plaintext_from_stdin_never_reaches_the_disk() {
    let home = Home::new(Kind::Redis, OPTIONAL);
    let mut import = start(&["keys", "import", "-", "--create-tenants"], &home);
    let mut stdin = import.stdin.take().unwrap();
    let text = file_of(5_000);
    stdin.write_all(text.as_bytes()).unwrap();
    // The first pass has not seen the end; what it left so far is there.
    let spool = until("the spool", || unnamed_files(import.id()).into_iter().find(|bytes| bytes.len() > 100_000));
    drop(stdin);
    assert!(import.wait_with_output().unwrap().status.success());
    let finds = |needle: &str| memchr::memmem::find(&spool, needle.as_bytes()).is_some();
    assert!(finds(&digest(&secret(0))), "that was no spool");
    assert!(!finds("number0"));
    assert_eq!(exported(&home).len(), 5_000);
}

#[test]
fn imported_keys_work_at_once_although_they_were_unknown_before() {
    for kind in Kind::BOTH {
        let upstream = Upstream::echo();
        let home = Home::new(kind, &format!("upstream = \"{}\"\n{OPTIONAL}\n[cache]\nnegative_ttl = \"1h\"", upstream.url()));
        let serve = Serve::start(&home.config_file());
        let ask = || once(serve.address, &Request::get("/v1/users").bearer(&secret(0))).status;
        assert_eq!(ask(), 401);
        process::run_with_stdin(&["keys", "import", "-", "--create-tenants"], &home.config_file(), &file_of(1)).ok();
        until("the key", || (ask() == 200).then_some(()));
    }
}

#[test]
fn refused_lines_are_in_a_file_that_the_command_names() {
    let home = Home::new(Kind::Embedded, OPTIONAL);
    let file = home.dir.path().join("keys.ndjson");
    let bad: String = (0..30).fold(String::new(), |text, number| text + &format!("{{\"tenant\":\"acme\",\"nmae\":\"{number}\"}}\n"));
    std::fs::write(&file, file_of(1) + &bad).unwrap();
    let file = file.to_str().unwrap();
    let rejects = format!("{file}.rejected.ndjson");
    let ended = process::run(&["keys", "import", file, "--create-tenants", "--dry-run"], &home.config_file());
    assert!(ended.code == 1 && ended.stdout.contains("1 imported") && ended.stderr.contains("… and 10 more"), "{ended:?}");
    assert!(!Path::new(&rejects).exists(), "a rehearsal leaves nothing behind");
    let ended = process::run(&["keys", "import", file, "--create-tenants"], &home.config_file());
    assert!(ended.code == 1 && ended.stderr.contains(&format!("30 lines were refused: {rejects}")), "{ended:?}");
    let kept = std::fs::read_to_string(&rejects).unwrap();
    assert_eq!(kept.lines().count(), 30);
    assert!(kept.starts_with("{\"line\":2,\"reason\":\"unknown field `nmae`"), "{kept}");
    // Where nothing is writable that somebody could read later.
    let ended = process::run(&["keys", "import", file, "--resume", "--quiet", "--rejects", "-"], &home.config_file());
    assert!(ended.code == 1 && ended.stderr.contains("30 lines were refused\n"), "{ended:?}");
    assert_eq!(ended.stdout, kept);
    let ended = process::run(&["keys", "import", file, "--rejects", file], &home.config_file());
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(std::fs::read_to_string(file).unwrap().starts_with("{\"id\""));
}

#[test]
fn what_one_table_exports_another_imports() {
    let (from, to) = (Home::new(Kind::Redis, ""), Home::new(Kind::Embedded, ""));
    process::run(&["tenants", "create", "--id", "acme"], &from.config_file()).ok();
    let created = process::run(&["keys", "create", "--tenant", "acme", "--name", "ci", "--json"], &from.config_file()).json();
    let secret = created["key"].as_str().unwrap();
    for format in ["ndjson", "csv"] {
        let file = to.dir.path().join(format!("keys.{format}"));
        let path = file.to_str().unwrap();
        let ended = process::run(&["keys", "export", "--format", format, "--output", path], &from.config_file());
        assert!(ended.code == 0 && ended.stderr.contains("1 key exported"), "{ended:?}");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(secret) && text.contains(created["id"].as_str().unwrap()), "{text}");
        assert_eq!(process::run(&["keys", "export", "--format", format], &from.config_file()).ok(), text);
        process::run(&["keys", "import", path, "--create-tenants", "--resume"], &to.config_file()).ok();
    }
    let found = process::run_with_stdin(&["keys", "verify", "--json"], &to.config_file(), secret).json();
    assert_eq!(found["id"], created["id"]);
    let ended = process::run(&["keys", "export", "--tenant", "nobody"], &from.config_file());
    assert_eq!(ended.code, 4, "{ended:?}");
}
