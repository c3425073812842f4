//! Check mode (`role = "authz-http"`): what a gateway is told is what the proxy would have done; what it says is believed of gateways
//! alone, and what it says in two ways of nobody.

use serde_json::json;

use crate::support::client::{Answer, Client, Request, once};
use crate::support::http2::Http2;
use crate::support::process::Serve;
use crate::support::seed;
use crate::support::sidecar::{Home, Kind, NOW, Sidecar};
use crate::support::stream::Address;
use crate::support::upstream::Upstream;

const LISTENERS: &str = "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n\
                         [[listeners]]\nname = \"authz\"\naddress = \"127.0.0.1:0\"\nrole = \"authz-http\"\n";
const TRUSTED: &str = "[client_ip]\ntrusted_proxies = [\"127.0.0.1\"]\n";

struct Scene {
    upstream: Upstream,
    sidecar: Sidecar,
    key: String,
}

impl Scene {
    fn new(text: &str) -> Self {
        Self::with_key(text, &json!({}))
    }

    fn with_key(text: &str, key: &serde_json::Value) -> Self {
        let upstream = Upstream::echo();
        let home = Home::new(Kind::Embedded, &format!("{LISTENERS}{TRUSTED}[upstreams.main]\nurl = \"{}\"\n{text}", upstream.url()));
        let key = home.issue_with(key).secret;
        Self { upstream, sidecar: Sidecar::in_home(home, sidegate::clock::Clock::System), key }
    }

    fn ask(&self, request: &Request) -> Answer {
        once(self.sidecar.listener("authz"), request)
    }

    /// As NGINX asks about it.
    fn nginx(&self, request: &Request) -> Answer {
        let asks = Request { method: "GET".into(), target: "/check".into(), body: Vec::new(), ..request.clone() };
        self.ask(&asks.header("X-Original-Method", &request.method).header("X-Original-URI", &request.target))
    }

    /// As Traefik and Caddy ask.
    fn caddy(&self, request: &Request) -> Answer {
        let mut asks = Request { method: "GET".into(), target: "/".into(), body: Vec::new(), ..request.clone() };
        let host = std::mem::replace(&mut asks.headers[0].1, "sidegate:9191".into());
        let asks = asks.header("X-Forwarded-Method", &request.method).header("X-Forwarded-Uri", &request.target);
        self.ask(&asks.header("X-Forwarded-Host", &host).header("X-Forwarded-Proto", "https"))
    }

    /// In all the ways in which gateways ask.
    fn asked(&self, request: &Request) -> [Answer; 3] {
        [self.nginx(request), self.caddy(request), self.ask(request)]
    }
}

fn fields(answer: &Answer) -> Vec<String> {
    let mut fields: Vec<String> = answer.head.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    fields.sort();
    fields
}

const NOBODY: [&str; 8] = [
    "content-length: 0",
    "x-auth-credential: none",
    "x-auth-environment: ",
    "x-auth-key-id: ",
    "x-auth-scopes: ",
    "x-auth-subject: ",
    "x-request-id: request-1",
    "x-tenant-id: ",
];

fn get(target: &str) -> Request {
    Request::get(target).header("X-Forwarded-For", "198.51.100.7").header("X-Request-Id", "request-1")
}

#[test]
fn a_yes_names_who_is_calling_and_nothing_else() {
    let scene = Scene::with_key("", &json!({ "scopes": ["read:users", "write:*"] }));
    // What a client claims to be is not repeated.
    let request = get("/v1/users?page=2").bearer(&scene.key).header("X-Tenant-Id", "evil").header("X-Auth-Subject", "evil");
    for answer in scene.asked(&request) {
        assert_eq!((answer.status, answer.text()), (200, String::new()));
        let expected = [
            "content-length: 0",
            "x-auth-credential: api_key",
            "x-auth-environment: live",
            "x-auth-key-id: key_main",
            "x-auth-scopes: read:users write:*",
            "x-auth-subject: ",
            "x-request-id: request-1",
            "x-tenant-id: acme",
        ];
        assert_eq!(fields(&answer), expected);
    }
    assert_eq!(scene.upstream.recorded().len(), 0);
}

