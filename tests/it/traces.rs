//! `[tracing]`: whose trace is continued, what the upstream is told, and what a collector gets, read with OpenTelemetry's own messages.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use sidegate::clock::Clock;

use crate::support::PATIENCE;
use crate::support::client::{Client, Request, once};
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// Takes what it is sent.
fn collector() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        exchange.answer(200, &[("Content-Type", "application/x-protobuf")], b"");
    })
    .asked_directly()
}

fn text(upstream: &Upstream, collector: &Upstream, ratio: &str, more: &str) -> String {
    format!(
        "upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[tracing]\notlp_endpoint = \"{}\"\nsample_ratio = {ratio}\n{more}",
        upstream.url(),
        collector.url()
    )
}

fn start(upstream: &Upstream, collector: &Upstream, ratio: &str, more: &str) -> (Sidecar, String) {
    let home = Home::new(Kind::Embedded, &text(upstream, collector, ratio, more));
    let secret = home.issue().secret;
    (Sidecar::in_home(home, Clock::System), secret)
}

fn spans(collector: &Upstream) -> Vec<Span> {
    let mut spans = Vec::new();
    for batch in collector.complete() {
        assert_eq!((batch.method.as_str(), batch.target.as_str()), ("POST", "/v1/traces"));
        assert_eq!(batch.header("content-type"), Some("application/x-protobuf"));
        let request = ExportTraceServiceRequest::decode(batch.body.as_slice()).unwrap();
        for of_resource in request.resource_spans {
            let resource = attributes(&of_resource.resource.unwrap().attributes);
            assert_eq!(resource["service.name"], "sidegate");
            assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
            spans.extend(of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans));
        }
    }
    // A batch that was on its way when the sidecar ended is sent again.
    let mut seen = BTreeSet::new();
    spans.retain(|span: &Span| seen.insert(span.span_id.clone()));
    spans
}

/// All of them: the sidecar has ended.
fn all_spans(mut sidecar: Sidecar, collector: &Upstream) -> Vec<Span> {
    sidecar.stop();
    spans(collector)
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &KeyValue| match value.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let map: BTreeMap<String, String> = all.iter().map(|value| (value.key.clone(), text(value))).collect();
    assert_eq!(map.len(), all.len(), "a name comes twice: {all:?}");
    map
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn of_kind(spans: &[Span], kind: SpanKind) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind == kind as i32).collect()
}

