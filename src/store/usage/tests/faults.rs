//! A flush that the store does not take: what certainly was not added is left, what may have been is given up, and nothing is added twice.

use super::*;
use crate::store::redis_server::until;

async fn requests_of(store: &Shared, key: &str) -> u64 {
    usage_of(store, key).await.days.iter().map(|day| day.requests).sum()
}

fn of_keys(count: usize) -> Flush {
    let keys = (0..count).map(|index| KeyUse { last: Some((AT, None)), ..requests(&format!("key_{index}"), 0, 3) }).collect();
    Flush { keys, denials: vec![denial("r", None, "key_unknown", AT)] }
}

#[tokio::test]
async fn a_flush_of_many_keys_is_one_exchange() {
    let server = RedisServer::start();
    let store = redis(&server, "x:").await;
    // The first one brings the script.
    flush(&store, vec![requests("key_0", 0, 1)], vec![]).await;
    let reads = || {
        let info: String = server.tell("INFO stats");
        let line = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    let before = reads();
    let Flush { keys, denials } = of_keys(200);
    flush(&store, keys, denials).await;
    // As many as the pipeline has buffers, this question, and a ping or two.
    assert!(reads() - before < 20, "{}", reads() - before);
    assert_eq!((requests_of(&store, "key_0").await, requests_of(&store, "key_199").await), (4, 3));
}

#[tokio::test]
async fn a_server_that_has_forgotten_the_script_is_told_again_and_nothing_is_counted_twice() {
    let server = RedisServer::start();
    let store = redis(&server, "x:").await;
    for count in 1..4 {
        server.tell::<()>("SCRIPT FLUSH");
        let Flush { keys, denials } = of_keys(10);
        flush(&store, keys, denials).await;
        assert_eq!(requests_of(&store, "key_9").await, 3 * count);
        let denials = store.denials(&DenialFilter::default(), None, 100).await.unwrap().items.len();
        assert_eq!(denials as u64, count);
    }
}

#[tokio::test]
async fn what_the_server_refuses_is_left_and_is_added_once_when_it_does_not() {
    let server = RedisServer::start();
    let store = redis(&server, "x:").await;
    flush(&store, vec![requests("key_0", 0, 1)], vec![]).await;
    for (refuse, allow) in [
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ] {
        let before = requests_of(&store, "key_3").await;
        server.tell::<()>(refuse);
        let flushed = store.flush(of_keys(5)).await;
        assert!(flushed.error.is_some() && flushed.unknown_requests + flushed.unknown_denials == 0, "{refuse}: {flushed:?}");
        assert_eq!((flushed.left.keys.len(), flushed.left.denials.len()), (5, 1), "{refuse}");
        server.tell::<()>(allow);
        until("the connection is back", async || store.last_uses(&["key_0"]).await.is_ok()).await;
        flush(&store, flushed.left.keys, flushed.left.denials).await;
        assert_eq!(requests_of(&store, "key_3").await - before, 3, "{refuse}");
    }
}

#[tokio::test]
async fn what_is_no_usage_spoils_its_own_key_alone() {
    let server = RedisServer::start();
    let store = redis(&server, "x:").await;
    server.tell::<()>("SET x:usage:{key_1} nonsense");
    server.tell::<()>("HSET x:usage:{key_2} last whatever n:10.0.0.0/8 x n: 1 s:read y networks_missed z");
    server.tell::<()>(&format!("HSET x:usage:{{key_2}}:{} requests many denied:x -4", day(0)));
    let flushed = store.flush(of_keys(4)).await;
    assert!(flushed.left.is_empty() && flushed.error.is_some());
    // A count that is none cannot be added to.
    assert_eq!(flushed.unknown_requests, 6);
    assert_eq!((requests_of(&store, "key_0").await, requests_of(&store, "key_3").await), (3, 3));
    assert_eq!(usage_of(&store, "key_1").await.last, None);
    let usage = usage_of(&store, "key_2").await;
    assert!(usage.networks.is_empty() && usage.scopes.is_empty() && usage.networks_missed.is_none(), "{usage:?}");
    server.tell::<()>("XADD x:denials * denial nonsense");
    let page = store.denials(&DenialFilter::default(), None, 10).await.unwrap();
    assert_eq!((page.items.len(), page.unreadable.len()), (1, 1));
}

#[tokio::test]
async fn without_a_server_all_is_left() {
    let mut server = RedisServer::start();
    let store = redis(&server, "x:").await;
    server.stop();
    until("the loss is seen", async || store.last_uses(&["key_0"]).await.is_err()).await;
    let flushed = store.flush(of_keys(5)).await;
    assert!(flushed.error.is_some());
    assert_eq!((flushed.left.keys.len(), flushed.left.denials.len(), flushed.unknown_requests), (5, 1, 0));
    server.restart();
    until("the server is back", async || store.last_uses(&["key_0"]).await.is_ok()).await;
    flush(&store, flushed.left.keys, flushed.left.denials).await;
    assert_eq!(requests_of(&store, "key_4").await, 3);
}

#[tokio::test]
async fn what_a_server_does_not_answer_is_given_up_and_counted_once_at_most() {
    let server = RedisServer::start();
    let section =
        sections::Store { key_prefix: "x:".into(), command_timeout: Span(std::time::Duration::from_millis(250)), ..server.config() };
    let store = open(&section, &Clock::System).await.unwrap().usages;
    flush(&store, vec![requests("key_0", 0, 1)], vec![]).await;
    server.signal("STOP");
    let flushed = store.flush(of_keys(5)).await;
    server.signal("CONT");
    assert!(flushed.left.is_empty() && flushed.error.is_some());
    assert_eq!((flushed.unknown_requests, flushed.unknown_denials), (15, 1));
    until("the server is back", async || store.last_uses(&["key_0"]).await.is_ok()).await;
    assert!(matches!(requests_of(&store, "key_4").await, 0 | 3));
}

#[tokio::test]
async fn counts_end_some_day() {
    let server = RedisServer::start();
    let store = redis(&server, "x:").await;
    flush(&store, vec![KeyUse { last: Some((AT, None)), ..requests("key_1", 0, 1) }], vec![]).await;
    for name in ["x:usage:{key_1}".to_owned(), format!("x:usage:{{key_1}}:{}", day(0))] {
        let left: i64 = server.tell(&format!("TTL {name}"));
        assert!((399 * 86_400..=400 * 86_400).contains(&left), "{name}: {left}");
    }
    let dir = tempfile::tempdir().unwrap();
    let store = embedded(&dir).await;
    flush(&store, vec![requests("key_1", 0, 1)], vec![]).await;
    flush(&store, vec![requests("key_2", 400, 1)], vec![]).await;
    assert_eq!(requests_of(&store, "key_1").await, 1);
    flush(&store, vec![requests("key_2", 401, 1)], vec![]).await;
    assert_eq!((requests_of(&store, "key_1").await, requests_of(&store, "key_2").await), (0, 2));
}

#[tokio::test]
async fn a_cluster_without_one_of_its_nodes_is_not_sent_anything() {
    let mut cluster = RedisCluster::start_with(3, &["--cluster-require-full-coverage", "no"]);
    let store = open(&sections::Store { command_timeout: PATIENT, ..cluster.config() }, &Clock::System).await.unwrap().usages;
    flush(&store, (0..50).map(|index| requests(&format!("key_{index}"), 0, 1)).collect(), vec![]).await;
    cluster.nodes[2].stop();
    until("the loss is seen", async || {
        let keys: Vec<String> = (0..50).map(|index| format!("key_{index}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        store.last_uses(&keys).await.is_err()
    })
    .await;
    let flushed = store.flush(of_keys(50)).await;
    assert_eq!((flushed.left.keys.len(), flushed.unknown_requests), (50, 0), "{:?}", flushed.error);
}
