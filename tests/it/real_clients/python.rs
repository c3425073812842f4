//! Clients and servers in Python.

use super::script::{Api, client, run};
use super::{Front, Scene, pattern};
use crate::support::upstream::Recorded;
use crate::support::wire::Framing;

/// Bytes of a large upload in check.py.
const LARGE: usize = 4 << 20;

const CALLS: &str = r#"
[[routes]]
name = "calls"
match = "POST /test.Api/**"
[[routes]]
name = "scoped"
match = "POST /test.Admin/**"
scopes = ["admin"]
"#;

/// Runs a script to its end; what the API saw.
#[track_caller]
fn calls(scene: &Scene, name: &str) -> Vec<Recorded> {
    run(&mut client(name, &scene.front));
    scene.identified()
}

/// How the large uploads were framed that arrived, all of them whole.
fn framings(all: &[Recorded]) -> Vec<Framing> {
    let whole = crc32fast::hash(&pattern(LARGE));
    let large = all.iter().filter(|request| request.target == "/upload" && request.body_len > 0);
    large.inspect(|request| assert_eq!((request.complete, request.body_crc), (true, whole))).filter_map(|request| request.framing).collect()
}

const SIZED: Framing = Framing::Length(LARGE as u64);

#[test]
fn requests_keeps_its_pool_and_gets_everything_it_is_used_to() {
    let scene = Scene::new();
    let all = calls(&scene, "with_requests.py");
    assert_eq!(framings(&all), [SIZED, SIZED, Framing::Chunked]);
    let cookies = all.iter().find(|request| request.target == "/hello?with-cookies").unwrap();
    assert_eq!(cookies.header("cookie"), Some("a=1; b=2"));
    assert!(all.iter().any(|request| request.target == "/hello?q=%20a%2Fb&q=2"));
}

#[test]
fn httpx_speaks_both_versions_and_streams_in_both_directions() {
    let scene = Scene::new();
    assert_eq!(framings(&calls(&scene, "with_httpx.py")), [SIZED, Framing::Chunked].repeat(4));
}

#[test]
fn aiohttp_uploads_in_pieces_and_leaves_what_it_cancels() {
    let scene = Scene::new();
    assert_eq!(framings(&calls(&scene, "with_aiohttp.py")), [SIZED, Framing::Chunked, SIZED].repeat(2));
}

#[test]
fn websockets_talks_to_ws() {
    let api = Api::start("ws_api.js");
    run(&mut client("with_websockets.py", &Front::of(&api.url, "")));
}

#[test]
fn grpcio_makes_calls_of_every_kind_and_understands_refusals() {
    let api = Api::start("grpc_api.py");
    run(&mut client("with_grpcio.py", &Front::of(&api.url, CALLS)));
}