#[test]
fn a_known_caller_is_continued_and_the_upstream_is_a_child_of_ours() {
    let (upstream, collector) = (Upstream::echo(), collector());
    let route = "[[routes]]\nname = \"user\"\nmatch = \"GET /v1/users/{id}\"\n";
    let (sidecar, secret) = start(&upstream, &collector, "0.0", route);
    let request = Request::get("/v1/users/7?q=hush").bearer(&secret);
    let request = request.header("traceparent", &traceparent("01")).header("tracestate", "a=1").header("tracestate", "b=2");
    assert_eq!(once(sidecar.address(), &request.header("User-Agent", "curious/1")).status, 200);
    let seen = upstream.only();
    assert_eq!(seen.head.all("tracestate").collect::<Vec<_>>(), ["a=1", "b=2"]);
    let told = seen.header("traceparent").unwrap().to_owned();

    let spans = all_spans(sidecar, &collector);
    let [server, client] = [of_kind(&spans, SpanKind::Server), of_kind(&spans, SpanKind::Client)].map(|of| {
        assert_eq!(of.len(), 1, "{spans:#?}");
        of[0]
    });
    assert_eq!((hex(&server.trace_id), hex(&server.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!((&client.trace_id, &client.parent_span_id), (&server.trace_id, &server.span_id));
    assert_eq!(told, format!("00-{TRACE}-{}-01", hex(&client.span_id)));
    assert_ne!(server.span_id, client.span_id);
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano && client.end_time_unix_nano <= server.end_time_unix_nano);

    assert_eq!((server.name.as_str(), client.name.as_str()), ("GET /v1/users/{id}", "GET"));
    let of_server = attributes(&server.attributes);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/v1/users/{id}"),
        ("http.response.status_code", "200"),
        ("url.path", "/v1/users/7"),
        ("url.scheme", "http"),
        ("client.address", "127.0.0.1"),
        ("tenant.id", "acme"),
        ("deployment.environment.name", "live"),
    ] {
        assert_eq!(of_server.get(name).map(String::as_str), Some(value), "{name}: {of_server:#?}");
    }
    let of_client = attributes(&client.attributes);
    assert_eq!(of_client["url.full"], format!("{}/v1/users/7", upstream.url()));
    assert_eq!((of_client["server.address"].as_str(), of_client["sidegate.upstream"].as_str()), ("127.0.0.1", "main"));
    let everything = format!("{spans:?}");
    for hidden in [&*secret, "hush", "curious", "key_main", secret.split_at(secret.len() - 12).1] {
        assert!(!everything.contains(hidden), "{hidden}: {everything}");
    }
}

#[test]
fn whoever_is_not_known_or_is_refused_begins_a_trace_of_his_own() {
    let (upstream, collector) = (Upstream::echo(), collector());
    let open = "[[routes]]\nname = \"open\"\nmatch = \"GET /open\"\nauth = \"none\"\n[[routes]]\nname = \"more\"\nmatch = \"GET /more\"\nscopes = [\"more\"]\n";
    let (sidecar, secret) = start(&upstream, &collector, "1.0", open);
    let ask = |path: &str, key: Option<&str>| {
        let request = Request::get(path).header("traceparent", &traceparent("01")).header("tracestate", "a=1");
        once(sidecar.address(), &key.into_iter().fold(request, Request::bearer)).status
    };
    assert_eq!(ask("/open", None), 200, "anybody");
    assert_eq!(ask("/v1", None), 401, "nobody");
    assert_eq!(ask("/v1", Some("sk_live_nobodys")), 401, "somebody unknown");
    assert_eq!(ask("/more", Some(&secret)), 403, "somebody known who may not");
    let seen = upstream.only();
    assert_eq!(seen.header("tracestate"), None);
    let told = seen.header("traceparent").unwrap().to_owned();
    assert!(!told.contains(TRACE) && !told.contains(PARENT), "{told}");

    let spans = all_spans(sidecar, &collector);
    let servers = of_kind(&spans, SpanKind::Server);
    assert_eq!((servers.len(), of_kind(&spans, SpanKind::Client).len()), (4, 1), "{spans:#?}");
    for span in &spans {
        assert!(hex(&span.trace_id) != TRACE && hex(&span.parent_span_id) != PARENT, "{span:#?}");
    }
    assert!(servers.iter().all(|span| span.parent_span_id.is_empty()));
    let reasons: Vec<Option<String>> = servers.iter().map(|span| attributes(&span.attributes).remove("sidegate.reason")).collect();
    let refused = ["credential_missing", "key_unknown", "scope_missing"].map(|reason| Some(reason.to_owned()));
    assert!(reasons[0].is_none() && reasons[1..] == refused, "{reasons:?}");
}

#[test]
fn what_is_not_sampled_is_told_so_and_is_not_sent() {
    let (upstream, collector) = (Upstream::echo(), collector());
    let (sidecar, secret) = start(&upstream, &collector, "0.0", "");
    let mut client = Client::connect(sidecar.address());
    // By the caller, by the ratio, and because what is malformed is nobody's trace.
    for parent in [Some(traceparent("00")), None, Some(traceparent("01").to_uppercase()), Some(format!("{}-", traceparent("01")))] {
        let request = Request::get("/a").bearer(&secret).header("tracestate", "a=1");
        client.send(parent.iter().fold(request, |request, parent| request.header("traceparent", parent)).bytes());
        assert_eq!(client.answer("GET").status, 200);
    }
    let seen = upstream.recorded();
    let told: Vec<&str> = seen.iter().map(|request| request.header("traceparent").unwrap()).collect();
    assert!(told.iter().all(|told| told.ends_with("-00") && told.len() == 55), "{told:?}");
    assert!(told[0].contains(TRACE) && !told[0].contains(PARENT), "{told:?}");
    assert!(told[1..].iter().all(|told| !told.contains(TRACE)), "{told:?}");
    assert_eq!(seen.iter().map(|request| request.header("tracestate")).collect::<Vec<_>>(), [Some("a=1"), None, None, None]);
    assert_eq!(all_spans(sidecar, &collector), []);
}

#[test]
fn without_an_endpoint_traces_pass_untouched() {
    let upstream = Upstream::echo();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n", upstream.url()));
    let secret = home.issue().secret;
    let sidecar = Sidecar::in_home(home, Clock::System);
    let request = Request::get("/a").bearer(&secret).header("traceparent", "whatever").header("tracestate", "a=1");
    assert_eq!(once(sidecar.address(), &request).status, 200);
    let seen = upstream.only();
    assert_eq!((seen.header("traceparent"), seen.header("tracestate")), (Some("whatever"), Some("a=1")));
}

#[test]
fn a_head_that_cannot_be_read_is_no_span_and_names_none() {
    let (upstream, collector) = (Upstream::echo(), collector());
    let home = Home::new(Kind::Embedded, &text(&upstream, &collector, "1.0", ""));
    let secret = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    let mut client = Client::connect(serve.address);
    client.send("GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(client.answer("GET").status, 400);
    assert_eq!(once(serve.address, &Request::get("/b").bearer(&secret)).status, 200);
    let mut lines = serve.access(2);
    // The first lingers: its line may come last.
    lines.sort_by_key(|line| std::cmp::Reverse(line["http.response.status_code"].as_u64()));
    assert!(lines[0].get("trace_id").is_none() && lines[1].get("trace_id").is_some(), "{lines:#?}");
    let (status, ..) = serve.stop();
    assert!(status.success());
    let spans = spans(&collector);
    assert_eq!(spans.len(), 2, "{spans:#?}");
    assert!(spans.iter().all(|span| lines[1]["trace_id"] == hex(&span.trace_id)), "{spans:#?}");
}

#[test]
fn what_no_collector_took_is_counted_as_dropped_at_the_end() {
    let upstream = Upstream::echo();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "upstream = \"{}\"\n[tracing]\notlp_endpoint = \"http://{nobody}\"\nsample_ratio = 1.0\n[shutdown]\ndrain_timeout = \"1s\"\n",
        upstream.url()
    );
    let home = Home::new(Kind::Embedded, &config);
    let secret = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    assert_eq!(once(serve.address, &Request::get("/a").bearer(&secret)).status, 200);
    let (status, _, stderr) = serve.stop();
    assert!(status.success() && stderr.text().contains("spans were not sent: 1"), "{}", stderr.text());
}

#[test]
fn an_upstream_that_fails_shows_in_both_spans() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.close();
    });
    let collector = collector();
    let (sidecar, secret) = start(&upstream, &collector, "1.0", "");
    assert_eq!(once(sidecar.address(), &Request::new("POST", "/a").bearer(&secret)).status, 502);
    let spans = all_spans(sidecar, &collector);
    assert_eq!(spans.len(), 2, "{spans:#?}");
    for span in &spans {
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(2), "{span:#?}");
        assert_eq!(attributes(&span.attributes)["error.type"], "upstream_unavailable");
    }
}

