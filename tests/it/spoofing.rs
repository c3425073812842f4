//! What the upstream is told of the caller is only ever said by Sidegate.

use crate::support::client::{Client, Request, once};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;
use crate::support::wire::is_token;

const IDENTITY: &[&str] = &["X-Tenant-Id", "X-Auth-Key-Id", "X-Auth-Subject", "X-Auth-Scopes", "X-Auth-Environment", "X-Auth-Credential"];

const ROUTES: &str = "routes = [{ name = \"open\", match = \"* /open\", auth = \"none\" }, { name = \"all\", match = \"* /**\" }]";

/// Every spelling that a CGI, WSGI or PHP backend might read as the same variable.
fn spellings(name: &str) -> Vec<String> {
    let odd = (0x21..0x7f_u8).filter(|byte| is_token(*byte) && !byte.is_ascii_alphanumeric() && *byte != b'-').map(char::from);
    let mut all: Vec<String> = odd.map(|c| name.replace('-', &c.to_string())).collect();
    all.extend([name.to_ascii_lowercase(), name.to_ascii_uppercase(), name.replacen('-', "_", 1)]);
    all
}

fn seen(upstream: &Upstream, name: &str) -> Vec<String> {
    let folded =
        |name: &str| name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect::<String>();
    let recorded = upstream.recorded();
    let last = recorded.last().unwrap();
    let fields = last.head.fields.iter().chain(&last.trailers);
    fields.filter(|(own, _)| folded(own) == folded(name)).map(|(_, value)| value.clone()).collect()
}

fn spoofing_is_removed(config: &str, keep_odd: bool) {
    let upstream = if keep_odd { Upstream::echo().odd_names_pass() } else { Upstream::echo() };
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n{ROUTES}\n{config}", upstream.url()));
    let key = sidecar.home.issue().secret;
    upstream.must_never_see(&key);
    for name in IDENTITY {
        // One at a time, and at last all at once; with a good key and on an open route.
        let mut sets: Vec<Vec<String>> = spellings(name).into_iter().map(|spelling| vec![spelling]).collect();
        sets.push(spellings(name));
        for set in sets {
            for (target, bearer) in [("/closed", true), ("/open", false), ("/open", true)] {
                let mut request = Request::get(target);
                if bearer {
                    request = request.bearer(&key);
                }
                for spelling in &set {
                    request = request.header(spelling, "forged").header(spelling, "forged too");
                }
                assert_eq!(once(sidecar.address(), &request).status, 200, "{set:?}");
                let values = seen(&upstream, name);
                assert!(values.iter().all(|value| !value.contains("forged")), "{target} {set:?}: {values:?}");
                assert!(values.len() <= 1, "{target} {set:?}: {values:?}");
            }
        }
    }
}

#[test]
fn no_spelling_of_an_identity_header_passes() {
    spoofing_is_removed("", false);
}

#[test]
fn no_spelling_of_an_identity_header_passes_where_odd_names_are_kept() {
    spoofing_is_removed("[identity]\nodd_names = \"keep\"", true);
}

#[test]
fn trailers_carry_no_identity_framing_or_credential() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"", upstream.url()));
    let key = sidecar.home.issue().secret;
    upstream.must_never_see(&key);
    let forbidden = [
        "X-Tenant-Id",
        "x_tenant_id",
        "X-Auth-Scopes",
        "Authorization",
        "X-API-Key",
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "X-Forwarded-For",
    ];
    for name in forbidden.into_iter().chain(["X-Sum"]) {
        let mut client = Client::connect(sidecar.address());
        client.send(format!(
            "POST /{name} HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer {key}\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: {name}\r\n\r\n\
             5\r\n12345\r\n0\r\n{name}: forged\r\n\r\n"
        ));
        let status = client.answer("POST").status;
        assert!(status == 200 || (status == 400 && name != "X-Sum"), "{name}: {status}");
        let complete: Vec<_> = upstream.complete().into_iter().filter(|request| request.target == format!("/{name}")).collect();
        assert_eq!(complete.len(), usize::from(status == 200), "{name}");
        for request in complete {
            assert!(request.trailers.iter().all(|(own, _)| own.eq_ignore_ascii_case("x-sum")), "{name}: {:?}", request.trailers);
            assert_eq!(String::from_utf8_lossy(&request.body), "12345", "{name}");
        }
    }
}

#[test]
fn naming_an_identity_header_in_connection_does_not_remove_ours() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n{ROUTES}", upstream.url()));
    let key = sidecar.home.issue().secret;
    for name in IDENTITY.iter().chain(&["Authorization", "Host", "Content-Length", "Transfer-Encoding", "X-Forwarded-For", "X-API-Key"]) {
        for spelling in [(*name).to_owned(), name.to_ascii_lowercase(), name.replace('-', "_")] {
            for connection in [spelling.clone(), format!("close, {spelling}"), format!("keep-alive , {spelling},")] {
                let answer = once(sidecar.address(), &Request::get("/closed").bearer(&key).header("Connection", &connection));
                if answer.status == 200 {
                    // A token that is nobody's header may pass; ours is there all the same.
                    assert_eq!(seen(&upstream, "X-Tenant-Id"), ["acme"], "{connection}");
                } else {
                    assert_eq!(answer.status, 400, "{connection}");
                }
            }
        }
        let answer = once(sidecar.address(), &Request::get("/closed").bearer(&key).header("Connection", name));
        assert_eq!(answer.status, 400, "{name}");
    }
}

#[test]
fn header_order_and_values_pass_as_they_are() {
    let upstream = Upstream::echo();
    let sidecar = Sidecar::start(&format!("upstream = \"{}\"", upstream.url()));
    let key = sidecar.home.issue().secret;
    let request =
        Request::get("/").bearer(&key).header("X-List", "b").header("Accept", "*/*").header("X-List", "a, \"c\"").header("X-List", "");
    assert_eq!(once(sidecar.address(), &request).status, 200);
    let seen = upstream.only();
    assert_eq!(seen.head.all("x-list").collect::<Vec<_>>(), ["b", "a, \"c\"", ""]);
    assert_eq!(seen.header("accept"), Some("*/*"));
}
