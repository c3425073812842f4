//! What deploy/ ships, as far as it needs no tool: the ACL of Redis against what the source sends and a real server allows, names of
//! metrics and reasons against the code, configurations against `check`. tests/deploy has what needs clusters' and images' tools.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use redis::Commands as _;
use sidegate::authn::ENDINGS;
use sidegate::config::sections::CredentialType;
use sidegate::rejection::Rejection;

use crate::support::process::{self, Serve, run, run_with_stdin};
use crate::support::redis::Redis;

const ACL: &str = include_str!("../../deploy/redis/users.acl");
const DOCUMENTED: &str = include_str!("../../deploy/README.md");
const DASHBOARD: &str = include_str!("../../deploy/monitoring/dashboard.json");
const RULES: &str = include_str!("../../deploy/monitoring/prometheusrule.yaml");
/// The password in the shipped file.
pub(crate) const PASSWORD: &str = "change-me";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a directory, and the file of the module that it belongs to; tests are not among them.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files(&entry, found);
        } else {
            found.push(entry);
        }
    }
}

fn is_of_tests(path: &Path) -> bool {
    path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

/// The words after every `before` in a text, as far as they are upper case.
fn words_after<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).map(|rest| rest.split(|c: char| !c.is_ascii_uppercase()).next().unwrap())
}

/// Commands that do quite different things by their second word.
const CONTAINERS: [&str; 16] = [
    "acl", "client", "cluster", "command", "config", "debug", "function", "latency", "memory", "module", "object", "pubsub", "script",
    "slowlog", "xgroup", "xinfo",
];

/// The commands that the source of the Redis store sends, itself or in scripts; containers with their second word: `cluster|slots`.
fn commands_sent() -> BTreeSet<String> {
    let mut sources = vec![root().join("src/store/redis.rs")];
    files(&root().join("src/store/redis"), &mut sources);
    let mut sent = BTreeSet::new();
    for text in sources.iter().filter(|path| !is_of_tests(path)).map(|path| fs::read_to_string(path).unwrap()) {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (before, then) in [("cmd(\"", "arg(\""), ("redis.call('", "', '")] {
            for rest in code.split(before).skip(1) {
                let command = words_after(&format!("{before}{rest}"), before).next().unwrap().to_lowercase();
                let second = || words_after(rest, then).next().unwrap().to_lowercase();
                sent.insert(if CONTAINERS.contains(&&*command) { format!("{command}|{}", second()) } else { command });
            }
        }
    }
    // Sent to sentinels, which have users of their own.
    sent.remove("sentinel");
    sent
}

/// What the shipped user may.
fn commands_allowed() -> BTreeSet<String> {
    let user = ACL.lines().find(|line| line.starts_with("user sidegate ")).unwrap();
    assert!(user.contains(" -@all ") && !user.contains("+@"), "commands one by one: {user}");
    user.split_whitespace().filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect()
}

#[test]
fn the_user_of_redis_may_what_the_source_sends_and_nothing_else() {
    let (sent, allowed) = (commands_sent(), commands_allowed());
    assert!(sent.len() > 20, "{sent:?}");
    let missing: Vec<_> = sent.difference(&allowed).collect();
    assert!(missing.is_empty(), "deploy/redis/users.acl lacks {missing:?}");
    // The client library's own way to send scripts.
    let library = ["evalsha", "script|load"].map(str::to_owned).into();
    let idle: Vec<_> = allowed.difference(&sent).filter(|command| !BTreeSet::contains(&library, *command)).collect();
    assert!(idle.is_empty(), "deploy/redis/users.acl allows {idle:?}, which nothing sends");
}

/// A server with the shipped users, and one more for the test itself.
pub(crate) fn server() -> (Redis, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users.acl");
    fs::write(&file, format!("{ACL}user judge on nopass ~* +@all\n")).unwrap();
    (Redis::start_with(&["--aclfile", file.to_str().unwrap(), "--maxmemory-policy", "noeviction"]), dir)
}

fn connection(redis: &Redis, user: &str, password: &str) -> redis::Connection {
    let mut connection = redis.connection();
    redis::cmd("AUTH").arg(user).arg(password).query::<()>(&mut connection).unwrap();
    connection
}