#[test]
fn where_nobody_is_known_every_name_is_there_and_empty() {
    let scene = Scene::new(
        "[[routes]]\nname = \"health\"\nmatch = \"GET /healthz\"\nauth = \"none\"\n[cors]\norigins = [\"*\"]\n\
         [[routes]]\nname = \"users\"\nmatch = \"GET /v1/users\"\n\
         [migration]\nunknown_keys = \"pass\"\nuntil = \"2999-01-01\"\n",
    );
    for answer in scene.asked(&get("/healthz").header("X-Tenant-Id", "evil")) {
        assert_eq!((answer.status, fields(&answer)), (200, NOBODY.map(str::to_owned).into()));
    }
    let mut nothing = NOBODY.map(str::to_owned);
    nothing[1] = "x-auth-credential: ".to_owned();
    let preflight = Request { method: "OPTIONS".into(), ..get("/v1/users") };
    let preflight = preflight.header("Origin", "https://shop.example").header("Access-Control-Request-Method", "GET");
    let older = get("/v1/users").bearer("OLD-7f3a");
    for answer in scene.asked(&preflight).into_iter().chain(scene.asked(&older)) {
        assert_eq!((answer.status, fields(&answer)), (200, nothing.clone().into()));
    }
}

#[test]
fn what_an_environment_adds_is_told_and_empty_for_others() {
    let scene = Scene::new("[environments.test]\nallow = true\nadd_headers = { \"X-Sandbox\" = \"1\" }\n");
    let test = seed::key(&scene.sidecar.home.config, "acme", &json!({ "id": "key_test", "environment": "test" }));
    scene.sidecar.home.table().put_key(&test.record);
    for (key, expected) in [(&scene.key, ""), (&test.secret, "1")] {
        assert_eq!(scene.ask(&get("/a").bearer(key)).header("x-sandbox"), Some(expected));
    }
}

#[test]
fn a_no_is_the_proxys_own_in_status_headers_and_body() {
    let scene = Scene::with_key(
        "[idempotency]\nmode = \"required\"\n[[routes]]\nname = \"users\"\nmatch = \"GET,POST,HEAD /v1/users\"\nscopes = [\"read:users\"]\n\
         [[routes]]\nname = \"orders\"\nmatch = \"* /v1/orders/{id}\"\n[cors]\norigins = [\"https://shop.example\"]\n\
         [restrictions]\nguess_throttle = { failures = 1000, per = \"1s\" }\n",
        &json!({ "scopes": [], "ip_allowlist": ["198.51.100.0/24"] }),
    );
    let from = |address: &str, target: &str| Request::get(target).header("X-Forwarded-For", address).header("X-Request-Id", "request-1");
    let inside = "198.51.100.7";
    for (status, request) in [
        (401, from(inside, "/v1/users")),
        (401, from(inside, "/v1/users").bearer("sk_live_unknown")),
        (401, from(inside, "/v1/users").header("Origin", "https://shop.example")),
        (403, from(inside, "/v1/users").bearer(&scene.key)),
        (403, from("203.0.113.7", "/v1/orders/7").bearer(&scene.key)),
        (404, from(inside, "/internal").bearer(&scene.key)),
        (400, from(inside, "/v1/orders/../users").bearer(&scene.key)),
        (400, from(inside, "/v1/orders//7").bearer(&scene.key)),
        (405, Request { method: "TRACE".into(), ..from(inside, "/v1/orders/7") }),
    ] {
        let proxied = once(scene.sidecar.address(), &request);
        assert_eq!(proxied.status, status, "{request:?}");
        for answer in scene.asked(&request) {
            assert_eq!((answer.status, fields(&answer), answer.text()), (status, fields(&proxied), proxied.text()), "{request:?}");
        }
    }
    assert_eq!(scene.upstream.recorded().len(), 0);
}

#[test]
fn nothing_is_run_once_and_limits_count() {
    let scene = Scene::new(
        "[idempotency]\nmode = \"required\"\n[rate_limits.per-key]\nby = [\"key\"]\nrequests = 2\nper = \"1h\"\ndefault = true\n",
    );
    let request = Request { method: "POST".into(), ..get("/v1/users") }.bearer(&scene.key);
    let answers = scene.asked(&request);
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 429]);
    assert_eq!(answers.each_ref().map(|answer| answer.header("ratelimit").is_some()), [false, false, true]);
    assert!(answers[2].header("retry-after").is_some());
}

