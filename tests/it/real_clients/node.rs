//! Clients in Node; its WebSockets end in Python.

use super::script::{Api, client, run};
use super::{Front, Scene, pattern};

/// Bytes of a large upload in check.js.
const LARGE: usize = 8 << 20;

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
    let trailers = [("x-checksum".to_owned(), "7".to_owned())];
    let uploads: Vec<_> = all.iter().filter(|request| request.target == "/upload").collect();
    assert_eq!(uploads.len(), 2);
    assert!(uploads.iter().all(|request| request.body_crc == whole && request.trailers == trailers), "{uploads:#?}");
    assert_eq!(scene.front.connections(), 8, "one for each check");
}

#[test]
fn ws_talks_to_websockets() {
    let api = Api::start("websockets_api.py");
    run(&mut client("with_ws.js", &Front::of(&api.url, "")));
}
