//! `/metrics` and `/probe/<name>` on the ops listener.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::admin::{Caller, Tokens};
use crate::support::client::{Request, once};
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;
use sidegate::clock::Clock;

const DOCUMENTED: &str = include_str!("../../deploy/README.md");

fn sidecar(upstream: &Upstream, text: &str) -> (Sidecar, String) {
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n{text}", upstream.url()));
    let secret = home.issue().secret;
    (Sidecar::in_home(home, Clock::System), secret)
}

/// A strict reader of the format: families with help and type before their samples, each sample once.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut samples = BTreeMap::new();
    let (mut helped, mut family) = ("", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.ends_with('.'), "{line}");
            helped = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped, "a type without help");
            assert!(kinds.insert(name, kind).is_none(), "{name} comes twice");
            assert_eq!(kind == "counter", name.ends_with("_total") && kind != "gauge", "{name} is a {kind}");
            family = name;
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let is_of_family = match kinds[family] {
                "histogram" => ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(family)),
                _ => name == family,
            };
            assert!(is_of_family, "{name} within {family}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} comes twice");
        }
    }
    for name in kinds.keys() {
        assert!(DOCUMENTED.contains(&format!("`{name}`")), "deploy/README.md says nothing of {name}");
    }
    samples
}

#[test]
fn every_metric_is_well_formed_and_documented_and_every_documented_one_is_there() {
    let upstream = Upstream::echo();
    let tokens = Tokens::console();
    let (sidecar, secret) = sidecar(&upstream, &tokens.config("127.0.0.1:0"));
    assert_eq!(once(sidecar.address(), &Request::get("/a").bearer(&secret)).status, 200);
    let answer = once(sidecar.ops(), &Request::get("/metrics"));
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    let told: BTreeSet<String> = parse(&text).into_keys().collect();
    for name in DOCUMENTED.split('`').filter(|word| word.starts_with("sidegate_") || word.starts_with("process_")) {
        let is_optional = name == "sidegate_certificate_expiry_timestamp_seconds"
            || name.starts_with("sidegate_jwks_")
            || name == "sidegate_introspections_total";
        assert!(is_optional || told.iter().any(|series| series.starts_with(name)), "{name} is documented and not there");
    }
    assert!(!text.contains(&secret) && !text.contains("acme"));
    // The judge of the format, where it is at hand.
    if let Ok(mut promtool) = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn() {
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(promtool.wait().unwrap().success());
    }
}

