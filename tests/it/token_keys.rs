//! Keys of an issuer that are read from a URL: rotation costs no request, whatever the endpoint does breaks nothing that is known,
//! and nobody can make the sidecar ask more often than seldom. The time is the test's.

use std::ffi::OsStr;
use std::thread;

use serde_json::{Value, json};
use sidegate::clock::Timestamp;

use crate::support::client::{Client, Request, once};
use crate::support::endpoint::{Does, Endpoint, JSON};
use crate::support::node::agreed;
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind, NOW, Sidecar};
use crate::support::terminator::Terminator;
use crate::support::tokens::Signer;
use crate::support::upstream::Upstream;

fn document(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

struct Scene {
    sidecar: Sidecar,
    endpoint: Endpoint,
    _upstream: Upstream,
}

impl Scene {
    fn start(does: Does) -> Self {
        Self::guarded(does, "[restrictions]\nguess_throttle = { failures = 100000, per = \"1s\" }\n")
    }

    fn guarded(does: Does, guard: &str) -> Self {
        let (upstream, endpoint) = (Upstream::echo(), Endpoint::start(does));
        let text = format!(
            "upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n{guard}\
             [[issuers]]\nname = \"users\"\nissuer = \"https://auth.example\"\naudiences = [\"api\"]\ntenant = \"acme\"\n\
             algorithms = [\"EdDSA\"]\njwks_url = \"{}/jwks.json\"\n",
            upstream.url(),
            endpoint.server.url()
        );
        let sidecar = Sidecar::with_manual_clock(Kind::Embedded, &text);
        sidecar.home.issue();
        Self { sidecar, endpoint, _upstream: upstream }
    }

    /// The first reading came to an end.
    fn ready(self) -> Self {
        agreed("the keys are read", || self.metric("keys", "") > 0);
        self
    }

    fn metric(&self, name: &str, more: &str) -> u64 {
        let text = once(self.sidecar.ops(), &Request::get("/metrics")).text();
        let series = format!("sidegate_jwks_{name}{{issuer=\"users\"{more}}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }

    fn failed(&self) -> u64 {
        self.metric("reads_total", ",outcome=\"failed\"")
    }

    fn read(&self) -> u64 {
        self.metric("reads_total", ",outcome=\"read\"")
    }

    /// A token that nobody has seen before.
    fn fresh(&self, signer: &Signer, kid: &str) -> String {
        signer.token_by(kid, &claims(&self.sidecar))
    }

    fn status(&self, token: &str) -> u16 {
        once(self.sidecar.address(), &Request::get("/a").bearer(token)).status
    }
}

fn claims(sidecar: &Sidecar) -> Value {
    // For days of the test's time; the id makes each another.
    let exp = sidecar.clock.now().0 / 1000 + 400_000;
    json!({ "iss": "https://auth.example", "aud": "api", "sub": "ada", "exp": exp, "jti": fastrand::u64(..).to_string() })
}

#[test]
fn a_rotation_costs_no_request_and_a_key_that_is_withdrawn_opens_nothing_any_more() {
    let (old, new) = (Signer::generate("EdDSA"), Signer::generate("EdDSA"));
    let scene = Scene::start(Does::json(&document(&[old.jwk("old")]))).ready();
    let known = scene.fresh(&old, "old");
    assert_eq!(scene.status(&known), 200);
    assert_eq!(scene.endpoint.asked(), 1);

    scene.endpoint.does(Does::json(&document(&[new.jwk("new"), old.jwk("old")])));
    scene.sidecar.clock.advance(10_000);
    // All at once, by a key that nobody has seen: one question, and all of them are served.
    let address = scene.sidecar.address();
    thread::scope(|threads| {
        for token in (0..16).map(|_| scene.fresh(&new, "new")) {
            threads.spawn(move || assert_eq!(once(address, &Request::get("/a").bearer(&token)).status, 200));
        }
    });
    assert_eq!((scene.endpoint.asked(), scene.read()), (2, 2));
    assert_eq!(scene.status(&known), 200);

    // Read again in its time, whether or not anybody asks for anything; a token that was verified before dies with its key.
    scene.endpoint.does(Does::json(&document(&[new.jwk("new")])));
    scene.sidecar.clock.advance(300_000);
    agreed("the document is read again", || scene.read() == 3);
    assert_eq!(scene.status(&known), 401);
    assert_eq!(scene.status(&scene.fresh(&new, "new")), 200);
    assert_eq!(scene.endpoint.asked(), 3);
}

#[test]
fn whatever_the_endpoint_answers_what_is_known_is_used_for_a_day() {
    let (key, other) = (Signer::generate("EdDSA"), Signer::generate("EdDSA"));
    let good = document(&[key.jwk("a")]);
    let scene = Scene::start(Does::json(&good)).ready();
    let begun: Timestamp = NOW.parse().unwrap();
    let mut weak = other.jwk("a");
    weak["x"] = json!("AAAA");
    let big = format!("{}{}", good, " ".repeat(1 << 20));
    let elsewhere = Endpoint::start(Does::json(&document(&[other.jwk("a")])));
    let redirect = vec![("Location", format!("{}/jwks.json", elsewhere.server.url())), ("Content-Type", JSON.to_owned())];
    let others = document(&[other.jwk("a")]).to_string().into_bytes();
    let many: Vec<Value> = (0..101).map(|n| other.jwk(&n.to_string())).collect();
    for does in [
        Does::Close,
        Does::Answer(500, vec![("Content-Type", JSON.to_owned())], others.clone()),
        Does::Answer(204, vec![], vec![]),
        Does::Answer(302, redirect.clone(), others.clone()),
        Does::Answer(301, redirect, vec![]),
        Does::Answer(200, vec![("Content-Type", JSON.to_owned()), ("Content-Encoding", "gzip".to_owned())], others.clone()),
        Does::typed("text/html", others),
        Does::typed(JSON, big),
        Does::typed(JSON, "{\"keys\":["),
        Does::typed(JSON, "{\"keys\":[],\"keys\":[]}"),
        Does::json(&document(&[])),
        Does::json(&document(&[weak])),
        Does::json(&document(&[other.jwk("a"), key.jwk("a")])),
        Does::json(&document(&many)),
        Does::Hang,
        Does::Drip,
    ] {
        let failed = scene.failed();
        scene.endpoint.does(does.clone());
        scene.sidecar.clock.advance(300_000);
        agreed(&format!("{does:?} is given up"), || scene.failed() > failed);
        assert_eq!(scene.status(&scene.fresh(&key, "a")), 200, "{does:?}");
        assert_eq!(scene.status(&scene.fresh(&other, "a")), 401, "{does:?}");
    }
    assert_eq!(elsewhere.asked(), 0, "a redirect was followed");
    assert_eq!(scene.metric("keys", ""), 1);

    // A day after it was read last it is used no more, and that is nobody's bad token.
    let late = scene.fresh(&key, "a");
    assert_eq!(scene.status(&late), 200);
    scene.endpoint.does(Does::Close);
    scene.sidecar.clock.advance(begun.0 + 24 * 3_600_000 - scene.sidecar.clock.now().0);
    agreed("the keys are forgotten", || scene.metric("keys", "") == 0);
    let answer = once(scene.sidecar.address(), &Request::get("/a").bearer(&late));
    assert_eq!((answer.status, answer.header("Retry-After").is_some()), (503, true));

    scene.endpoint.does(Does::json(&good));
    scene.sidecar.clock.advance(10_000);
    agreed("the keys are read", || scene.metric("keys", "") == 1);
    assert_eq!(scene.status(&late), 200);
}

#[test]
fn with_nothing_known_nobody_is_let_through_or_told_that_the_token_is_bad() {
    let key = Signer::generate("EdDSA");
    let scene = Scene::start(Does::Close);
    agreed("it was asked", || scene.failed() == 1);
    let token = scene.fresh(&key, "a");
    assert_eq!((scene.status(&token), scene.status(&token)), (503, 503));
    assert_eq!(scene.endpoint.asked(), 1, "each request asks");
    scene.endpoint.does(Does::json(&document(&[key.jwk("a")])));
    scene.sidecar.clock.advance(1_000);
    // Whoever comes first, a request or the look at the clock, asks; the request waits for that.
    assert_eq!(scene.status(&token), 200);
    assert_eq!(scene.endpoint.asked(), 2);
}

#[test]
fn many_who_wait_for_the_keys_of_one_token_are_one_guess() {
    let key = Signer::generate("EdDSA");
    let scene = Scene::guarded(Does::Hang, "");
    let (address, token) = (scene.sidecar.address(), scene.fresh(&key, "a"));
    let clients: Vec<Client> = (0..30)
        .map(|_| {
            let mut client = Client::connect(address);
            client.send(Request::get("/a").bearer(&token).bytes());
            client
        })
        .collect();
    // None of them is throttled, although there are more than the guard lets pass: they wait for one answer.
    let statuses: Vec<u16> = clients.into_iter().map(|mut client| client.answer("GET").status).collect();
    assert_eq!(statuses, vec![503; 30]);
    assert_eq!(scene.endpoint.asked(), 1);
}

#[test]
fn a_thousand_tokens_with_unknown_keys_are_one_question_in_ten_seconds() {
    let (key, attacker) = (Signer::generate("EdDSA"), Signer::generate("EdDSA"));
    let scene = Scene::start(Does::json(&document(&[key.jwk("a")]))).ready();
    let address = scene.sidecar.address();
    let burst = || {
        thread::scope(|threads| {
            for _ in 0..8 {
                let tokens: Vec<String> = (0..125).map(|_| scene.fresh(&attacker, &fastrand::u64(..).to_string())).collect();
                threads.spawn(move || {
                    let mut client = Client::connect(address);
                    for token in tokens {
                        client.send(Request::get("/a").bearer(&token).bytes());
                        assert_eq!(client.answer("GET").status, 401);
                    }
                });
            }
        });
    };
    burst();
    assert_eq!((scene.endpoint.asked(), scene.metric("spared_total", "")), (1, 1000), "it was read a moment ago");
    scene.sidecar.clock.advance(9_999);
    burst();
    assert_eq!(scene.endpoint.asked(), 1);
    scene.sidecar.clock.advance(1);
    burst();
    assert_eq!(scene.endpoint.asked(), 2);
    // Who waited for the one question is not among those that were spared.
    assert!((2000..3000).contains(&scene.metric("spared_total", "")));
    assert_eq!(scene.status(&scene.fresh(&key, "a")), 200);
}

#[test]
fn of_a_thousand_unknown_keys_few_wait_for_an_endpoint_that_hangs() {
    const AT_ONCE: usize = 200;
    let (key, attacker) = (Signer::generate("EdDSA"), Signer::generate("EdDSA"));
    let scene = Scene::start(Does::json(&document(&[key.jwk("a")]))).ready();
    scene.endpoint.does(Does::Hang);
    scene.sidecar.clock.advance(10_000);
    let (address, known) = (scene.sidecar.address(), scene.fresh(&key, "a"));
    thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            let tokens: Vec<String> = (0..5).map(|_| scene.fresh(&attacker, &fastrand::u64(..).to_string())).collect();
            threads.spawn(move || {
                let mut client = Client::connect(address);
                for token in tokens {
                    client.send(Request::get("/a").bearer(&token).bytes());
                    assert_eq!(client.answer("GET").status, 401);
                }
            });
        }
        // Who has a key that is known waits for nobody.
        assert_eq!(scene.status(&known), 200);
    });
    assert_eq!(scene.endpoint.asked(), 2);
    // All but those that may wait were told at once.
    let spared = scene.metric("spared_total", "");
    assert!(spared >= 1000 - 65, "{spared}");
}

