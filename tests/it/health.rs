//! The ops listener: alive, ready, and why not.

use crate::support::client::{Request, once};
use crate::support::process;
use crate::support::sidecar::{Home, Kind, Sidecar};
use crate::support::upstream::Upstream;
use sidegate::clock::Clock;

#[test]
fn readiness_follows_the_store_and_says_why() {
    let upstream = Upstream::echo();
    let mut home = Home::new(Kind::Redis, &format!("upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"", upstream.url()));
    home.redis.as_mut().unwrap().stop();
    let mut sidecar = Sidecar::in_home(home, Clock::System);
    let ops = sidecar.ops();
    let ask = |path: &str| once(ops, &Request::get(path));
    assert_eq!(ask("/livez").status, 200);
    assert_eq!(ask("/readyz").status, 503);
    let verbose = ask("/readyz?verbose");
    assert!(verbose.status == 503 && verbose.text().contains("store"), "{}", verbose.text());
    sidecar.home.redis.as_mut().unwrap().run();
    let began = sidegate::clock::instant();
    while ask("/readyz").status != 200 {
        assert!(began.elapsed() < crate::support::PATIENCE, "{}", ask("/readyz?verbose").text());
    }
    let verbose = loop {
        let verbose = ask("/readyz?verbose").text();
        if verbose.contains("[+]change log ok") && verbose.contains("[+]sidecars on this store: 1\n") {
            break verbose;
        }
        assert!(began.elapsed() < crate::support::PATIENCE, "{verbose}");
    };
    assert!(verbose.contains("[+]store ok") && verbose.contains("[+]cache ok: 0 keys, 0 refusals"), "{verbose}");
    assert_eq!(ask("/nothing").status, 404);
    assert_eq!(once(ops, &Request::new("POST", "/livez")).status, 405);
    assert_eq!(upstream.recorded().len(), 0);
}

#[test]
fn healthcheck_asks_a_running_sidecar() {
    let upstream = Upstream::echo();
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"", upstream.url()));
    let sidecar = Sidecar::in_home(home, Clock::System);
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("proxy.toml");
    let text = format!("upstream = \"{}\"\n[ops]\nlisten = \"{}\"\nsocket = \"\"\n", upstream.url(), sidecar.ops());
    std::fs::write(&config, text).unwrap();
    assert_eq!(process::run(&["healthcheck"], &config).code, 0);
    drop(sidecar);
    assert_eq!(process::run(&["healthcheck"], &config).code, 6);
}
