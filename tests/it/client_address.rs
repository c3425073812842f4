//! Whose address a request has: the right-most untrusted entry of the one configured header, and only from a trusted peer.

use crate::support::client::{Request, once};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const V4: &str = "198.51.100.7";
const V6: &str = "2001:db8::7";
const NOBODY: &str = "";

struct Scene {
    upstream: Upstream,
    sidecar: Sidecar,
    /// The address a key is bound to, and the key; the last is bound to none.
    keys: Vec<(&'static str, String)>,
}

impl Scene {
    fn new(client_ip: &str) -> Self {
        let upstream = Upstream::echo();
        let sidecar = Sidecar::start(&format!("upstream = \"{}\"\n[client_ip]\n{client_ip}", upstream.url()));
        let table = sidecar.home.table();
        table.put_tenant(&crate::support::seed::tenant(&serde_json::json!({})));
        let keys = [V4, V6, "127.0.0.1", "203.0.113.9"].map(|address| {
            let id = format!("key_{}", address.replace(['.', ':'], "x"));
            let issued =
                crate::support::seed::key(&sidecar.home.config, "acme", &serde_json::json!({ "id": id, "ip_allowlist": [address] }));
            table.put_key(&issued.record);
            (address, issued.secret)
        });
        Self { upstream, sidecar, keys: keys.into() }
    }