#[test]
fn everything_works_as_the_shipped_user_of_redis() {
    let (redis, _users) = server();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("password"), PASSWORD).unwrap();
    let config = dir.path().join("proxy.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\n[ops]\nlisten = \"\"\nsocket = \"\"\n[store]\nurl = \"{}\"\nusername = \"sidegate\"\npassword_file = \"password\"\n\
         [idempotency]\nmode = \"optional\"\n[rate_limits.all]\nby = [\"key\"]\nrequests = 1000\nper = \"1s\"\ncounted = \"fleet\"\ndefault = true\n",
        redis.url()
    );
    let upstream = crate::support::upstream::Upstream::echo();
    fs::write(&config, format!("upstream = \"{}\"\n{text}", upstream.url())).unwrap();
    let command = |arguments: &[&str]| run(arguments, &config).ok();
    command(&["tenants", "create", "--id", "acme", "--name", "Acme"]);
    let key = command(&["keys", "create", "--tenant", "acme", "--name", "ci", "--quiet"]);
    let key = key.trim();
    let other = command(&["keys", "create", "--tenant", "acme", "--name", "other", "--quiet"]);
    let serve = Serve::start(&config);
    let post = |number: usize| {
        let request = crate::support::client::Request::new("POST", "/a").bearer(key).header("Idempotency-Key", &format!("once-{number}"));
        crate::support::client::once(serve.address, &request.body(b"x")).status
    };
    for number in [1, 1, 2] {
        assert_eq!(post(number), 200);
    }
    let connections = || {
        let mut judge = connection(&redis, "judge", "");
        let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut judge).unwrap();
        clients.lines().filter(|line| line.contains(" user=sidegate ")).count()
    };
    assert_eq!(connections(), 2, "deploy/redis.md counts them");
    run_with_stdin(&["keys", "verify"], &config, key).ok();
    let ids = command(&["keys", "list", "--tenant", "acme", "--quiet"]);
    let first = ids.lines().next().unwrap();
    command(&["keys", "show", first]);
    command(&["keys", "rotate", first, "--overlap", "1h"]);
    command(&["keys", "rotate", first, "--end-overlap", "--wait"]);
    command(&["keys", "deactivate", first, "--wait"]);
    command(&["keys", "activate", first]);
    run_with_stdin(&["keys", "revoke", "--stdin", "--wait"], &config, other.trim()).ok();
    command(&["tenants", "suspend", "acme", "--wait"]);
    command(&["tenants", "resume", "acme"]);
    command(&["tenants", "list"]);
    command(&["tenants", "update", "acme", "--name", "Acme Inc"]);
    command(&["keys", "update", first, "--add-scope", "read:orders"]);
    command(&["keys", "usage", first]);
    command(&["denials"]);
    command(&["audit"]);
    let events = dir.path().join("audit.ndjson");
    command(&["audit", "export", events.to_str().unwrap()]);
    command(&["audit", "replay", events.to_str().unwrap()]);
    command(&["tenants", "create", "--id", "gone", "--name", "Gone"]);
    command(&["tenants", "delete", "gone", "--yes"]);
    let exported = dir.path().join("keys.ndjson");
    command(&["keys", "export", "--output", exported.to_str().unwrap()]);
    command(&["keys", "import", exported.to_str().unwrap(), "--on-conflict", "skip"]);
    command(&["status"]);
    command(&["explain", "--key", first, "/a"]);
    let (status, ..) = serve.stop();
    assert!(status.success());
    let mut judge = connection(&redis, "judge", "");
    let refused: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query(&mut judge).unwrap();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn the_user_of_redis_may_nothing_that_sidegate_does_not_need() {
    let (redis, _users) = server();
    assert!(redis.connection().get::<_, Option<String>>("sidegate:keys").is_err(), "nobody comes in without a password");
    let mut user = connection(&redis, "sidegate", PASSWORD);
    user.set::<_, _, ()>("sidegate:key:{a}", "1").unwrap();
    assert!(user.set::<_, _, ()>("other", "1").is_err());
    for words in [
        &["FLUSHALL"][..],
        &["KEYS", "*"],
        &["CONFIG", "GET", "*"],
        &["SHUTDOWN"],
        &["REPLICAOF", "NO", "ONE"],
        &["MODULE", "LIST"],
        &["ACL", "LIST"],
        &["CLIENT", "LIST"],
        &["MONITOR"],
        &["SUBSCRIBE", "a"],
        &["SCRIPT", "FLUSH"],
        &["EVAL", "return redis.call('FLUSHALL')", "0"],
        &["EVAL", "return redis.call('GET', 'other')", "0"],
        &["MIGRATE", "h", "1", "k", "0", "1"],
        &["DUMP", "sidegate:keys"],
    ] {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let error = command.query::<redis::Value>(&mut user).expect_err(words[0]).to_string();
        assert!(["NOPERM", "ermission", "can't run", "can't access"].iter().any(|word| error.contains(word)), "{words:?}: {error}");
    }
}

