//! gRPC clients understand a refusal only as HTTP 200 with the outcome where their trailers are.

use crate::support::client::{Answer, Request, once};
use crate::support::http2::{Http2, head};
use crate::support::process::{self, Serve};
use crate::support::seed;
use crate::support::sidecar::{Home, Kind};
use crate::support::upstream::Upstream;

const CONFIG: &str = "[[routes]]\nname = \"calls\"\nmatch = \"POST /pkg.Service/**\"\nscopes = [\"call\"]\n";

struct Scene {
    upstream: Upstream,
    home: Home,
    serve: Serve,
    key: String,
}

impl Scene {
    fn new() -> Self {
        let upstream = Upstream::echo();
        let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n{CONFIG}", upstream.url()));
        let key = home.issue().secret;
        let serve = Serve::start(&home.config_file());
        Self { upstream, home, serve, key }
    }
}

fn call(path: &str) -> Request {
    Request::new("POST", path).header("content-type", "application/grpc+proto").header("te", "trailers")
}

fn outcome(answer: &Answer) -> (u16, Option<&str>, Option<&str>) {
    (answer.status, answer.header("grpc-status"), answer.header("grpc-message"))
}

#[test]
fn a_refused_call_is_told_in_trailers_only() {
    let scene = Scene::new();
    let mut client = Http2::connect(scene.serve.address);
    for (request, status, message) in [
        (call("/pkg.Service/Call"), "16", "Authentication required"),
        (call("/pkg.Service/Call").bearer("sk_live_nobody"), "16", "Invalid API key"),
        (call("/pkg.Service/Call").bearer(&scene.key), "7", "API key doesn't have permission for this resource"),
        (call("/pkg.Other/Call").bearer(&scene.key), "12", "Not found"),
        (call("/pkg.Service//Call").bearer(&scene.key), "3", "The request is malformed"),
        (call("/pkg.Service/Call").header("content-length", "0").header("content-length", "0"), "3", "The request is malformed"),
    ] {
        // A call's content is open when it is refused.
        let ends = request.headers.iter().any(|(name, _)| name == "content-length");
        let opened = client.open(head(&request), ends);
        let begun = client.begin(opened.response).unwrap();
        assert!(begun.body.is_end_stream(), "trailers only");
        let answer = client.finish(begun).unwrap();
        assert_eq!(outcome(&answer), (200, Some(status), Some(message)), "{request:?}");
        assert_eq!((answer.header("content-type"), answer.header("content-length")), (Some("application/grpc"), None));
        assert!(answer.header("x-request-id").is_some() && answer.body.is_empty());
        let old = once(scene.serve.address, &request);
        if old.status == 200 {
            assert_eq!(outcome(&old), outcome(&answer), "over HTTP/1 too");
        }
    }
    assert!(scene.upstream.recorded().is_empty());
    let lines = scene.serve.access(6);
    assert!(lines.iter().all(|line| line["http.response.status_code"] == 200 || line["network.protocol.version"].is_null()), "{lines:#?}");
}

#[test]
fn an_upstream_that_is_gone_is_unavailable() {
    let scene = Scene::new();
    let Scene { upstream, home, serve, .. } = scene;
    let issued = seed::key(&home.config, "acme", &serde_json::json!({ "id": "key_calls", "scopes": ["call"] }));
    home.table().put_key(&issued.record);
    drop(upstream);
    let mut client = Http2::connect(serve.address);
    let opened = client.open(head(&call("/pkg.Service/Call").bearer(&issued.secret)), true);
    let answer = client.try_answer(opened.response).unwrap();
    assert_eq!(outcome(&answer), (200, Some("14"), Some("The service is not available")));
}

#[test]
fn explain_tells_the_same_answer() {
    let scene = Scene::new();
    let arguments =
        ["explain", "--json", "-X", "POST", "-H", "Host: api.example", "-H", "Content-Type: application/grpc", "/pkg.Service/Call"];
    let ended = process::run(&arguments, &scene.home.config_file());
    let explained: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let headers = explained["answer"]["headers"].as_array().unwrap();
    assert_eq!(explained["answer"]["status"], 200, "{explained:#}");
    assert!(headers.iter().any(|line| line[0] == "grpc-status" && line[1] == "16"), "{explained:#}");
}
