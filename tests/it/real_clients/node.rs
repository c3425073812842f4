//! Clients in Node; its web sockets end in Python.

use super::script::{Api, client, run};
use super::{Front, Scene, pattern};

/// Bytes of a large upload in check.js.
const LARGE: usize = 4 << 20;

#[test]
fn fetch_streams_in_both_directions() {
    let scene = Scene::new();
    run(&mut client("with_fetch.js", &scene.front));
    let all = scene.identified();
    let whole = crc32fast::hash(&pattern(LARGE));
    let uploads: Vec<u32> = all.iter().filter(|request| request.target == "/upload").map(|request| request.body_crc).collect();
    assert_eq!(uploads, [whole; 4]);
}

#[test]
fn http2_of_node_sends_and_gets_trailers() {
    let scene = Scene::new();
    run(&mut client("with_http2.js", &scene.front));
    let all = scene.identified();
    let whole = crc32fast::hash(&pattern(LARGE));
    let trailers = vec![("x-checksum".to_owned(), "7".to_owned())];
    let uploads = all.iter().filter(|request| request.target == "/upload").map(|request| (request.body_crc, request.trailers.clone()));
    assert_eq!(uploads.collect::<Vec<_>>(), [(whole, trailers.clone()), (whole, trailers)]);
    assert_eq!(scene.front.connections(), 8, "one for each check");
}

#[test]
fn ws_talks_to_websockets() {
    let api = Api::start("websockets_api.py");
    run(&mut client("with_ws.js", &Front::of(&api.url, "")));
}