/// Names of metrics in a text, as Prometheus tells them of.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let metrics = words.filter(|word| word.starts_with("sidegate_") || word.starts_with("process_"));
    metrics.map(|word| ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word)).collect()
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_are_documented() {
    let documented: BTreeSet<&str> = DOCUMENTED.split('`').filter(|word| metrics(word).contains(word)).collect();
    for (name, text) in [("the dashboard", DASHBOARD), ("the rules", RULES)] {
        let strange: Vec<_> = metrics(text).difference(&documented).copied().collect();
        assert!(strange.is_empty(), "{name} asks for {strange:?}");
    }
}

#[test]
fn dashboard_and_alerts_name_reasons_that_there_are() {
    let reasons: BTreeSet<&str> = Rejection::ALL.iter().map(|rejection| rejection.row().reason).chain(["admitted"]).collect();
    for text in [DASHBOARD.replace("\\\"", "\""), RULES.to_owned()] {
        for part in text.split("reason").skip(1) {
            let asked = ["=~\"", "!=\"", "=\""].iter().find_map(|operator| part.strip_prefix(operator));
            let Some(value) = asked.and_then(|rest| rest.split('"').next()) else { continue };
            for reason in value.split('|') {
                let known = match reason.strip_suffix(".*") {
                    Some(front) => reasons.iter().any(|reason| reason.starts_with(front)),
                    None => reasons.contains(reason),
                };
                assert!(known, "no refusal is {reason}");
            }
        }
    }
}

/// The text below a `config: |` or `proxy.toml: |` of a values file, or a whole file of TOML.
fn configuration(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let Some((before, block)) = text.split_once("  config: |\n") else { return text };
    assert!(!before.contains("config: |"), "{}", path.display());
    let lines = block.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(str::trim_start).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_configurations_that_are_shipped_are_good() {
    let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let secrets = [
        ("redis-password", PASSWORD.to_owned()),
        ("pepper", "0123456789abcdef0123456789abcdef".to_owned()),
        ("admin-token", "0123456789abcdef0123456789abcdef".to_owned()),
        ("tls.crt", made.cert.pem()),
        ("tls.key", made.signing_key.serialize_pem()),
    ];
    for file in ["deploy/example/overlay/proxy.toml", "deploy/example/chart/values.yaml", "deploy/example/management/proxy.toml"] {
        let dir = tempfile::tempdir().unwrap();
        for (name, secret) in &secrets {
            fs::write(dir.path().join(name), secret).unwrap();
        }
        let here = format!("{}/", dir.path().display());
        let text = configuration(&root().join(file));
        let text = ["", "-management", "-tls"].iter().fold(text, |text, end| text.replace(&format!("/run/secrets/sidegate{end}/"), &here));
        assert!(text.contains("[store]"), "{file}: {text}");
        let config = dir.path().join("proxy.toml");
        fs::write(&config, text).unwrap();
        let said = process::run(&["check"], &config);
        assert!(said.code == 0 && said.stdout.contains("(no problems)"), "{file}: {said:?}");
    }
}

/// The words that a row of the page's tables names, by what the row begins with.
fn named(row: &str) -> BTreeSet<&'static str> {
    let (_, row) = DOCUMENTED.split_once(&format!("\n| {row} |")).unwrap();
    row.lines().next().unwrap().split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_page_names_every_credential_and_every_way_to_break_off() {
    let credentials = [CredentialType::ApiKey, CredentialType::Jwt, CredentialType::Opaque].map(CredentialType::name);
    assert_eq!(named("`credential`"), credentials.into_iter().chain(["none"]).collect());
    let endings: BTreeSet<&str> = ENDINGS.iter().map(|rejection| rejection.row().reason).collect();
    let metric = named("`sidegate_exchanges_ended_total`");
    assert_eq!(metric.into_iter().filter(|word| *word != "reason").collect::<BTreeSet<_>>(), endings);
    // What a record says of its end is said in one part of its source.
    let record = include_str!("../../src/server/record.rs");
    let (_, part) = record.split_once("    /// The upstream broke off.\n").unwrap();
    let (part, _) = part.split_once("/// As OpenTelemetry writes them.").unwrap();
    let said: BTreeSet<&str> = part.split('"').skip(1).step_by(2).filter(|said| !said.contains(' ')).collect();
    assert!(said.contains("shutdown"), "{said:?}");
    assert_eq!(named("[`error.type`]"), said.union(&endings).copied().collect());
}

#[test]
fn the_access_log_is_documented_as_its_source_says() {
    let source = include_str!("../../src/telemetry/access.rs");
    let table: Vec<&str> = source.lines().filter_map(|line| line.strip_prefix("//! ").filter(|line| line.starts_with('|'))).collect();
    let table = table.join("\n");
    assert!(table.lines().count() > 20 && DOCUMENTED.contains(&table), "deploy/README.md should say:\n{table}");
}
