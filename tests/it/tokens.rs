//! Tokens as they are used: verified once and remembered until they are over, their tenant changes or the configuration does; a
//! running exchange ends with its token; and limits, Idempotency-Keys and the log tell people apart.

use std::sync::mpsc::channel;

use serde_json::{Value, json};
use sidegate::key::record::FORMAT;
use sidegate::tenant::{TenantRecord, TenantStatus};

use crate::support::client::{Client, Request, once};
use crate::support::node::agreed;
use crate::support::process::{Serve, run_with_stdin};
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::tokens::{SECRET, Signer};
use crate::support::upstream::Upstream;

fn issuer(home: &std::path::Path, more: &str) -> String {
    let file = home.join("secret");
    std::fs::write(&file, SECRET).unwrap();
    format!(
        "[[issuers]]\nname = \"users\"\nissuer = \"https://auth.example\"\naudiences = [\"api\"]\nalgorithms = [\"HS256\"]\nsecret_file = \"{}\"\n{more}",
        file.display()
    )
}

struct Scene {
    sidecar: Sidecar,
    signer: Signer,
    upstream: Upstream,
    _files: tempfile::TempDir,
}

impl Scene {
    fn new(upstream: Upstream, kind: Kind, more: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let text = format!(
            "upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[runtime]\nworkers = 1\n{more}\n{}",
            upstream.url(),
            issuer(files.path(), "")
        );
        let sidecar = Sidecar::with_manual_clock(kind, &text);
        sidecar.home.issue();
        Self { sidecar, signer: Signer::secret(SECRET.as_bytes()), upstream, _files: files }
    }

    fn token(&self, over: &Value) -> String {
        let mut claims = json!({
            "iss": "https://auth.example", "aud": "api", "org_id": "acme", "sub": "ada", "exp": self.sidecar.clock.now().0 / 1000 + 3600,
        });
        for (name, value) in over.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.signer.token(&claims)
    }

    fn status(&self, token: &str) -> u16 {
        once(self.sidecar.address(), &Request::get("/a").bearer(token)).status
    }

    fn metric(&self, series: &str) -> u64 {
        let text = once(self.sidecar.ops(), &Request::get("/metrics")).text();
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).unwrap().parse().unwrap()
    }

    fn suspend(&self, status: TenantStatus) {
        let table = self.sidecar.home.table();
        let tenant: TenantRecord = crate::support::seed::tenant(&json!({ "status": status, "version": 2, "format": FORMAT }));
        table.put_tenant(&tenant);
    }
}

#[test]
fn a_token_is_verified_once_and_its_tenant_asked_for_once_until_it_is_over() {
    let scene = Scene::new(Upstream::echo(), Kind::Embedded, "");
    let token = scene.token(&json!({}));
    for _ in 0..5 {
        assert_eq!(scene.status(&token), 200);
    }
    // A request is counted when its answer has ended.
    agreed("all are counted", || scene.metric("sidegate_cache_requests_total{outcome=\"hit\"}") == 4);
    assert_eq!(scene.metric("sidegate_cache_requests_total{outcome=\"miss\"}"), 1);
    assert_eq!(scene.metric("sidegate_tenant_lookups_total"), 1);
    // The same to the second: an hour, and half a minute for clocks that differ.
    scene.sidecar.clock.advance(3_629_999);
    assert_eq!(scene.status(&token), 200);
    scene.sidecar.clock.advance(1);
    assert_eq!(scene.status(&token), 401);
    // Once it was over it stays so.
    scene.sidecar.clock.advance(-500);
    assert_eq!(scene.status(&token), 401);
}

#[test]
fn a_tenant_that_is_suspended_has_no_tokens_and_has_them_again_when_it_is_resumed() {
    for kind in Kind::BOTH {
        let scene = Scene::new(Upstream::echo(), kind, "");
        let (token, other) = (scene.token(&json!({})), scene.token(&json!({ "sub": "eve" })));
        assert_eq!((scene.status(&token), scene.status(&other)), (200, 200));
        scene.suspend(TenantStatus::Suspended);
        agreed("both are refused", || (scene.status(&token), scene.status(&other)) == (401, 401));
        let table = scene.sidecar.home.table();
        table.put_tenant(&crate::support::seed::tenant(&json!({ "version": 3 })));
        agreed("both are served", || (scene.status(&token), scene.status(&other)) == (200, 200));
    }
}