#[test]
fn keys_are_read_over_tls_from_whom_the_system_believes_and_from_nobody_else() {
    let key = Signer::generate("EdDSA");
    let endpoint = Endpoint::start(Does::json(&document(&[key.jwk("a")])));
    let crate::support::stream::Address::Tcp(plain) = endpoint.server.address.clone() else { panic!("a socket") };
    let tls = Terminator::start(plain, "localhost", &["http/1.1"]);
    let upstream = Upstream::echo();
    let text = format!(
        "upstream = \"{}\"\n[[issuers]]\nname = \"users\"\nissuer = \"https://auth.example\"\naudiences = [\"api\"]\ntenant = \"acme\"\n\
         algorithms = [\"EdDSA\"]\njwks_url = \"https://localhost:{}/jwks.json\"\n",
        upstream.url(),
        tls.address.port()
    );
    let exp = sidegate::clock::Clock::System.now().0 / 1000 + 3600;
    let token = key.token_by("a", &json!({ "iss": "https://auth.example", "aud": "api", "exp": exp }));
    let stranger = Terminator::start(plain, "localhost", &["http/1.1"]);
    for (believed, status) in [(&tls, 200), (&stranger, 503)] {
        let home = Home::new(Kind::Embedded, &text);
        home.issue();
        let file = believed.ca_file();
        // Whatever proxy the environment names is not used.
        let proxy = OsStr::new("http://127.0.0.1:9");
        let environment = [("SSL_CERT_FILE", file.as_os_str()), ("https_proxy", proxy), ("HTTPS_PROXY", proxy)];
        let serve = Serve::start_with(&home.config_file(), &environment);
        let answer = once(serve.address, &Request::get("/a").bearer(&token));
        assert_eq!(answer.status, status, "{}", serve.stderr.text());
    }
}
