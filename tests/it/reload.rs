//! Reload: all or nothing, and no request is lost by it.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};

use crate::support::callers::{Load, Service};
use crate::support::client::{Client, Request, once};
use crate::support::fleet::full;
use crate::support::process::{Serve, signal};
use crate::support::redis::Redis;
use crate::support::sidecar::{Home, Kind};
use crate::support::upstream::Upstream;

const OPEN: &str = "[[routes]]\nname = \"all\"\nmatch = \"* /**\"\nauth = \"none\"\n";
/// What says the same twice: the shorthand, and the listener that it stands for.
const LISTEN: &str = "listen = \"127.0.0.1:0\"\n";
const PUBLIC: &str = "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n";

fn upstream() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        exchange.answer(200, &[], b"ok");
    })
}

fn write(home: &Home, text: &str) {
    // As editors and operators do: at once, never half.
    let part = home.dir.path().join("proxy.toml.new");
    std::fs::write(&part, text).unwrap();
    std::fs::rename(part, home.config_file()).unwrap();
}

fn read(home: &Home) -> String {
    std::fs::read_to_string(home.config_file()).unwrap()
}

const APPLIED: &str = "the configuration was reloaded";
const REFUSED: &str = "the configuration was not reloaded";

/// Waits for the `n`th outcome and says which it was.
fn outcome(serve: &Serve, n: usize) -> &'static str {
    let outcomes = serve.stderr.wait(n, |line| [APPLIED, REFUSED].into_iter().find(|outcome| line.contains(outcome)));
    assert!(outcomes.len() >= n, "{}", serve.stderr.text());
    outcomes[n - 1]
}

/// The address of the `n`th listener, in the order they are told.
fn listening(serve: &Serve, n: usize) -> SocketAddr {
    let find = |line: &str| line.split_once("listening on ").and_then(|(_, address)| address.trim().parse().ok());
    serve.stderr.wait(n, find)[n - 1]
}

#[test]
fn reloads_under_load_fail_no_request() {
    let upstream = upstream();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n[runtime]\nworkers = 2\n", upstream.url()));
    let issued = home.issue();
    let serve = Serve::start(&home.config_file());
    let texts = {
        let first = read(&home);
        let cache = format!("{first}\n[cache]\nttl = \"7s\"\n");
        let upstream = format!("{first}\n[upstreams.other]\nurl = \"http://127.0.0.1:9\"\n");
        let route = format!("{first}\n[[routes]]\nname = \"all\"\nmatch = \"* /**\"\n");
        let limits = format!("{}\n{PUBLIC}[listeners.limits]\nheader_timeout = \"400ms\"\n", first.replace(LISTEN, ""));
        [cache, first, upstream, route, limits]
    };
    let requests: Vec<Request> = (0..6).map(|_| Request::get("/v1/users").bearer(&issued.secret)).collect();
    let reloads = if full() { 100 } else { 20 };
    let load = Load::during(&Service::new([serve.address]), &requests, |load| {
        for n in 0..reloads {
            write(&home, &texts[n % texts.len()]);
            signal(serve.id(), "HUP");
            assert_eq!(outcome(&serve, n + 1), APPLIED, "{}", serve.stderr.text());
            load.goes_on(5);
        }
    });
    println!("{reloads} reloads: {} requests, none failed", load.assert_nothing_failed());
}

#[test]
fn the_next_request_of_a_kept_connection_goes_by_the_new_rules() {
    let upstream = upstream();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n{OPEN}", upstream.url()));
    let serve = Serve::start(&home.config_file());
    let mut client = Client::connect(serve.address);
    let mut ask = || {
        client.send(Request::get("/").bytes());
        client.answer("GET").status
    };
    assert_eq!(ask(), 200);
    write(&home, &read(&home).replace("auth = \"none\"\n", ""));
    signal(serve.id(), "HUP");
    assert_eq!(outcome(&serve, 1), APPLIED);
    assert_eq!(ask(), 401);
}

