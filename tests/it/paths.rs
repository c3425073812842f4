//! Paths: one canonical form is judged, the bytes that were judged are the bytes that are forwarded, and everything that two
//! parsers might read in two ways is refused.

use crate::support::client::{Client, Request};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const PASSED: &[&str] = &[
    "/",
    "/v1",
    "/v1/",
    "/v1/users/usr_123",
    "/v1/users?x=1&y=2",
    "/v1/users?",
    "/v1/users?next=https://other.example//a/../b",
    "/v1/users?q=%2e%2e%2f%00%zz",
    "/v1/%41lice",
    "/v1/%7Ealice",
    "/v1/~alice",
    "/v1/a%20b",
    "/v1/caf%C3%A9",
    "/v1/%E2%82%AC",
    "/v1/a;b=c",
    "/v1/a,b",
    "/v1/a:b@c!$&'()*+=",
    "/v1/...",
    "/v1/.hidden",
    "/v1/a..b",
    "/v1/a..",
    "/.well-known/thing",
    "/v1/%2D%5F",
    "/V1/Users",
];

const REFUSED: &[&str] = &[
    "/.",
    "/..",
    "/../",
    "/./",
    "/v1/.",
    "/v1/..",
    "/v1/../admin",
    "/v1/./admin",
    "/v1/../../admin",
    "/v1/%2e%2e/admin",
    "/v1/%2E%2E/admin",
    "/v1/%2e%2E",
    "/v1/.%2e/admin",
    "/v1/%2e./admin",
    "/v1/%2e/admin",
    "/v1/..;/admin",
    "/v1/..;a=b/admin",
    "/v1/%2e%2e;/admin",
    "/v1/.;/admin",
    "/v1/.%2e;x/admin",
    "//",
    "//v1",
    "//other.example/v1",
    "/v1//admin",
    "/v1/admin//",
    "///",
    "/v1/%2fadmin",
    "/v1/a%2Fb",
    "/v1%2fadmin",
    "/%2f",
    "/v1/%5cadmin",
    "/v1/a%5Cb",
    "/v1/..%5cadmin",
    "/v1/..%2fadmin",
    "/v1/a\\b",
    "/v1/..\\admin",
    "\\v1",
    "/v1/%00",
    "/v1/admin%00.json",
    "/v1/a%0d%0aX-Tenant-Id:%20forged",
    "/v1/a%0a",
    "/v1/%09",
    "/v1/%1f",
    "/v1/%7f",
    "/v1/%",
    "/v1/%2",
    "/v1/%zz",
    "/v1/%2g",
    "/v1/%u0061",
    "/v1/%%32%65",
    "/v1/%c0%ae%c0%ae/admin",
    "/v1/%c0%af",
    "/v1/%e0%80%ae",
    "/v1/%f0%80%80%ae",
    "/v1/%ff",
    "/v1/%c3",
    "/v1/%ed%a0%80",
    "/v1/%252e%252e/admin",
    "/v1/%252fadmin",
    "/v1/%25",
    "/v1/%3b",
    "/v1/a%3Bb",
    "/v1/%3F",
    "/v1/%3fx=1",
    "/v1/%23",
    "/v1/x#y",
    "/v1/x?y#z",
    "#",
    "?x=1",
    "v1/users",
    "*",
    "http://other.example/v1",
    "http://user@api.example/v1",
    "http://api.example:81/v1",
    "http://api.example/v1/../admin",
    "https://",
    "ftp://api.example/v1",
    "javascript:alert(1)",
];

fn target_of(status: u16, upstream: &Upstream, before: usize) -> (u16, Option<String>) {
    (status, upstream.recorded().get(before).map(|request| request.target.clone()))
}

#[test]
fn every_target_gets_its_verdict_and_is_forwarded_byte_for_byte() {
    assert!(PASSED.len() + REFUSED.len() >= 60);
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"", upstream.url()));
    let key = sidecar.home.issue().secret;
    let mut wrong = Vec::new();
    let expectations = PASSED.iter().map(|target| (*target, 200)).chain(REFUSED.iter().map(|target| (*target, 400)));
    for (target, expected) in expectations {
        let before = upstream.recorded().len();
        let mut client = Client::connect(sidecar.address());
        client.send(Request::get(target).bearer(&key).bytes());
        let got = target_of(client.answer("GET").status, &upstream, before);
        let forwarded = (expected == 200).then(|| target.to_owned());
        if got != (expected, forwarded) {
            wrong.push(format!("{target}: {got:?} instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn absolute_form_becomes_origin_form() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"", upstream.url()));
    let key = sidecar.home.issue().secret;
    for (sent, forwarded) in [
        ("http://api.example/v1/users?x=%41", "/v1/users?x=%41"),
        ("http://api.example", "/"),
        ("http://api.example?x=1", "/?x=1"),
        ("HTTP://API.EXAMPLE/v1", "/v1"),
    ] {
        let before = upstream.recorded().len();
        let mut client = Client::connect(sidecar.address());
        client.send(Request::get(sent).bearer(&key).bytes());
        assert_eq!(target_of(client.answer("GET").status, &upstream, before), (200, Some(forwarded.to_owned())), "{sent}");
    }
}

#[test]
fn encodings_pass_only_where_the_matched_route_names_them() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&format!(
        "upstream = \"{}\"
        routes = [
          {{ name = \"all\", match = \"* /**\" }},
          {{ name = \"slash\", match = \"* /slash/{{name}}\", allow_encoded = [\"%2F\"] }},
          {{ name = \"every\", match = \"* /every/{{name}}\", allow_encoded = [\"%2F\", \"%5C\", \"%25\", \"%3B\", \"%3F\", \"%23\"] }},
        ]",
        upstream.url()
    ));
    let key = sidecar.home.issue().secret;
    let mut wrong = Vec::new();
    for (target, expected) in [
        ("/slash/a%2Fb", 200),
        ("/slash/a%2fb", 200),
        ("/slash/a%5Cb", 400),
        ("/slash/a%2Fb/c", 400),
        ("/slash/%2e%2e%2fx", 400),
        ("/slash/..%2fx", 400),
        ("/slash/a%2F..%2Fb", 400),
        ("/other/a%2Fb", 400),
        ("/every/a%5cb", 200),
        ("/every/a%25b", 200),
        ("/every/a%3Bb", 200),
        ("/every/a%3Fb", 200),
        ("/every/a%23b", 200),
        ("/every/a%00b", 400),
        ("/every/%252e%252e", 400),
        ("/every/%252f", 400),
        ("/every/..%5cx", 400),
    ] {
        let before = upstream.recorded().len();
        let mut client = Client::connect(sidecar.address());
        client.send(Request::get(target).bearer(&key).bytes());
        let got = target_of(client.answer("GET").status, &upstream, before);
        if got != (expected, (expected == 200).then(|| target.to_owned())) {
            wrong.push(format!("{target}: {got:?} instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_longest_target_passes_and_one_byte_more_does_not() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"", upstream.url()));
    let key = sidecar.home.issue().secret;
    for (length, expected) in [(8192, 200), (8193, 414)] {
        let target = format!("/{}", "a".repeat(length - 1));
        let mut client = Client::connect(sidecar.address());
        client.send(Request::get(&target).bearer(&key).bytes());
        assert_eq!(client.answer("GET").status, expected, "{length} bytes");
    }
    assert_eq!(upstream.only().target.len(), 8192);
}