    /// The address that Sidegate takes the request to have: the one whose key is let through.
    fn judged(&self, headers: &[(&str, &str)]) -> String {
        let allowed = |key: &str| {
            let request = headers.iter().fold(Request::get("/").bearer(key), |request, (name, value)| request.header(name, value));
            let status = once(self.sidecar.address(), &request).status;
            assert!(matches!(status, 200 | 403), "{headers:?}: {status}");
            status == 200
        };
        let passing: Vec<&str> = self.keys.iter().filter(|(_, key)| allowed(key)).map(|(address, _)| *address).collect();
        passing.join(" ")
    }
}

fn check(client_ip: &str, table: &[(&[(&str, &str)], &str)]) {
    let scene = Scene::new(client_ip);
    let wrong: Vec<String> = table
        .iter()
        .map(|(headers, expected)| (headers, expected, scene.judged(headers)))
        .filter(|(_, expected, got)| got != *expected)
        .map(|(headers, expected, got)| format!("{headers:?}: {got:?} instead of {expected:?}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(scene.upstream.recorded().len() <= table.len());
}

#[test]
fn the_right_most_untrusted_entry_is_the_client() {
    check(
        "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\", \"2001:db8:1::/48\"]",
        &[
            (&[], "127.0.0.1"),
            (&[("X-Forwarded-For", "198.51.100.7")], V4),
            (&[("X-Forwarded-For", "203.0.113.9, 198.51.100.7")], V4),
            (&[("X-Forwarded-For", "203.0.113.9, 198.51.100.7, 10.1.2.3")], V4),
            (&[("X-Forwarded-For", "203.0.113.9,198.51.100.7,10.1.2.3,127.0.0.2")], V4),
            (&[("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "198.51.100.7")], V4),
            (&[("X-Forwarded-For", "198.51.100.7"), ("X-Forwarded-For", "10.0.0.1, 10.0.0.2")], V4),
            (&[("x-forwarded-for", "  198.51.100.7  ")], V4),
            (&[("X-Forwarded-For", "::ffff:198.51.100.7")], V4),
            (&[("X-Forwarded-For", "::ffff:c633:6407")], V4),
            (&[("X-Forwarded-For", "2001:db8::7")], V6),
            (&[("X-Forwarded-For", "2001:DB8:0:0:0:0:0:7")], V6),
            (&[("X-Forwarded-For", "[2001:db8::7]")], V6),
            (&[("X-Forwarded-For", "[2001:db8::7]:4711")], V6),
            (&[("X-Forwarded-For", "198.51.100.7:4711")], V4),
            (&[("X-Forwarded-For", "198.51.100.7, 2001:db8:1::9")], V4),
            // Garbage left of the client says nothing; garbage where the client should be means that there is none.
            (&[("X-Forwarded-For", "garbage, 198.51.100.7")], V4),
            (&[("X-Forwarded-For", "198.51.100.7, garbage")], NOBODY),
            (&[("X-Forwarded-For", "198.51.100.7, unknown")], NOBODY),
            (&[("X-Forwarded-For", "198.51.100.7, garbage, 10.0.0.1")], NOBODY),
            (&[("X-Forwarded-For", "198.51.100.7,")], NOBODY),
            (&[("X-Forwarded-For", "198.51.100.7, ,10.0.0.1")], NOBODY),
            (&[("X-Forwarded-For", "198.51.100.007")], NOBODY),
            (&[("X-Forwarded-For", "0xc6.51.100.7")], NOBODY),
            (&[("X-Forwarded-For", "3325256711")], NOBODY),
            (&[("X-Forwarded-For", "198.51.100.7/32")], NOBODY),
            (&[("X-Forwarded-For", "198.51.100.7 203.0.113.9")], NOBODY),
            (&[("X-Forwarded-For", "198.51.100.7:")], NOBODY),
            (&[("X-Forwarded-For", "198.51.100.7:99999")], NOBODY),
            (&[("X-Forwarded-For", "[198.51.100.7]")], NOBODY),
            (&[("X-Forwarded-For", "2001:db8::7%eth0")], NOBODY),
            (&[("X-Forwarded-For", "[2001:db8::7")], NOBODY),
            (&[("X-Forwarded-For", "\"198.51.100.7\"")], NOBODY),
            // Only the one configured header is read.
            (&[("X-Real-IP", "198.51.100.7")], "127.0.0.1"),
            (&[("Forwarded", "for=198.51.100.7")], "127.0.0.1"),
            (&[("X-Forwarded-For", "203.0.113.9"), ("X-Real-IP", "198.51.100.7")], "203.0.113.9"),
            (&[("X_Forwarded_For", "198.51.100.7")], "127.0.0.1"),
        ],
    );
}

#[test]
fn without_trusted_proxies_no_header_changes_the_verdict() {
    check(
        "",
        &[
            (&[], "127.0.0.1"),
            (&[("X-Forwarded-For", "198.51.100.7")], "127.0.0.1"),
            (&[("X-Forwarded-For", "garbage")], "127.0.0.1"),
            (&[("Forwarded", "for=198.51.100.7")], "127.0.0.1"),
            (&[("X-Real-IP", "198.51.100.7")], "127.0.0.1"),
            (&[("CF-Connecting-IP", "198.51.100.7")], "127.0.0.1"),
            (&[("True-Client-IP", "198.51.100.7")], "127.0.0.1"),
            (&[("X-Client-IP", "198.51.100.7"), ("X-Cluster-Client-IP", "198.51.100.7")], "127.0.0.1"),
            (&[("Via", "1.1 198.51.100.7")], "127.0.0.1"),
        ],
    );
}

#[test]
fn a_peer_that_is_not_trusted_is_the_client() {
    check(
        "trusted_proxies = [\"10.0.0.0/8\"]",
        &[(&[("X-Forwarded-For", "198.51.100.7")], "127.0.0.1"), (&[("X-Forwarded-For", "198.51.100.7, 10.0.0.1")], "127.0.0.1")],
    );
}

#[test]
fn the_forwarded_header_is_read_where_it_is_the_one() {
    check(
        "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\nheader = \"Forwarded\"",
        &[
            (&[("Forwarded", "for=198.51.100.7")], V4),
            (&[("Forwarded", "for=203.0.113.9, for=198.51.100.7;proto=https;by=10.0.0.1")], V4),
            (&[("Forwarded", "For=\"[2001:db8::7]:4711\"")], V6),
            (&[("Forwarded", "for=\"198.51.100.7:4711\"")], V4),
            (&[("Forwarded", "for=198.51.100.7"), ("Forwarded", "for=10.0.0.1")], V4),
            (&[("Forwarded", "for=198.51.100.7, for=unknown")], NOBODY),
            (&[("Forwarded", "for=198.51.100.7, for=_hidden")], NOBODY),
            (&[("Forwarded", "for=198.51.100.7, proto=https")], NOBODY),
            (&[("X-Forwarded-For", "198.51.100.7")], "127.0.0.1"),
        ],
    );
}

#[test]
fn a_header_of_one_address_must_carry_exactly_one() {
    check(
        "trusted_proxies = [\"127.0.0.0/8\"]\nheader = \"CF-Connecting-IP\"",
        &[
            (&[("CF-Connecting-IP", "198.51.100.7")], V4),
            (&[("CF-Connecting-IP", "2001:db8::7")], V6),
            (&[("CF-Connecting-IP", "203.0.113.9, 198.51.100.7")], NOBODY),
            (&[("CF-Connecting-IP", "203.0.113.9"), ("CF-Connecting-IP", "198.51.100.7")], NOBODY),
            (&[("CF-Connecting-IP", "garbage")], NOBODY),
            (&[("X-Forwarded-For", "198.51.100.7")], "127.0.0.1"),
        ],
    );
}