#[test]
fn a_broken_configuration_changes_nothing_and_shows() {
    let upstream = upstream();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n{OPEN}[ops]\nlisten = \"127.0.0.1:0\"\n", upstream.url()));
    let good = read(&home);
    let serve = Serve::start(&home.config_file());
    let taken = serve.address;
    let ops = listening(&serve, 2);
    let verbose = || once(ops, &Request::get("/readyz?verbose"));
    let listener = |address: &str| format!("{PUBLIC}[[listeners]]\nname = \"more\"\naddress = \"{address}\"\n");
    let table = [
        ("not TOML", "[".to_owned(), "proxy.toml:"),
        ("an unknown key", "[rotes]\n".to_owned(), "rotes"),
        ("a bad value", "[cache]\nttl = \"soon\"\n".to_owned(), "cache.ttl"),
        ("a bad route", "[[routes]]\nname = \"b\"\nmatch = \"GET nowhere\"\n".to_owned(), "routes"),
        ("a missing file", "[upstreams.b]\nurl = \"http://b\"\ntls = { ca_file = \"/none\" }\n".to_owned(), "/none"),
        ("a taken address", listener(&taken.to_string()), "cannot listen on"),
        (
            "a bad certificate",
            format!("{}[listeners.tls]\ncert_file = \"proxy.toml\"\nkey_file = \"proxy.toml\"\n", listener("127.0.0.1:0")),
            "cert_file",
        ),
    ];
    for (n, (what, addition, words)) in table.iter().enumerate() {
        // What is right in it must not be used either.
        let text = format!("{}\n{addition}", good.replace("auth = \"none\"\n", ""));
        write(&home, &if addition.contains(PUBLIC) { text.replace(LISTEN, "") } else { text });
        signal(serve.id(), "HUP");
        assert_eq!(outcome(&serve, n + 1), REFUSED, "{what}");
        let report = verbose();
        assert!(report.status == 200 && report.text().contains("[!]configuration refused"), "{what}: {}", report.text());
        assert!(report.text().contains(words), "{what}: {}", report.text());
        assert_eq!(once(serve.address, &Request::get("/")).status, 200, "{what}");
    }
    write(&home, &good);
    signal(serve.id(), "HUP");
    assert_eq!(outcome(&serve, table.len() + 1), APPLIED);
    assert!(verbose().text().contains("[+]configuration ok"), "{}", verbose().text());
}

#[test]
fn listeners_come_and_go_and_what_is_in_flight_on_them_ends_well() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::start(move |exchange| {
        if exchange.request.target == "/slow" {
            let _ = released.lock().unwrap().recv();
        }
        exchange.answer(200, &[], b"ok");
    });
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n{OPEN}", upstream.url()));
    let good = read(&home);
    let socket = home.dir.path().join("more.sock");
    let serve = Serve::start(&home.config_file());
    let text = good.replace(LISTEN, "");
    write(&home, &format!("{text}\n{PUBLIC}[[listeners]]\nname = \"more\"\naddress = \"unix:{}\"\n", socket.display()));
    signal(serve.id(), "HUP");
    assert_eq!(outcome(&serve, 1), APPLIED, "{}", serve.stderr.text());
    let more = || crate::support::stream::Address::Unix(socket.clone());
    assert_eq!(once(more(), &Request::get("/")).status, 200);
    let (mut slow, mut idle, mut asked) = (Client::connect(more()), Client::connect(more()), Client::connect(more()));
    for client in [&mut idle, &mut asked] {
        client.send(Request::get("/").bytes());
        assert_eq!(client.answer("GET").status, 200);
    }
    slow.send(Request::get("/slow").bytes());
    upstream.wait(|all| all.iter().any(|request| request.target == "/slow"));
    write(&home, &good);
    signal(serve.id(), "HUP");
    assert_eq!(outcome(&serve, 2), APPLIED);
    assert!(!socket.exists(), "its file is gone");
    asked.send(Request::get("/").bytes());
    let answer = asked.answer("GET");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "it was on its way");
    assert!(idle.is_closed(), "an idle connection of a listener that is gone is closed");
    release.send(()).unwrap();
    let answer = slow.answer("GET");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(once(serve.address, &Request::get("/")).header("connection"), None, "the other listener stays");
}

#[test]
fn a_certificate_in_a_swapped_directory_is_seen_without_a_signal() {
    let certificates = tempfile::tempdir().unwrap();
    for version in ["..1", "..2"] {
        certify(&certificates.path().join(version));
    }
    symlink("..1", certificates.path().join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), certificates.path().join(file)).unwrap();
    }
    let upstream = upstream();
    let at = |name: &str| certificates.path().join(name).display().to_string();
    let home = Home::new(
        Kind::Embedded,
        &format!(
            "upstream = \"{}\"\n{OPEN}[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nprotocols = [\"http1\"]\n\
             [listeners.tls]\ncert_file = \"{}\"\nkey_file = \"{}\"",
            upstream.url(),
            at("tls.crt"),
            at("tls.key")
        ),
    );
    let serve = Serve::start(&home.config_file());
    let shows = |version: &str| curl(serve.address, &certificates.path().join(version).join("tls.crt"));
    assert!(shows("..1") && !shows("..2"));
    symlink("..2", certificates.path().join("..tmp")).unwrap();
    std::fs::rename(certificates.path().join("..tmp"), certificates.path().join("..data")).unwrap();
    assert_eq!(outcome(&serve, 1), APPLIED);
    assert!(shows("..2") && !shows("..1"));
}