#[test]
fn a_trace_is_named_in_the_access_log() {
    let (upstream, collector) = (Upstream::echo(), collector());
    let home = Home::new(Kind::Embedded, &text(&upstream, &collector, "0.0", ""));
    let secret = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    let request = Request::get("/a").bearer(&secret).header("traceparent", &traceparent("01"));
    assert_eq!(once(serve.address, &request).status, 200);
    assert_eq!(once(serve.address, &Request::get("/a")).status, 401);
    let lines = serve.access(2);
    assert_eq!(lines[0]["trace_id"].as_str(), Some(TRACE));
    assert!(lines[1].get("trace_id").is_none(), "it is not recorded: {:#}", lines[1]);
}

#[test]
fn a_collector_that_is_away_costs_nobody_a_request_and_gets_the_spans_when_it_is_back() {
    let upstream = Upstream::echo();
    let busy = std::sync::atomic::AtomicBool::new(true);
    let collector = Upstream::start(move |exchange| {
        exchange.read_body();
        let status = if busy.swap(false, std::sync::atomic::Ordering::SeqCst) { 503 } else { 200 };
        exchange.answer(status, &[], b"");
    })
    .asked_directly();
    let (sidecar, secret) = start(&upstream, &collector, "1.0", "");
    assert_eq!(once(sidecar.address(), &Request::get("/a").bearer(&secret)).status, 200);
    collector.wait(|seen| seen.iter().filter(|batch| batch.complete).count() == 2);
    let batches = collector.complete();
    assert_eq!(batches[0].body, batches[1].body, "the same batch again");
    let began = sidegate::clock::instant();
    let metrics = || once(sidecar.ops(), &Request::get("/metrics")).text();
    while !metrics().contains("sidegate_trace_requests_total{outcome=\"sent\"} 1\n") {
        assert!(began.elapsed() < PATIENCE, "{}", metrics());
    }
    assert!(metrics().contains("sidegate_trace_requests_total{outcome=\"dropped\"} 0\n"));
}

#[test]
fn an_endpoint_that_is_none_is_reported_at_its_key() {
    for (endpoint, word) in [("otel:4318", "URL"), ("http://otel:4317", "gRPC"), ("http://a@otel:4318", "user name")] {
        let config: sidegate::config::sections::Config =
            toml::from_str(&format!("[upstreams.main]\nurl = \"http://a\"\n[tracing]\notlp_endpoint = \"{endpoint}\"")).unwrap();
        let mut problems = sidegate::config::problem::Problems::default();
        assert!(sidegate::app::compile(&config, &mut problems).is_none());
        let said: Vec<String> = problems.list().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
        assert!(said.iter().any(|said| said.starts_with("tracing.otlp_endpoint: ") && said.contains(word)), "{said:?}");
    }
}