#[test]
fn when_certificates_end_is_told_of_listeners_and_of_the_admin_listener() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = |name: &str, ends: i32| {
        let mut asked = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        asked.not_after = rcgen::date_time_ymd(ends, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let at = |end: &str| dir.path().join(format!("{name}.{end}"));
        std::fs::write(at("crt"), asked.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(at("key"), key.serialize_pem()).unwrap();
        format!("tls = {{ cert_file = \"{}\", key_file = \"{}\" }}\n", at("crt").display(), at("key").display())
    };
    let tokens = Tokens::console();
    let text = format!(
        "[ops]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n{}{}",
        certificate("public", 2040),
        tokens.config("127.0.0.1:0").replacen("[[admin", &format!("{}[[admin", certificate("admin", 2030)), 1)
    );
    let sidecar = Sidecar::in_home(Home::new(Kind::Embedded, &text), Clock::System);
    let told = parse(&once(sidecar.ops(), &Request::get("/metrics")).text());
    for (listener, ends) in [("public", 2_208_988_800.0), ("admin", 1_893_456_000.0)] {
        assert_eq!(told.get(&format!("sidegate_certificate_expiry_timestamp_seconds{{listener=\"{listener}\"}}")), Some(&ends));
    }
}

#[test]
fn requests_to_the_management_api_are_counted_by_route_and_class() {
    let (upstream, tokens) = (Upstream::echo(), Tokens::console());
    let (sidecar, secret) = sidecar(&upstream, &tokens.config("127.0.0.1:0"));
    let console = Caller::console(sidecar.listener("admin"));
    for (path, status) in
        [("/keys/key_main", 200), ("/keys/key_none", 404), (&*format!("/keys/{secret}"), 404), ("/status", 200), ("/x", 404)]
    {
        assert_eq!(console.ask("GET", path, None).status, status, "{path}");
    }
    let text = once(sidecar.ops(), &Request::get("/metrics")).text();
    let samples = parse(&text);
    let count = |route: &str, code: &str| samples[&format!("sidegate_admin_requests_total{{route=\"{route}\",code=\"{code}\"}}")];
    assert_eq!(
        (count("/keys/{id}", "2xx"), count("/keys/{id}", "4xx"), count("/status", "2xx"), count("none", "4xx")),
        (1.0, 2.0, 1.0, 1.0)
    );
    assert_eq!((count("/keys", "2xx"), count("/explain", "5xx")), (0.0, 0.0), "zeros are told");
    assert!(!text.contains(&secret) && !text.contains("key_main"));
}

#[test]
fn zeros_are_told_before_the_first_request() {
    let upstream = Upstream::echo();
    let (sidecar, _) = sidecar(&upstream, "[runtime]\nworkers = 2\n");
    // The first that anybody asks for: workers may still be starting.
    let told = parse(&once(sidecar.ops(), &Request::get("/metrics")).text());
    for series in [
        "sidegate_requests_total{listener=\"public\",code=\"5xx\"}",
        "sidegate_decisions_total{reason=\"key_unknown\"}",
        "sidegate_auth_seconds_bucket{le=\"+Inf\"}",
        "sidegate_overhead_seconds_count",
        "sidegate_upstream_response_seconds_count",
        "sidegate_connections_accepted_total{listener=\"public\"}",
        "sidegate_reloads_total{outcome=\"applied\"}",
        "sidegate_trace_requests_total{outcome=\"sent\"}",
        "sidegate_upstream_exposed{upstream=\"main\"}",
    ] {
        assert_eq!(told.get(series), Some(&0.0), "{series}");
    }
}

#[test]
fn each_request_is_counted_once_by_what_became_of_it() {
    let upstream = Upstream::echo();
    let (sidecar, secret) = sidecar(&upstream, "[runtime]\nworkers = 2\n");
    let metrics = || parse(&once(sidecar.ops(), &Request::get("/metrics")).text());
    for _ in 0..3 {
        assert_eq!(once(sidecar.address(), &Request::get("/a").bearer(&secret)).status, 200);
    }
    assert_eq!(once(sidecar.address(), &Request::get("/a")).status, 401);
    assert_eq!(once(sidecar.address(), &Request::get("/a").header("Content-Length", "x")).status, 400);
    // A request ends when its answer is written: a moment after the client has it.
    let began = sidegate::clock::instant();
    let told = loop {
        let told = metrics();
        if told["sidegate_requests_in_flight"] == 0.0 {
            break told;
        }
        assert!(began.elapsed() < crate::support::PATIENCE, "{told:?}");
    };
    for (series, count) in [
        ("sidegate_requests_total{listener=\"public\",code=\"2xx\"}", 3.0),
        ("sidegate_requests_total{listener=\"public\",code=\"4xx\"}", 2.0),
        ("sidegate_requests_total{listener=\"public\",code=\"none\"}", 0.0),
        ("sidegate_decisions_total{reason=\"admitted\"}", 3.0),
        ("sidegate_decisions_total{reason=\"credential_missing\"}", 1.0),
        ("sidegate_decisions_total{reason=\"request_invalid\"}", 1.0),
        ("sidegate_cache_requests_total{outcome=\"hit\"}", 2.0),
        ("sidegate_cache_requests_total{outcome=\"miss\"}", 1.0),
        ("sidegate_auth_seconds_count", 4.0),
        ("sidegate_cache_entries{kind=\"key\"}", 1.0),
        ("sidegate_overhead_seconds_count", 3.0),
        ("sidegate_upstream_response_seconds_count", 3.0),
        ("sidegate_upstream_connect_failures_total{upstream=\"main\"}", 0.0),
        ("sidegate_connections_accepted_total{listener=\"public\"}", 5.0),
        ("sidegate_store_reachable", 1.0),
        ("sidegate_ready", 1.0),
        ("sidegate_config_last_reload_successful", 1.0),
    ] {
        assert_eq!(told.get(series), Some(&count), "{series}");
    }
    assert!(told["sidegate_upstream_connects_total{upstream=\"main\"}"] >= 1.0);
}

#[test]
fn an_upstream_that_is_not_there_shows() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!("[ops]\nlisten = \"127.0.0.1:0\"\n[upstreams.main]\nurl = \"http://{gone}\"\nconnect_timeout = \"20ms\"\n");
    let home = Home::new(Kind::Embedded, &text);
    let secret = home.issue().secret;
    let sidecar = Sidecar::in_home(home, Clock::System);
    assert_eq!(once(sidecar.address(), &Request::get("/a").bearer(&secret)).status, 502);
    let told = parse(&once(sidecar.ops(), &Request::get("/metrics")).text());
    assert_eq!(told.get("sidegate_upstream_connect_failures_total{upstream=\"main\"}"), Some(&1.0));
}

#[test]
fn a_probe_asks_the_upstream_for_its_own_path_and_passes_on_the_status_alone() {
    let upstream = Upstream::start(|exchange| {
        let status = if exchange.request.target == "/healthz?deep" { 200 } else { 503 };
        exchange.answer(status, &[("X-Secret", "1")], b"details");
    });
    let (sidecar, secret) = sidecar(&upstream, "[ops.probes]\napp = \"/healthz?deep\"\nsick = \"/sick\"\n");
    let ask = |path: &str| once(sidecar.ops(), &Request::get(path).bearer(&secret).header("X-Tenant-Id", "acme"));
    let answer = ask("/probe/app");
    assert_eq!((answer.status, answer.text().as_str(), answer.header("x-secret")), (200, "", None));
    assert_eq!((ask("/probe/sick").status, ask("/probe/sick").text().as_str()), (503, ""));
    assert_eq!(ask("/probe/none").status, 404);
    assert_eq!(ask("/probe/").status, 404);
    assert_eq!(once(sidecar.ops(), &Request::new("POST", "/probe/app")).status, 405);
    let recorded = upstream.recorded();
    let first = recorded.first().unwrap();
    assert_eq!((first.method.as_str(), first.target.as_str()), ("GET", "/healthz?deep"));
    assert_eq!((first.header("authorization"), first.header("x-tenant-id")), (None, None));
}