/// A certificate of its own and its key.
fn certify(directory: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["api.example".to_owned()]).unwrap();
    std::fs::create_dir(directory).unwrap();
    std::fs::write(directory.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(directory.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
}

fn curl(address: SocketAddr, trusted: &Path) -> bool {
    let port = address.port();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--resolve", &format!("api.example:{port}:127.0.0.1"), "--cacert"]).arg(trusted);
    curl.arg(format!("https://api.example:{port}/")).output().unwrap().status.success()
}

#[test]
fn a_changed_key_table_takes_the_place_of_the_one_in_use() {
    let upstream = Arc::new(upstream());
    let home = Home::new(Kind::Redis, &format!("upstream = \"{}\"\n", upstream.url()));
    let issued = home.issue();
    let good = read(&home);
    let serve = Serve::start(&home.config_file());
    let mut client = Client::connect(serve.address);
    let mut ask = || {
        client.send(Request::get("/").bearer(&issued.secret).bytes());
        client.answer("GET").status
    };
    assert_eq!(ask(), 200);
    // Another key prefix: a table without that key.
    write(&home, &good.replace("[store]\n", "[store]\nkey_prefix = \"other:\"\n"));
    signal(serve.id(), "HUP");
    assert_eq!(outcome(&serve, 1), APPLIED);
    assert_eq!(ask(), 401);
    write(&home, &good);
    signal(serve.id(), "HUP");
    assert_eq!(outcome(&serve, 2), APPLIED);
    assert_eq!(ask(), 200);
    // A store that does not answer does not replace one that does.
    write(&home, &good.replace("redis.sock", "nobody.sock").replace("command_timeout = \"10s\"", "command_timeout = \"10ms\""));
    signal(serve.id(), "HUP");
    assert_eq!(outcome(&serve, 3), REFUSED);
    assert_eq!(ask(), 200);
}

const SHORT: &str = "[store]\nconnect_timeout = \"500ms\"\ncommand_timeout = \"500ms\"\n";

#[test]
fn while_the_store_is_away_no_reload_takes_the_known_keys_and_a_changed_file_applies_when_it_is_back() {
    let upstream = upstream();
    let mut home = Home::new(Kind::Redis, &format!("upstream = \"{}\"\n{SHORT}", upstream.url()));
    let issued = home.issue();
    let good = read(&home);
    let serve = Serve::start(&home.config_file());
    let ask = || once(serve.address, &Request::get("/").bearer(&issued.secret)).status;
    assert_eq!(ask(), 200);
    home.redis.as_mut().unwrap().stop();
    write(&home, &format!("{good}\n[cache]\nstale_for = \"20m\"\n"));
    signal(serve.id(), "HUP");
    assert_eq!(outcome(&serve, 1), REFUSED);
    assert!(serve.stderr.text().contains("needs a new key table, and its store does not answer"), "{}", serve.stderr.text());
    assert_eq!(ask(), 200);
    write(&home, &format!("{good}\n[cache]\nstale_for = \"30m\"\n"));
    // Tried when it was seen, and once more while the store was still away.
    assert_eq!((outcome(&serve, 2), outcome(&serve, 3)), (REFUSED, REFUSED));
    assert_eq!(ask(), 200);
    home.redis.as_mut().unwrap().run();
    let applied = serve.stderr.wait(1, |line| line.contains(APPLIED).then_some(()));
    assert_eq!(applied.len(), 1, "{}", serve.stderr.text());
}

#[test]
fn a_password_of_the_store_is_rotated_without_a_new_key_table() {
    let secrets = tempfile::tempdir().unwrap();
    let password = secrets.path().join("password");
    std::fs::write(&password, "one").unwrap();
    let mut redis = Redis::start_with(&["--requirepass", "one"]);
    let upstream = upstream();
    let store = format!("{SHORT}url = \"{}\"\npassword_file = \"{}\"\n", redis.url(), password.display());
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n{store}", upstream.url()));
    let issued = home.issue();
    let serve = Serve::start(&home.config_file());
    let ask = || once(serve.address, &Request::get("/").bearer(&issued.secret)).status;
    assert_eq!(ask(), 200);
    redis.stop();
    std::fs::write(&password, "two\none\n").unwrap();
    assert_eq!(outcome(&serve, 1), APPLIED);
    assert_eq!(ask(), 200, "what was known is known");
}

#[test]
fn identity_headers_change_for_keys_that_are_cached() {
    let upstream = Upstream::echo();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n", upstream.url()));
    let issued = home.issue();
    let good = read(&home);
    let serve = Serve::start(&home.config_file());
    let ask = || assert_eq!(once(serve.address, &Request::get("/").bearer(&issued.secret)).status, 200);
    ask();
    assert_eq!(upstream.recorded().last().unwrap().header("x-tenant-id"), Some("acme"));
    write(&home, &format!("{good}\n[identity.headers]\n\"X-Account\" = \"{{tenant.id}}\"\n"));
    signal(serve.id(), "HUP");
    assert_eq!(outcome(&serve, 1), APPLIED);
    ask();
    let recorded = upstream.recorded();
    let last = recorded.last().unwrap();
    assert_eq!((last.header("x-account"), last.header("x-tenant-id")), (Some("acme"), None));
}
