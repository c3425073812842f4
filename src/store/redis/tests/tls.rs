//! TLS: who is not whom we trust, or does not trust us, is not talked to.

use super::*;
use crate::store::redis_server::certificates::Certificates;

async fn why_not(server: &RedisServer, host: &str, tls: sections::StoreTls) -> String {
    let config = sections::Store { url: format!("rediss://{host}:{}", server.port()), tls, ..sections::Store::default() };
    match store_of(&config).await.find_key("key_1").await {
        Err(StoreError::Unavailable(why)) => why,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn a_server_of_another_authority_or_another_name_is_not_trusted() {
    let (ours, theirs) = (Certificates::new("localhost"), Certificates::new("localhost"));
    let server = RedisServer::start_with_tls(&ours, "no");
    let why = why_not(&server, "localhost", theirs.trusted()).await;
    assert!(why.contains("invalid peer certificate"), "{why}");
    let why = why_not(&server, "127.0.0.1", ours.trusted()).await;
    assert!(why.contains("not valid for name \"127.0.0.1\""), "{why}");
    let trusted =
        sections::Store { url: format!("rediss://localhost:{}", server.port()), tls: ours.trusted(), ..sections::Store::default() };
    store_of(&trusted).await.ping().await.unwrap();
}

#[tokio::test]
async fn a_server_that_demands_a_certificate_gets_one_or_says_so() {
    let certificates = Certificates::new("localhost");
    let server = RedisServer::start_with_tls(&certificates, "yes");
    let why = why_not(&server, "localhost", certificates.trusted()).await;
    assert!(why.to_lowercase().contains("certificate"), "{why}");
}

#[tokio::test]
async fn certificates_are_read_at_each_dial() {
    let (ours, theirs) = (Certificates::new("localhost"), Certificates::new("localhost"));
    let server = RedisServer::start_with_tls(&ours, "no");
    let config =
        sections::Store { url: format!("rediss://localhost:{}", server.port()), tls: theirs.trusted(), ..sections::Store::default() };
    let store = store_of(&config).await;
    assert!(!store.is_reachable());
    std::fs::copy(ours.path("ca.pem"), theirs.path("ca.pem")).unwrap();
    until("the new authority is trusted", async || store.is_reachable()).await;
}

#[tokio::test]
async fn a_server_without_tls_is_not_talked_to_in_plain() {
    let server = RedisServer::start_on_tcp(&[]);
    let why = why_not(&server, "localhost", Certificates::new("localhost").trusted()).await;
    assert!(why.contains("no connection within"), "{why}");
    assert!(server.tell::<String>("INFO commandstats").lines().all(|line| !line.contains("cmdstat_ping")));
}