#[test]
fn a_call_of_grpc_is_never_refused_with_200() {
    let scene = Scene::new("");
    for request in [get("/pkg.Service/Call"), get("//pkg"), get("/a").header("Content-Length", "x")] {
        let request = request.header("Content-Type", "application/grpc");
        for answer in [scene.nginx(&request), scene.caddy(&request), Http2::connect(scene.sidecar.listener("authz")).send(&get("/pkg"))] {
            assert!(matches!(answer.status, 400 | 401), "{}", answer.status);
        }
    }
    let over_h2 = Http2::connect(scene.sidecar.listener("authz")).send(&get("/a").header("Content-Type", "application/grpc"));
    assert_eq!((over_h2.status, over_h2.header("grpc-status")), (401, None));
}

#[test]
fn who_is_no_gateway_is_told_nothing() {
    let upstream = Upstream::echo();
    let text = format!("{LISTENERS}[client_ip]\ntrusted_proxies = [\"192.0.2.1\"]\n[upstreams.main]\nurl = \"{}\"\n", upstream.url());
    let home = Home::new(Kind::Embedded, &text);
    let key = home.issue().secret;
    let scene = Scene { upstream, sidecar: Sidecar::in_home(home, sidegate::clock::Clock::System), key };
    for answer in scene.asked(&get("/v1/users").bearer(&scene.key)) {
        assert_eq!((answer.status, answer.header("x-tenant-id")), (400, None));
    }
}

#[test]
fn whose_request_it_is_a_gateway_must_say() {
    let scene = Scene::with_key("", &json!({ "ip_allowlist": ["127.0.0.1", "198.51.100.7"] }));
    for (addresses, status) in [
        (&["198.51.100.7"][..], 200),
        (&["203.0.113.9, 198.51.100.7"], 200),
        (&["198.51.100.7, 203.0.113.9"], 403),
        (&["198.51.100.7", "203.0.113.9"], 403),
        (&["garbage"], 403),
        // Not the gateway's own.
        (&[], 403),
    ] {
        let request = addresses.iter().fold(Request::get("/").bearer(&scene.key), |request, said| request.header("X-Forwarded-For", said));
        assert_eq!(scene.asked(&request).map(|answer| answer.status), [status; 3], "{addresses:?}");
    }
}

#[test]
fn what_a_client_adds_to_the_description_opens_nothing() {
    let scene = Scene::new(
        "[[routes]]\nname = \"open\"\nmatch = \"GET /open\"\nauth = \"none\"\n[[routes]]\nname = \"closed\"\nmatch = \"* /closed\"\n",
    );
    let closed = get("/closed");
    for added in [
        &[("X-Original-URI", "/open")][..],
        &[("X-Original-URL", "http://api.example/open")],
        &[("X-Original-Method", "GET")],
        &[("X-Forwarded-Uri", "/open")],
        &[("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/open")],
    ] {
        let request = added.iter().fold(closed.clone(), |request, (name, value)| request.header(name, value));
        for answer in [scene.nginx(&request), scene.caddy(&request)] {
            assert!(matches!(answer.status, 400 | 401), "{added:?}: {}", answer.status);
        }
    }
    let rewritten = closed.header("X-Rewrite-URL", "/open").header("X-HTTP-Method-Override", "GET").header("X_Forwarded_Uri", "/open");
    assert_eq!(scene.asked(&rewritten).map(|answer| answer.status), [401; 3]);
}

#[test]
fn a_body_is_nobodys_business_and_the_connection_is_kept() {
    let scene = Scene::new("");
    let mut client = Client::connect(scene.sidecar.listener("authz"));
    for _ in 0..2 {
        let request = Request { method: "POST".into(), ..get("/v1/users") }.bearer(&scene.key).body("{\"a\":1}");
        client.send(request.bytes());
        assert_eq!(client.answer("POST").status, 200);
    }
    // HEAD is what is asked about, not what asks.
    let head = Request { method: "HEAD".into(), ..get("/v1/users") };
    assert!(!scene.nginx(&head).text().is_empty());
    let asks = get("/check").header("X-Original-Method", "HEAD").header("X-Original-URI", "/v1/users");
    assert!(!Http2::connect(scene.sidecar.listener("authz")).send(&asks).text().is_empty());
}