/// An answer that has no end.
fn endless() -> Upstream {
    Upstream::start(|exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun");
        exchange.wait_for_the_end();
    })
}

#[test]
fn a_running_exchange_ends_with_its_token_and_with_its_tenant() {
    for is_suspended in [false, true] {
        let scene = Scene::new(endless(), Kind::Embedded, "[cache]\nttl = \"2h\"\n");
        let mut client = Client::connect(scene.sidecar.address());
        client.send(Request::get("/a").bearer(&scene.token(&json!({}))).bytes());
        let head = client.head();
        assert!(head.first_line.contains(" 200 "), "{head:?}");
        let (told, seen) = channel();
        std::thread::scope(|threads| {
            threads.spawn(move || {
                let is_whole = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    client.content(&head, &mut |bytes| told.send(bytes.len()).unwrap());
                }));
                assert!(is_whole.is_err(), "the answer came to an end");
            });
            assert_eq!(seen.recv(), Ok(5));
            if is_suspended {
                scene.suspend(TenantStatus::Suspended);
            } else {
                scene.sidecar.clock.advance(3_630_000);
            }
        });
    }
}

#[test]
fn limits_and_idempotency_keys_tell_people_apart() {
    let more = "[rate_limits.each]\nby = [\"subject\"]\nrequests = 2\nper = \"1h\"\ndefault = true\n[idempotency]\nmode = \"optional\"\nmethods = [\"POST\"]\n";
    let scene = Scene::new(Upstream::echo(), Kind::Embedded, more);
    let (ada, eve) = (scene.token(&json!({})), scene.token(&json!({ "sub": "eve" })));
    // Another token of hers is still hers.
    let again = scene.token(&json!({ "jti": "2" }));
    assert_eq!([&ada, &again, &ada].map(|token| scene.status(token)), [200, 200, 429]);
    let post =
        |token: &str| once(scene.sidecar.address(), &Request::new("POST", "/pay").bearer(token).header("Idempotency-Key", "one").body("1"));
    let (first, second) = (post(&eve), post(&eve));
    assert_eq!((first.status, second.status), (200, 200));
    assert!(first.header("Idempotent-Replayed").is_none() && second.header("Idempotent-Replayed").is_some());
    scene.sidecar.clock.advance(3_600_000);
    let ada = scene.token(&json!({}));
    assert!(post(&ada).header("Idempotent-Replayed").is_none(), "she got the answer of somebody else");
    assert_eq!(scene.upstream.recorded().iter().filter(|request| request.target == "/pay").count(), 2);
}

#[test]
fn a_reload_that_concerns_tokens_judges_them_anew_and_the_log_names_no_subject() {
    let (upstream, files) = (Upstream::echo(), tempfile::tempdir().unwrap());
    let text = |more: &str| format!("upstream = \"{}\"\n{}", upstream.url(), issuer(files.path(), more));
    let home = Home::new(Kind::Embedded, &text(""));
    home.issue();
    let serve = Serve::start(&home.config_file());
    let exp = sidegate::clock::Clock::System.now().0 / 1000 + 3600;
    let signer = Signer::secret(SECRET.as_bytes());
    let token =
        signer.token(&json!({ "iss": "https://auth.example", "aud": "api", "org_id": "acme", "sub": "ada@example.com", "exp": exp }));
    let status = || once(serve.address, &Request::get("/a").header("Authorization", &format!("Bearer {token}"))).status;
    assert_eq!((status(), status()), (200, 200));
    let lines = serve.access(2);
    assert_eq!((lines[0]["credential"].as_str(), lines[0]["token.issuer"].as_str()), (Some("jwt"), Some("users")));
    assert_eq!(lines[0]["subject"], lines[1]["subject"]);
    assert_eq!(lines[0]["tenant.id"], "acme");
    // Another secret, newest first; then the old one goes.
    std::fs::write(files.path().join("secret"), format!("{}\n{SECRET}\n", "n".repeat(32))).unwrap();
    crate::support::process::signal(serve.id(), "HUP");
    serve.stderr.find(|line| line.contains("reload").then_some(()));
    assert_eq!(status(), 200);
    std::fs::write(files.path().join("secret"), "n".repeat(32)).unwrap();
    crate::support::process::signal(serve.id(), "HUP");
    agreed("the old secret opens nothing", || status() == 401);
    let written = format!("{}{}", serve.stdout.text(), serve.stderr.text());
    assert!(!written.contains("ada@example.com") && !written.contains(&token) && !written.contains(SECRET));
}

