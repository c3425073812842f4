//! The store stops answering: what is cached goes on, what is not gets 503 and never 401, and nobody has to restart anything.

use secrecy::ExposeSecret as _;
use sidegate::key::format::generate;

use crate::support::PATIENCE;
use crate::support::client::{Answer, Request, once};
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;

struct Scene {
    upstream: Upstream,
    sidecar: Sidecar,
}

impl Scene {
    fn new(config: &str) -> Self {
        let upstream = Upstream::echo();
        let sidecar = Sidecar::with_manual_clock(Kind::Redis, &format!("upstream = \"{}\"\n{config}", upstream.url()));
        Self { upstream, sidecar }
    }

    fn ask(&self, key: &str) -> Answer {
        once(self.sidecar.address(), &Request::get("/").bearer(key))
    }

    fn ask_unknown(&self) -> Answer {
        self.ask(generate("sk_live_").unwrap().expose_secret())
    }
}

fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("Retry-After").is_some());
    assert_eq!(answer.header("WWW-Authenticate"), None);
}

/// Asks until the answer is another than 503.
fn recovered(ask: impl Fn() -> Answer) -> Answer {
    let began = sidegate::clock::instant();
    loop {
        let answer = ask();
        if answer.status != 503 {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "it never recovered");
    }
}

#[test]
fn cached_keys_go_on_until_their_ttl_while_redis_is_gone_and_unknown_ones_get_503() {
    let mut scene = Scene::new("");
    let key = scene.sidecar.home.issue().secret;
    assert_eq!(scene.ask(&key).status, 200);
    let redis = scene.sidecar.home.redis.as_mut().unwrap();
    redis.stop();

    assert_eq!(scene.ask(&key).status, 200);
    assert_unavailable(&scene.ask_unknown());
    scene.sidecar.clock.advance(29_000);
    assert_eq!(scene.ask(&key).status, 200);
    assert_unavailable(&scene.ask_unknown());

    scene.sidecar.home.redis.as_mut().unwrap().run();
    let again = scene.sidecar.home.issue_with(&serde_json::json!({ "secret": key, "id": "key_main" })).secret;
    assert_eq!(recovered(|| scene.ask_unknown()).status, 401);
    assert_eq!(scene.ask(&again).status, 200);
    assert!(scene.upstream.recorded().len() >= 4);
}

#[test]
fn a_redis_that_hangs_is_a_redis_that_is_gone() {
    let scene = Scene::new("[store]\ncommand_timeout = \"100ms\"");
    let key = scene.sidecar.home.issue().secret;
    assert_eq!(scene.ask(&key).status, 200);
    let redis = scene.sidecar.home.redis.as_ref().unwrap();
    redis.signal("STOP");
    assert_eq!(scene.ask(&key).status, 200);
    assert_unavailable(&scene.ask_unknown());
    redis.signal("CONT");
    assert_eq!(recovered(|| scene.ask_unknown()).status, 401);
}

#[test]
fn a_sidecar_that_starts_without_its_store_says_so_and_serves_when_it_comes() {
    let upstream = Upstream::echo();
    let mut home = Home::new(Kind::Redis, &format!("upstream = \"{}\"", upstream.url()));
    home.redis.as_mut().unwrap().stop();
    let mut sidecar = Sidecar::in_home(home, sidegate::clock::Clock::System);
    let key = generate("sk_live_").unwrap().expose_secret().to_owned();
    let ask = |sidecar: &Sidecar| once(sidecar.address(), &Request::get("/").bearer(&key));
    assert_unavailable(&ask(&sidecar));
    sidecar.home.redis.as_mut().unwrap().run();
    sidecar.home.issue_with(&serde_json::json!({ "secret": key }));
    assert_eq!(recovered(|| ask(&sidecar)).status, 200);
}

#[test]
fn a_record_that_cannot_be_read_refuses_its_key_and_nobody_else() {
    let scene = Scene::new("");
    let table = scene.sidecar.home.table();
    let config = &scene.sidecar.home.config;
    let good = table.issue(config, &serde_json::json!({}), &serde_json::json!({}));
    let bad = crate::support::seed::key(config, "acme", &serde_json::json!({ "id": "key_bad" }));
    table.put_key(&bad.record);
    let mut connection = scene.sidecar.home.redis.as_ref().unwrap().connection();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*key_bad*").query(&mut connection).unwrap();
    assert!(!keys.is_empty());
    for key in keys {
        redis::cmd("SET").arg(key).arg("{\"format\":1,\"id\":").query::<()>(&mut connection).unwrap();
    }
    let answer = scene.ask(&bad.secret);
    assert!(matches!(answer.status, 401 | 403 | 503), "{} {}", answer.status, answer.text());
    assert_eq!(scene.ask(&good.secret).status, 200);
    assert_eq!(scene.upstream.recorded().len(), 1);
}