#[test]
fn a_gateway_may_ask_over_a_unix_socket_where_that_is_trusted() {
    for (trusted, status) in [("\"192.0.2.1\"", 400), ("\"192.0.2.1\", \"unix\"", 200)] {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("authz.sock");
        let listener = format!("[[listeners]]\nname = \"public\"\naddress = \"unix:{}\"\nrole = \"authz-http\"\n", socket.display());
        let home = Home::new(Kind::Embedded, &format!("{listener}[client_ip]\ntrusted_proxies = [{trusted}]\n"));
        let key = home.issue_with(&json!({ "ip_allowlist": ["198.51.100.7"] })).secret;
        let _sidecar = Sidecar::in_home(home, sidegate::clock::Clock::System);
        let answer = once(Address::Unix(socket), &get("/v1/users").bearer(&key));
        assert_eq!(answer.status, status, "{trusted}: {}", answer.text());
    }
}

#[test]
fn what_was_refused_is_not_let_through_when_its_refusal_is_asked_for() {
    let limit = "[rate_limits.rare]\nby = [\"key\"]\nrequests = 1\nper = \"1m\"\nburst = 1\ndefault = true\n";
    let health =
        "[[routes]]\nname = \"health\"\nmatch = \"GET /healthz\"\nauth = \"none\"\n[[routes]]\nname = \"rest\"\nmatch = \"* /**\"\n";
    let home = Home::new(Kind::Embedded, &format!("{LISTENERS}{TRUSTED}{limit}{health}"));
    let key = home.issue().secret;
    let clock = sidegate::clock::Clock::manual(NOW.parse().unwrap());
    let scene = Scene { upstream: Upstream::echo(), sidecar: Sidecar::in_home(home, clock.clone()), key };
    let asks = |target: &str| get(target).bearer(&scene.key);
    let again = |target: &str| scene.nginx(&asks(target).header("X-Original-Refused", "1"));
    assert_eq!([scene.nginx(&asks("/a")).status, scene.nginx(&asks("/a")).status, again("/a").status], [200, 429, 429]);
    clock.advance(600_000);
    let late = again("/a");
    assert_eq!((late.status, late.json()["code"].as_str()), (503, Some("UNAVAILABLE")));
    assert!(late.header("retry-after").is_some() && late.header("x-tenant-id").is_none(), "{late:?}");
    assert_eq!(again("/healthz").status, 503);
}

#[test]
fn an_id_that_shows_a_key_is_in_no_line_of_a_gateway_that_is_not_believed() {
    let listener = "[[listeners]]\nname = \"gateway\"\naddress = \"127.0.0.1:0\"\nrole = \"authz-http\"\n";
    let home = Home::new(Kind::Embedded, &format!("{listener}[client_ip]\ntrusted_proxies = [\"192.0.2.1\"]\n"));
    let key = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    let answer = once(serve.address, &Request::get("/check").header("X-Request-Id", &key));
    assert_eq!(answer.status, 400);
    let line = &serve.access(1)[0];
    assert_eq!(line["request_id"].as_str(), answer.header("X-Request-Id"));
    assert!(!line.to_string().contains(&key), "{line:#}");
}

#[test]
fn the_log_tells_of_the_request_that_was_asked_about() {
    let listener = "[[listeners]]\nname = \"gateway\"\naddress = \"127.0.0.1:0\"\nrole = \"authz-http\"\n";
    let home = Home::new(Kind::Embedded, &format!("{listener}{TRUSTED}"));
    let key = home.issue().secret;
    let serve = Serve::start(&home.config_file());
    let asks = get("/check").header("X-Forwarded-Method", "DELETE").header("X-Forwarded-Uri", "/v1/users/7?x=1").bearer(&key);
    assert_eq!(once(serve.address, &asks).status, 200);
    let line = &serve.access(1)[0];
    assert_eq!((line["http.request.method"].as_str(), line["url.path"].as_str()), (Some("DELETE"), Some("/v1/users/7")), "{line:#}");
    assert_eq!((line["client.address"].as_str(), line["listener"].as_str()), (Some("198.51.100.7"), Some("gateway")), "{line:#}");
    assert_eq!((line["key.id"].as_str(), line["reason"].as_str()), (Some("key_main"), Some("")), "{line:#}");
}