#[test]
fn the_command_says_which_check_refused_a_token_and_why() {
    let files = tempfile::tempdir().unwrap();
    let text = format!(
        "upstream = \"http://127.0.0.1:9\"\n{}{}",
        issuer(files.path(), ""),
        issuer(files.path(), "").replace("\"users\"", "\"staff\"").replace("auth.example", "staff.example")
    );
    let home = Home::new(Kind::Embedded, &text);
    let signer = Signer::secret(SECRET.as_bytes());
    let exp = sidegate::clock::Clock::System.now().0 / 1000 + 3600;
    let good = json!({ "iss": "https://auth.example", "aud": ["api"], "org_id": "acme", "sub": "ada", "scope": "read:a", "exp": exp });
    let verify = |token: &str, more: &[&str]| {
        let arguments: Vec<&str> = ["jwt", "verify", "--json"].into_iter().chain(more.iter().copied()).collect();
        let ended = run_with_stdin(&arguments, &home.config_file(), &format!("{token}\n"));
        assert!(!ended.stdout.contains(token) && !ended.stderr.contains(token));
        (
            ended.code,
            serde_json::from_str::<Value>(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr)),
        )
    };
    let (code, said) = verify(&signer.token(&good), &[]);
    assert_eq!((code, &said["issuer"], &said["tenant"], &said["subject"]), (0, &json!("users"), &json!("acme"), &json!("ada")));
    assert_eq!((&said["scopes"], &said["environment"]), (&json!("read:a"), &json!("live")));
    // It says what it has not asked.
    assert_eq!(said["checked"], json!("signature and claims"));
    let plain = run_with_stdin(&["jwt", "verify"], &home.config_file(), &signer.token(&good));
    assert!(plain.stdout.starts_with("good") && plain.stderr.contains("may have ended"), "{}{}", plain.stdout, plain.stderr);
    let refused = |claims: Value, more: &[&str]| {
        let (code, said) = verify(&signer.token(&claims), more);
        assert_eq!(code, 5);
        (said["reason"].as_str().unwrap().to_owned(), said["detail"].as_str().unwrap().to_owned())
    };
    let over = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    assert_eq!(refused(over("exp", json!(1)), &[]).0, "jwt_expired");
    assert_eq!(refused(over("aud", json!("web")), &[]), ("jwt_audience".into(), "aud is `web`".into()));
    assert_eq!(refused(good.clone(), &["--issuer", "staff"]).0, "jwt_issuer");
    assert_eq!(verify("e30.e30.", &[]).1["reason"], "jwt_malformed");
    let plain = run_with_stdin(&["jwt", "verify", "--issuer", "nobody"], &home.config_file(), "x");
    assert_eq!(plain.code, 4, "{}", plain.stderr);

    // RFC 8037 A.4: what is signed there is no JSON.
    let jwk = files.path().join("jwk");
    std::fs::write(&jwk, r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#).unwrap();
    let example = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let by_key = ["--jwk", jwk.to_str().unwrap(), "--signature-only"];
    assert_eq!(verify(example, &by_key).0, 0);
    let (code, said) = verify(&example.replace("RXhh", "RXhi"), &by_key);
    assert_eq!((code, &said["reason"]), (5, &json!("jwt_signature")));
}
